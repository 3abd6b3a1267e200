"""Figures (extra ``plots``): colour-blind safe, each with a text equivalent.

Every figure of a fit comes in two parts: ``*_data`` computes exactly what is drawn, a
frozen record with ``to_dict`` and ``text``; ``*_plot`` draws it. The text travels with
the figure as its label, ``figure.get_label()``, and :func:`save` writes it into the file.
Figures are made without pyplot and change no setting of matplotlib.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ketacast.plots.after import after_figure
    from ketacast.plots.bubble import bubble_plot
    from ketacast.plots.bubble_numbers import BubbleData, bubble_data
    from ketacast.plots.canvas import save
    from ketacast.plots.course import COLOURS, course_figure
    from ketacast.plots.data import PlotData
    from ketacast.plots.drift import drift_figure
    from ketacast.plots.forest import forest_plot
    from ketacast.plots.forest_numbers import ForestData, forest_data
    from ketacast.plots.funnel import FunnelData, funnel_data, funnel_plot
    from ketacast.plots.leave_one_out import (
        LeaveOneOutData,
        leave_one_out_data,
        leave_one_out_plot,
    )
    from ketacast.plots.profile import ProfileData, profile_data, profile_plot

# Loaded when asked for: the course of one patient needs no estimators.
_HOME = {
    "COLOURS": "course",
    "BubbleData": "bubble_numbers",
    "ForestData": "forest_numbers",
    "FunnelData": "funnel",
    "LeaveOneOutData": "leave_one_out",
    "PlotData": "data",
    "ProfileData": "profile",
    "after_figure": "after",
    "bubble_data": "bubble_numbers",
    "bubble_plot": "bubble",
    "course_figure": "course",
    "drift_figure": "drift",
    "forest_data": "forest_numbers",
    "forest_plot": "forest",
    "funnel_data": "funnel",
    "funnel_plot": "funnel",
    "leave_one_out_data": "leave_one_out",
    "leave_one_out_plot": "leave_one_out",
    "profile_data": "profile",
    "profile_plot": "profile",
    "save": "canvas",
}

__all__ = [
    "COLOURS",
    "BubbleData",
    "ForestData",
    "FunnelData",
    "LeaveOneOutData",
    "PlotData",
    "ProfileData",
    "after_figure",
    "bubble_data",
    "bubble_plot",
    "course_figure",
    "drift_figure",
    "forest_data",
    "forest_plot",
    "funnel_data",
    "funnel_plot",
    "leave_one_out_data",
    "leave_one_out_plot",
    "profile_data",
    "profile_plot",
    "save",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'ketacast.plots' has no attribute {name!r}")
    value = getattr(import_module(f"ketacast.plots.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
