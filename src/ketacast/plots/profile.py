"""Profile-likelihood plots of the between-study variance."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from ketacast.arrays import FloatArray, frozen
from ketacast.errors import InputError
from ketacast.estimators import MetaRegression
from ketacast.plots.canvas import (
    BLUE,
    GREY,
    INK,
    SKY,
    VERMILION,
    caption,
    describe,
    legend,
    minus,
    new_figure,
    style_axes,
)
from ketacast.plots.data import PlotData
from ketacast.plots.scales import decimals
from ketacast.plots.source import fitted_estimator, level_of, model_facts

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: Points of the curve, and how far beyond the upper limit it goes.
GRID: Final = 201
BEYOND: Final = 1.3
COLUMNS: Final = 104


@dataclass(frozen=True, slots=True)
class ProfileData(PlotData):
    """What a profile plot shows.

    Attributes
    ----------
    tau2 : ndarray, shape (m,)
        Between-study variance; the estimate and the limits are among the values.
    log_likelihood : ndarray, shape (m,)
        Profile log-likelihood there.
    estimate, maximum : float
        The maximising variance and the log-likelihood there.
    cut_off : float
        Log-likelihood that bounds the interval.
    lower, upper : float
        Limits of the interval.
    level : float
        Its coverage.
    likelihood : {"REML", "ML"}
        Restricted or full likelihood.
    fitted : float
        The variance in the fit, by its own method.
    method : str
        That method.
    facts : tuple of str
        The fit.
    """

    tau2: FloatArray
    log_likelihood: FloatArray
    estimate: float
    maximum: float
    cut_off: float
    lower: float
    upper: float
    level: float
    likelihood: str
    fitted: float
    method: str
    facts: tuple[str, ...]

    @property
    def differs(self) -> bool:
        """Whether the fit's own variance is another than the maximising one."""
        return self.method != self.likelihood

    def text(self) -> str:
        """Say what the figure shows, with its numbers.

        Returns
        -------
        str
            A title line, the maximum, the interval and the fit.
        """
        digits = decimals(0.1 * (self.upper - self.lower))
        kind = "restricted" if self.likelihood == "REML" else "full"
        lines = [
            f"Profile {kind} log-likelihood of tau2, the between-study variance",
            (
                f"Largest, {self.maximum:.3f}, at tau2 = {self.estimate:.{digits}f}. The "
                f"{100.0 * self.level:g} % interval goes from {self.lower:.{digits}f} to "
                f"{self.upper:.{digits}f}, where the curve is above {self.cut_off:.3f}."
            ),
            *self.notes(),
            *(f"{fact}." for fact in self.facts),
            (
                f"The curve starts at {self.log_likelihood[0]:.3f} for tau2 = 0 and ends at "
                f"{self.log_likelihood[-1]:.3f} for tau2 = {self.tau2[-1]:.{digits}f}."
            ),
        ]
        return "\n".join(lines)

    def notes(self) -> list[str]:
        """Say whether 0 is inside, and what the fit's own method gave."""
        told = []
        if self.lower == 0.0:
            told.append("tau2 = 0 is in the interval.")
        if self.differs:
            told.append(f"The fit has tau2 = {self.fitted:.4f} by its method {self.method}.")
        return told


def profile_data(estimator: object, *, level: float | None = None) -> ProfileData:
    """Compute what a profile plot shows.

    Parameters
    ----------
    estimator : MetaRegression
        The fit. The likelihood is the restricted one unless it is by "ML".
    level : float, optional
        Coverage of the interval, 0 to 1; the estimator's own by default.

    Returns
    -------
    ProfileData

    Raises
    ------
    InputError
        For another estimator, sampling variances of 0 and an unusable level.
    ConvergenceError
        If the likelihood does not fall enough at any tau2.
    """
    fit = fitted_estimator(estimator)
    if not isinstance(fit, MetaRegression):
        raise InputError(
            f"estimator is a {type(fit).__name__}; a profile of tau2 is drawn for a MetaRegression"
        )
    level = level_of(fit, level)
    lower, upper = fit.tau2_interval(method="PL", level=level).tau2
    best = fit.profile_likelihood([0.0])
    at = np.unique(
        [*np.linspace(0.0, BEYOND * max(upper, fit.tau2_), GRID), best.estimate, lower, upper]
    )
    curve = fit.profile_likelihood(at)
    limit = fit.profile_likelihood([upper])
    return ProfileData(
        tau2=frozen(curve.tau2),
        log_likelihood=frozen(curve.log_likelihood),
        estimate=curve.estimate,
        maximum=curve.maximum,
        cut_off=float(limit.log_likelihood[0]),
        lower=lower,
        upper=upper,
        level=level,
        likelihood=curve.method,
        fitted=float(fit.tau2_),
        method=str(fit.result_.method),
        facts=model_facts(fit),
    )


def profile_plot(estimator: object, *, level: float | None = None) -> Figure:
    """Draw the profile log-likelihood of tau2 with its maximum and interval.

    Parameters
    ----------
    estimator, level
        See :func:`ketacast.plots.profile_data`.

    Returns
    -------
    matplotlib.figure.Figure
        Its label is the text equivalent.

    Raises
    ------
    InputError
        For another estimator, sampling variances of 0 and an unusable level.
    ConvergenceError
        If the likelihood does not fall enough at any tau2.
    MissingDependencyError
        If matplotlib is not installed.
    """
    data = profile_data(estimator, level=level)
    figure = new_figure(6.6, 4.4)
    axes = figure.add_subplot()
    kind = "Restricted log-likelihood" if data.likelihood == "REML" else "Log-likelihood"
    style_axes(axes, xlabel="Between-study variance τ²", ylabel=f"{kind} (profile)")
    percent = f"{100.0 * data.level:g} %"
    inside = (data.tau2 >= data.lower) & (data.tau2 <= data.upper)
    area = axes.fill_between(
        data.tau2[inside], data.cut_off, data.log_likelihood[inside], facecolor=SKY, alpha=0.3,
        lw=0, label=f"{percent} interval", gid="interval",
    )  # fmt: skip
    (curve,) = axes.plot(
        data.tau2, data.log_likelihood, color=BLUE, lw=1.8, label="profile", gid="profile"
    )
    cut = axes.axhline(
        data.cut_off, color=GREY, lw=0.9, ls="--", label=f"cut-off for {percent}", gid="cut-off"
    )
    (best,) = axes.plot(
        [data.estimate], [data.maximum], "o", color=VERMILION, mec=INK, ms=7.0, clip_on=False,
        zorder=5, label="maximum", gid="maximum",
    )  # fmt: skip
    keys = [curve, best, cut, area]
    if data.differs:
        keys.append(
            axes.axvline(data.fitted, color=INK, lw=1.0, ls=":", label=f"fit ({data.method})")
        )
    drop = data.maximum - data.cut_off
    axes.set_ylim(max(float(data.log_likelihood.min()), data.cut_off - 1.2 * drop) - 0.1 * drop,
                  data.maximum + 0.25 * drop)  # fmt: skip
    axes.set_xlim(0.0, float(data.tau2[-1]))
    axes.vlines([data.lower, data.upper], axes.get_ylim()[0], data.cut_off, color=GREY, lw=0.9)
    from matplotlib.ticker import FuncFormatter  # noqa: PLC0415 - optional

    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(FuncFormatter(lambda value, _: minus(f"{value:.6g}")))
    legend(figure, keys, len(keys))
    caption(figure, [*data.text().splitlines()[1:2], *data.notes(), f"{data.facts[0]}."], COLUMNS)
    return describe(figure, data.text())
