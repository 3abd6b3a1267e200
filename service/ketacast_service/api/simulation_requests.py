"""Body of ``POST /v1/simulations``: a specification, as the library's files hold it."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

from pydantic import BeforeValidator, ConfigDict, Discriminator, Field, Tag

from ketacast.options import Rater
from ketacast.simulation.specification import (
    HIGHEST_TRIALS,
    MOST_CELLS,
    MOST_CLINICS,
    MOST_DRAWS,
    MOST_LEVELS,
    MOST_PATIENTS,
    MOST_STRATEGIES,
    Engine,
)
from ketacast.simulation.strategies import (
    LONGEST_COURSE,
    LONGEST_HORIZON,
    MOST_REINDUCTIONS,
    HazardSource,
    Who,
)
from ketacast_service.api.requests import ClinicProfile, StoredClinic
from ketacast_service.validation import PRINTABLE, Strict

Infusions = Annotated[int, Field(ge=1, le=LONGEST_COURSE)]
Weeks = Annotated[int, Field(ge=1, le=LONGEST_HORIZON)]
PerWeek = Annotated[float, Field(ge=0.25, le=7)]
Chance = Annotated[float, Field(ge=0, le=1)]
Utility = Annotated[float, Field(ge=-1, le=1)]
Amount = Annotated[float, Field(ge=0, le=1e12)]
TEXT: Final = (
    PRINTABLE.removesuffix("]*$") + "\u2010-\u2027\u2030-\u205e\u20a0-\u20bf\u2190-\u22ff]*$"
)
"""Also dashes, quotation marks, currencies, arrows and signs of mathematics."""

Name = Annotated[str, Field(min_length=1, max_length=60, pattern=TEXT)]


class SentProfile(Strict):
    """A profile that another group of the same request sends, by its own ``sha256``."""

    sha256: Annotated[str, Field(min_length=64, max_length=64, pattern="^[0-9a-f]{64}$")]


def _group_clinic(value: object) -> str:
    if isinstance(value, str):
        return "word"
    has = value if isinstance(value, dict) else ()
    if isinstance(value, ClinicProfile) or "profile" in has:
        return "profile"
    return "sent" if isinstance(value, SentProfile) or "sha256" in has else "stored"


GroupClinic = Annotated[
    Annotated[Literal["new", "average"], Tag("word")]
    | Annotated[StoredClinic, Tag("stored")]
    | Annotated[ClinicProfile, Tag("profile")]
    | Annotated[SentProfile, Tag("sent")],
    Discriminator(_group_clinic),
]


def _whole(value: object) -> object:
    """Let no true and no 1.0 pass for 1."""
    return value if type(value) is int else None


class RunGiven(Strict):
    """How it is run."""

    patients: int | None = Field(
        None, ge=2, le=MOST_PATIENTS,
        description="a whole number from 2: size of the cohort; with n in the groups, their sum",
    )  # fmt: skip
    horizon_weeks: Weeks = Field(description="weeks followed from the first infusion, 1 to 104")
    engine: Engine = Field(
        "counts",
        description='"counts" (with chance), "expected" (without) or "individuals" (one by one)',
    )
    draws: int = Field(
        1024, ge=1, le=MOST_DRAWS, description="draws of the model, 1 to 4,096: the ranges"
    )
    seed: int = Field(1, ge=0, le=2**32 - 1, description="a whole number from 0 to 4294967295")
    classes: int = Field(
        64, ge=2, le=4096, description="classes of the latent propensity, a power of 2"
    )
    levels: list[Annotated[float, Field(ge=0.01, le=0.99)]] = Field(
        [0.8, 0.95],
        min_length=1,
        max_length=MOST_LEVELS,
        description="1 to 8 levels of the ranges, each once",
        json_schema_extra={"uniqueItems": True},
    )
    title: str = Field(
        "", max_length=200, pattern=TEXT, description="free text without a patient's name"
    )


class GroupGiven(Strict):
    """Patients of a cohort that are alike; all groups with ``share``, or all with ``n``."""

    failed_trials: int = Field(ge=0, le=HIGHEST_TRIALS, description="a whole number from 0 to 20")
    rated_by: Rater = Field(description='"self", "clinician" or "unknown"')
    share: float | None = Field(None, ge=0, le=1e12, description="share of the cohort")
    n: int | None = Field(None, ge=0, le=MOST_PATIENTS, description="number of patients")
    clinic: GroupClinic = Field(
        "new",
        description='"new", "average", {"id": ...} of a stored clinic, {"profile": {...}}, or '
        '{"sha256": ...} of a profile that another group sends',
    )
    clinics: int = Field(
        1, ge=1, le=MOST_CLINICS, description="over how many new clinics the group is spread"
    )


class CohortGiven(Strict):
    """Who is treated."""

    groups: Annotated[list[GroupGiven], Field(min_length=1, max_length=MOST_CELLS)]


class StopGiven(Strict):
    """Stop patients who show no response."""

    after: Infusions = Field(description="infusion after which is looked")
    none_in_last: Infusions = Field(1, description="none of the last so many showed a response")


class ExtendGiven(Strict):
    """Go on beyond the plan."""

    to: int = Field(ge=2, le=LONGEST_COURSE, description="the last infusion at most")
    who: Who = Field("response without remission", description="who gets the next infusion")


class TaperGiven(Strict):
    """Infusions at another pace that end the course."""

    infusions: Infusions
    per_week: PerWeek


class MaintenanceGiven(Strict):
    """Infusions while in response after the course."""

    interval_weeks: Weeks
    interval_multiplier: float = Field(
        ge=1e-3, le=1e3, description="your assumption: hazard of losing the response, relative"
    )
    hazard_ratio_from: HazardSource = "own status"


class ReinductionGiven(Strict):
    """Another course at the loss of response."""

    infusions: Infusions
    weeks: Weeks
    success: Chance = Field(description="your assumption: probability of a response at its end")
    times: int = Field(1, ge=1, le=MOST_REINDUCTIONS)


class StrategyGiven(Strict):
    """One way to treat the cohort."""

    name: Name
    infusions: Infusions
    per_week: PerWeek = 2.0
    taper: TaperGiven | None = None
    stop: list[StopGiven] = Field([], max_length=LONGEST_COURSE)
    extend: ExtendGiven | None = None
    maintenance: MaintenanceGiven | None = None
    reinduction: ReinductionGiven | None = None


class DropoutGiven(Strict):
    """Your assumption on patients who leave treatment."""

    per_infusion: Chance = 0.0
    per_maintenance_week: Chance = 0.0


class CostsGiven(Strict):
    """Your costs per patient."""

    currency: str = Field(min_length=1, max_length=20, pattern=TEXT)
    per_infusion: Amount
    per_patient: Amount = 0.0
    per_week_in_response: Amount = 0.0
    per_week_otherwise: Amount = 0.0


class UtilitiesGiven(Strict):
    """Your utilities, on the scale of QALYs."""

    in_response: Utility
    otherwise: Utility


class AssumptionsGiven(Strict):
    """Further assumptions of yours."""

    remission_share: Chance | None = None
    discount_per_year: Chance | None = None
    willingness_to_pay: list[Amount] = Field([], max_length=100)


class SimulationRequest(Strict):
    """A simulation: cohort, strategies, your assumptions. No patient is named in it."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "simulation": {
                        "title": "Four or six infusions",
                        "patients": 1000,
                        "horizon_weeks": 26,
                        "draws": 256,
                    },
                    "cohort": {
                        "groups": [
                            {"failed_trials": 4, "rated_by": "self", "share": 0.6},
                            {"failed_trials": 8, "rated_by": "self", "share": 0.4},
                        ]
                    },
                    "strategies": [
                        {"name": "four", "infusions": 4},
                        {
                            "name": "six, stop after 3",
                            "infusions": 6,
                            "stop": [{"after": 3, "none_in_last": 3}],
                        },
                    ],
                }
            ]
        }
    )

    schema_version: Annotated[Literal[1], BeforeValidator(_whole)] = Field(1, description="1")
    simulation: RunGiven = Field(description="how it is run: patients, horizon_weeks, ...")
    cohort: CohortGiven = Field(description="who is treated: groups")
    strategies: Annotated[list[StrategyGiven], Field(min_length=1, max_length=MOST_STRATEGIES)] = (
        Field(description="ways to treat them; others are compared with the first")
    )
    dropout: DropoutGiven | None = Field(None, description="your assumption on who leaves")
    costs: CostsGiven | None = Field(None, description="your costs")
    utilities: UtilitiesGiven | None = Field(None, description="your utilities")
    assumptions: AssumptionsGiven | None = Field(None, description="your further assumptions")

    def document(self, clinics: list[str]) -> dict[str, Any]:
        """Return it as the library reads it.

        Parameters
        ----------
        clinics : list of str
            For each group: "new", "average", or the file name of its profile.
        """
        found = self.model_dump(exclude_unset=True, exclude_none=True, mode="json")
        found.pop("schema_version", None)
        groups = found["cohort"]["groups"]
        for group, clinic in zip(groups, clinics, strict=True):
            if clinic != "new":
                group["clinic"] = clinic
            else:
                group.pop("clinic", None)
        return found
