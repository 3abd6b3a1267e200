"""Bubble plots draw the studies and the estimator's own regression."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from ketacast.errors import InputError
from ketacast.estimators import (
    BayesianMetaRegression,
    BinomialMetaRegression,
    DataWarning,
    MetaRegression,
)
from ketacast.plots import bubble_data, bubble_plot
from ketacast.plots.bubble_numbers import BubbleData

#: The same arithmetic in another order.
RTOL = 1e-12

Find = Callable[[Figure, str], Any]
Check = Callable[[Figure], None]


def _model(formula: str, data: pd.DataFrame) -> MetaRegression:
    return MetaRegression().fit(formula, sampling_variance="vi", data=data)


def _assert_lines(data: BubbleData, table: pd.DataFrame) -> None:
    for name, column in (
        ("mean", "pred"), ("mean_lower", "ci_lb"), ("mean_upper", "ci_ub"),
        ("prediction_lower", "pi_lb"), ("prediction_upper", "pi_ub"),
    ):  # fmt: skip
        np.testing.assert_allclose(getattr(data, name), table[column], rtol=RTOL)


def test_the_line_is_the_estimators(bcg: pd.DataFrame) -> None:
    model = _model("yi ~ ablat + alloc", bcg)
    data = bubble_data(model, "ablat", transform="exp")
    assert data.held == {"alloc": "alternate"}
    assert (data.at[0], data.at[-1]) == (bcg["ablat"].min(), bcg["ablat"].max())
    grid = pd.DataFrame({"ablat": data.at, "alloc": "alternate"})
    _assert_lines(data, model.predict_interval(grid, transform="exp"))
    np.testing.assert_allclose(data.effect, np.exp(bcg["yi"]), rtol=RTOL)
    np.testing.assert_allclose(data.x, bcg["ablat"], rtol=RTOL)
    np.testing.assert_allclose(data.weight, model.influence()["weight"], rtol=RTOL)
    other = bubble_data(model, "ablat", at={"alloc": "random"}, level=0.8)
    grid["alloc"] = "random"
    _assert_lines(other, model.predict_interval(grid, level=0.8))


def test_a_factor_has_one_interval_per_level(bcg: pd.DataFrame, drawn: Find) -> None:
    model = _model("yi ~ ablat + alloc", bcg)
    data = bubble_data(model, "alloc")
    assert data.levels == ("alternate", "random", "systematic")
    assert [data.levels[int(x)] for x in data.x] == bcg["alloc"].to_list()
    grid = pd.DataFrame({"ablat": bcg["ablat"].mean(), "alloc": data.levels})
    _assert_lines(data, model.predict_interval(grid))
    figure = bubble_plot(model, "alloc")
    inner = np.array(drawn(figure, "means").get_segments())[:, :, 1]
    np.testing.assert_allclose(inner, np.column_stack([data.mean_lower, data.mean_upper]))
    outer = np.array(drawn(figure, "prediction").get_segments())[:, :, 1]
    np.testing.assert_allclose(
        outer, np.column_stack([data.prediction_lower, data.prediction_upper])
    )
    names = [text.get_text() for text in figure.axes[0].get_xticklabels()]
    assert names == ["alternate\n2 studies", "random\n7 studies", "systematic\n4 studies"]
    # Shifted sideways, every bubble stays in the column of its level.
    shown = drawn(figure, "studies").get_offsets()
    order = np.argsort(-data.weight, kind="stable")
    assert (np.abs(shown[:, 0] - data.x[order]) < 0.5).all()
    np.testing.assert_allclose(shown[:, 1], data.effect[order])


def test_the_figure_draws_the_numbers(bcg: pd.DataFrame, drawn: Find) -> None:
    model = _model("yi ~ ablat", bcg)
    data = bubble_data(model, "ablat")
    figure = bubble_plot(model, "ablat", effect_label="Log risk ratio")
    line = drawn(figure, "regression")
    np.testing.assert_allclose(line.get_xydata(), np.column_stack([data.at, data.mean]))
    for gid, lower, upper in (
        ("means", data.mean_lower, data.mean_upper),
        ("prediction", data.prediction_lower, data.prediction_upper),
    ):
        band = drawn(figure, gid).get_paths()[0].vertices
        np.testing.assert_allclose(band[:, 1].min(), lower.min())
        np.testing.assert_allclose(band[:, 1].max(), upper.max())
    bubbles = drawn(figure, "studies")
    sizes = bubbles.get_sizes()
    order = np.argsort(-data.weight, kind="stable")
    np.testing.assert_allclose(sizes / sizes[0], data.weight[order] / data.weight.max())
    np.testing.assert_allclose(bubbles.get_offsets(), np.column_stack([data.x, data.effect])[order])
    assert figure.axes[0].get_xlabel() == "ablat"
    assert figure.axes[0].get_ylabel() == "Log risk ratio"
    keys = [text.get_text() for text in figure.legends[0].get_texts()]
    assert "95 % prediction interval" in keys
    assert "95 % confidence interval" in keys


def test_proportions_and_credible_intervals(
    responses: pd.DataFrame, bcg: pd.DataFrame, check_layout: Check
) -> None:
    model = BinomialMetaRegression().fit(
        responses[["scorer"]], responses["events"], n=responses["n"]
    )
    data = bubble_data(model, "scorer", transform="logit")
    np.testing.assert_allclose(data.effect, 100 * responses["events"] / responses["n"], rtol=RTOL)
    figure = bubble_plot(model, "scorer", transform="logit", effect_label="Response, %")
    assert figure.axes[0].get_ylabel() == "Response, %"
    check_layout(figure)
    bayes = BayesianMetaRegression(tau_scale=0.5).fit(
        bcg[["ablat"]], bcg["yi"], sampling_variance=bcg["vi"]
    )
    assert bubble_data(bayes, "ablat").interval == "credible"


def test_infinite_logits_are_drawn_with_half_an_event() -> None:
    model = BinomialMetaRegression().fit(
        np.arange(5.0)[:, None], [3, 4, 0, 7, 6], n=[10, 12, 8, 11, 12]
    )
    data = bubble_data(model, "x0")
    np.testing.assert_allclose(data.effect[[0, 2]], [np.log(3 / 7), np.log(0.5 / 8.5)], rtol=RTOL)


@pytest.mark.parametrize("size", [4, 80])
def test_few_and_many_studies(eighty: pd.DataFrame, size: int, check_layout: Check) -> None:
    some = eighty.iloc[:size]
    model = MetaRegression().fit(some[["x"]], some["yi"], sampling_variance=some["vi"])
    check_layout(bubble_plot(model, "x"))


def test_nothing_overlaps(bcg: pd.DataFrame, check_layout: Check) -> None:
    model = _model("yi ~ ablat * alloc", bcg)
    check_layout(bubble_plot(model, "ablat", transform="exp", at={"alloc": "random"}))
    check_layout(bubble_plot(model, "alloc"))


def test_text_holds_the_numbers(bcg: pd.DataFrame) -> None:
    model = _model("yi ~ ablat + alloc", bcg)
    text = bubble_data(model, "ablat").text()
    row = model.predict_interval(pd.DataFrame({"ablat": [55.0], "alloc": ["alternate"]})).iloc[0]
    assert text.startswith("Bubble plot of 13 studies: Effect by ablat\n")
    wanted = f"- at ablat 55: {row.pred:.2f} ({row.ci_lb:.2f} to {row.ci_ub:.2f}), prediction "
    assert wanted + f"interval {row.pi_lb:.2f} to {row.pi_ub:.2f}" in text
    assert "held at alloc = alternate" in text
    assert "- trial 1: -0.89 at ablat 44, weight" in text
    figure = bubble_plot(model, "ablat")
    assert str(figure.get_label()) == text
    assert "held at alloc\N{NO-BREAK SPACE}=\N{NO-BREAK SPACE}alternate" in " ".join(
        figure.get_supxlabel().split("\n")
    )
    by_level = bubble_data(model, "alloc").text()
    assert "- at alloc random: -0.89 (" in by_level
    assert "trial 5: -0.22 at alloc alternate" in by_level
    assert bubble_data(model, "alloc").to_dict()["held"] == {"ablat": bcg["ablat"].mean()}


@pytest.mark.parametrize(
    "formula", ["yi ~ alloc", "yi ~ C(alloc)", "yi ~ alloc - 1", "yi ~ C(alloc) - 1"]
)
def test_levels_do_not_depend_on_the_coding(bcg: pd.DataFrame, formula: str) -> None:
    data = bubble_data(_model(formula, bcg), "alloc")
    assert data.levels is not None
    assert [data.levels[int(x)] for x in data.x] == bcg["alloc"].to_list()


def test_redundant_moderators_are_drawn(bcg: pd.DataFrame) -> None:
    both = bcg.assign(double=2.0 * bcg["ablat"] + 3.0)
    with pytest.warns(DataWarning, match="redundant"):
        model = MetaRegression().fit(
            both[["ablat", "double"]], both["yi"], sampling_variance=both["vi"]
        )
    with pytest.warns(DataWarning, match="does not follow the relation"):
        data = bubble_data(model, "double")
    np.testing.assert_array_equal(data.x, both["double"])


def test_functions_of_a_moderator_are_drawn_over_it(bcg: pd.DataFrame, check_layout: Check) -> None:
    gaps = bcg.assign(ablat=bcg["ablat"].astype(float).where(bcg.index != "trial 4"))
    with pytest.warns(DataWarning, match="1 of 13 rows"):
        model = _model("yi ~ bs(ablat, df=4)", gaps)
    data = bubble_data(model, "ablat")
    _assert_lines(data, model.predict_interval(pd.DataFrame({"ablat": data.at})))
    np.testing.assert_array_equal(data.x, gaps["ablat"].dropna())
    figure = bubble_plot(model, "ablat")
    assert "Left out: 1 of 13 rows (missing values)." in str(figure.get_label())
    check_layout(figure)


def test_a_number_that_the_formula_makes_a_factor_has_levels(
    bcg: pd.DataFrame, check_layout: Check
) -> None:
    by_zone = bcg.assign(zone=1.0 + np.arange(13) % 3)
    model = _model("yi ~ ablat + C(zone)", by_zone)
    data = bubble_data(model, "zone")
    assert data.levels == ("1", "2", "3")
    np.testing.assert_array_equal(data.x, np.arange(13) % 3)
    grid = pd.DataFrame({"ablat": bcg["ablat"].mean(), "zone": [1.0, 2.0, 3.0]})
    _assert_lines(data, model.predict_interval(grid))
    check_layout(bubble_plot(model, "zone"))
    # Held at a level that the fit has, not at the mean of the numbers.
    assert bubble_data(model, "ablat").held == {"zone": 1.0}
    assert bubble_data(model, "ablat", at={"zone": 3}).held == {"zone": 3}


def test_unknown_names_are_listed(bcg: pd.DataFrame) -> None:
    model = _model("yi ~ ablat + alloc", bcg)
    pooled = MetaRegression().fit(None, bcg["yi"], sampling_variance=bcg["vi"])
    array = MetaRegression().fit(bcg[["ablat"]].to_numpy(), bcg["yi"], sampling_variance=bcg["vi"])
    refused: list[tuple[str, Callable[[], Any]]] = [
        ("moderator is 'year'.*choose from 'ablat', 'alloc'", lambda: bubble_data(model, "year")),
        ("moderator is 'x1'.*choose from 'x0'", lambda: bubble_data(array, "x1")),
        ("the fit has none", lambda: bubble_data(pooled, "ablat")),
        ("at is 'year'", lambda: bubble_data(model, "ablat", at={"year": 1})),
        ("at holds 'ablat', the moder", lambda: bubble_data(model, "ablat", at={"ablat": 1})),
        ("level 'coin'", lambda: bubble_data(model, "ablat", at={"alloc": "coin"})),
    ]
    for match, call in refused:
        with pytest.raises(InputError, match=match):
            call()
    np.testing.assert_allclose(bubble_data(array, "x0").x, bcg["ablat"])
