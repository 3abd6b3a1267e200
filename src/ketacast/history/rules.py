"""The rules of counting, with their defaults; read from TOML, checked, frozen."""

from __future__ import annotations

import math
import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Final, Literal, get_args

from ketacast.errors import InputError
from ketacast.history.drugs import drug_table

OtherIndication = Literal["exclude", "lenient"]
Augmentation = Literal["report", "count"]

_CHOICES: Final[dict[str, tuple[str, ...]]] = {
    "other_indication": get_args(OtherIndication),
    "augmentation": get_args(Augmentation),
}
_BOUNDS: Final[dict[str, tuple[int, int]]] = {
    "strict_weeks": (1, 52),
    "usual_weeks": (1, 52),
    "lenient_weeks": (1, 52),
    "join_gap_days": (0, 180),
    "episode_gap_days": (1, 3650),
    "assumed_supply_days": (1, 120),
    "open_order_days": (1, 3650),
    "active_order_days": (1, 36500),
    "early_stop_days": (0, 60),
}
_HIGHEST_DOSE: Final = 5_000.0


@dataclass(frozen=True, slots=True)
class CountingRules:
    """What counts as an adequate failed trial.

    Three readings of a chart are made: *strict* (the low end of the range),
    *lenient* (its high end) and *usual* (between them).

    Attributes
    ----------
    strict_weeks, usual_weeks, lenient_weeks : int
        Weeks at or above the minimum dose.
    join_gap_days : int
        Longest gap between two supplies of a drug that are one treatment.
    episode_gap_days : int
        A longer time without antidepressant closes the episode.
    assumed_supply_days : int
        What a prescription that says nothing on its length supplies for certain.
    open_order_days : int
        How long such a prescription may last at most, in the lenient reading.
    active_order_days : int
        How long it may last if it is the drug's latest and still active: what is
        active but older than this is taken as forgotten.
    early_stop_days : int
        A shorter treatment was stopped early, whatever the reason.
    other_indication : {"exclude", "lenient"}
        A drug recorded for pain, sleep, smoking or the like: in no count, or in
        the lenient one.
    augmentation : {"report", "count"}
        Lithium, antipsychotics and liothyronine beside an antidepressant:
        reported only, or counted in the lenient figure too.
    addition_is_failure : bool
        A drug that was taken long enough when another antidepressant was added
        has failed, even if it goes on.
    doses : tuple of (str, float or None, float or None)
        Minimum daily doses, mg, lenient and strict, that replace those of the table.

    Examples
    --------
    >>> CountingRules(strict_weeks=6).strict_weeks
    6
    """

    strict_weeks: int = 8
    usual_weeks: int = 6
    lenient_weeks: int = 4
    join_gap_days: int = 30
    episode_gap_days: int = 180
    assumed_supply_days: int = 30
    open_order_days: int = 365
    active_order_days: int = 1095
    early_stop_days: int = 14
    other_indication: OtherIndication = "exclude"
    augmentation: Augmentation = "report"
    addition_is_failure: bool = True
    doses: tuple[tuple[str, float | None, float | None], ...] = ()

    def __post_init__(self) -> None:
        for name, (low, high) in _BOUNDS.items():
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
                raise InputError(f"{name} is {value!r}; give a whole number from {low} to {high}")
        for name, choices in _CHOICES.items():
            value = getattr(self, name)
            if value not in choices:
                listed = " or ".join(repr(choice) for choice in choices)
                raise InputError(f"{name} is {value!r}; give {listed}")
        if not isinstance(self.addition_is_failure, bool):
            raise InputError(
                f"addition_is_failure is {self.addition_is_failure!r}; give true or false"
            )
        if not self.lenient_weeks <= self.usual_weeks <= self.strict_weeks:
            raise InputError(
                f"weeks are {self.lenient_weeks} lenient, {self.usual_weeks} usual, "
                f"{self.strict_weeks} strict; give them in ascending order"
            )
        lengths = (self.assumed_supply_days, self.open_order_days, self.active_order_days)
        if list(lengths) != sorted(lengths):
            raise InputError(
                f"assumed_supply_days, open_order_days and active_order_days are {lengths}; give "
                "them in ascending order"
            )
        object.__setattr__(self, "doses", _checked_doses(self.doses))

    def minimum_doses(self, drug: str) -> tuple[float | None, float | None]:
        """Give the lenient and the strict minimum daily dose, mg; None if none is known."""
        for name, lenient, strict in self.doses:
            if name == drug:
                return lenient, strict
        entry = drug_table().by_name.get(drug)
        return (None, None) if entry is None else (entry.lenient_mg, entry.strict_mg)

    def to_dict(self) -> dict[str, Any]:
        """Give the rules as JSON-ready values."""
        content = asdict(self)
        content["doses"] = {name: [lenient, strict] for name, lenient, strict in self.doses}
        return content

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> CountingRules:
        """Make rules from names and values; what is not named keeps its default.

        Raises
        ------
        InputError
            If a name is unknown or a value not usable.
        """
        known = {field.name for field in fields(cls)}
        for name in content:
            if name not in known:
                raise InputError(
                    f"rule {name!r} is unknown; choose from {', '.join(sorted(known))}"
                )
        given = dict(content)
        doses = given.pop("doses", {})
        if isinstance(doses, Mapping):
            doses = [(drug, *_pair(value)) for drug, value in doses.items()]
        return cls(**given, doses=doses)

    @classmethod
    def from_toml(cls, path: Path | str) -> CountingRules:
        """Read rules from a TOML file; see :meth:`from_dict`.

        Raises
        ------
        InputError
            If the file cannot be read, is no TOML or holds a rule that is not usable.
        """
        try:
            content = tomllib.loads(Path(path).read_text(encoding="utf-8"))
        except OSError as error:
            raise InputError(f"cannot read {path}: {error.strerror}; give a TOML file") from error
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise InputError(f"{Path(path).name} is not TOML ({error}); mend it") from error
        return cls.from_dict(content)


def _pair(value: object) -> tuple[Any, Any]:
    if isinstance(value, (list, tuple)) and len(value) == 2:
        return value[0], value[1]
    return value, value


def _checked_doses(given: object) -> tuple[tuple[str, float | None, float | None], ...]:
    if not isinstance(given, (list, tuple)):
        raise InputError(f"doses is {given!r}; give drug names with [lenient, strict] in mg a day")
    checked: dict[str, tuple[float | None, float | None]] = {}
    for entry in given:
        if not isinstance(entry, (list, tuple)) or len(entry) != 3:
            raise InputError(f"doses has {entry!r}; give (drug, lenient mg, strict mg)")
        drug, lenient, strict = entry
        if not isinstance(drug, str) or drug not in drug_table().by_name:
            raise InputError(f"doses has drug {drug!r}; give an ingredient's name, as 'sertraline'")
        if drug in checked:
            raise InputError(f"doses has {drug!r} twice; keep one")
        low, high = _dose(drug, lenient), _dose(drug, strict)
        if (low is None) != (high is None) or (low is not None and high is not None and low > high):
            raise InputError(
                f"doses of {drug} are {lenient!r}, {strict!r}; give the lower one first"
            )
        checked[drug] = (low, high)
    return tuple((drug, *checked[drug]) for drug in sorted(checked))


def _dose(drug: str, value: object) -> float | None:
    if value is None:
        return None
    good = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not good or not math.isfinite(value) or not 0 < value <= _HIGHEST_DOSE:  # type: ignore[operator,arg-type]
        raise InputError(f"dose of {drug} is {value!r}; give mg a day, above 0")
    return float(value)  # type: ignore[arg-type]
