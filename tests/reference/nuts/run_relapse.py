"""Sample the loss-of-response model with NUTS: the reference for its deterministic posterior.

Independent of the package on purpose: the model is written down a second time, in numpyro.

    pip install 'ketacast[nuts]'
    python tests/reference/nuts/run_relapse.py --out relapse.json
"""

from __future__ import annotations

import argparse
import json
import platform
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt
import numpyro
import numpyro.distributions as dist
from numpyro.diagnostics import effective_sample_size, split_gelman_rubin
from numpyro.infer import MCMC, NUTS, init_to_median

SEED = 20261126
CHAINS, DRAWS, WARMUP = 4, 25_000, 2_000
TARGET_ACCEPT = 0.998
BATCHES = 20
LEVELS = (0.025, 0.10, 0.50, 0.90, 0.975)
DAYS = (1.0, 7.0, 14.0, 28.0, 56.0, 91.0, 182.0)
PRIOR_M = (float(np.log(45.0)), 1.0)
PRIOR_S = 1.0
PRIOR_LOG_K = (0.0, 0.5)

BASE = [
    {"family": "mount_sinai", "start": 0.0, "end": 18.0, "n": 17, "lost": 9},
    {"family": "minneapolis_va", "start": 0.0, "end": 28.0, "n": 11, "lost": 6},
    {"family": "mgh_nct01582945", "start": 0.0, "end": 14.0, "n": 5, "lost": 4},
    {"family": "diamond2014", "start": 0.0, "end": 70.0, "n": 8, "lost": 4},
]
MORE = [
    {"family": "minneapolis_va", "start": 0.0, "end": 20.0, "n": 14, "lost": 7},
    {"family": "yale", "start": 0.0, "end": 56.0, "n": 8, "lost": 2},
    {"family": "osmind", "start": 0.0, "end": 28.0, "n": 50, "lost": 10},
    {"family": "osmind", "start": 28.0, "end": 56.0, "n": 40, "lost": 10},
]
SCENARIOS: dict[str, list[dict[str, Any]]] = {"base": BASE, "added": BASE + MORE}
Floats = npt.NDArray[np.float64]


def model(rows: list[dict[str, Any]]) -> None:
    """Weibull time to loss of response with a non-centred family effect on log lambda."""
    families = sorted({row["family"] for row in rows})
    c = jnp.asarray([families.index(row["family"]) for row in rows])
    start, end, n, lost = (
        jnp.asarray([float(row[name]) for row in rows]) for name in ("start", "end", "n", "lost")
    )
    m = numpyro.sample("m", dist.Normal(*PRIOR_M))
    s = numpyro.sample("s", dist.HalfNormal(PRIOR_S))
    log_k = numpyro.sample("log_k", dist.Normal(*PRIOR_LOG_K))
    z = numpyro.sample("z", dist.Normal(0.0, 1.0).expand([len(families)]).to_event(1))
    k, log_lambda = jnp.exp(log_k), (m + s * z)[c]
    before = jnp.where(start > 0, jnp.exp(k * (jnp.log(jnp.maximum(start, 1e-9)) - log_lambda)), 0)
    hazard = jnp.exp(k * (jnp.log(end) - log_lambda)) - before
    kept = (n - lost) * -hazard
    numpyro.factor("rows", jnp.sum(lost * jnp.log(-jnp.expm1(-hazard)) + kept))


def batch_error(values: Floats, statistic: Any) -> float:
    """Batch-means standard error of a statistic."""
    flat = values.reshape(BATCHES, -1)
    return float(np.std([statistic(one) for one in flat], ddof=1) / np.sqrt(BATCHES))


def described(chains: Floats) -> dict[str, Any]:
    """Mean, SD, quantiles, Monte-Carlo errors, convergence."""
    return {
        "mean": round(float(chains.mean()), 6),
        "sd": round(float(chains.std(ddof=1)), 6),
        "quantiles": np.round(np.quantile(chains, LEVELS), 6).tolist(),
        "mcse_mean": round(batch_error(chains, np.mean), 6),
        "mcse_sd": round(batch_error(chains, np.std), 6),
        "r_hat": round(float(split_gelman_rubin(chains)), 5),
        "ess": round(float(effective_sample_size(chains))),
    }


def predicted(day: float, log_lambda: Floats, k: Floats) -> dict[str, Any]:
    """Share of responders lost by a day: mean, quantiles and their Monte-Carlo errors."""
    lost = -np.expm1(-np.exp(k * (np.log(day) - log_lambda)))
    return {
        "expected": round(float(lost.mean()), 6),
        "quantiles": np.round(np.quantile(lost, LEVELS), 6).tolist(),
        "mcse_quantiles": [
            round(batch_error(lost, lambda one, q=q: np.quantile(one, q)), 6) for q in LEVELS
        ],
    }


def run(rows: list[dict[str, Any]], seed: int) -> dict[str, Any]:
    """Sample one scenario and summarise it."""
    kernel = NUTS(model, target_accept_prob=TARGET_ACCEPT, init_strategy=init_to_median)
    mcmc = MCMC(
        kernel,
        num_warmup=WARMUP,
        num_samples=DRAWS,
        num_chains=CHAINS,
        chain_method="sequential",
        progress_bar=False,
    )
    mcmc.run(jax.random.PRNGKey(seed), rows, extra_fields=("diverging",))
    chains = {
        name: np.asarray(value) for name, value in mcmc.get_samples(group_by_chain=True).items()
    }
    m, s, k = chains["m"], chains["s"], np.exp(chains["log_k"])
    fresh = m + s * np.random.default_rng(seed).standard_normal(m.shape)
    names = ("m", "s", "log_k")
    flat = np.stack([chains[name].ravel() for name in names])
    return {
        "rows": rows,
        "divergences": int(mcmc.get_extra_fields()["diverging"].sum()),
        "parameters": {name: described(chains[name]) for name in names},
        "correlation": np.round(np.corrcoef(flat), 5).tolist(),
        "predictions": [
            {
                "days": day,
                "average_clinic": predicted(day, m, k),
                "new_clinic": predicted(day, fresh, k),
            }
            for day in DAYS
        ],
    }


def main() -> None:
    """Sample every scenario and write the file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    out = parser.parse_args().out
    jax.config.update("jax_enable_x64", True)
    content = {
        "settings": {
            "seed": SEED,
            "chains": CHAINS,
            "samples_per_chain": DRAWS,
            "warmup_per_chain": WARMUP,
            "target_accept": TARGET_ACCEPT,
            "prior": {"m": PRIOR_M, "s": PRIOR_S, "log_k": PRIOR_LOG_K},
            "levels": LEVELS,
        },
        "versions": {
            "python": platform.python_version(),
            "numpyro": numpyro.__version__,
            "jax": jax.__version__,
            "numpy": np.__version__,
        },
        "scenarios": {name: run(rows, SEED) for name, rows in SCENARIOS.items()},
    }
    out.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
