"""Figures as files: with their text, the same bytes each time, and no pyplot."""

from __future__ import annotations

import os
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib import colors, style
from matplotlib.figure import Figure
from matplotlib.text import Text

import ketacast.plots
from ketacast.errors import InputError, MissingDependencyError
from ketacast.estimators import MetaRegression
from ketacast.plots import (
    bubble_plot,
    canvas,
    course_figure,
    forest_data,
    forest_plot,
    funnel_plot,
    leave_one_out_plot,
    profile_plot,
    save,
)
from ketacast.plots.canvas import minus, typeset
from ketacast.plots.scales import decimals
from ketacast.plots.ticks import ratio_ticks
from ketacast.predictor import predict

SVG = "{http://www.w3.org/2000/svg}"
#: Contrast with white that text and that graphics need (WCAG 2.2, 1.4.3 and 1.4.11).
TEXT_CONTRAST, GRAPHICS_CONTRAST = 4.5, 3.0


def _figures(data: pd.DataFrame) -> list[Figure]:
    pooled = MetaRegression().fit(None, data["yi"], sampling_variance=data["vi"])
    line = MetaRegression().fit("yi ~ ablat", sampling_variance="vi", data=data)
    return [
        forest_plot(pooled),
        bubble_plot(line, "ablat"),
        funnel_plot(pooled),
        leave_one_out_plot(line),
        profile_plot(line),
    ]


def test_files_hold_the_text_equivalent(bcg: pd.DataFrame, tmp_path: Path) -> None:
    angled = bcg.set_index(pd.Index([f"<{name}> & others" for name in bcg.index]))
    for figure in _figures(angled):
        text = str(figure.get_label())
        save(figure, tmp_path / "one.svg")
        save(figure, tmp_path / "two.svg")
        assert (tmp_path / "one.svg").read_bytes() == (tmp_path / "two.svg").read_bytes()
        root = ET.fromstring((tmp_path / "one.svg").read_text(encoding="utf-8"))  # noqa: S314
        assert root.get("role") == "img"
        assert root.findtext(f"{SVG}title") == text.partition("\n")[0]
        assert root.findtext(f"{SVG}desc") == text


def test_pdf_and_png_hold_it_as_well(bcg: pd.DataFrame, tmp_path: Path) -> None:
    figure = _figures(bcg)[0]
    save(figure, tmp_path / "one.pdf")
    assert b"/Subject" in (tmp_path / "one.pdf").read_bytes()
    save(figure, tmp_path / "one.png")
    assert b"Description" in (tmp_path / "one.png").read_bytes()
    with pytest.raises(InputError, match=r"end the name in .svg"):
        save(figure, tmp_path / "one.docx")


def test_a_figure_without_text_is_saved_too(tmp_path: Path) -> None:
    save(Figure(), tmp_path / "bare.svg")
    assert "<desc>" not in (tmp_path / "bare.svg").read_text()


def test_the_course_has_its_prediction_as_text(tmp_path: Path) -> None:
    prediction = predict(failed_trials=6, infusions=6, rated_by="self")
    figure = course_figure(prediction)
    assert str(figure.get_label()) == str(prediction)
    save(figure, tmp_path / "course.svg")
    assert "6 failed trials" in (tmp_path / "course.svg").read_text(encoding="utf-8")


WITHOUT_PYPLOT = """
import sys
from ketacast.plots import forest_plot, save
from ketacast.estimators import MetaRegression
import matplotlib
before = dict(matplotlib.rcParams)
figure = forest_plot(MetaRegression().fit(None, [0.1, 0.3, 0.2], sampling_variance=[0.1, 0.2, 0.1]))
save(figure, sys.argv[1])
assert dict(matplotlib.rcParams) == before
assert "matplotlib.pyplot" not in sys.modules
"""


def test_no_pyplot_no_settings_and_no_display(tmp_path: Path) -> None:
    target = tmp_path / "forest.svg"
    # Without a display, and with a backend that only pyplot would miss.
    environment = {name: value for name, value in os.environ.items() if name != "DISPLAY"}
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_PYPLOT, str(target)],
        capture_output=True,
        text=True,
        check=False,
        env={**environment, "MPLBACKEND": "gtk4agg"},
    )
    assert done.returncode == 0, done.stderr
    assert "<desc>Forest plot of 3 studies" in target.read_text(encoding="utf-8")


def test_the_course_needs_no_estimators() -> None:
    code = "import sys, ketacast.plots as p; p.course_figure; assert 'sklearn' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_numbers_need_no_matplotlib(bcg: pd.DataFrame, monkeypatch: pytest.MonkeyPatch) -> None:
    model = MetaRegression().fit(None, bcg["yi"], sampling_variance=bcg["vi"])
    for name in [name for name in sys.modules if name.split(".")[0] == "matplotlib"]:
        monkeypatch.setitem(sys.modules, name, None)
    assert forest_data(model).pooled
    with pytest.raises(MissingDependencyError, match=r"ketacast\[plots\]"):
        forest_plot(model)


def test_the_users_style_leaves_figures_readable(bcg: pd.DataFrame) -> None:
    with style.context("dark_background"):
        figures = _figures(bcg)
    for figure in figures:
        assert colors.to_hex(figure.get_facecolor()) == "#ffffff"
        texts = [one for one in figure.findobj(Text) if one.get_text()]
        assert len(texts) > 5
        for text in texts:
            assert _contrast(text.get_color()) >= TEXT_CONTRAST, text.get_text()


def test_colours_stand_out_from_white() -> None:
    for colour in (canvas.BLUE, canvas.VERMILION, canvas.INK, canvas.GREY):
        assert _contrast(colour) >= GRAPHICS_CONTRAST, colour


def _contrast(colour: Any) -> float:
    """Contrast with white, 1 to 21 (WCAG 2.2)."""
    channels = np.array(colors.to_rgb(colour))
    linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
    return float(1.05 / (linear @ [0.2126, 0.7152, 0.0722] + 0.05))


def test_every_public_name_is_there() -> None:
    assert dir(ketacast.plots) == sorted(ketacast.plots.__all__)
    for name in ketacast.plots.__all__:
        value = getattr(ketacast.plots, name)
        assert name == "COLOURS" or value.__module__.startswith("ketacast.plots.")
    with pytest.raises(AttributeError, match="no attribute 'pie_chart'"):
        getattr(ketacast.plots, "pie_chart")  # noqa: B009


@pytest.mark.parametrize(
    ("plain", "printed"),
    [
        ("-0.5 [-1, 2]", "−0.5 [−1, 2]"),
        ("Frimodt-Moller, 3 - 2", "Frimodt-Moller, 3 - 2"),
        ("-inf", "−inf"),
    ],
)
def test_minus_signs_are_those_of_numbers(plain: str, printed: str) -> None:
    assert minus(plain) == printed


def test_symbols_are_typeset() -> None:
    assert typeset("tau2 (se): 0.1; I2, H2; chi2") == "τ²\N{NO-BREAK SPACE}(se): 0.1; I², H²; χ²"


@pytest.mark.parametrize(
    ("spread", "digits"), [(0.3, 2), (1.0, 1), (0.02, 3), (4000.0, 0), (1e-5, 6), (0.0, 2)]
)
def test_decimals_show_two_digits_of_the_error(spread: float, digits: int) -> None:
    assert decimals(spread) == digits


@pytest.mark.parametrize(
    ("low", "high", "ticks"),
    [
        (0.09, 6.0, [0.1, 0.2, 0.5, 1.0, 2.0, 5.0]),
        (0.98, 1.07, [0.98, 1.0, 1.02, 1.04, 1.06]),
        (1e-3, 1e3, [1e-3, 1e-2, 1e-1, 1.0, 1e1, 1e2, 1e3]),
    ],
)
def test_ratio_ticks_are_round(low: float, high: float, ticks: list[float]) -> None:
    np.testing.assert_allclose(ratio_ticks(low, high), ticks)


@given(st.floats(1e-8, 1e6), st.floats(1.001, 1e12))
def test_every_ratio_axis_has_ticks(low: float, width: float) -> None:
    ticks = ratio_ticks(low, low * width)
    assert 2 <= len(ticks) <= 9
    assert (np.diff(ticks) > 0).all()
    slack = 1e-9 * low * width
    assert low - slack <= ticks[0] <= ticks[-1] <= low * width + slack
