"""Funnel plots: limits, residuals and the line of the asymmetry test."""

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
from ketacast.plots import funnel_data, funnel_plot

#: The same arithmetic in another order.
RTOL = 1e-12

Find = Callable[[Figure, str], Any]
Check = Callable[[Figure], None]


def test_the_funnel_is_around_the_pooled_effect(bcg: pd.DataFrame, drawn: Find) -> None:
    model = MetaRegression().fit(None, bcg["yi"], sampling_variance=bcg["vi"])
    data = funnel_data(model, egger=True)
    se = np.sqrt(bcg["vi"].to_numpy())
    np.testing.assert_allclose(data.x, bcg["yi"], rtol=0)
    np.testing.assert_allclose(data.se, se, rtol=RTOL)
    np.testing.assert_allclose(data.centre, model.coef_[0], rtol=RTOL)
    z = np.asarray(stats.norm.isf([0.05, 0.025, 0.005]))
    np.testing.assert_allclose(data.half_width, z * data.largest_se, rtol=RTOL)
    beyond = np.abs(bcg["yi"].to_numpy() - model.coef_[0]) / se
    assert data.outside == tuple(int(np.sum(beyond > one)) for one in z)
    test = model.egger_test()
    assert test.limit is not None
    assert data.egger == (test.limit, test.fit.beta[1], test.p_value)
    figure = funnel_plot(model, egger=True, effect_label="Log risk ratio")
    axes = figure.axes[0]
    np.testing.assert_allclose(
        drawn(figure, "studies").get_offsets(), np.column_stack([data.x, data.se])
    )
    wide = drawn(figure, "funnel-99").get_paths()[0].vertices
    np.testing.assert_allclose(
        [wide[:, 0].min(), wide[:, 0].max()], data.centre + data.half_width[2] * np.array([-1, 1])
    )
    line = drawn(figure, "egger").get_xydata()
    np.testing.assert_allclose(line[0], [test.limit, 0.0])
    assert axes.get_ylim() == (data.largest_se, 0.0)
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("Log risk ratio", "Standard error")
    low, high = axes.get_xlim()
    assert low < min(data.x.min(), wide[:, 0].min())
    assert high > max(data.x.max(), wide[:, 0].max())


def test_distances_from_the_regression_are_around_zero(bcg: pd.DataFrame) -> None:
    model = MetaRegression().fit("yi ~ ablat", sampling_variance="vi", data=bcg)
    data = funnel_data(model)
    np.testing.assert_allclose(data.x, model.residuals()["response"], rtol=1e-9, atol=1e-14)
    assert (data.centre, data.residual) == (0.0, True)
    assert "Distance from the fitted effect" in data.text()


def test_counts_have_logits_with_half_an_event(check_layout: Check) -> None:
    model = BinomialMetaRegression().fit(None, [3, 4, 0, 7], n=[10, 12, 8, 11])
    data = funnel_data(model)
    np.testing.assert_allclose(data.x[2], np.log(0.5 / 8.5), rtol=RTOL)
    np.testing.assert_allclose(data.se[2], np.sqrt(1 / 0.5 + 1 / 8.5), rtol=RTOL)
    check_layout(funnel_plot(model, effect_label="Logit of response"))


@pytest.mark.parametrize("size", [3, 80])
def test_few_and_many_studies(eighty: pd.DataFrame, size: int, check_layout: Check) -> None:
    some = eighty.iloc[:size]
    model = MetaRegression().fit(None, some["yi"], sampling_variance=some["vi"])
    check_layout(funnel_plot(model, egger=True))


def test_text_holds_the_numbers(bcg: pd.DataFrame) -> None:
    model = MetaRegression().fit(None, bcg["yi"], sampling_variance=bcg["vi"])
    figure = funnel_plot(model, egger=True)
    text = str(figure.get_label())
    data = funnel_data(model, egger=True)
    assert text == data.text()
    assert "Funnel plot of 13 studies" in text
    assert "Centre at -0.71" in text
    assert f"{data.outside[1]} outside 95 %" in text
    assert "p = 0.451" in text
    assert "- trial 13: -0.02 (0.27)" in text
    assert data.to_dict()["outside"] == list(data.outside)


def test_the_line_needs_a_pooled_fit(bcg: pd.DataFrame) -> None:
    model = MetaRegression().fit("yi ~ ablat", sampling_variance="vi", data=bcg)
    counts = BinomialMetaRegression().fit(None, [3, 4, 5], n=[10, 12, 8])
    for fit in (model, counts):
        with pytest.raises(InputError, match="needs a MetaRegression without moderators"):
            funnel_data(fit, egger=True)
