"""The words of docs/validation.md that do not depend on the results."""

from __future__ import annotations

from typing import Final

INTRODUCTION: Final = """\
Every cohort family was left out in turn, the model refitted to the others, and the
left-out counts predicted as those of a new clinic at its own covariates, binomial noise
included. Primary rows (one per family and outcome) are the headline; time-course rows
share patients with a primary row and stand apart. All numbers are also in
validation.json beside the model."""

LIMITS: Final = (
    """\
Patients: what is predicted and checked is a cohort's count, not one person's fate.""",
    """\
Independence of the checks: the model's structure and priors were chosen with knowledge
of these cohorts, so leaving one out flatters it somewhat. Only new cohorts can settle
it.""",
    """\
The failed-trials slopes: almost no cohort prints its mean number of failed trials, so
leaving one out says next to nothing about them. They rest on one contrast and on
sceptical priors.""",
    """\
Precision: with so few cohorts even a coverage of 100 % is compatible with intervals that
hold less than their level. Response and remission of one cohort are not independent, so
the bounds of the row that counts both are narrower than they should be.""",
    """\
Raters: a cohort whose rater is unclear is predicted midway between the raters, as the
likelihood has it, not as the mixture of both that a person who answers "unknown" gets.""",
    """\
Courses and clinics under way: answers from statuses or from a clinic's own results were
checked on simulated courses and clinics; no source prints single courses.""",
    """\
Selection: clinics that publish may differ from clinics that do not.""",
)

COVERAGE: Final = """\
Share of the observed counts inside the central predictive interval. 'Ideal' is what a
perfect model would reach: more than the level, because counts are whole numbers and an
interval cannot hold exactly 80 % of them."""

COHORTS: Final = """\
inf.: infusions; seen and pred.: observed and expected events; 80 % and 95 %: predictive
intervals of the count, marked * where the observed count lies outside; PIT: predictive
probability below the observed count (half of its own included)."""

CALIBRATION: Final = """\
An O:E ratio of 1, a difference of 0, a mean PIT of 0.5 and a slope of 1 are ideal. The
O:E ratios weigh patients, so one large cohort can move them; the differences weigh
cohorts. A slope below 1 says that predictions spread more than the truth does."""

SCORES: Final = """\
Log predictive probability of the left-out primary counts, minus that of the same model
with intercepts and between-cohort variances alone (no infusions, rater or failed
trials). Above 0 favours the moderators. 'family' takes all primary counts of a family
together."""

SINGLE: Final = """\
Most trials of one infusion rate within a day or two of it, near its peak; a course is
rated before the next infusion or at its end. The model has one line for both."""

PUBLISHED: Final = """\
Compare the published confidence interval with the average clinic's: both say where the
mean lies. The new-clinic range says where one clinic may lie. The synthesis rests on
other studies too, and mixes raters in its own proportions, so agreement is reassuring
rather than a proof."""

SENSITIVITY: Final = """\
Largest absolute change, against the model itself, of an expected rate and of a bound of
the new-clinic 80 % interval, over 2, 6 and 10 failed trials, all raters and both
outcomes, at 6 infusions. 'at': outcome (resp, rem), rater (s self, c clinician,
u unknown) and failed trials with the largest change."""

SIMULATION: Final = """\
Parameters were drawn from the prior, counts and the contrast simulated at the real
design, and the posterior computed. If model and computation agree, the true value's rank
among the draws is uniform: tested by chi-square over {bins} bins and by Kolmogorov-Smirnov.
'mean' is the mean position (0.5 ideal); the last columns are the coverage of the central
intervals. It checks the computation and says nothing on whether the model is true."""
