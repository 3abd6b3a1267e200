"""Meta-regressions in scikit-learn's grammar.

Where they differ from most of scikit-learn's regressors:

- ``fit`` needs more than X and y: sampling variances, group sizes or groups. They are
  keyword arguments and travel through pipelines and cross-validations by metadata
  routing (``set_fit_request(sampling_variance=True)``).
- X may be None (intercept alone), a table with factors or a formula; ``coef_`` holds
  the intercept first.
- ``score`` is the mean log predictive density of new estimates, not R2: R2 weighs a
  study of 20 patients like one of 2,000, and says nothing of the heterogeneity that a
  prediction interval rests on.
- Rows with missing values are left out of fits with a :class:`DataWarning`; new data
  for predictions must be complete.
- A table for a prediction needs the columns of the fit by name, in any order, others
  being ignored; a plain array is not taken where a table was fitted.

scikit-learn's ``check_estimator`` passes on all of them, given unit variances (or
groups, or sizes), but for ``check_estimators_pickle``, which predicts at moderators
with gaps.
"""

from __future__ import annotations

from ketacast.design import DataWarning
from ketacast.estimators.bayesian import BayesianMetaRegression
from ketacast.estimators.binomial import BinomialMetaRegression
from ketacast.estimators.multilevel import MultilevelMetaRegression
from ketacast.estimators.normal import MetaRegression

__all__ = [
    "BayesianMetaRegression",
    "BinomialMetaRegression",
    "DataWarning",
    "MetaRegression",
    "MultilevelMetaRegression",
]
