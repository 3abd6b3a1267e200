"""Depression scales: who rates, range, and the cut-offs of response and remission in use.

Constants with their sources. They say what studies count; no cut-off here is a
recommendation. Scores are whole numbers, so that "below 5" is "at most 4".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, Literal

from ketacast.errors import InputError

Checked = Literal["abstract", "table", "secondary"]

#: A response is a fall of at least this share of the score before treatment, on every
#: scale. Convention: STAR*D for the QIDS-SR16 (Trivedi 2006), treatment metrics of the
#: PHQ-9 (doi:10.1176/appi.ps.201900295), and close to the falls that agreed best with a
#: clinician's judgement of response: 46 % MADRS, 57 % HAM-D17, 47 % BDI (Riedel 2010,
#: doi:10.1016/j.jpsychires.2010.03.006).
RESPONSE_FALL: Final = 0.50


@dataclass(frozen=True, slots=True)
class Cutoff:
    """A cut-off of remission.

    Attributes
    ----------
    at_most : int
        Highest score that counts as remission.
    source : str
        Who uses or derived it.
    url : str
        Where it was read.
    checked : {"abstract", "table", "secondary"}
        Part of the source that was seen; secondary: read in another work.
    """

    at_most: int
    source: str
    url: str
    checked: Checked


@dataclass(frozen=True, slots=True)
class DepressionScale:
    """A depression scale; the score falls as the patient improves, from 0 at best.

    Attributes
    ----------
    name : str
        As in the evidence tables.
    rater : {"clinician", "self"}
        Who rates.
    highest : int
        Worst score.
    remission : tuple of Cutoff
        In use, the one most common in the ketamine evidence first.
    """

    name: str
    rater: Literal["clinician", "self"]
    highest: int
    remission: tuple[Cutoff, ...]


_STAR_D: Final = "https://doi.org/10.1176/appi.ajp.163.1.28"
_RIEDEL: Final = "https://doi.org/10.1016/j.jpsychires.2010.03.006"

_SCALES: Final = (
    DepressionScale(
        "MADRS",
        "clinician",
        60,
        (
            Cutoff(
                10,
                "Zimmerman 2004, J Psychiatr Res 38:577: HAM-D17 of 7 or less corresponds to 10 "
                "or less (11 or less when patients in episode are counted)",
                "https://www.biopsychiatry.com/depression-scales.htm",
                "secondary",
            ),
            Cutoff(
                12,
                "esketamine trials (TRANSFORM-3, day 28)",
                "https://pmc.ncbi.nlm.nih.gov/articles/PMC7894501/table/cpt2024-tbl-0002",
                "table",
            ),
            Cutoff(
                9,
                "Hawley 2002, J Affect Disord (below 10, against the CGI-S); Zimmerman 2004, "
                "J Clin Psychiatry 65:163 (9 or less, broad definition; 4, narrow)",
                "https://pubmed.ncbi.nlm.nih.gov/12200208/",
                "abstract",
            ),
            Cutoff(7, "Riedel 2010, against a CGI-S of 1, in-patients", _RIEDEL, "abstract"),
        ),
    ),
    DepressionScale(
        "HAM-D17",
        "clinician",
        52,
        (
            Cutoff(7, "Trivedi 2006 (STAR*D, primary outcome)", _STAR_D, "abstract"),
            Cutoff(6, "Riedel 2010, against a CGI-S of 1, in-patients", _RIEDEL, "abstract"),
        ),
    ),
    DepressionScale(
        "QIDS-SR16",
        "self",
        27,
        (Cutoff(5, "Trivedi 2006 (STAR*D, secondary outcome)", _STAR_D, "abstract"),),
    ),
    DepressionScale(
        "PHQ-9",
        "self",
        27,
        (
            Cutoff(
                4,
                "below 5: common treatment metrics compared in two health systems",
                "https://doi.org/10.1176/appi.ps.201900295",
                "abstract",
            ),
        ),
    ),
    DepressionScale(
        "BDI",
        "self",
        63,
        (Cutoff(12, "Riedel 2010, against a CGI-S of 1, in-patients", _RIEDEL, "abstract"),),
    ),
    DepressionScale(
        "BDI-II",
        "self",
        63,
        (
            Cutoff(
                13,
                "the minimal range of its manual (Beck, Steer and Brown 1996), not validated as "
                "remission",
                "https://www.doctorabel.us/depression-therapy/assessment-of-severe-depression.html",
                "secondary",
            ),
        ),
    ),
)

#: All scales by name.
SCALES: Final[Mapping[str, DepressionScale]] = MappingProxyType(
    {scale.name: scale for scale in _SCALES}
)


def scale_named(name: str) -> DepressionScale:
    """Return the scale of that name.

    Parameters
    ----------
    name : str
        One of :data:`SCALES`.

    Raises
    ------
    InputError
        For any other name.
    """
    if name not in SCALES:
        raise InputError(f"scale is {name!r}; choose one of {', '.join(SCALES)}")
    return SCALES[name]
