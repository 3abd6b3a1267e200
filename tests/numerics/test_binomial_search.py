"""Small random data sets against a plain maximiser, and every refusal justified."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import optimize
from scipy.special import expit, gammaln

from ketacast.errors import ConvergenceError
from ketacast.numerics.binomial import fit_binomial

Array = NDArray[np.float64]

SETS = 200
#: The plain maximiser must not find more than this.
ATOL_LIKELIHOOD = 1e-8
#: It begins at each of these between-study SDs.
STARTS = (0.2, 1.0, 4.0)
#: Its rule is exact enough below this between-study SD.
TRUSTED = 10.0
#: Where a likelihood that is said to rise without limit is looked at.
FAR = (0.01, 0.3, 1.0, 3.0, 8.0, 20.0, 40.0)


def random_counts(seed: int) -> tuple[Array, Array, Array]:
    """Two to twelve studies of up to 50, with or without a moderator, often all or none."""
    rng = np.random.default_rng(seed)
    p = int(rng.integers(1, 3))
    k = max(int(rng.integers(2, 13)), p + 1)
    n = rng.integers(1, int(rng.choice([1, 2, 3, 5, 10, 20, 50])) + 1, size=k)
    x = rng.choice([0.0, 1.0], size=k) if rng.random() < 0.4 else rng.normal(size=k)
    x[0] += float(np.ptp(x) == 0.0)
    X = np.column_stack([np.ones(k), x])[:, :p]
    eta = rng.choice([-4.0, -2.0, -0.5, 0.0, 1.0, 3.0]) + rng.choice([0.0, 0.5, 2.0]) * x
    tau = rng.choice([0.0, 0.5, 1.0, 2.0, 8.0])
    events = rng.binomial(n, expit(eta + tau * rng.normal(size=k)))
    return events.astype(np.float64), n.astype(np.float64), X


class Plain:
    """Likelihood by a fixed even rule in z, fine for tau up to about 10."""

    def __init__(self, events: Array, n: Array, X: Array, nodes: int = 501) -> None:
        self.events, self.n, self.X = events[:, None], n[:, None], X
        self.z = np.linspace(-9.0, 9.0, nodes)
        spacing = self.z[1] - self.z[0]
        self.log_weight = np.log(spacing) - 0.5 * self.z**2 - 0.5 * np.log(2.0 * np.pi)
        rest = n - events
        self.constant = float(np.sum(gammaln(n + 1) - gammaln(events + 1) - gammaln(rest + 1)))

    def falling(self, theta: Array) -> tuple[float, Array]:
        """Minus the log-likelihood at (beta, tau), and its gradient."""
        u = (self.X @ theta[:-1])[:, None] + theta[-1] * self.z
        terms = self.events * u - self.n * np.logaddexp(0.0, u) + self.log_weight
        top = terms.max(axis=1, keepdims=True)
        weight = np.exp(terms - top)
        total = weight.sum(axis=1, keepdims=True)
        pull = weight / total * (self.events - self.n * expit(u))
        gradient = np.append(self.X.T @ pull.sum(axis=1), np.sum(pull * self.z))
        return -float(np.sum(top + np.log(total))) - self.constant, -gradient

    def start(self, tau: float) -> Array:
        share = (self.events.sum() + 0.5) / (self.n.sum() + 1.0)
        beta = np.zeros(self.X.shape[1])
        beta[0] = np.log(share / (1.0 - share)) * np.sqrt(1.0 + 0.35 * tau**2)
        return np.append(beta, tau)

    def highest(self) -> float:
        """Highest log-likelihood from all starts, where the rule can be trusted."""
        found = [self.climb(self.falling, self.start(tau)) for tau in STARTS]
        return max((-end.fun for end in found if abs(end.x[-1]) < TRUSTED), default=-np.inf)

    def profile(self, tau: float) -> float:
        """Highest log-likelihood at tau."""

        def falling(beta: Array) -> tuple[float, Array]:
            value, gradient = self.falling(np.append(beta, tau))
            return value, gradient[:-1]

        return -float(self.climb(falling, self.start(tau)[:-1]).fun)

    @staticmethod
    def climb(falling: Callable[[Array], tuple[float, Array]], start: Array) -> Any:
        return optimize.minimize(falling, start, jac=True, method="BFGS", options={"gtol": 1e-6})


def separated(events: Array, n: Array, X: Array) -> bool:
    """Some direction raises every log-likelihood of a single event or non-event."""
    rows = np.vstack([X[events > 0.0], -X[events < n]])
    answer: Any = optimize.linprog(
        -rows.sum(axis=0), A_ub=-rows, b_ub=np.zeros(len(rows)), bounds=(-1.0, 1.0)
    )
    return bool(answer.fun < -1e-6)


def outcome(seed: int) -> str:
    counts = random_counts(seed)
    refusal, fit = "", None
    try:
        fit = fit_binomial(*counts)
    except ConvergenceError as error:
        refusal = str(error)
    assert separated(*counts) == ("separation" in refusal), seed
    if fit is None and "separation" in refusal:
        return "separated"
    if fit is None:
        # Still rising far out, and higher there than anywhere near.
        profile = [Plain(*counts, nodes=2001).profile(tau) for tau in FAR]
        assert profile[-1] > max(profile) - ATOL_LIKELIHOOD, seed
        return "unbounded"
    plain = Plain(*counts)
    assert fit.log_likelihood > plain.highest() - ATOL_LIKELIHOOD, seed
    if fit.tau < TRUSTED:
        own = -plain.falling(np.append(fit.beta, fit.tau))[0]
        assert abs(fit.log_likelihood - own) < ATOL_LIKELIHOOD, seed
    assert np.all(np.diag(fit.cov) > 0.0), seed
    return "positive" if fit.tau2 > 0.0 else "zero"


def test_nothing_higher_is_found_and_refusals_are_justified() -> None:
    found = Counter(outcome(seed) for seed in range(SETS))
    assert sum(found.values()) == SETS
    # All kinds of ends occur, so that none goes untested.
    assert min(found[kind] for kind in ("positive", "zero", "separated", "unbounded")) >= 10
