"""Chance of response and remission with ketamine in treatment-resistant depression.

``predict`` answers for one patient, ``predict_many`` for arrays; the estimators
(``MetaRegression`` and its kin) fit meta-regressions of any effects. All load what
they need when asked for.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from ketacast.version import __version__

if TYPE_CHECKING:
    from ketacast.batch import BatchPrediction, predict_many
    from ketacast.comparison import PlanComparison, compare_plans
    from ketacast.errors import KetacastError
    from ketacast.estimators import (
        BayesianMetaRegression,
        BinomialMetaRegression,
        DataWarning,
        MetaRegression,
        MultilevelMetaRegression,
    )
    from ketacast.prediction import Prediction
    from ketacast.predictor import Predictor, load_predictor, predict

_HOME = {
    "BatchPrediction": "ketacast.batch",
    "BayesianMetaRegression": "ketacast.estimators",
    "BinomialMetaRegression": "ketacast.estimators",
    "DataWarning": "ketacast.estimators",
    "KetacastError": "ketacast.errors",
    "MetaRegression": "ketacast.estimators",
    "MultilevelMetaRegression": "ketacast.estimators",
    "PlanComparison": "ketacast.comparison",
    "Prediction": "ketacast.prediction",
    "Predictor": "ketacast.predictor",
    "compare_plans": "ketacast.comparison",
    "load_predictor": "ketacast.predictor",
    "predict": "ketacast.predictor",
    "predict_many": "ketacast.batch",
}

__all__ = [
    "BatchPrediction",
    "BayesianMetaRegression",
    "BinomialMetaRegression",
    "DataWarning",
    "KetacastError",
    "MetaRegression",
    "MultilevelMetaRegression",
    "PlanComparison",
    "Prediction",
    "Predictor",
    "__version__",
    "compare_plans",
    "load_predictor",
    "predict",
    "predict_many",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'ketacast' has no attribute {name!r}")
    value = getattr(import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
