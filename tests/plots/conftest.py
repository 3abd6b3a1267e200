"""Data and checks that the tests of all figures share."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text

from ketacast.evidence import load_evidence

ROOT = Path(__file__).parent.parent.parent
#: A third of a point: what hinting may move a glyph beyond its place.
SLACK = 0.5


@pytest.fixture(scope="session")
def bcg() -> pd.DataFrame:
    content = json.loads((ROOT / "tests/reference/rma_uni_bcg_ablat_alloc.json").read_text())
    data = content["data"]
    frame = pd.DataFrame({name: data[name] for name in ("yi", "vi", "ablat", "alloc")})
    return frame.set_index(pd.Index([f"trial {i}" for i in range(1, 14)]))


@pytest.fixture(scope="session")
def responses() -> pd.DataFrame:
    """The product's own response counts, with the rater."""
    rows = load_evidence(ROOT / "models/ketamine-trd/evidence").to_frame("outcomes")
    rows = rows[(rows["outcome"] == "response") & (rows["model_use"] == "primary")]
    return pd.DataFrame(
        {
            "events": rows["events"].to_numpy(dtype=np.float64),
            "n": rows["n"].to_numpy(dtype=np.float64),
            "scorer": rows["scorer"].to_list(),
        },
        index=pd.Index(rows["cohort_id"].to_list()),
    )


@pytest.fixture(scope="session")
def eighty() -> pd.DataFrame:
    """Eighty studies made from a seed, the largest forest plot that must work."""
    rng = np.random.default_rng(20240501)
    v, x = rng.uniform(0.01, 0.4, 80), rng.normal(size=80)
    y = 0.3 + 0.2 * x + rng.normal(size=80) * np.sqrt(v + 0.1)
    names = [f"Author {i} and colleagues {1960 + i % 60}" for i in range(80)]
    return pd.DataFrame({"yi": y, "vi": v, "x": x}, index=pd.Index(names))


def _texts(figure: Figure) -> list[Text]:
    """Every text that is drawn, ticks that lie outside their axis left out."""
    found: list[Text] = list(figure.texts)
    found += [text for one in figure.legends for text in one.get_texts()]
    for one in (getattr(figure, "_supxlabel", None), getattr(figure, "_suptitle", None)):
        found += [] if one is None else [one]
    for axes in figure.axes:
        found += [*axes.texts, axes.title]
        axis: Any
        for axis in (axes.xaxis, axes.yaxis):
            found.append(axis.label)
            found += [tick.label1 for tick in axis._update_ticks()]
    unique = {id(text): text for text in found}
    return [text for text in unique.values() if text.get_visible() and text.get_text().strip()]


def _check_layout(figure: Figure) -> None:
    canvas: Any = FigureCanvasAgg(figure)
    canvas.draw()
    width, height = canvas.get_width_height()
    texts = _texts(figure)
    assert len(texts) > 5
    boxes = [(text.get_text(), text.get_window_extent()) for text in texts]
    for words, box in boxes:
        assert -SLACK <= box.x0 < box.x1 <= width + SLACK, f"cut: {words!r}"
        assert -SLACK <= box.y0 < box.y1 <= height + SLACK, f"cut: {words!r}"
    for i, (words, box) in enumerate(boxes):
        for other_words, other in boxes[i + 1 :]:
            across = min(box.x1, other.x1) - max(box.x0, other.x0)
            down = min(box.y1, other.y1) - max(box.y0, other.y0)
            assert min(across, down) <= SLACK, f"{words!r} overlaps {other_words!r}"
    for axes in figure.axes:
        data = axes.get_window_extent()
        for words, box in boxes:
            across = min(box.x1, data.x1) - max(box.x0, data.x0)
            down = min(box.y1, data.y1) - max(box.y0, data.y0)
            assert min(across, down) <= SLACK, f"{words!r} lies on the data"


@pytest.fixture(scope="session")
def check_layout() -> Callable[[Figure], None]:
    """No text is cut off, lies on another one or on the data."""
    return _check_layout


@pytest.fixture(scope="session")
def drawn() -> Callable[[Figure, str], Any]:
    """Find what is drawn under a name (its gid) in the first axes."""

    def find(figure: Figure, gid: str) -> Any:
        found = [one for one in figure.axes[0].get_children() if one.get_gid() == gid]
        assert len(found) == 1, f"{len(found)} artists named {gid}"
        return found[0]

    return find
