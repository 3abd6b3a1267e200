"""Meta-analysis of dependent estimates: several per study, or several outcomes per trial.

``y ~ N(X beta, V + Z G Z')`` with a known sampling covariance V, block-diagonal
in groups, fitted by maximum or restricted maximum likelihood.

References
----------
Konstantopoulos 2011, Res Synth Methods 2:61 (three-level model); van Houwelingen,
Arends & Stijnen 2002, Stat Med 21:589 (multivariate model).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ketacast.arrays import frozen, real_array
from ketacast.errors import InputError
from ketacast.numerics.inference import check_level
from ketacast.numerics.mixed.inputs import (
    Groups,
    build_model,
    frozen_index,
    level_patterns,
    outcome_patterns,
    read_groups,
    read_sampling,
)
from ketacast.numerics.mixed.marginal_covariance import MarginalModel, residual_trace, whiten
from ketacast.numerics.mixed.result import (
    MIXED_METHODS,
    MIXED_TESTS,
    MixedMethod,
    MixedTest,
    MultilevelFit,
    MultivariateFit,
)
from ketacast.numerics.mixed.variance_estimates import (
    COVARIANCE_STRUCTURES,
    CovarianceStructure,
    Estimate,
    estimate_levels,
    estimate_outcomes,
)
from ketacast.numerics.mixed.variance_structures import symmetric
from ketacast.options import check_choice


def fit_multilevel(
    y: object,
    v: object,
    X: object,
    groups: object,
    *,
    method: MixedMethod = "REML",
    test: MixedTest = "z",
    level: float = 0.95,
) -> MultilevelFit:
    """Fit a meta-regression with several estimates per group (``~ 1 | group/estimate``).

    Parameters
    ----------
    y : array_like, shape (k,)
        Effects.
    v : array_like, shape (k,) or (k, k)
        Sampling variances (> 0), or a sampling covariance that is 0 between groups.
    X : array_like, shape (k, p)
        Design, the intercept's column of ones included; p < k.
    groups : sequence, length k
        Label of the group (study, cohort) of each row; at least two groups.
    method : {"REML", "ML"}
        Restricted or full maximum likelihood.
    test : {"z", "t"}
        Normal, or t with k - p degrees of freedom.
    level : float
        Coverage of the confidence intervals, 0 to 1.

    Returns
    -------
    MultilevelFit
        If each group has one estimate, the two variances cannot be told apart:
        the model is fitted with their sum, reported as between groups.

    Raises
    ------
    InputError
        For unusable values, a single group, dependent columns, or moderators that
        leave nothing from which to estimate a variance component.
    ConvergenceError
        If the maximum of the likelihood was not reached.
    """
    level = _checked_options(method, test, level)
    effects = real_array("y", y, ndim=1)
    group = read_groups("groups", groups, effects.size)
    _refuse_single("groups", group, "fit the normal model, whose tau2 is then within the group")
    separable = len(group.labels) < effects.size
    model = build_model(
        effects,
        read_sampling("v", v, group),
        X,
        group,
        lambda rows: level_patterns(rows, separable=separable),
    )
    estimate = estimate_levels(model, restricted=method == "REML")
    theta = estimate.maximum.theta
    return MultilevelFit(
        **_common(model, estimate, X, group, method=method, test=test, level=level),
        sigma2=frozen(theta if separable else np.append(theta, 0.0)),
        separable=separable,
    )


def fit_multivariate(
    y: object,
    V: object,
    X: object,
    trial: object,
    outcome: object,
    *,
    structure: CovarianceStructure = "UN",
    method: MixedMethod = "REML",
    test: MixedTest = "z",
    level: float = 0.95,
) -> MultivariateFit:
    """Fit a meta-regression of several outcomes per trial (``~ outcome | trial``).

    Parameters
    ----------
    y : array_like, shape (k,)
        Effects; rows of one trial and outcome share their random effect.
    V : array_like, shape (k, k) or (k,)
        Sampling covariance, 0 between trials, or variances of independent estimates.
    X : array_like, shape (k, p)
        Design; for a mean per outcome, one column of indicators per outcome.
    trial, outcome : sequence, length k
        Labels of each row; at least two trials and two outcomes.
    structure : {"UN", "CS", "HCS", "DIAG"}
        Covariance of the random effects: any; one variance and one correlation; a
        variance per outcome and one correlation; a variance per outcome, independent.
    method, test, level
        As for :func:`fit_multilevel`.

    Returns
    -------
    MultivariateFit

    Raises
    ------
    InputError
        For unusable values, a single trial or outcome, dependent columns, or data
        that leave nothing from which to estimate a parameter of `structure` (no trial
        with both of two outcomes, for a correlation).
    ConvergenceError
        If the maximum of the likelihood was not reached.
    """
    level = _checked_options(method, test, level)
    check_choice("structure", structure, COVARIANCE_STRUCTURES)
    effects = real_array("y", y, ndim=1)
    group = read_groups("trial", trial, effects.size)
    kinds = read_groups("outcome", outcome, effects.size, in_order=True)
    _refuse_single("trial", group, "one trial shows no variation between trials")
    _refuse_single("outcome", kinds, "fit the normal or the multilevel model")
    m = len(kinds.labels)
    model = build_model(
        effects,
        read_sampling("V", V, group),
        X,
        group,
        lambda rows: outcome_patterns(kinds.index[rows], m),
    )
    estimate = estimate_outcomes(model, structure, kinds.labels, restricted=method == "REML")
    G = symmetric(estimate.psi, m)
    return MultivariateFit(
        **_common(model, estimate, X, group, method=method, test=test, level=level),
        tau2=frozen(np.diag(G)),
        G=frozen(G),
        structure=structure,
        outcome_index=frozen_index(kinds.index),
        outcome_labels=kinds.labels,
    )


def _refuse_single(name: str, groups: Groups, remedy: str) -> None:
    if len(groups.labels) < 2:
        raise InputError(
            f"{name} has the single label {groups.labels[0]!r}, but a variance between {name} "
            f"needs at least two; {remedy}"
        )


def _checked_options(method: object, test: object, level: object) -> float:
    check_choice("method", method, MIXED_METHODS)
    check_choice("test", test, MIXED_TESTS)
    return check_level(level)


def _common(
    model: MarginalModel, estimate: Estimate, X: object, groups: Groups, *,
    method: MixedMethod, test: MixedTest, level: float,
) -> dict[str, Any]:  # fmt: skip
    at = whiten(model, estimate.psi)
    plain = whiten(model, np.zeros(model.n_patterns))
    beta, cov = at.coefficients(model.basis)
    return {
        "beta": frozen(beta),
        "cov": frozen(cov),
        "psi": frozen(estimate.psi),
        "n_components": int(estimate.maximum.theta.size),
        "qe": plain.quadratic,
        "trace_p": residual_trace(model, plain),
        "log_likelihood_ml": at.log_likelihood(restricted=False),
        "log_likelihood_reml": at.log_likelihood(restricted=True),
        "k": model.k,
        "p": model.p,
        "intercept": model.basis.intercept,
        "method": method,
        "test": test,
        "level": level,
        "group_index": frozen_index(groups.index),
        "group_labels": groups.labels,
        "model": model,
        "design": frozen(real_array("X", X, ndim=2)),
    }
