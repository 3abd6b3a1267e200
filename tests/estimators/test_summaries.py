"""What fits look like when printed, and what their tables are called."""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from ketacast.estimators import (
    BayesianMetaRegression,
    BinomialMetaRegression,
    DataWarning,
    MetaRegression,
    MultilevelMetaRegression,
)

DOCS = Path(__file__).parent.parent.parent / "docs"


def _studies() -> pd.DataFrame:
    k = np.arange(12)
    return pd.DataFrame(
        {
            "y": 5.0 * (k % 4) + 0.1 * np.sin(7.0 * k),
            "v": 0.01 + 0.001 * k,
            "x": (k % 4).astype(float),
            "f": list("abcabcabcabc"),
            "events": 2 + k % 4 * 4,
            "n": 20 + k,
            "site": k // 2,
        }
    )


def _fits(**options: Any) -> list[Any]:
    table = _studies()
    arguments: dict[str, Any] = {"data": table, "sampling_variance": "v"}
    return [
        MetaRegression(**options).fit("x", "y", **arguments),
        MultilevelMetaRegression(**options).fit("x", "y", groups="site", **arguments),
        BinomialMetaRegression(**options).fit("x", "events", n="n", data=table),
        BayesianMetaRegression(0.5, **options).fit("x", "y", **arguments),
    ]


@pytest.mark.parametrize("fit", _fits()[:3], ids=lambda fit: type(fit).__name__)
def test_a_p_value_never_reads_as_zero(fit: Any) -> None:
    assert 0.0 < fit.p_value_[1] < 1e-4
    summary = fit.summary()
    line = next(one for one in str(summary).splitlines() if one.startswith("x "))
    assert "<0.0001" in line.split()
    assert "&lt;0.0001" in summary._repr_html_()
    assert summary.coefficients.loc["x", "p_value"] == fit.p_value_[1]
    contrast = fit.contrast(["x"])
    assert "<0.0001" in str(contrast)
    assert "&lt;0.0001" in contrast._repr_html_()


@pytest.mark.parametrize("scale", [1e-9, 1e12])
def test_numbers_in_other_units_keep_their_digits(scale: float) -> None:
    table = _studies()
    y, v = scale * table["y"], scale**2 * table["v"]
    model = MetaRegression().fit(table[["x"]], y, sampling_variance=v)
    line = next(one for one in str(model.summary()).splitlines() if one.startswith("x "))
    estimate, se = (float(one) for one in line.split()[1:3])
    # Four digits are printed.
    np.testing.assert_allclose([estimate, se], [model.coef_[1], model.se_[1]], rtol=1e-3)


def test_one_study_is_not_called_studies() -> None:
    with pytest.warns(DataWarning, match="one study"):
        model = MetaRegression().fit(None, [0.3], sampling_variance=[0.04])
    assert model.summary().title.startswith("Meta-regression of 1 study (")
    bayes = BayesianMetaRegression(0.5).fit(None, [0.3], sampling_variance=[0.04])
    assert bayes.summary().title.startswith("Bayesian meta-regression of 1 study (")
    few = BinomialMetaRegression().fit(None, [0, 1, 0], n=[9, 8, 9])
    assert "of 3 studies, 1 event in 26 (" in few.summary().title


@pytest.mark.parametrize("whole", _fits(), ids=lambda fit: type(fit).__name__)
def test_the_summary_names_what_was_left_out(whole: Any) -> None:
    assert "Left out" not in whole.summary().to_dict()["facts"]
    table = _studies().assign(twice=lambda t: 2.0 * t["x"])
    table.loc[[3, 7], "x"] = np.nan
    arguments: dict[str, Any] = {"y": "y", "sampling_variance": "v"}
    if isinstance(whole, BinomialMetaRegression):
        arguments = {"y": "events", "n": "n"}
    if isinstance(whole, MultilevelMetaRegression):
        arguments["groups"] = "site"
    with pytest.warns(DataWarning) as caught:
        fit = whole.fit("x + twice", data=table, **arguments)
    assert len(caught) == 2
    told = "2 of 12 rows (missing values); redundant columns: twice"
    assert fit.summary().to_dict()["facts"]["Left out"] == told
    assert f"Left out{' ' * 2}" in str(fit.summary())


def test_all_tables_name_their_limits_alike() -> None:
    normal, multilevel, binomial, bayesian = _fits()
    new, ends = _studies().head(2), {"ci_lb", "ci_ub"}
    predicted = ends | {"pi_lb", "pi_ub"}
    wanted: list[tuple[pd.DataFrame, set[str]]] = [
        *((fit.coefficients(), ends) for fit in _fits()),
        *((fit.predict_interval(new), predicted) for fit in _fits()),
        *((fit.contrast(["x"]).table, ends) for fit in _fits()[:3]),
        (normal.leave_one_out(), {"ci_lb_x", "ci_ub_x", "ci_lb_intercept", "ci_ub_intercept"}),
        (binomial.leave_one_out(), {"ci_lb_x", "ci_ub_x", "ci_lb_intercept", "ci_ub_intercept"}),
        (normal.blup(), ends | {"random_ci_lb", "random_ci_ub"}),
        (bayesian.shrinkage(), ends),
        (normal.robust().table, ends),
        (multilevel.robust().table, ends),
        (normal.bootstrap(20).table, {"percentile_lb", "percentile_ub", "basic_lb", "basic_ub"}),
        *((table, set()) for table in (normal.influence(), normal.residuals(), binomial.blup())),
        *((table, set()) for table in (multilevel.blup(), multilevel.blup("within"))),
    ]
    assert len(wanted) == 23
    for table, names in wanted:
        limits = {one for one in table.columns if re.search(r"(_lb|_ub|lower|upper)(_|$)", one)}
        assert limits == names
        for name in names:
            if "_lb" in name:
                assert (table[name] <= table[name.replace("_lb", "_ub")]).all()


def test_a_lone_coefficient_has_its_name_in_the_columns_too() -> None:
    model = MetaRegression().fit(None, "y", sampling_variance="v", data=_studies())
    assert model.leave_one_out().columns[0] == "beta_intercept"


@pytest.mark.parametrize(
    "estimator",
    [
        MetaRegression,
        BinomialMetaRegression,
        MultilevelMetaRegression,
        BayesianMetaRegression,
    ],
    ids=lambda estimator: estimator.__name__,
)
def test_signatures_are_those_of_the_pages(estimator: Any) -> None:
    name = estimator.__name__
    page = re.sub(r"(?<=[a-z])R", "_R", re.sub(r"(?<=[a-z])M", "_M", name)).lower()
    text = (DOCS / "api" / f"{page}.md").read_text(encoding="utf-8")
    for call, function in ((name, estimator.__init__), ("fit", estimator.fit)):
        shown = re.search(rf"^`{call}\((.*?)\)`", text, flags=re.MULTILINE)
        assert shown is not None
        parameters = list(inspect.signature(function).parameters.values())[1:]
        written, keyword = [], False
        for one in parameters:
            if one.kind is one.KEYWORD_ONLY and not keyword:
                written.append("*")
                keyword = True
            default = repr(one.default).replace("'", '"')
            written.append(f"{one.name}={default}")
        assert shown[1] == ", ".join(written)


@pytest.mark.parametrize("fit", _fits(), ids=lambda fit: type(fit).__name__)
def test_notebooks_show_estimators_and_summaries(fit: Any) -> None:
    assert type(fit).__name__ in fit._repr_html_()
    html = fit.summary()._repr_html_()
    assert html.count("<table") == 2
    assert "ci_lb" in html
