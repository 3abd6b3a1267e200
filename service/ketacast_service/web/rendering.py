"""From what was asked and answered to HTML: the whole page, or the parts that change."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlencode

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from ketacast import __version__
from ketacast.prediction import CoursePoint, Interval, OutcomeEstimate, Prediction
from ketacast_service.state import Service
from ketacast_service.web import charts
from ketacast_service.web.answering import Answered
from ketacast_service.web.assets import Asset
from ketacast_service.web.basis import Basis
from ketacast_service.web.catalogue import LANGUAGES, Catalogue, catalogue
from ketacast_service.web.inputs import Asked, Bounds, Fault, read_inputs
from ketacast_service.web.medications import ListCount
from ketacast_service.web.note import inputs_line, note_text

if TYPE_CHECKING:
    from ketacast.clinical.cohort_rates import CohortRate

TABS: Final = ("people", "course", "table", "compare", "words", "note", "evidence", "model")
LIVE: Final = TABS[:6]
"""Those that depend on the inputs."""
_INVALID: Final = Markup(' aria-invalid="true"')
_ENGLISH: Final = Markup(' lang="en"')
NAMES: Final = (("en", "English"), ("de", "Deutsch"), ("es", "Español"))
_LABELS: Final = {
    "failed_trials": "trials", "infusions": "infusions", "rated_by": "rater",
    "so_far": "so_far", "compare": "compare_label", "clinic": "clinic_file",
}  # fmt: skip
_BEYOND: Final = ("not_treatment_resistant", "failed_trials_extrapolated", "infusions_extrapolated")
"""Warnings that the inputs lie outside the evidence."""


@dataclass(frozen=True, slots=True)
class View:
    """One look at the page.

    Attributes
    ----------
    t : Catalogue
        The language.
    asked : Asked
        What was typed.
    answered : Answered or None
    show_missing : bool
        Whether fields left empty are faults by now.
    medications : str
        The list that was pasted.
    counted : ListCount or None
    list_fault : Fault or None
    problem : Fault or None
        Why there is no answer, where it is no field's fault.
    """

    t: Catalogue
    asked: Asked
    answered: Answered | None = None
    show_missing: bool = False
    medications: str = ""
    counted: ListCount | None = None
    list_fault: Fault | None = None
    problem: Fault | None = None


class Pages:
    """Makes pages of one model.

    Parameters
    ----------
    service : Service
        Whose model it is.
    basis : Basis or None
        What does not depend on the inputs; None if the model's files lack it.
    assets : mapping of str to Asset
        Files by name.
    bounds : Bounds
        What the model answers.
    """

    def __init__(
        self,
        service: Service,
        basis: Basis | None,
        assets: Mapping[str, Asset],
        bounds: Bounds,
    ) -> None:
        self._service = service
        self._basis = basis
        self._environment = Environment(
            loader=PackageLoader(__package__),
            autoescape=True,
            undefined=StrictUndefined,
            auto_reload=False,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        predictor = service.predictor
        self._environment.globals.update(
            asset=lambda name: assets[name].address,
            languages=NAMES,
            tabs=TABS,
            live=LIVE,
            bounds=bounds,
            basis=predictor.basis,
            model=predictor.model,
            version=__version__,
            docs=service.settings.docs,
            bar=_bar,
            people=charts.people,
            mini=charts.mini,
            lang_of=_lang_of,
        )
        self._page = self._environment.get_template("page.html")
        self._fragment = self._environment.get_template("fragment.html")
        self._counted = self._environment.get_template("count.html")
        # Made before the first visitor comes.
        self._fixed = {code: self._fixed_parts(catalogue(code)) for code in LANGUAGES}
        self._later = {code: self._later_part(catalogue(code)) for code in LANGUAGES}
        for make in (self.page, self.fragment, self.count):
            make(View(catalogue(LANGUAGES[0]), read_inputs({}, bounds)))

    def page(self, view: View) -> bytes:
        """Make the whole page."""
        return self._page.render(self._context(view), whole=True).encode()

    def fragment(self, view: View) -> bytes:
        """Make the parts that change with the inputs."""
        return self._fragment.render(self._context(view), whole=False).encode()

    def count(self, view: View) -> bytes:
        """Make the parts that change with a medication list."""
        return self._counted.render(self._context(view)).encode()

    def _context(self, view: View) -> dict[str, Any]:
        t, asked, answered = view.t, view.asked, view.answered
        found: dict[str, Any] = {
            "t": t,
            "asked": asked,
            "answered": answered,
            "show_missing": view.show_missing,
            "medications": view.medications,
            "counted": view.counted,
            "list_fault": view.list_fault,
            "fixed": self._fixed[t.language],
            "later_weeks": self._later[t.language],
            "address": partial(_address, asked),
            "fault_text": lambda name: _fault_text(t, asked.faults[name]),
            "error": partial(_error, view),
            "invalid": partial(_invalid, view),
            # A number field would empty itself, and complain, over what is no number.
            "number_type": lambda name: (
                "number" if (asked.typed[name] or "0").isdecimal() else "text"
            ),
            "need": lambda name: {"failed_trials": "trials", "rated_by": "rater"}.get(name, name),
            "list_error": lambda: _list_error(view),
            "course": partial(_course, t),
            "label": lambda name: t(f"form.{_LABELS[name]}"),
            "problem": view.problem,
            "said": " ".join(
                _fault_text(t, fault)
                for fault in (view.problem, *(asked.faults[name] for name in asked.wrong()))
                if fault is not None
            ),
        }
        if answered is not None:
            found.update(_answer_context(t, answered))
        return found

    def _fixed_parts(self, t: Catalogue) -> dict[str, Markup]:
        if self._basis is None:
            missing = self._environment.get_template("missing.html")
            return {
                name: Markup(missing.render(t=t, name=name))  # noqa: S704
                for name in ("evidence", "model")
            }
        values = {
            "t": t,
            "known": self._service.predictor.basis,
            "basis": self._basis,
            "forest": _forest,
            "axis": charts.forest_axis(),
            "figures": {name: t.figure(text) for name, text in self._basis.figures.items()},
        }
        return {
            name: Markup(self._environment.get_template(f"{name}.html").render(values))  # noqa: S704
            for name in ("evidence", "model")
        }

    def _later_part(self, t: Catalogue) -> Markup:
        later = None if self._basis is None else self._basis.later
        if later is None:
            return Markup("")
        curve = later.curve
        points = [
            charts.Point(week, one.expected, Interval(*one.new_clinic[0]),
                         Interval(*one.new_clinic[1]))
            for week, one in zip(curve.weeks, curve.share, strict=True)
        ]  # fmt: skip
        label = t("course.later_alt", last=t.of_100(points[-1].expected), week=f"{points[-1].at:g}")
        chart = charts.curve(points, label=label, unit=t("course.week"))
        template = self._environment.get_template("later.html")
        return Markup(template.render(t=t, later=later, later_chart=chart))  # noqa: S704


def _answer_context(t: Catalogue, answered: Answered) -> dict[str, Any]:
    prediction = answered.prediction
    notices = [(notice, *t.notice(notice)) for notice in prediction.warnings]
    likely = prediction.response.new_clinic
    key = "answer.response_course" if prediction.inputs.so_far else "answer.response_sentence"
    level = min(likely)
    said = t(
        key,
        n=t.of_100(prediction.response.expected),
        range=t.span(likely[level]),
        level=t.level(level),
    )
    return {
        "inputs_line": inputs_line(t, prediction.inputs),
        "beyond": [(text, english) for one, text, english in notices if one.code in _BEYOND],
        "limits": [(text, english) for one, text, english in notices if one.code not in _BEYOND],
        "extended": _changing(prediction.extended),
        "note": note_text(t, prediction, answered.comparison),
        "said": said,
    }


def _address(asked: Asked, language: str) -> str:
    return "/?" + urlencode({**asked.link(), "lang": language})


def _fault_text(t: Catalogue, fault: Fault) -> str:
    text = t(f"error.{fault.key}", **fault.values)
    return f"{text} {fault.detail}" if fault.detail else text


def _error(view: View, name: str) -> str:
    fault = view.asked.faults.get(name)
    if fault is None or (fault.missing and not view.show_missing):
        return ""
    return _fault_text(view.t, fault)


def _invalid(view: View, name: str) -> Markup:
    return _INVALID if _error(view, name) else Markup()


def _list_error(view: View) -> str:
    fault = view.list_fault
    return "" if fault is None else _fault_text(view.t, fault)


def _lang_of(is_english: bool) -> Markup:
    return _ENGLISH if is_english else Markup()


def _bar(estimate: OutcomeEstimate, name: str, t: Catalogue) -> Markup:
    likely, wide = estimate.new_clinic.bounds
    label = t(
        "answer.bar",
        outcome=name,
        n=t.of_100(estimate.expected),
        range=t.span(likely),
        level=t.level(estimate.new_clinic.levels[1]),
        wide=t.span(wide),
    )
    return charts.bar(estimate.expected, likely, wide, label)


def _point(point: CoursePoint, outcome: str) -> charts.Point:
    estimate: OutcomeEstimate = getattr(point, outcome)
    likely, wide = estimate.new_clinic.bounds
    own = None if estimate.clinic is None else estimate.clinic.this_clinic.bounds[0]
    return charts.Point(point.infusion, estimate.expected, likely, wide, own)


def _course(t: Catalogue, outcome: str, prediction: Prediction) -> Markup:
    points = [_point(point, outcome) for point in prediction.course]
    label = t(
        "course.alt",
        outcome=t(f"answer.{outcome}"),
        first=t.of_100(points[0].expected),
        last=t.of_100(points[-1].expected),
    )
    return charts.curve(
        points,
        label=label,
        unit=t("course.infusion"),
        later=[_point(point, outcome) for point, _ in _changing(prediction.extended)],
    )


def _changing(points: Sequence[CoursePoint]) -> list[tuple[CoursePoint, int]]:
    """Return points that differ from the one before, each with the last that is like it."""
    found: list[tuple[CoursePoint, int]] = []
    for point in points:
        before = found[-1][0] if found else None
        if before and (before.response, before.remission) == (point.response, point.remission):
            found[-1] = (found[-1][0], point.infusion)
        else:
            found.append((point, point.infusion))
    return found


def _forest(rate: CohortRate) -> Markup:
    expected = None
    if rate.predicted_low is not None and rate.predicted_high is not None:
        expected = (rate.predicted_low, rate.predicted_high)
    return charts.forest(rate.rate, (rate.low, rate.high), expected, rate.n)
