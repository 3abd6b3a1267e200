"""Figures without pyplot: made, styled, described and saved."""

from __future__ import annotations

import io
import re
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from xml.sax.saxutils import escape

from ketacast.errors import InputError, MissingDependencyError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: Okabe & Ito's palette (2008), told apart with any colour vision. Here each colour
#: also has a shape or a line style of its own, for prints in grey.
BLUE: Final = "#0072B2"
VERMILION: Final = "#D55E00"
SKY: Final = "#56B4E9"
PALE_ORANGE: Final = "#F6D58F"
INK: Final = "#1A1A1A"
GREY: Final = "#595959"
RULE: Final = "#D9D9D9"

FONT: Final = 9.0
SMALL: Final = 8.0
_TYPOGRAPHY: Final = {
    r"\bsigma2\b": "σ²",
    r"\btau2\b": "τ²",
    r"\btau\b": "τ",
    r"\b([IHR])2\b": r"\1²",
    r"\bchi2\b": "χ²",
    # Numbers stay on the line of what they belong to.
    r" (=|<) ": "\N{NO-BREAK SPACE}\\1\N{NO-BREAK SPACE}",
    r"\((\d+), (\d+)\)": "(\\1,\N{NO-BREAK SPACE}\\2)",
    r" \(se\)": "\N{NO-BREAK SPACE}(se)",
    r" %": "\N{NO-BREAK SPACE}%",
}


def new_figure(width: float, height: float, *, constrained: bool = True) -> Figure:
    """Make an empty white figure.

    Parameters
    ----------
    width, height : float
        Inches.
    constrained : bool
        Let matplotlib place axes, legends and captions.

    Raises
    ------
    MissingDependencyError
        If matplotlib is not installed.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: PLC0415 - optional
        from matplotlib.figure import Figure as NewFigure  # noqa: PLC0415
        from matplotlib.layout_engine import ConstrainedLayoutEngine  # noqa: PLC0415
    except ImportError as error:
        raise MissingDependencyError(
            "figures need matplotlib: pip install 'ketacast[plots]'"
        ) from error
    engine = ConstrainedLayoutEngine(w_pad=0.1, h_pad=0.08) if constrained else None
    figure = NewFigure(figsize=(width, height), facecolor="white", layout=engine)
    if not constrained:
        figure.set_layout_engine("none")  # also where the user's style has another default
    FigureCanvasAgg(figure)
    return figure


def style_axes(axes: Axes, *, xlabel: str, ylabel: str = "") -> None:
    """Dark text, thin lines, no frame on the right and above, whatever the user's style is."""
    axes.set_facecolor("white")
    axes.set_xlabel(xlabel, fontsize=FONT, color=INK)
    axes.set_ylabel(ylabel, fontsize=FONT, color=INK)
    axes.tick_params(colors=INK, labelsize=SMALL, width=0.8, length=3.5, direction="out")
    axes.grid(visible=False)
    for name, spine in axes.spines.items():
        spine.set_visible(name in ("left", "bottom"))
        spine.set_color(INK)
        spine.set_linewidth(0.8)
    axes.set_axisbelow(True)


def caption(figure: Figure, sentences: list[str], columns: int) -> None:
    """Put a note under the figure, wrapped at a number of characters."""
    lines = textwrap.wrap(typeset(" ".join(sentences)), columns)
    figure.supxlabel("\n".join(lines), x=0.01, ha="left", fontsize=SMALL, color=GREY)


def legend(figure: Figure, handles: list[Any], columns: int) -> None:
    """Put a legend above the axes, where it hides no data."""
    figure.legend(
        handles=handles,
        loc="outside upper left",
        ncols=columns,
        frameon=False,
        fontsize=SMALL,
        labelcolor=INK,
        handlelength=1.8,
        columnspacing=1.4,
    )


def literal(text: str) -> str:
    """Show a user's words as they are: no formulas in dollar signs, no labels left out."""
    shown = text.replace("$", r"\$")
    return f" {shown}" if shown.startswith("_") else shown


def typeset(text: str) -> str:
    """Write minus signs and squares as print does."""
    for plain, printed in _TYPOGRAPHY.items():
        text = re.sub(plain, printed, text)
    return minus(text)


def minus(text: str) -> str:
    """Write the minus sign of numbers as print does."""
    pieces = [
        "\N{MINUS SIGN}"
        if sign == "-" and (i == 0 or text[i - 1] in " [(") and text[i + 1 : i + 2].strip()
        else sign
        for i, sign in enumerate(text)
    ]
    return "".join(pieces)


def describe(figure: Figure, text: str) -> Figure:
    """Give a figure its text equivalent, which :func:`save` writes into the file."""
    figure.set_label(text)
    return figure


def save(figure: Figure, path: Path | str) -> None:
    """Write a figure and its text equivalent; the same figure gives the same bytes.

    The text becomes the title and the description that screen readers look for in an
    SVG, and the document's title and subject in a PDF or PNG.

    Raises
    ------
    InputError
        If the ending is not svg, png or pdf.
    """
    import matplotlib as mpl  # noqa: PLC0415

    ending = Path(path).suffix.lower()
    if ending not in (".svg", ".png", ".pdf"):
        raise InputError(f"cannot draw to {str(path)!r}; end the name in .svg, .png or .pdf")
    text = str(figure.get_label())
    title = text.partition("\n")[0]
    metadata: dict[str, Any] = {"Title": title} if title else {}
    if ending == ".pdf":
        metadata |= {"CreationDate": None} | ({"Subject": text} if text else {})
    elif ending == ".png" and text:
        metadata["Description"] = text
    with mpl.rc_context({"svg.hashsalt": "ketacast"}):
        if ending != ".svg":
            figure.savefig(path, dpi=150, facecolor="auto", metadata=metadata)
            return
        drawn = io.StringIO()
        figure.savefig(drawn, format="svg", facecolor="auto", metadata={**metadata, "Date": None})
    Path(path).write_text(_accessible(drawn.getvalue(), title, text), encoding="utf-8")


def _accessible(svg: str, title: str, text: str) -> str:
    """Put the description after the title, where readers expect it."""
    if text:
        place = f"<title>{escape(title)}</title>"
        svg = svg.replace(place, f"{place}\n <desc>{escape(text)}</desc>", 1)
        svg = svg.replace("<svg ", '<svg role="img" ', 1)
    return "\n".join(line.rstrip() for line in svg.splitlines()) + "\n"
