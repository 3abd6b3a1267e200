"""Multivariate fits: the global maximum, invariances and refusals."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from ketacast.errors import InputError
from ketacast.numerics.mixed import (
    fit_multivariate,
    rho_profile_interval,
    tau2_profile_interval,
)
from ketacast.numerics.mixed.marginal_covariance import log_likelihoods
from ketacast.numerics.normal import fit_normal

Array = NDArray[np.float64]
#: A random point above the returned maximum by more than rounding would be a missed maximum.
ATOL_GRID = 1e-9
DATA_SETS = 120


def _indicators(outcome: list[Any]) -> Array:
    return np.array([[float(o == label) for label in sorted(set(outcome))] for o in outcome])


def _random_data(seed: int) -> tuple[Array, Array, list[int], list[int], Array]:
    """Two or three outcomes, some missing; variances 0, small, large; correlations up to 1."""
    rng = np.random.default_rng(seed)
    g, m = int(rng.integers(4, 9)), int(rng.choice([2, 2, 3]))
    trial, outcome = np.divmod(np.arange(g * m), m)
    keep = (rng.random(g * m) < 0.85) | (trial < 3)
    trial, outcome = trial[keep], outcome[keep]
    k = trial.size
    v = np.exp(rng.normal(0.0, rng.choice([0.1, 1.0, 2.0]), k))
    if seed % 4 == 0:
        v *= np.array([1.0, 1e-4, 100.0])[outcome]
    within = np.where(trial[:, None] == trial, rng.choice([0.0, 0.5, 0.8]), 0.0)
    np.fill_diagonal(within, 1.0)
    V = within * np.sqrt(np.outer(v, v))
    R = np.full((m, m), rng.choice([0.0, 0.5, 0.99, 1.0]))
    np.fill_diagonal(R, 1.0)
    typical = np.array([np.sqrt(np.median(v[outcome == o])) for o in range(m)])
    tau = rng.choice([0.0, 0.3, 1.0, 10.0], m) * typical
    u = rng.multivariate_normal(np.zeros(m), R, size=g, method="eigh") * tau
    y = np.linalg.cholesky(V) @ rng.normal(size=k) + u[trial, outcome]
    if seed % 23 == 0:
        y = np.zeros(k)
    return y, V, trial.tolist(), outcome.tolist(), np.eye(m)[outcome]


def _random_covariances(rng: np.random.Generator, structure: str, size: Array, count: int) -> Array:
    m = size.size
    columns = 1 if structure == "CS" else m
    top = size.max() if structure == "CS" else size
    tau2 = top * np.exp(rng.uniform(-12.0, 2.0, (count, columns)))
    tau2 = np.broadcast_to(tau2 * (rng.random((count, columns)) > 0.1), (count, m))
    if structure == "UN" and m > 2:
        factor = rng.normal(size=(count, m, int(rng.integers(1, m + 1))))
        R = factor @ factor.swapaxes(1, 2)
        scale = np.sqrt(np.diagonal(R, axis1=1, axis2=2))
        R = R / (scale[:, :, None] * scale[:, None, :])
    else:
        rho = rng.uniform(-1.0 / (m - 1), 1.0, count)
        rho[: count // 10], rho[count // 10 : count // 5] = 1.0, -1.0 / (m - 1)
        if structure == "DIAG":
            rho[:] = 0.0
        eye = np.eye(m)
        R = eye + rho[:, None, None] * (1.0 - eye)
    G = R * np.sqrt(tau2[:, :, None] * tau2[:, None, :])
    i, j = np.triu_indices(m)
    return np.asarray(G[:, i, j])


def test_no_random_covariance_has_a_higher_likelihood() -> None:
    singular, kinds = 0, ("UN", "HCS", "CS", "DIAG")
    for seed in range(DATA_SETS):
        y, V, trial, outcome, X = _random_data(seed)
        choices: Any = {"structure": kinds[seed % 4], "method": ("ML", "REML")[seed // 4 % 2]}
        fit = fit_multivariate(y, V, X, trial, outcome, **choices)
        of = np.array(outcome)
        size = np.array(
            [np.ptp(y[of == o]) ** 2 + np.diag(V)[of == o].max() for o in range(X.shape[1])]
        )
        points = _random_covariances(np.random.default_rng(seed), fit.structure, size, 2000)
        values = log_likelihoods(fit.model, points, restricted=fit.restricted)
        assert fit.log_likelihood >= values.max() - ATOL_GRID, seed
        eigenvalues = np.linalg.eigvalsh(fit.G)
        assert eigenvalues[0] >= -1e-12 * max(1.0, eigenvalues[-1])
        singular += bool(eigenvalues[0] <= 1e-10 * eigenvalues[-1])
    # Many of these maxima lie on the boundary, where a search can get stuck.
    assert singular > 40


@pytest.mark.parametrize(
    ("seed", "structure", "method", "floor"),
    [
        # Three modes within 0.006 of each other: variances zero for the first outcome with
        # correlation -1/2 (-20.36387), all zero (-20.36432), correlation 1 (the highest).
        (1195, "HCS", "REML", -20.358314),
    ],
)
def test_highest_of_several_modes_is_found(
    seed: int, structure: Any, method: Any, floor: float
) -> None:
    y, V, trial, outcome, X = _random_data(seed)
    fit = fit_multivariate(y, V, X, trial, outcome, structure=structure, method=method)
    assert fit.log_likelihood >= floor


PROBLEMS = st.integers(0, 10**6)


@settings(max_examples=25, deadline=None)
@given(seed=PROBLEMS, factor=st.floats(1e-4, 1e4), structure=st.sampled_from(["UN", "CS", "HCS"]))
def test_units_and_row_order_do_not_matter(seed: int, factor: float, structure: Any) -> None:
    y, V, trial, outcome, X = _random_data(seed)
    plain = fit_multivariate(y, V, X, trial, outcome, structure=structure)
    scaled = fit_multivariate(y * factor, V * factor**2, X, trial, outcome, structure=structure)
    order = np.random.default_rng(seed).permutation(y.size)
    mixed = fit_multivariate(
        y[order], V[np.ix_(order, order)], X[order],
        [f"t{trial[i]}" for i in order], [outcome[i] for i in order], structure=structure,
    )  # fmt: skip
    shift = plain.residual_df * np.log(factor)
    assert scaled.log_likelihood + shift == pytest.approx(plain.log_likelihood, abs=1e-7)
    assert mixed.log_likelihood == pytest.approx(plain.log_likelihood, abs=1e-7)


@settings(max_examples=25, deadline=None)
@given(seed=PROBLEMS, method=st.sampled_from(["ML", "REML"]))
def test_independent_outcomes_are_normal_models(seed: int, method: Any) -> None:
    y, V, trial, outcome, X = _random_data(seed)
    assume(y.any())
    v, of = np.diag(V), np.array(outcome)
    fit = fit_multivariate(y, v, X, trial, outcome, structure="DIAG", method=method)
    total = 0.0
    for o in range(X.shape[1]):
        own = of == o
        alone = fit_normal(y[own], v[own], np.ones((own.sum(), 1)), method=method, test="z")
        total += alone.log_likelihood_ml if method == "ML" else alone.log_likelihood_reml
    # With X orthogonal between outcomes the restricted constants add up as well.
    assert fit.log_likelihood == pytest.approx(total, abs=1e-6)


Y, V = np.array([0.1, 0.5, 0.4, 0.2, 0.3, 0.9]), np.full(6, 0.1)
TRIAL, OUTCOME = [1, 1, 2, 2, 3, 3], ["a", "b"] * 3
APART = [1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize(
    ("trial", "outcome", "structure", "message"),
    [
        ([1] * 6, OUTCOME, "UN", "trial has the single label 1"),
        (TRIAL, ["a"] * 6, "UN", "outcome has the single label 'a'"),
        (TRIAL, ["a", "b"], "UN", r"outcome has shape \(2,\) for 6 rows"),
        (APART, OUTCOME, "UN", "cannot tell the covariance of 'a' and 'b'"),
        (APART, OUTCOME, "CS", "cannot tell the correlation"),
        (APART, OUTCOME, "HCS", "cannot tell the correlation"),
        (TRIAL, ["a"] * 5 + ["b"], "DIAG", "cannot tell the variance of 'b'"),
    ],
)
def test_unusable_data_are_refused(
    trial: object, outcome: Any, structure: Any, message: str
) -> None:
    X = _indicators(outcome) if len(outcome) == 6 and len(set(outcome)) > 1 else np.ones((6, 1))
    with pytest.raises(InputError, match=message):
        fit_multivariate(Y, V, X, trial, outcome, structure=structure)


def test_unknown_options_are_refused() -> None:
    unknown: Any = "XX"
    X = _indicators(OUTCOME)
    with pytest.raises(InputError, match="structure is 'XX'"):
        fit_multivariate(Y, V, X, TRIAL, OUTCOME, structure=unknown)
    fit = fit_multivariate(Y, V, X, TRIAL, OUTCOME)
    with pytest.raises(InputError, match="outcome 'c' is not in the fit"):
        fit.predict([[1.0, 0.0]], ["c"])
    with pytest.raises(InputError, match="2 labels for 1 rows"):
        fit.predict([[1.0, 0.0]], ["a", "b"])
    with pytest.raises(InputError, match="outcome 'c' is not in the fit"):
        tau2_profile_interval(fit, "c")
    diagonal = fit_multivariate(Y, V, X, TRIAL, OUTCOME, structure="DIAG")
    with pytest.raises(InputError, match="needs a single correlation"):
        rho_profile_interval(diagonal)
    none = fit_multivariate(np.zeros(6), V, X, TRIAL, OUTCOME)
    assert np.isnan(none.rho[0, 1])
    assert none.to_dict()["rho"][0][1] is None
    with pytest.raises(InputError, match="there is no correlation"):
        rho_profile_interval(none)
