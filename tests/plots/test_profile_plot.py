"""Profile plots draw the estimator's own likelihood and interval."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from scipy import stats

from ketacast.errors import InputError
from ketacast.estimators import BinomialMetaRegression, MetaRegression
from ketacast.plots import profile_data, profile_plot

#: The limits are found to 1e-10 and more, where the curve is steepest.
RTOL = 1e-8

Find = Callable[[Figure, str], Any]
Check = Callable[[Figure], None]


@pytest.mark.parametrize("method", ["REML", "ML", "DL"])
@pytest.mark.parametrize("level", [0.95, 0.9999])
def test_curve_maximum_and_interval(bcg: pd.DataFrame, method: Any, level: float) -> None:
    model = MetaRegression(method=method).fit("yi ~ ablat", sampling_variance="vi", data=bcg)
    data = profile_data(model, level=level)
    assert data.likelihood == ("ML" if method == "ML" else "REML")
    np.testing.assert_allclose(
        data.log_likelihood, model.profile_likelihood(data.tau2).log_likelihood, rtol=0
    )
    assert (data.lower, data.upper) == model.tau2_interval(method="PL", level=level).tau2
    drop = 0.5 * stats.chi2.isf(1.0 - level, 1)
    np.testing.assert_allclose(data.cut_off, data.maximum - drop, rtol=RTOL)
    assert data.log_likelihood.max() == data.maximum
    assert data.tau2[data.log_likelihood.argmax()] == data.estimate
    assert data.tau2[-1] > data.upper
    assert data.differs == (method == "DL")
    if method != "DL":
        np.testing.assert_allclose(data.estimate, model.tau2_, rtol=RTOL)


def test_the_figure_draws_the_numbers(bcg: pd.DataFrame, drawn: Find, check_layout: Check) -> None:
    model = MetaRegression(method="DL").fit(None, bcg["yi"], sampling_variance=bcg["vi"])
    data, figure = profile_data(model), profile_plot(model)
    np.testing.assert_allclose(
        drawn(figure, "profile").get_xydata(), np.column_stack([data.tau2, data.log_likelihood])
    )
    np.testing.assert_allclose(
        drawn(figure, "maximum").get_xydata(), [[data.estimate, data.maximum]]
    )
    np.testing.assert_allclose(drawn(figure, "cut-off").get_ydata(), [data.cut_off] * 2)
    area = drawn(figure, "interval").get_paths()[0].vertices[:, 0]
    np.testing.assert_allclose([area.min(), area.max()], [data.lower, data.upper])
    low, high = figure.axes[0].get_ylim()
    assert low < data.cut_off < data.maximum < high
    assert figure.axes[0].get_xlabel() == "Between-study variance τ²"
    assert figure.axes[0].get_ylabel().startswith("Restricted log-likelihood")
    assert "fit (DL)" in [text.get_text() for text in figure.legends[0].get_texts()]
    check_layout(figure)


@pytest.mark.parametrize("size", [3, 80])
def test_few_and_many_studies(eighty: pd.DataFrame, size: int, check_layout: Check) -> None:
    some = eighty.iloc[:size]
    model = MetaRegression().fit(None, some["yi"], sampling_variance=some["vi"])
    check_layout(profile_plot(model))


def test_text_holds_the_numbers(bcg: pd.DataFrame) -> None:
    model = MetaRegression().fit(None, bcg["yi"], sampling_variance=bcg["vi"])
    text = str(profile_plot(model).get_label())
    assert text == profile_data(model).text()
    assert "Largest, -12.202, at tau2 = 0.313." in text
    assert "The 95 % interval goes from 0.115 to 0.965" in text
    same = MetaRegression(method="DL").fit(None, [0.1, 0.1, 0.1], sampling_variance=[0.1, 0.2, 0.3])
    assert "tau2 = 0 is in the interval." in profile_data(same).text()
    assert "by its method DL" in profile_data(same).text()


def test_other_estimators_are_refused() -> None:
    counts = BinomialMetaRegression().fit(None, [3, 4, 5], n=[10, 12, 8])
    with pytest.raises(InputError, match="a profile of tau2 is drawn for a MetaRegression"):
        profile_data(counts)
