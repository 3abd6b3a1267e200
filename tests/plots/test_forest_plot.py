"""Forest plots draw the estimator's own numbers, whole and in their place."""

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
from ketacast.estimators import (
    BayesianMetaRegression,
    BinomialMetaRegression,
    DataWarning,
    MetaRegression,
    MultilevelMetaRegression,
)
from ketacast.plots import forest_data, forest_plot

#: The same arithmetic in another order.
RTOL = 1e-12
#: Exact limits: two implementations of the beta quantile.
RTOL_BETA = 1e-9

Find = Callable[[Figure, str], Any]
Check = Callable[[Figure], None]


def _pooled(data: pd.DataFrame, **options: Any) -> MetaRegression:
    return MetaRegression(**options).fit(None, data["yi"], sampling_variance=data["vi"])


def test_numbers_are_those_of_the_estimator(bcg: pd.DataFrame) -> None:
    model = _pooled(bcg)
    data = forest_data(model)
    z = stats.norm.isf(0.025)
    np.testing.assert_allclose(data.estimate, bcg["yi"], rtol=0)
    np.testing.assert_allclose(data.upper, bcg["yi"] + z * np.sqrt(bcg["vi"]), rtol=RTOL)
    np.testing.assert_allclose(data.weight, model.influence()["weight"], rtol=RTOL)
    row = model.predict_interval().iloc[0]
    drawn = [
        data.mean, data.mean_lower, data.mean_upper, data.prediction_lower, data.prediction_upper
    ]  # fmt: skip
    wanted = row[["pred", "ci_lb", "ci_ub", "pi_lb", "pi_ub"]].to_numpy(dtype=float)
    np.testing.assert_allclose(np.ravel(drawn), wanted, rtol=RTOL)
    assert data.labels == tuple(bcg.index)
    assert data.scale.null == 0.0


def test_the_figure_draws_the_numbers(bcg: pd.DataFrame, drawn: Find) -> None:
    model = _pooled(bcg)
    data, figure = forest_data(model), forest_plot(model, effect_label="Log risk ratio")
    points = drawn(figure, "studies").get_offsets()
    np.testing.assert_allclose(points[:, 0], data.estimate)
    assert (np.diff(points[:, 1]) > 0).all()
    assert figure.axes[0].yaxis_inverted()
    sizes = drawn(figure, "studies").get_sizes()
    np.testing.assert_allclose(sizes / sizes.max(), data.weight / data.weight.max())
    lines = np.array(drawn(figure, "study-intervals").get_segments())
    np.testing.assert_allclose(lines[:, :, 0], np.column_stack([data.lower, data.upper]))
    np.testing.assert_allclose(lines[:, 0, 1], points[:, 1])
    corners = drawn(figure, "means").get_paths()[0].vertices[:4, 0]
    wanted = [data.mean_lower[0], data.mean[0], data.mean_upper[0], data.mean[0]]
    np.testing.assert_allclose(corners, wanted)
    bar = drawn(figure, "prediction")
    np.testing.assert_allclose(
        [bar.get_x(), bar.get_x() + bar.get_width()],
        [data.prediction_lower[0], data.prediction_upper[0]],
    )
    # The prediction interval is below the diamond, not under it.
    assert bar.get_y() > drawn(figure, "means").get_paths()[0].vertices[:, 1].max()
    np.testing.assert_allclose(drawn(figure, "null-line").get_xdata(), [0.0, 0.0])
    assert figure.axes[0].get_xlabel() == "Log risk ratio"
    words = [text.get_text() for text in figure.axes[0].texts]
    assert "−0.71 [−1.11, −0.32]" in words
    assert "Weight, %" in words
    assert words.count("100.0") == 1


def test_fitted_values_are_drawn_with_moderators(bcg: pd.DataFrame, drawn: Find) -> None:
    model = MetaRegression().fit("yi ~ ablat + alloc", sampling_variance="vi", data=bcg)
    data = forest_data(model, transform="exp", order="effect")
    table = model.predict_interval(bcg, transform="exp").loc[list(data.labels)]
    np.testing.assert_allclose(data.mean, table["pred"], rtol=RTOL)
    np.testing.assert_allclose(data.mean_upper, table["ci_ub"], rtol=RTOL)
    np.testing.assert_allclose(data.prediction_lower, table["pi_lb"], rtol=RTOL)
    assert (np.diff(data.estimate) >= 0).all()
    assert data.scale.null == 1.0
    assert not data.pooled
    figure = forest_plot(model, transform="exp", order="effect")
    assert figure.axes[0].get_xscale() == "log"
    diamonds = drawn(figure, "means").get_paths()
    np.testing.assert_allclose([d.vertices[1, 0] for d in diamonds], data.mean)
    ticks = [text.get_text() for text in figure.axes[0].get_xticklabels()]
    assert "1" in ticks


def test_proportions_are_in_percent(responses: pd.DataFrame, drawn: Find) -> None:
    events, n = responses["events"], responses["n"]
    model = BinomialMetaRegression().fit(None, events, n=n)
    data = forest_data(model, transform="logit", order="precision")
    rows = responses.loc[list(data.labels)]
    np.testing.assert_allclose(data.estimate, 100 * rows["events"] / rows["n"], rtol=RTOL)
    one = stats.binomtest(int(rows["events"].iloc[0]), int(rows["n"].iloc[0]))
    exact = one.proportion_ci(method="exact")
    np.testing.assert_allclose(
        [data.lower[0], data.upper[0]], [100 * exact.low, 100 * exact.high], rtol=RTOL_BETA
    )
    np.testing.assert_allclose(data.mean, 100 * expit(model.coef_), rtol=RTOL)
    low, high = model.predict_interval(transform="logit")[["pi_lb", "pi_ub"]].iloc[0]
    np.testing.assert_allclose(
        [data.prediction_lower[0], data.prediction_upper[0]], [100 * low, 100 * high], rtol=RTOL
    )
    assert data.scale.null is None
    figure = forest_plot(model, transform="logit", effect_label="Response, %")
    assert figure.axes[0].get_xlabel() == "Response, %"
    low, high = figure.axes[0].get_xlim()
    assert -2.0 <= low < high <= 102.0
    np.testing.assert_allclose(drawn(figure, "studies").get_offsets()[:, 0], 100 * events / n)


def test_counts_of_nothing_have_no_finite_logit(drawn: Find, check_layout: Check) -> None:
    model = BinomialMetaRegression().fit(None, [3, 4, 0, 7, 12], n=[10, 12, 8, 11, 12])
    data = forest_data(model)
    assert data.estimate[2] == data.lower[2] == -np.inf
    assert data.estimate[4] == data.upper[4] == np.inf
    assert "- Study 3: -inf (-inf to -0.53)" in data.text()
    figure = forest_plot(model)
    assert np.isfinite(np.array(drawn(figure, "study-intervals").get_segments())).all()
    assert data.scale.label == "Logit"
    check_layout(figure)
    shown = forest_data(model, transform="logit")
    assert (shown.estimate[2], shown.estimate[4], shown.upper[4]) == (0.0, 100.0, 100.0)


def test_wide_intervals_are_cut_with_an_arrow(check_layout: Check) -> None:
    model = MetaRegression().fit(
        None, [0.3, 0.2, 0.4, 0.1], sampling_variance=[0.01, 0.01, 0.02, 9.0]
    )
    figure = forest_plot(model)
    arrows = [one for one in figure.axes[0].lines if one.get_gid() == "study-intervals-cut"]
    at = np.concatenate([np.asarray(one.get_xdata()) for one in arrows])
    np.testing.assert_allclose(np.sort(at), figure.axes[0].get_xlim())
    assert "0.10 [−5.78, 5.98]" in [text.get_text() for text in figure.axes[0].texts]
    check_layout(figure)


@pytest.mark.parametrize("transform", [None, "exp"])
def test_eighty_studies_fit_a_page(
    eighty: pd.DataFrame, transform: Any, check_layout: Check
) -> None:
    figure = forest_plot(_pooled(eighty), transform=transform, order="effect")
    check_layout(figure)
    width, height = figure.get_size_inches()
    # A4, with the margins that a journal leaves.
    assert width < 9.0
    assert height < 12.0
    assert min(float(text.get_fontsize()) for text in figure.axes[0].texts) >= 6.5


def test_three_studies_and_long_labels(bcg: pd.DataFrame, check_layout: Check) -> None:
    long = "A study whose label goes on and on, with a subtitle on the population and setting " * 3
    labels = ["A", long, "C" * 60]
    figure = forest_plot(_pooled(bcg.iloc[:3]), labels)
    check_layout(figure)
    assert figure.get_size_inches()[0] < 11.0
    assert long in str(figure.get_label())


@pytest.mark.parametrize("moderators", ["yi ~ 1", "yi ~ ablat + alloc"])
def test_nothing_overlaps(bcg: pd.DataFrame, moderators: str, check_layout: Check) -> None:
    model = MetaRegression().fit(moderators, sampling_variance="vi", data=bcg)
    check_layout(forest_plot(model, transform="exp"))


def test_one_study_is_drawn(check_layout: Check) -> None:
    with pytest.warns(DataWarning, match="one study"):
        model = MetaRegression().fit(None, [0.3], sampling_variance=[0.2])
    check_layout(forest_plot(model))
    assert "Forest plot of 1 study:" in forest_data(model).text()


def test_text_holds_the_numbers(bcg: pd.DataFrame) -> None:
    model = _pooled(bcg)
    text = forest_data(model).text()
    assert text.splitlines()[0] == "Forest plot of 13 studies: Effect"
    assert "Pooled: -0.71, 95 % confidence interval -1.11 to -0.32" in text
    assert "true effect -2.00 to 0.57" in text
    assert f"{model.tau2_:.4f}" in text
    assert "- trial 1: -0.89 (-2.01 to 0.23), weight 5.1 %" in text
    assert sum(line.startswith("- trial") for line in text.splitlines()) == 13
    assert str(forest_plot(model).get_label()) == text
    with_moderator = MetaRegression().fit("yi ~ ablat", sampling_variance="vi", data=bcg)
    assert "fitted -1.03 (" in forest_data(with_moderator).text()


def test_bayesian_fits_have_credible_intervals(bcg: pd.DataFrame, check_layout: Check) -> None:
    model = BayesianMetaRegression(tau_scale=0.5).fit(None, bcg["yi"], sampling_variance=bcg["vi"])
    data = forest_data(model)
    assert data.interval == "credible"
    # With a flat prior the posterior mean is the mean of the effects with these weights.
    np.testing.assert_allclose(
        data.mean[0], float(np.sum(bcg["yi"] * data.weight)) / 100.0, rtol=RTOL_BETA
    )
    assert "Pooled effect (95 % CrI)" in [
        text.get_text() for text in forest_plot(model).axes[0].texts
    ]
    check_layout(forest_plot(model))


def test_multilevel_weights_give_the_pooled_effect(bcg: pd.DataFrame) -> None:
    model = MultilevelMetaRegression().fit(
        None, bcg["yi"], sampling_variance=bcg["vi"], groups=list("aabbccddeeffg")
    )
    data = forest_data(model)
    np.testing.assert_allclose(
        data.mean[0], float(np.sum(bcg["yi"] * data.weight)) / 100.0, rtol=RTOL_BETA
    )


def test_level_and_labels(bcg: pd.DataFrame) -> None:
    with pytest.warns(DataWarning, match="1 of 13 rows"):
        model = MetaRegression(level=0.8).fit(
            None,
            bcg["yi"].to_numpy(),
            sampling_variance=bcg["vi"].where(bcg.index != "trial 2").to_numpy(),
        )
    assert forest_data(model).level == 0.8
    assert forest_data(model).labels[:2] == ("Study 1", "Study 3")
    assert forest_data(model, list("abcdefghijklm")).labels[:2] == ("a", "c")
    assert forest_data(model, list("abcdefghijkl")).labels[:2] == ("a", "b")
    wider = forest_data(model, level=0.99)
    row = model.predict_interval(level=0.99).iloc[0]
    np.testing.assert_allclose(wider.mean_upper, row["ci_ub"], rtol=RTOL)


def test_any_increasing_function_is_a_transform(bcg: pd.DataFrame) -> None:
    model = _pooled(bcg)
    data = forest_data(model, transform=lambda x: 10.0 * x, null=-3.0)
    np.testing.assert_allclose(data.estimate, 10.0 * bcg["yi"], rtol=RTOL)
    assert data.scale.null == -3.0
    assert forest_data(model, null=None).scale.null is None


def test_data_are_plain_and_read_only(bcg: pd.DataFrame) -> None:
    data = forest_data(_pooled(bcg))
    plain = data.to_dict()
    assert plain["labels"][0] == "trial 1"
    assert plain["estimate"] == bcg["yi"].to_list()
    assert plain["scale"]["kind"] == "effect"
    with pytest.raises(ValueError, match="read-only"):
        data.estimate[0] = 0.0


def test_unusable_arguments_are_refused(bcg: pd.DataFrame) -> None:
    model: Any = _pooled(bcg)
    draw: Any = forest_data
    refused: list[tuple[str, Callable[[], Any]]] = [
        ("estimator is a int", lambda: draw(3)),
        ("labels has 1 entries for 13 rows", lambda: draw(model, ["a"])),
        ("labels is 'abc'; give one", lambda: draw(model, "abc")),
        ("transform is 'log'; choose one of 'PLO'", lambda: draw(model, transform="log")),
        ("decreases", lambda: draw(model, transform=lambda x: -x)),
        ("missing values", lambda: draw(model, transform=lambda x: x * np.nan)),
        ("order is 'year'; choose one of 'effect'", lambda: draw(model, order="year")),
        ("level is 95", lambda: draw(model, level=95)),
        ("null is not numeric", lambda: draw(model, null="0")),
    ]
    for match, call in refused:
        with pytest.raises(InputError, match=match):
            call()


def test_a_study_without_sampling_variance_weighs_most() -> None:
    with pytest.warns(DataWarning, match="sampling variance is 0"):
        model = MetaRegression().fit(None, [0.3, 0.2, 0.4], sampling_variance=[0.01, 0.01, 0.0])
    assert forest_data(model).weight.argmax() == 2
