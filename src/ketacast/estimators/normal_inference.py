"""Further inference from a fitted :class:`~ketacast.estimators.MetaRegression`."""

from __future__ import annotations

from typing import Literal

import numpy as np
import pandas as pd
from sklearn.utils.validation import check_is_fitted

from ketacast.design import spans
from ketacast.errors import InputError
from ketacast.estimators.normal_diagnostics import NormalDiagnostics
from ketacast.estimators.tables import Result, column_name
from ketacast.numerics.comparison import LikelihoodRatio, likelihood_ratio
from ketacast.numerics.diagnostics.casewise import whole_number
from ketacast.numerics.normal import (
    INTERVAL_KINDS,
    HeterogeneityInterval,
    IntervalKind,
    LikelihoodMethod,
    ProfileLikelihood,
    profile_likelihood,
    tau2_interval,
)
from ketacast.numerics.resampling import BootstrapKind, bootstrap, permutation_test
from ketacast.options import check_choice


class NormalInference(NormalDiagnostics):
    """Intervals, tests and comparisons beyond the coefficients' own."""

    def tau2_interval(
        self, *, method: IntervalKind = "QP", level: float | None = None
    ) -> HeterogeneityInterval:
        """Confidence interval of tau2, and of tau, I2 and H2 from it.

        Parameters
        ----------
        method : {"QP", "PL"}
            Q-profile, which needs no estimate, or profile likelihood (the restricted
            one unless the fit is by "ML").
        level : float, optional
            Coverage; the estimator's own by default.

        Returns
        -------
        HeterogeneityInterval

        Raises
        ------
        InputError
            For an unusable argument or sampling variances of 0.
        ConvergenceError
            If the likelihood does not fall enough at any tau2.
        """
        check_choice("method", method, INTERVAL_KINDS)
        return tau2_interval(
            *self._data(),
            kind=method,
            method="ML" if self.result_.method == "ML" else "REML",
            level=self.result_.level if level is None else level,
        )

    def profile_likelihood(self, tau2: object = None) -> ProfileLikelihood:
        """Profile log-likelihood of tau2 (the restricted one unless the fit is by "ML").

        Parameters
        ----------
        tau2 : array_like, shape (m,), optional
            Where to evaluate it, >= 0; by default from 0 to where it has fallen far.

        Returns
        -------
        ProfileLikelihood

        Raises
        ------
        InputError
            For unusable values or sampling variances of 0.
        """
        data = self._data()
        method: LikelihoodMethod = "ML" if self.result_.method == "ML" else "REML"
        return profile_likelihood(*data, tau2=tau2, method=method)

    def permutation_test(
        self, n_permutations: int | Literal["exact"] = 1000, *, random_state: int = 0
    ) -> Result:
        """Permutation tests of the coefficients, tau2 estimated anew each time.

        Without moderators the signs of the effects are changed, with moderators the
        rows of the design are permuted.

        Parameters
        ----------
        n_permutations : int or "exact"
            Size of the random sample; "exact" visits all arrangements. All are visited
            anyway where there are few.
        random_state : int
            Seed of the sample.

        Returns
        -------
        Result
            table: statistic and permutation p_value per coefficient, and of all
            moderators together; record: the permutation distributions, n_arrangements
            and whether they are all (exact).

        Raises
        ------
        InputError
            For too many arrangements to visit, or unusable arguments.
        """
        exact = isinstance(n_permutations, str)
        if exact and n_permutations != "exact":
            raise InputError(f"n_permutations is {n_permutations!r}; give a number or 'exact'")
        data, fit = self._data(), self.result_
        found = permutation_test(
            *data,
            method=fit.method,
            test=fit.test,
            exact=True if exact else None,
            n_permutations=1 if isinstance(n_permutations, str) else n_permutations,
            seed=whole_number("random_state", random_state, least=0),
        )
        table = pd.DataFrame(
            {
                "statistic": [*found.statistic, found.omnibus_statistic],
                "p_value": [*found.p_value, found.omnibus_p],
            },
            index=[*self.coef_names_, "all moderators"],
        )
        return Result(table, found)

    def bootstrap(
        self,
        n_resamples: int = 1000,
        *,
        kind: BootstrapKind = "parametric",
        random_state: int = 0,
        level: float | None = None,
    ) -> Result:
        """Bootstrap of the coefficients and of tau2.

        Parameters
        ----------
        n_resamples : int
            At least 2.
        kind : {"parametric", "cases"}
            New effects of the same studies from the fitted model, or studies drawn with
            replacement.
        random_state : int
            Seed.
        level : float, optional
            Coverage; the estimator's own by default.

        Returns
        -------
        Result
            table: estimate, bias, se, percentile_lb, percentile_ub, basic_lb, basic_ub per
            coefficient and of tau2; record: all resampled estimates.

        Raises
        ------
        InputError
            For unusable arguments, or too few resamples that can be fitted.
        """
        data, fit = self._data(), self.result_
        found = bootstrap(
            *data,
            kind=kind,
            n_resamples=n_resamples,
            seed=whole_number("random_state", random_state, least=0),
            level=fit.level if level is None else level,
            method=fit.method,
        )
        columns = (
            "estimate", "bias", "se",
            "percentile_lower", "percentile_upper", "basic_lower", "basic_upper",
        )  # fmt: skip
        rows = {
            column_name(name): [*getattr(found.beta, name), float(getattr(found.tau2, name))]
            for name in columns
        }
        return Result(pd.DataFrame(rows, index=[*self.coef_names_, "tau2"]), found)

    def compare(self, other: NormalInference) -> LikelihoodRatio:
        """Likelihood-ratio test against another fit to the same studies.

        Parameters
        ----------
        other : MetaRegression
            A fit with fewer or more parameters; which one is the larger is found out.

        Returns
        -------
        LikelihoodRatio

        Raises
        ------
        InputError
            For other studies, designs that are not nested, methods without a likelihood,
            and REML fits with different moderators (their likelihoods are of different
            data: use method="ML").
        """
        check_is_fitted(self)
        if not isinstance(other, NormalInference):
            raise InputError(f"other is a {type(other).__name__}; give a fitted MetaRegression")
        check_is_fitted(other)
        mine, theirs = self._data(), other._data()
        if any(
            a.shape != b.shape or np.any(a != b) for a, b in zip(mine[:2], theirs[:2], strict=True)
        ):
            raise InputError(
                "the fits are of different effects or sampling variances; fit both to the same "
                "studies (rows with gaps in a moderator are left out: drop them before both fits)"
            )
        larger, smaller = sorted(
            ((self.result_, mine[2]), (other.result_, theirs[2])),
            key=lambda pair: (pair[0].p, pair[0].method != "EE"),
            reverse=True,
        )
        if not spans(larger[1], smaller[1]):
            raise InputError(
                "the larger design does not contain the smaller one, so the fits are not nested; "
                "compare their aic_, or fit both in one model"
            )
        return likelihood_ratio(larger[0], smaller[0])
