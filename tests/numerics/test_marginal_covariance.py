"""Likelihood derivatives against differences, and the maps from parameters to covariances."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from ketacast.errors import ConvergenceError
from ketacast.numerics.mixed.inputs import build_model, outcome_patterns, read_groups, read_sampling
from ketacast.numerics.mixed.marginal_covariance import (
    MarginalModel,
    derivatives,
    log_likelihoods,
    residual_trace,
    whiten,
)
from ketacast.numerics.mixed.variance_structures import (
    Factor,
    NonNegative,
    ScaledCorrelation,
    Structure,
    compound_symmetric,
    diagonal,
    start_correlations,
    symmetric,
)

Array = NDArray[np.float64]

#: Central differences with this step err by about its square, and by rounding over it.
STEP = 1e-5
RTOL_DIFFERENCE = 1e-6
ATOL_DIFFERENCE = 1e-7
#: The same number by other arithmetic.
RTOL = 1e-10

STRUCTURES: list[tuple[Structure, Array]] = [
    (NonNegative(np.eye(6)), np.array([0.5, 0.1, -0.1, 0.6, 0.2, 0.7])),
    (diagonal(3), np.array([0.5, 0.1, 0.7])),
    (compound_symmetric(3), np.array([0.5, 0.1])),
    (Factor(3), np.array([0.5, 0.1, 0.7, -0.3, 0.2, 0.9])),
    (ScaledCorrelation(3, equal=True), np.array([0.5, 0.3])),
    (ScaledCorrelation(3, equal=False), np.array([0.5, 0.1, 0.7, -0.3])),
]


def _model() -> tuple[MarginalModel, Array, Array]:
    rng = np.random.default_rng(3)
    trial, outcome = np.divmod(np.arange(24), 3)
    keep = rng.random(24) < 0.8
    trial, outcome = trial[keep], outcome[keep]
    k = trial.size
    v = rng.uniform(0.1, 1.0, k)
    X = np.column_stack([np.eye(3)[outcome], 1990.0 + rng.normal(size=k)])
    groups = read_groups("trial", trial, k)
    model = build_model(
        rng.normal(size=k),
        read_sampling("V", v, groups),
        X,
        groups,
        lambda rows: outcome_patterns(outcome[rows], 3),
    )
    Z = np.zeros((k, 24))
    Z[np.arange(k), trial * 3 + outcome] = 1.0
    return model, np.diag(v), Z


def _differences(function: object, point: Array) -> Array:
    assert callable(function)
    columns = [
        (np.asarray(function(point + step)) - np.asarray(function(point - step))) / (2.0 * STEP)
        for step in STEP * np.eye(point.size)
    ]
    return np.stack(columns, axis=-1)


def test_likelihood_is_that_of_the_dense_normal() -> None:
    model, V, Z = _model()
    psi = np.array([0.5, 0.1, -0.1, 0.6, 0.2, 0.7])
    M = V + Z @ np.kron(np.eye(8), symmetric(psi, 3)) @ Z.T
    X, W = model.basis.columns, np.linalg.inv(M)
    information = X.T @ W @ X
    P = W - W @ X @ np.linalg.solve(information, X.T @ W)
    k, p = X.shape
    full = -0.5 * (k * np.log(2 * np.pi) + np.linalg.slogdet(M)[1] + model.y @ P @ model.y)
    rest = full + 0.5 * p * np.log(2 * np.pi) - 0.5 * np.linalg.slogdet(information)[1]
    for restricted, expected in ((False, full), (True, rest)):
        found = log_likelihoods(model, psi[None], restricted=restricted)[0]
        assert found == pytest.approx(expected, rel=RTOL)
        at = derivatives(model, psi, restricted=restricted)
        assert at.value == pytest.approx(expected, rel=RTOL)
    assert residual_trace(model, whiten(model, psi)) == pytest.approx(np.trace(P), rel=RTOL)


@pytest.mark.parametrize("restricted", [True, False])
def test_derivatives_are_those_of_the_likelihood(restricted: bool) -> None:
    model, _, _ = _model()
    psi = np.array([0.5, 0.1, -0.1, 0.6, 0.2, 0.7])
    at = derivatives(model, psi, restricted=restricted)
    gradient = _differences(
        lambda x: log_likelihoods(model, x[None], restricted=restricted)[0], psi
    )
    np.testing.assert_allclose(at.gradient, gradient, rtol=RTOL_DIFFERENCE, atol=ATOL_DIFFERENCE)
    hessian = _differences(lambda x: derivatives(model, x, restricted=restricted).gradient, psi)
    np.testing.assert_allclose(at.hessian, hessian, rtol=RTOL_DIFFERENCE, atol=ATOL_DIFFERENCE)
    assert np.linalg.eigvalsh(at.information)[0] > 0.0


@pytest.mark.parametrize(("structure", "theta"), STRUCTURES)
def test_structures_know_their_derivatives(structure: Structure, theta: Array) -> None:
    jacobian = _differences(structure.psi, theta)
    np.testing.assert_allclose(
        structure.jacobian(theta), jacobian, rtol=RTOL_DIFFERENCE, atol=ATOL_DIFFERENCE
    )
    weights = np.arange(1.0, 7.0)
    curvature = _differences(lambda x: weights @ structure.jacobian(x), theta)
    np.testing.assert_allclose(
        structure.curvature(theta, weights), curvature, rtol=RTOL_DIFFERENCE, atol=ATOL_DIFFERENCE
    )


@pytest.mark.parametrize(("structure", "theta"), STRUCTURES[1:])
def test_starting_points_are_covariances(structure: Structure, theta: Array) -> None:
    levels = np.vstack([np.zeros(3), np.geomspace([0.1, 0.2, 0.3], [1.0, 2.0, 3.0], 4)])
    points = structure.starts(levels)
    assert points.shape[-1] == theta.size
    for point in points.reshape(-1, theta.size):
        assert (point >= structure.lower).all()
        assert (point <= structure.upper).all()
        assert np.linalg.eigvalsh(symmetric(structure.psi(point), 3))[0] > -1e-12


def test_singular_covariances_have_no_likelihood() -> None:
    model, _, _ = _model()
    impossible = np.array([-9.0, 0.0, 0.0, -9.0, 0.0, -9.0])
    good = np.zeros(6)
    values = log_likelihoods(model, np.vstack([impossible, good]), restricted=True)
    assert values[0] == -np.inf
    assert np.isfinite(values[1])
    with pytest.raises(ConvergenceError, match="not positive definite"):
        whiten(model, impossible)


def test_starting_correlations_span_what_is_possible() -> None:
    for m in (2, 3, 5):
        rho = start_correlations(m)
        assert -1.0 / (m - 1) < rho.min() < -0.8 / (m - 1)
        assert 0.8 < rho.max() < 1.0
