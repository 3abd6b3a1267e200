"""The score of the estimators that predict effects with known sampling variances."""

from __future__ import annotations

from ketacast.estimators.measures import mean_log_density
from ketacast.estimators.wald import WaldEstimator


class EffectScore(WaldEstimator):
    """A score that choices between models in a cross-validation can rest on."""

    def score(
        self,
        X: object = None,
        y: object = None,
        *,
        sampling_variance: object = None,
        sample_weight: object = None,
    ) -> float:
        """Mean log predictive density of new estimates; higher is better.

        The estimates are those of new studies or, in a multilevel fit, of new groups.
        Unlike R2, it weighs studies by their precision and judges the predicted
        heterogeneity as well as the mean, so it can choose between models in a
        cross-validation.

        Parameters
        ----------
        X : None, array_like or DataFrame, m rows
            Moderators, as for :meth:`predict`.
        y, sampling_variance : array_like, shape (m,)
            Estimates and their sampling variances.
        sample_weight : array_like, shape (m,), optional
            Weights of the studies in the mean, >= 0; equal ones by default.

        Raises
        ------
        InputError
            For missing or unusable values, or rows that do not match.
        """
        rows = self._matched_rows(X, y=y, sampling_variance=sampling_variance)
        return mean_log_density(
            y, sampling_variance, self.predict_design(rows), self.tau2_, sample_weight
        )
