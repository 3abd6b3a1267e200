"""Leave-one-out plots draw the estimators' own refits."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from scipy import stats
from scipy.special import expit

from ketacast.errors import InputError
from ketacast.estimators import BayesianMetaRegression, BinomialMetaRegression, MetaRegression
from ketacast.plots import leave_one_out_data, leave_one_out_plot

#: The same arithmetic in another order.
RTOL = 1e-12
#: A fit of its own against one of a batch.
RTOL_REFIT = 1e-7

Find = Callable[[Figure, str], Any]
Check = Callable[[Figure], None]


def test_numbers_are_those_of_the_refits(bcg: pd.DataFrame, drawn: Find) -> None:
    model = MetaRegression().fit("yi ~ ablat + alloc", sampling_variance="vi", data=bcg)
    data, table = leave_one_out_data(model), model.leave_one_out()
    assert data.coefficient == "ablat"
    np.testing.assert_allclose(data.estimate, table["beta_ablat"], rtol=RTOL)
    np.testing.assert_allclose(data.lower, table["ci_lb_ablat"], rtol=RTOL)
    np.testing.assert_allclose(data.upper, table["ci_ub_ablat"], rtol=RTOL)
    np.testing.assert_allclose(data.tau2, table["tau2"], rtol=RTOL)
    np.testing.assert_allclose(
        [data.whole, data.whole_lower, data.whole_upper], [model.coef_[1], *model.ci_[1]], rtol=RTOL
    )
    figure = leave_one_out_plot(model)
    points = drawn(figure, "estimates").get_offsets()
    np.testing.assert_allclose(points[:, 0], data.estimate)
    lines = np.array(drawn(figure, "intervals").get_segments())
    np.testing.assert_allclose(lines[:, :, 0], np.column_stack([data.lower, data.upper]))
    np.testing.assert_allclose(drawn(figure, "whole").get_xdata(), [data.whole] * 2)
    band = drawn(figure, "whole-interval")
    np.testing.assert_allclose(
        [band.get_x(), band.get_x() + band.get_width()], [data.whole_lower, data.whole_upper]
    )
    assert figure.axes[0].get_xlabel() == "Coefficient of ablat"
    other = leave_one_out_data(model, "alloc[random]", transform="exp")
    np.testing.assert_allclose(other.upper, np.exp(table["ci_ub_alloc[random]"]), rtol=RTOL)


@pytest.mark.parametrize("test", ["z", "t"])
def test_proportions_without_each_study(responses: pd.DataFrame, test: Any) -> None:
    some = responses.iloc[:8]
    model = BinomialMetaRegression(test=test).fit(None, some["events"], n=some["n"])
    data = leave_one_out_data(model, transform="logit")
    assert data.scale.null is None
    rest = some.iloc[1:]
    without = BinomialMetaRegression(test=test).fit(None, rest["events"], n=rest["n"])
    wanted = 100.0 * expit([without.coef_[0], *without.ci_[0]])
    np.testing.assert_allclose(
        [data.estimate[0], data.lower[0], data.upper[0]], wanted, rtol=RTOL_REFIT
    )
    if test == "z":
        half = stats.norm.isf(0.025) * model.leave_one_out()["se_intercept"].iloc[3]
        logit = np.log(data.upper[3] / (100.0 - data.upper[3]))
        centre = np.log(data.estimate[3] / (100.0 - data.estimate[3]))
        np.testing.assert_allclose(logit - centre, half, rtol=RTOL_REFIT)


def test_what_cannot_be_refitted_is_said(drawn: Find, check_layout: Check) -> None:
    data = pd.DataFrame(
        {"yi": [0.1, 0.4, 0.3, 0.2], "vi": [0.1, 0.2, 0.1, 0.3], "x": [0.0, 0.0, 0.0, 1.0]}
    )
    model = MetaRegression().fit("yi ~ x", sampling_variance="vi", data=data)
    found = leave_one_out_data(model, transform="exp")
    assert np.isnan(found.estimate).tolist() == [False, False, False, True]
    assert "- Study 4: cannot be fitted" in found.text()
    assert "1 of the fits cannot be made" in found.text()
    assert found.to_dict()["estimate"][3] is None
    figure = leave_one_out_plot(model, transform="exp")
    assert "cannot be fitted" in [text.get_text() for text in figure.axes[0].texts]
    check_layout(figure)


@pytest.mark.parametrize("size", [3, 80])
def test_few_and_many_studies(eighty: pd.DataFrame, size: int, check_layout: Check) -> None:
    some = eighty.iloc[:size]
    model = MetaRegression().fit(None, some["yi"], sampling_variance=some["vi"])
    check_layout(leave_one_out_plot(model))


def test_text_holds_the_numbers(bcg: pd.DataFrame) -> None:
    model = MetaRegression().fit(None, bcg["yi"], sampling_variance=bcg["vi"])
    figure = leave_one_out_plot(model, transform="exp", effect_label="Risk ratio")
    text = str(figure.get_label())
    assert text.startswith("Leave-one-out plot of 13 studies: Risk ratio\n")
    assert "All studies: 0.49 (95 % interval 0.33 to 0.73), tau2 0.3132." in text
    assert "Smallest, 0.45, without trial 8; largest, 0.53, without trial 4." in text
    row = model.leave_one_out().iloc[0]
    assert (
        f"- trial 1: {np.exp(row['beta_intercept']):.2f} "
        f"({np.exp(row['ci_lb_intercept']):.2f} to {np.exp(row['ci_ub_intercept']):.2f})"
    ) in text


def test_unusable_arguments_are_refused(bcg: pd.DataFrame) -> None:
    model = MetaRegression().fit("yi ~ ablat", sampling_variance="vi", data=bcg)
    bayes = BayesianMetaRegression(tau_scale=0.5).fit(None, bcg["yi"], sampling_variance=bcg["vi"])
    refused: list[tuple[str, Callable[[], Any]]] = [
        ("choose one of 'intercept', 'ablat'", lambda: leave_one_out_data(model, "year")),
        ("a difference between effects", lambda: leave_one_out_data(model, transform="logit")),
        ("BayesianMetaRegression, which has no leave_one_out", lambda: leave_one_out_data(bayes)),
    ]
    for match, call in refused:
        with pytest.raises(InputError, match=match):
            call()
