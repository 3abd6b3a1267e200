"""What fits.py times: our calls, each giving the numbers that are checked before it is timed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import fits_textbook as textbook
import numpy as np
from fits_data import BOOTSTRAP_SEED, NEW_ROWS, REFITS, Numbers, Rows, new_moderators

from ketacast import (
    BayesianMetaRegression,
    BinomialMetaRegression,
    MetaRegression,
    MultilevelMetaRegression,
)
from ketacast.arrays import FloatArray
from ketacast.estimators.measures import pseudo_r2
from ketacast.numerics.binomial import fit_binomial
from ketacast.numerics.diagnostics import leave_one_out
from ketacast.numerics.hierarchical.normal import fit_normal_posterior
from ketacast.numerics.mixed import fit_multilevel
from ketacast.numerics.normal import fit_normal, fit_normal_batch, predict_normal
from ketacast.numerics.resampling import bootstrap, permutation_test

Call = Callable[[], Numbers]

#: Ours against textbook formulas, where the estimate has converged to rounding.
EXACT = 1e-10
#: Ours against one numerical Newton step, whose derivatives are differences.
BINOMIAL = 1e-6
#: Ours against packages as users call them: they stop iterating at changes of 1e-5.
PEERS = 2e-3
#: Adaptive quadrature with 7 nodes, and an optimiser that stops early.
PEERS_BINOMIAL = 5e-3
TAU_SCALE = 0.5


@dataclass(frozen=True)
class Task:
    """One task.

    `goal` is in microseconds on the machine where the `anchors` (microseconds) were
    measured, so the goal is met where ours / peer <= goal / anchor of that peer.
    """

    name: str
    title: str
    calls: Mapping[str, Call]
    textbook: Call
    tolerance: float = EXACT
    peer_tolerance: float = PEERS
    goal: float | None = None
    anchors: Mapping[str, float] = field(default_factory=dict)


def all_tasks(studies: Mapping[int, Rows], effects: FloatArray) -> list[Task]:
    """Every task on the given rows."""
    few, many = studies[37], studies[79]
    return [
        reml(few, 100.0, {"metafor": 7_210.0, "PyMARE": 2_645.0, "pimeta": 1_035.0}),
        reml(many, 130.0, {"metafor": 11_380.0, "PyMARE": 3_290.0, "pimeta": 1_404.0}),
        reml(studies[1000], 500.0, {"metafor": 4_403e3, "PyMARE": 4_490.0, "pimeta": 770e3}),
        binomial(few, 2_000.0, {"metafor": 45_100.0}),
        binomial(many, 4_000.0, {"metafor": 51_000.0}),
        leaving_one_out(many),
        refits_bootstrap(few, effects),
        refits_permutation(few),
        predictions(few),
        posterior(few),
        multilevel(many),
    ]


def reml(rows: Rows, goal: float, anchors: Mapping[str, float]) -> Task:
    """REML with one moderator and everything that is reported of it."""
    y, v, X, moderator = rows.y, rows.v, rows.design, rows.x[:, None]

    def numerics() -> Numbers:
        fit = fit_normal(y, v, X)
        omnibus = fit.moderators
        return {
            "tau2": fit.tau2, "qe": fit.qe, "qe_p": fit.qe_p,
            "qm": omnibus.statistic, "qm_p": omnibus.p_value,
            "i2": fit.i2, "r2": pseudo_r2(fit, y, v),
            "beta": fit.beta, "se": fit.se, "p_value": fit.p_value,
            "ci_lower": fit.ci_lower, "ci_upper": fit.ci_upper,
        }  # fmt: skip

    def estimator() -> Numbers:
        fit = MetaRegression().fit(moderator, y, sampling_variance=v)
        return {
            "tau2": fit.tau2_, "qe": fit.QE_, "qe_p": fit.QE_p_, "qm": fit.QM_, "qm_p": fit.QM_p_,
            "i2": fit.I2_, "r2": fit.R2_,
            "beta": fit.coef_, "se": fit.se_, "p_value": fit.p_value_,
            "ci_lower": fit.ci_[:, 0], "ci_upper": fit.ci_[:, 1],
        }  # fmt: skip

    def slowly() -> Numbers:
        null = fit_normal(y, v, rows.ones).tau2
        return textbook.regression(y, v, X, fit_normal(y, v, X).tau2, null_tau2=null)

    return Task(
        f"reml_{y.size}",
        f"REML, 1 moderator, k = {y.size}, all results",
        {"fit_normal": numerics, "MetaRegression": estimator},
        slowly,
        goal=goal,
        anchors=anchors,
    )


def binomial(rows: Rows, goal: float, anchors: Mapping[str, float]) -> Task:
    """Binomial-normal maximum likelihood with one moderator."""
    events, n, X, moderator = rows.events, rows.n, rows.design, rows.x[:, None]

    def numerics() -> Numbers:
        fit = fit_binomial(events, n, X)
        return {
            "tau2": fit.tau2, "log_likelihood": fit.log_likelihood,
            "beta": fit.beta, "se": fit.se, "p_value": fit.p_value,
            "ci_lower": fit.ci_lower, "ci_upper": fit.ci_upper,
        }  # fmt: skip

    def estimator() -> Numbers:
        fit = BinomialMetaRegression(test="z").fit(moderator, events, n=n)
        return {
            "tau2": fit.tau2_, "log_likelihood": fit.log_likelihood_,
            "beta": fit.coef_, "se": fit.se_, "p_value": fit.p_value_,
            "ci_lower": fit.ci_[:, 0], "ci_upper": fit.ci_[:, 1],
        }  # fmt: skip

    def slowly() -> Numbers:
        fit = fit_binomial(events, n, X)
        return textbook.binomial(events, n, X, np.append(fit.beta, fit.tau))

    return Task(
        f"binomial_{n.size}",
        f"binomial-normal ML, 1 moderator, k = {n.size}",
        {"fit_binomial": numerics, "BinomialMetaRegression": estimator},
        slowly,
        tolerance=BINOMIAL,
        peer_tolerance=PEERS_BINOMIAL,
        goal=goal,
        anchors=anchors,
    )


def leaving_one_out(rows: Rows) -> Task:
    """REML without each study in turn; without moderators, which metafor asks for."""
    y, v, X = rows.y, rows.v, rows.ones

    def numerics() -> Numbers:
        found = leave_one_out(y, v, X, test="z")
        return {
            "beta": found.beta[:, 0], "p_value": found.p_value[:, 0], "tau2": found.tau2,
            "qe": found.qe,
        }  # fmt: skip

    model = MetaRegression(test="z").fit(None, y, sampling_variance=v)

    def estimator() -> Numbers:
        table = model.leave_one_out()
        names = {"p_value": "p_value_intercept", "tau2": "tau2", "qe": "qe"}
        names["beta"] = "beta_intercept"
        return {key: table[name].to_numpy() for key, name in names.items()}

    def slowly() -> Numbers:
        found = leave_one_out(y, v, X, test="z").tau2
        tau2 = [
            textbook.scoring_step(
                np.delete(y, i), np.delete(v, i), X[1:], found[i : i + 1], [np.eye(y.size - 1)]
            )[0]
            for i in range(5)
        ]
        return {"tau2": np.array(tau2)}

    return Task(
        "leave_one_out",
        f"leave-one-out, REML, k = {y.size}",
        {"leave_one_out": numerics, "MetaRegression": estimator},
        slowly,
        goal=2_000.0,
        anchors={"metafor": 349e3, "PyMARE": 231e3, "pimeta": 41_600.0},
    )


def refits_bootstrap(rows: Rows, effects: FloatArray) -> Task:
    """REML fits to resampled effects; `bootstrap` draws them and makes intervals as well."""
    y, v, X = rows.y, rows.v, rows.design

    def refits() -> Numbers:
        fits = fit_normal_batch(effects, v, X, test="z")
        return {"tau2": fits.tau2, "slope": fits.beta[:, 1]}

    def whole() -> Numbers:
        found = bootstrap(y, v, X, n_resamples=REFITS, seed=BOOTSTRAP_SEED)
        return {"tau2": found.tau2_draws, "slope": found.beta_draws[:, 1]}

    def slowly() -> Numbers:
        few = [fit_normal(each, v, X).tau2 for each in effects[:5]]
        tau2 = [
            textbook.scoring_step(each, v, X, np.array([tau2]), [np.eye(y.size)])[0]
            for each, tau2 in zip(effects, few, strict=False)
        ]
        # A step from the edge of the parameter space may lead outside it.
        return {"tau2": np.maximum(tau2, 0.0)}

    return Task(
        "bootstrap",
        f"{REFITS:,} bootstrap refits, REML, k = {y.size}",
        {"fit_normal_batch": refits, "bootstrap": whole},
        slowly,
        goal=20e3,
        # PyMARE fits data sets in parallel if asked to, at the speed of its permutations.
        anchors={"metafor": 6_144e3, "PyMARE": 51_300.0},
    )


def refits_permutation(rows: Rows) -> Task:
    """A permutation test of the moderator; the rearrangements are everyone's own."""
    y, v, X = rows.y, rows.v, rows.design

    def numerics() -> Numbers:
        found = permutation_test(y, v, X, test="z", n_permutations=REFITS)
        return {"statistic": found.statistic[1:], "p_value_random": found.p_value[1:]}

    def slowly() -> Numbers:
        rng = np.random.default_rng(4)
        observed = fit_normal(y, v, X, test="z").statistic[1]
        others = [
            fit_normal(y, v, X[rng.permutation(y.size)], test="z").statistic[1] for _ in range(200)
        ]
        return {"p_value_random": float(np.mean(np.abs(others) >= abs(observed)))}

    return Task(
        "permutation",
        f"{REFITS:,} permutation refits, REML, k = {y.size}",
        {"permutation_test": numerics},
        slowly,
        goal=20e3,
        anchors={"metafor": 3_527e3, "PyMARE": 51_300.0, "pimeta": 983e3},
    )


def predictions(rows: Rows) -> Task:
    """Means, confidence and prediction intervals at many new rows."""
    new = new_moderators()
    design, moderator = np.column_stack([np.ones(new.size), new]), new[:, None]
    fit = fit_normal(rows.y, rows.v, rows.design)
    model = MetaRegression().fit(rows.x[:, None], rows.y, sampling_variance=rows.v)

    def numerics() -> Numbers:
        at = predict_normal(fit, design)
        return {"mean": at.mean, "se": at.se, "pi_lower": at.pi_lower, "pi_upper": at.pi_upper}

    def estimator() -> Numbers:
        table = model.predict_interval(moderator)
        names = {"mean": "pred", "se": "se", "pi_lower": "pi_lb", "pi_upper": "pi_ub"}
        return {key: table[name].to_numpy() for key, name in names.items()}

    def slowly() -> Numbers:
        few = design[:5]
        mean = few @ fit.beta
        se = np.sqrt([row @ fit.cov @ row for row in few])
        unit = textbook.wald(np.zeros(1), np.eye(1), rows.y.size - 2)["ci_upper"]
        wide = unit * np.sqrt(se**2 + fit.tau2)
        return {"mean": mean, "se": se, "pi_lower": mean - wide, "pi_upper": mean + wide}

    return Task(
        "predict",
        f"predict {NEW_ROWS:,} rows, prediction intervals",
        {"predict_normal": numerics, "MetaRegression": estimator},
        slowly,
        goal=1_000.0,
        anchors={"metafor": 536e3},
    )


def posterior(rows: Rows) -> Task:
    """Deterministic Bayesian meta-regression; bayesmeta's bmr takes about a second."""
    y, v, X, moderator = rows.y, rows.v, rows.design, rows.x[:, None]

    def numerics() -> Numbers:
        found = fit_normal_posterior(y, v, X, tau_scale=TAU_SCALE)
        tails = (0.025, 0.975)
        return {
            "tau_mean": found.tau_mean, "tau_sd": found.tau_sd,
            "mean": found.mean(), "sd": found.sd(),
            "limits": found.quantile(tails).ravel(), "tau_limits": found.tau_quantile(tails),
        }  # fmt: skip

    def estimator() -> Numbers:
        fit = BayesianMetaRegression(tau_scale=TAU_SCALE).fit(moderator, y, sampling_variance=v)
        return {
            "tau_mean": fit.tau_mean_, "tau_sd": fit.tau_sd_,
            "mean": fit.coef_, "sd": fit.sd_, "limits": fit.ci_.T.ravel(),
            "tau_limits": np.array(fit.tau_interval_),
        }  # fmt: skip

    return Task(
        "posterior",
        f"Bayesian meta-regression, k = {y.size}",
        {"fit_normal_posterior": numerics, "BayesianMetaRegression": estimator},
        lambda: textbook.posterior(y, v, X, TAU_SCALE),
        goal=10e3,
    )


def multilevel(rows: Rows) -> Task:
    """REML with effects nested in groups."""
    y, v, X, moderator, group = rows.nested, rows.v, rows.design, rows.x[:, None], rows.group

    def numerics() -> Numbers:
        fit = fit_multilevel(y, v, X, group, test="t")
        return {"sigma2": fit.sigma2, "beta": fit.beta, "se": fit.se, "p_value": fit.p_value}

    def estimator() -> Numbers:
        fit = MultilevelMetaRegression().fit(moderator, y, sampling_variance=v, groups=group)
        return {
            "sigma2": fit.result_.sigma2, "beta": fit.coef_, "se": fit.se_,
            "p_value": fit.p_value_,
        }  # fmt: skip

    def slowly() -> Numbers:
        same = (group[:, None] == group).astype(np.float64)
        parts = [same, np.eye(y.size)]
        found = fit_multilevel(y, v, X, group).sigma2
        sigma2 = textbook.scoring_step(y, v, X, found, parts)
        total = np.diag(v + sigma2[1]) + sigma2[0] * same
        beta, cov = textbook.least_squares(y, total, X)
        return textbook.wald(beta, cov, y.size - 2) | {"sigma2": sigma2}

    return Task(
        "multilevel",
        f"multilevel REML, 1 moderator, k = {y.size}",
        {"fit_multilevel": numerics, "MultilevelMetaRegression": estimator},
        slowly,
        # The search for several variance components stops at changes of this size.
        tolerance=1e-6,
    )
