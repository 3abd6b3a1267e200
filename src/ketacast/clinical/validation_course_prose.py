"""The words of the validation page on courses, durability and updating."""

from __future__ import annotations

from typing import Final

MIDCOURSE: Final = """\
{courses} courses of {planned} infusions were simulated (seed {seed}), each in a clinic of
its own: coefficients, variances and the clinic's effects from posterior points that the
answers do not use, a clinic's w from the dynamics, a patient with 3 or 8 failed trials,
rated by the patient, a clinician or, told to the model as unknown, either. After 1 to 5
infusions the model answered from the statuses so far; its chance at the planned end
stands against the status there."""

MIDCOURSE_COLUMNS: Final = """\
known: statuses known; pred. and seen: mean predicted chance and share of courses; slope:
of the outcome on the predicted logit (1 ideal; below 1, chances are too extreme); Brier:
mean squared error, 'alone' without the statuses; gain: log score per course over the
answer without the statuses; 80 % and 95 %: how many of 100 new-clinic ranges held the
chance in the patient's own clinic, given the same statuses."""

MIDCOURSE_MEANING: Final = """\
It checks the computation and says nothing on whether patients are tied as the model has
it: only single courses can show that, and the evidence holds three small tables."""

TENTHS: Final = """\
Courses from the model itself, in tenths of the scale of predicted chances, with exact
binomial bounds of the share seen."""

WRONG: Final = """\
The same clinics and patients with weaker ties, or with ties that fade, while the model
answers as it does. Columns as above."""

TABLES: Final = """\
Each 2 x 2 table of early by final status is predicted from the w that the other tables
give for a new clinic, its margins taken as they are. early yes, early no: final status
reached among patients with and without the early one; both: patients with both, and
their predicted number with its ranges (* where the number lies outside); w: the median
that the others give, and the mean with this table. Three tables cannot test much."""

OTHER: Final = """\
Expected chance after {planned} infusions, {failed} failed trials, rater unknown, by the
statuses so far, under the model's ties, w halved on the logit scale, and a correlation
that falls with |log2 k - log2 j| (dec.: by 0.25, 0.5, 1 in its logarithm per doubling).
Ranges are in validation.json."""

DURABILITY: Final = """\
Share of responders still in response without maintenance, expected and new-clinic 80 %
range; kept: expected weeks in response up to the model's horizon. Each further line
changes rows or priors as it says."""

UPDATING: Final = """\
Clinics were simulated (their number stands in each heading; seed {seed}) and the model
updated with their counts; the table says how often the updated ranges held the clinic's true rate,
how wide they were, and by how much the expected rate lay above the true one."""

CLINICS: Final = {
    "model": "Clinics from the model itself",
    "three_tau": "Clinics whose response effect is 3 tau from the mean",
    "slope_flipped": "Clinics with both failed-trials slopes of the opposite sign",
}
