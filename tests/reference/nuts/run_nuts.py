"""Sample the clinical model with NUTS: the reference for the deterministic posterior.

Independent of the package on purpose: the model is written down a second time, in numpyro, so
that a shared mistake cannot hide. One scenario is one file of likelihood rows
(``<scenario>.rows.json``) and one file of results (``<scenario>.json``).

    pip install 'ketacast[nuts]'
    python tests/reference/nuts/run_nuts.py --scenario full --out full.json
"""

from __future__ import annotations

import argparse
import json
import platform
import re
import time
from collections.abc import Callable
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

Floats = npt.NDArray[np.float64]
Draws = dict[str, Floats]

HERE = Path(__file__).resolve().parent
SCENARIOS: dict[str, str] = {
    "full": "All 30 likelihood rows in 24 cohort families.",
    "drop_guangzhou": "Base without the family guangzhou (both of its rows).",
    "drop_clinicians": "Base without mount_sinai, biok2023, yale and minneapolis_va.",
    "added": "Base plus four SYNTHETIC cohorts, invented to be extreme; not evidence.",
    "sparse": "Four families of the base only: nimh_unipolar, mgh_rct, griffiths2019 "
    "and mgh_nct01582945.",
    "no_contrast": "Base rows; the within-study contrast on the remission slope left out.",
}
WITHOUT_CONTRAST = frozenset({"no_contrast"})

COEFFICIENTS = ("a_R", "a_M", "b_R", "b_M", "h_R", "h_M", "g_R", "g_M")
TAUS = ("tau_R", "tau_M", "tau_b")
EFFECTS = ("u", "v", "ub")
NORMAL_PRIOR_SD = {"a": 1.5, "b": 0.5, "h": 1.0, "g_R": 0.10, "g_M": 0.15}
HALF_NORMAL_SCALE = {"tau_R": 1.0, "tau_M": 1.0, "tau_b": 0.5}
CONTRAST = {"log_or": -0.688, "se": 0.259, "gap": 1.75, "omega": 0.30}

TARGET_ACCEPT = 0.95
# Several fresh clinics per draw: the Monte-Carlo error of a new-clinic quantile is then that of
# the chain, not that of the simulated clinics.
CLINICS_PER_DRAW = 10
# Batches for batch-means errors: each is many times the autocorrelation length of the slowest
# parameter, and 20 of them give the error itself to about 16 %.
BATCHES = 20
PARAMETER_LEVELS = (0.025, 0.10, 0.50, 0.90, 0.975)
PREDICTIVE_LEVELS = (0.025, 0.10, 0.25, 0.50, 0.75, 0.90, 0.975)
GRID_FAILED_TRIALS = (2, 6, 12)
GRID_INFUSIONS = (1, 4, 6, 8)
RATERS = {"self": -0.5, "clinician": 0.5}


def column(rows: list[dict[str, Any]], name: str) -> Any:
    """One covariate or count of the rows as a float64 array."""
    return jnp.asarray([float(row[name]) for row in rows])


def clinical_model(rows: list[dict[str, Any]], use_contrast: bool) -> None:
    """Joint model of response and of remission given response, non-centred."""
    families = sorted({row["family"] for row in rows})
    par = {
        name: numpyro.sample(
            name, dist.Normal(0.0, NORMAL_PRIOR_SD.get(name) or NORMAL_PRIOR_SD[name[0]])
        )
        for name in COEFFICIENTS
    }
    for tau, effect in zip(TAUS, EFFECTS, strict=True):
        scale = numpyro.sample(tau, dist.HalfNormal(HALF_NORMAL_SCALE[tau]))
        score = numpyro.sample(
            f"z_{effect}", dist.Normal(0.0, 1.0).expand([len(families)]).to_event(1)
        )
        par[effect] = numpyro.deterministic(effect, scale * score)
    if use_contrast:
        sd = (CONTRAST["se"] ** 2 + CONTRAST["omega"] ** 2) ** 0.5
        numpyro.sample(
            "contrast", dist.Normal(CONTRAST["gap"] * par["g_M"], sd), obs=CONTRAST["log_or"]
        )
    add_likelihood(rows, families, par)


def linear_predictors(
    rows: list[dict[str, Any]], families: list[str], par: dict[str, Any]
) -> tuple[Any, Any]:
    """Logits of response and of remission given response, one per row."""
    c = jnp.asarray([families.index(row["family"]) for row in rows])
    x, s, F = (column(rows, name) for name in ("x", "s", "F"))
    eta = par["a_R"] + (par["b_R"] + par["ub"][c]) * x + par["g_R"] * F + par["h_R"] * s
    zeta = par["a_M"] + par["b_M"] * x + par["g_M"] * F + par["h_M"] * s
    return eta + par["u"][c], zeta + par["v"][c]


def add_likelihood(rows: list[dict[str, Any]], families: list[str], par: dict[str, Any]) -> None:
    """Binomial counts: response, remission among responders, remission among all."""
    responses = [row for row in rows if row["kind"] in ("response", "pair")]
    if responses:
        eta, _ = linear_predictors(responses, families, par)
        y = column(responses, "y")
        numpyro.sample("y", dist.BinomialLogits(eta, column(responses, "n")), obs=y)
    pairs = [row for row in rows if row["kind"] == "pair"]
    if pairs:
        _, zeta = linear_predictors(pairs, families, par)
        z = column(pairs, "z")
        numpyro.sample("z_given_y", dist.BinomialLogits(zeta, column(pairs, "y")), obs=z)
    alone = [row for row in rows if row["kind"] == "remission"]
    if alone:
        eta, zeta = linear_predictors(alone, families, par)
        log_hit = jax.nn.log_sigmoid(eta) + jax.nn.log_sigmoid(zeta)
        # 1 - pq = (1 - p) + p (1 - q): no cancellation when p q is near one.
        log_miss = jnp.logaddexp(
            jax.nn.log_sigmoid(-eta), jax.nn.log_sigmoid(eta) + jax.nn.log_sigmoid(-zeta)
        )
        z = column(alone, "z")
        logit = log_hit - log_miss
        numpyro.sample("z", dist.BinomialLogits(logit, column(alone, "n")), obs=z)


def batch_error(values: Floats, statistic: Callable[[Floats], Floats]) -> Floats:
    """Batch-means standard error of a statistic of `values` (chains, draws, ...)."""
    flat = values.reshape(values.shape[0] * values.shape[1], -1)
    batches = flat[: len(flat) // BATCHES * BATCHES].reshape(BATCHES, -1)
    per_batch = np.array([statistic(batch) for batch in batches])
    return np.asarray(per_batch.std(axis=0, ddof=1) / np.sqrt(BATCHES))


def rounded(values: npt.ArrayLike, digits: int = 6) -> Any:
    """Plain floats for JSON."""
    return np.round(np.asarray(values, dtype=np.float64), digits).tolist()


def describe_parameter(chains: Floats) -> dict[str, Any]:
    """Mean, SD, quantiles, their Monte-Carlo errors and the convergence diagnostics."""
    return {
        "mean": rounded(chains.mean()),
        "sd": rounded(chains.std(ddof=1)),
        "quantiles": rounded(np.quantile(chains, PARAMETER_LEVELS)),
        "mcse_mean": rounded(batch_error(chains, np.mean)),
        "mcse_sd": rounded(batch_error(chains, np.std)),
        "mcse_quantiles": rounded(batch_error(chains, lambda v: np.quantile(v, PARAMETER_LEVELS))),
        "r_hat": rounded(split_gelman_rubin(chains), 5),
        "ess": rounded(effective_sample_size(chains), 0),
    }


def describe_families(draws: Draws, families: list[str]) -> dict[str, Any]:
    """Posterior mean and SD of every family's effects."""
    return {
        family: {
            name: {
                "mean": rounded(draws[name][..., i].mean()),
                "sd": rounded(draws[name][..., i].std(ddof=1)),
            }
            for name in EFFECTS
        }
        for i, family in enumerate(families)
    }


def logistic(eta: Floats) -> Floats:
    """Inverse logit."""
    return np.asarray(0.5 * (1.0 + np.tanh(0.5 * eta)))


def probabilities(draws: Draws, scores: Floats, failed: int, infusions: int, s: float) -> Draws:
    """Response and remission, shape (chains, draws, clinics); zero scores: average clinic."""
    par = {name: draws[name][..., None] for name in COEFFICIENTS + TAUS}
    x, F = np.log2(min(infusions, 8) / 6), failed - 6
    u, v, ub = (par[tau] * scores[i] for i, tau in enumerate(TAUS))
    p = logistic(par["a_R"] + (par["b_R"] + ub) * x + par["g_R"] * F + par["h_R"] * s + u)
    q = logistic(par["a_M"] + par["b_M"] * x + par["g_M"] * F + par["h_M"] * s + v)
    return {"response": p, "remission": p * q}


def describe_cell(average: Floats, new: Floats) -> dict[str, Any]:
    """Expected and median probability, quantiles of both kinds of clinic and their errors."""

    def quantiles(values: Floats) -> Floats:
        return np.asarray(np.quantile(values, PREDICTIVE_LEVELS))

    return {
        "expected": rounded(new.mean()),
        "median": rounded(np.median(new)),
        "average_clinic": rounded(quantiles(average)),
        "new_clinic": rounded(quantiles(new)),
        "mcse_expected": rounded(batch_error(new, np.mean)),
        "mcse_average_clinic": rounded(batch_error(average, quantiles)),
        "mcse_new_clinic": rounded(batch_error(new, quantiles)),
    }


def describe_predictions(draws: Draws, seed: int) -> list[dict[str, Any]]:
    """Every cell of the prediction grid."""
    shape = (len(TAUS), *draws["a_R"].shape, CLINICS_PER_DRAW)
    fresh = np.random.default_rng(seed).standard_normal(shape)
    zero = np.zeros((len(TAUS), *draws["a_R"].shape, 1))
    cells: list[dict[str, Any]] = []
    for failed in GRID_FAILED_TRIALS:
        for infusions in GRID_INFUSIONS:
            average, new = (
                {
                    rater: probabilities(draws, scores, failed, infusions, s)
                    for rater, s in RATERS.items()
                }
                for scores in (zero, fresh)
            )
            for outcome in ("response", "remission"):
                averages = {rater: average[rater][outcome] for rater in RATERS}
                news = {rater: new[rater][outcome] for rater in RATERS}
                # Unknown rater: the average clinic is the mean of both within a draw, the new
                # clinic has one rater or the other.
                averages["unknown"] = np.mean(list(averages.values()), axis=0)
                news["unknown"] = np.concatenate(list(news.values()), axis=-1)
                cells.extend(
                    {
                        "failed_trials": failed,
                        "infusions": infusions,
                        "rater": rater,
                        "outcome": outcome,
                        **describe_cell(averages[rater], news[rater]),
                    }
                    for rater in averages
                )
    return cells


def sample(
    rows: list[dict[str, Any]],
    use_contrast: bool,
    *,
    samples: int,
    warmup: int,
    chains: int,
    chain_method: str,
    seed: int,
) -> tuple[Draws, int]:
    """Draws with shape (chains, draws, ...) and the number of divergent transitions."""
    if jnp.zeros(1).dtype != jnp.float64:
        raise RuntimeError("call numpyro.enable_x64() first: the reference is float64")
    kernel = NUTS(clinical_model, target_accept_prob=TARGET_ACCEPT, init_strategy=init_to_median)
    mcmc = MCMC(
        kernel,
        num_warmup=warmup,
        num_samples=samples,
        num_chains=chains,
        chain_method=chain_method,
        progress_bar=False,
    )
    mcmc.run(jax.random.PRNGKey(seed), rows, use_contrast)
    draws = {
        name: np.asarray(value, dtype=np.float64)
        for name, value in mcmc.get_samples(group_by_chain=True).items()
    }
    return draws, int(np.sum(mcmc.get_extra_fields(group_by_chain=True)["diverging"]))


def summarise(draws: Draws, families: list[str], seed: int) -> dict[str, Any]:
    """Everything that is stored about a posterior."""
    names = COEFFICIENTS + TAUS
    scores = [draws[f"z_{name}"] for name in EFFECTS]
    return {
        "parameters": {name: describe_parameter(draws[name]) for name in names},
        "parameter_levels": PARAMETER_LEVELS,
        "correlation": {
            "names": names,
            "matrix": rounded(np.corrcoef([draws[name].ravel() for name in names]), 4),
        },
        "random_effect_scores": {
            "max_r_hat": rounded(max(split_gelman_rubin(z).max() for z in scores), 5),
            "min_ess": rounded(min(effective_sample_size(z).min() for z in scores), 0),
        },
        "families": describe_families(draws, families),
        "predictive_levels": PREDICTIVE_LEVELS,
        "predictions": describe_predictions(draws, seed),
    }


def to_json(document: dict[str, Any]) -> str:
    """Indented JSON with each list of numbers kept on one line."""
    text = json.dumps(document, indent=1)
    flat = re.compile(r"\[[^\[\]{}]*\]")
    return flat.sub(lambda m: re.sub(r"\s+", " ", m[0]).replace("[ ", "[").replace(" ]", "]"), text)


def settings(args: argparse.Namespace, use_contrast: bool) -> dict[str, Any]:
    """What was run, and with which priors."""
    return {
        "seed": args.seed,
        "chains": args.chains,
        "samples_per_chain": args.samples,
        "warmup_per_chain": args.warmup,
        "chain_method": args.chain_method,
        "target_accept": TARGET_ACCEPT,
        "dtype": "float64",
        "clinics_per_draw": CLINICS_PER_DRAW,
        "batches": BATCHES,
        "contrast": CONTRAST if use_contrast else None,
        "normal_prior_sd": NORMAL_PRIOR_SD,
        "half_normal_scale": HALF_NORMAL_SCALE,
    }


def arguments(argv: list[str] | None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--scenario", choices=sorted(SCENARIOS), required=True)
    parser.add_argument("--out", type=Path, required=True, help="JSON file to write")
    parser.add_argument("--samples", type=int, default=25_000, help="kept draws per chain")
    parser.add_argument("--warmup", type=int, default=2_000, help="warm-up draws per chain")
    parser.add_argument("--chains", type=int, default=4)
    parser.add_argument(
        "--chain-method", choices=("sequential", "vectorized"), default="sequential"
    )
    parser.add_argument("--seed", type=int, default=20261123)
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    """Run one scenario and write its results."""
    args = arguments(argv)
    numpyro.enable_x64()
    numpyro.set_platform("cpu")
    rows = json.loads((HERE / f"{args.scenario}.rows.json").read_text(encoding="utf-8"))
    use_contrast = args.scenario not in WITHOUT_CONTRAST
    families = sorted({row["family"] for row in rows})
    start = time.perf_counter()
    draws, divergences = sample(
        rows,
        use_contrast,
        samples=args.samples,
        warmup=args.warmup,
        chains=args.chains,
        chain_method=args.chain_method,
        seed=args.seed,
    )
    document = {
        "scenario": args.scenario,
        "description": SCENARIOS[args.scenario],
        "rows": len(rows),
        "families_count": len(families),
        "settings": settings(args, use_contrast),
        "versions": {
            "python": platform.python_version(),
            "numpyro": numpyro.__version__,
            "jax": jax.__version__,
            "numpy": np.__version__,
        },
        "divergences": divergences,
        **summarise(draws, families, args.seed + 1),
    }
    args.out.write_text(to_json(document) + "\n", encoding="utf-8")
    print(f"{args.scenario}: {time.perf_counter() - start:.0f} s, {divergences} divergences")


if __name__ == "__main__":
    main()
