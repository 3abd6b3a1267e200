"""Courses, durability and updating in the validation's words and tables."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from ketacast.clinical import validation_course_prose as prose
from ketacast.clinical.validation_section import Section, limits, percent, two_decimals
from ketacast.options import OUTCOMES

Record = Mapping[str, Any]

ALARM: Final = 0.05
"""Bonferroni p-value below which chances are called not calibrated."""

_SHOWN: Final = 3
"""Statuses known in the table of tenths, and in sentences."""

_SHOWN_WRONG: Final = (1, 3, 5)


def further_sections(further: Record) -> tuple[Section, ...]:
    """Lay out the sections that are there, in the order of the page."""
    makers: dict[str, Callable[[Any], tuple[Section, ...]]] = {
        "midcourse": _midcourse,
        "dynamics_check": _dynamics,
        "durability_sensitivity": _durability,
        "updating": _updating,
    }
    made = [make(further[name]) for name, make in makers.items() if name in further]
    return tuple(section for part in made for section in part)


def _midcourse(studies: Sequence[Record]) -> tuple[Section, ...]:
    right, *wrong = studies
    before = prose.MIDCOURSE.format(
        courses=right["courses"], planned=right["planned"], seed=right["seed"]
    )
    checks = right["checks"]
    least = min(check["chi_square_p"] for check in checks)
    corrected = min(1.0, least * len(checks))
    words = "no sign of" if corrected >= ALARM else "a clear sign of"
    verdict = (
        f"Smallest of {len(checks)} p-values of observed against predicted counts by tenths "
        f"{least:.3f}, times their number {corrected:.2f}: {words} miscalibration."
    )
    shown = tuple(_tenths_lines(checks))
    return (
        Section(
            "Part of the way through a course: simulated courses",
            (before, prose.MIDCOURSE_COLUMNS),
            tuple(_check_lines(checks, heading=True)),
            (verdict, prose.MIDCOURSE_MEANING),
        ),
        Section(
            f"Predicted chances by tenths, {_SHOWN} statuses known",
            (prose.TENTHS,),
            shown,
        ),
        Section(
            "When the ties within a patient are not the model's",
            (prose.WRONG,),
            tuple(_wrong_lines(wrong)),
            tuple(_wrong_verdict(study, right) for study in wrong),
        ),
    )


def _check_lines(checks: Sequence[Record], *, heading: bool) -> list[str]:
    lines = []
    if heading:
        lines.append(
            f"{'known':<6}{'outcome':<10}{'pred.':>6}{'seen':>6} {'slope (SE)':<12}"
            f"{'Brier':>6}{'alone':>7}  {'gain (SE)':<14}{'80 %':>5}{'95 %':>5}"
        )
    for one in checks:
        slope = f"{one['slope']:.2f} ({one['slope_se']:.2f})"
        gain = f"{one['gain']:.3f} ({one['gain_se']:.3f})"
        held = [f"{100 * part['share']:.0f}" for part in one["coverage"]]
        lines.append(
            f"{one['known']:<6}{one['outcome']:<10}{one['expected']:>6.3f}{_seen(one):>6.3f} "
            f"{slope:<12}{one['brier']:>6.3f}{one['brier_before']:>7.3f}  {gain:<14}"
            f"{held[0]:>5}{held[1]:>5}"
        )
    return lines


def _tenths_lines(checks: Sequence[Record]) -> list[str]:
    lines = [f"{'':<10}{'chance':>8}{'courses':>9}{'predicted':>11}{'seen':>7}  exact 95 % bounds"]
    for one in checks:
        if one["known"] == _SHOWN:
            lines += [
                f"{one['outcome']:<10}{_tenth(part):>8}{part['courses']:>9}"
                f"{part['expected']:>11.3f}{_seen(part):>7.3f}  "
                f"{limits((part['observed_low'], part['observed_high']))}"
                for part in one["tenths"]
            ]
    return lines


def _wrong_lines(studies: Sequence[Record]) -> list[str]:
    lines = _check_lines((), heading=True)
    for study in studies:
        lines.append(f"{study['title']}:")
        chosen = [one for one in study["checks"] if one["known"] in _SHOWN_WRONG]
        lines += _check_lines(chosen, heading=False)
    return lines


def _wrong_verdict(study: Record, right: Record) -> str:
    """Say what the error does after three statuses."""
    one, base = (
        next(c for c in s["checks"] if c["known"] == _SHOWN and c["outcome"] == "response")
        for s in (study, right)
    )
    ends = [part for part in one["tenths"] if part["courses"] >= 100] or list(one["tenths"])
    low, high = ends[0], ends[-1]
    wide = next(part for part in one["coverage"] if part["level"] == 0.80)
    worse = [
        str(c["known"]) for c in study["checks"] if c["outcome"] == "response" and c["gain"] < 0
    ]
    if worse:
        score = f"With {' or '.join(worse)} known it is worse than the answer without the statuses."
    else:
        kept = percent(one["gain"] / base["gain"])
        score = f"The statuses still improve the log score, by {kept} of what they should."
    return (
        f"{study['title']}. After {_SHOWN} statuses, where {percent(low['expected'])} response "
        f"was predicted {percent(_seen(low))} responded, and where {percent(high['expected'])} "
        f"was predicted {percent(_seen(high))}; the 80 % range held the clinic's own chance in "
        f"{percent(wide['share'])}. {score}"
    )


def _dynamics(check: Record) -> tuple[Section, ...]:
    return (
        Section(
            "Course dynamics: every early-change table from the others",
            (prose.TABLES,),
            tuple(_table_lines(check["tables"])),
            tuple(_table_words(table) for table in check["tables"]),
        ),
        Section(
            "Course dynamics: what other ties would answer",
            (prose.OTHER.format(failed=check["failed_trials"], planned=check["planned"]),),
            tuple(_answer_lines(check["answers"])),
            (_answer_words(check["answers"]),),
        ),
    )


def _table_lines(tables: Sequence[Record]) -> list[str]:
    head = f"{'':<13}{'early yes':>10}{'early no':>10}{'both':>5}{'pred.':>6}{'80 %':>7}{'95 %':>7}"
    lines = [f"{head}{'PIT':>6}{'w others':>10}{'w own':>6}"]
    for table in tables:
        yes_yes, yes_no, no_yes, no_no = table["counts"]
        spans = [
            f"{part['low']}-{part['high']}{'' if part['covered'] else '*'}"
            for part in table["intervals"]
        ]
        lines.append(
            f"{table['family']:<13}{f'{yes_yes}/{yes_yes + yes_no}':>10}"
            f"{f'{no_yes}/{no_yes + no_no}':>10}{yes_yes:>5}{table['expected']:>6.1f}"
            f"{spans[0]:>7}{spans[1]:>7}{table['pit']:>6.2f}"
            f"{table['propensity_others'][0]:>10.2f}{table['propensity_own']:>6.2f}"
        )
    return lines


def _table_words(table: Record) -> str:
    yes_yes, yes_no, no_yes, no_no = table["counts"]
    early, late = yes_yes + yes_no, no_yes + no_no
    # The margins are fixed: whoever is not "yes-yes" of the final yes is "no-yes".
    rest = yes_yes + no_yes - table["expected"]
    wide = table["intervals"][-1]
    verdict = "inside" if wide["covered"] else "outside"
    return (
        f"{table['family']} ({table['early']}; {table['final']}): {percent(yes_yes / early)} of "
        f"those with the early status and {percent(no_yes / late)} of those without; predicted "
        f"{percent(table['expected'] / early)} and {percent(rest / late)}; {verdict} "
        "the 95 % range."
    )


def _answer_lines(answers: Sequence[Record]) -> list[str]:
    kinds = list(dict.fromkeys(one["dynamics"] for one in answers))
    names = "".join(f"{kind.replace('decay', 'dec.'):>11}" for kind in kinds)
    lines = [f"{'':<11}{'so far':<9}{names}"]
    for outcome in OUTCOMES:
        for history in dict.fromkeys(one["history"] for one in answers):
            cells = "".join(
                f"{two_decimals(one[outcome][0]):>11}"
                for one in answers
                if one["history"] == history
            )
            lines.append(f"{outcome:<11}{history:<9}{cells}")
    return lines


def _answer_words(answers: Sequence[Record]) -> str:
    base = {one["history"]: one for one in answers if one["dynamics"] == "model"}
    changes = [
        (abs(one[outcome][0] - base[one["history"]][outcome][0]), one, outcome)
        for one in answers
        for outcome in OUTCOMES
    ]
    size, one, outcome = max(changes, key=lambda change: change[0])
    was, now = base[one["history"]][outcome], one[outcome]
    return (
        f"Largest change {size:.2f}: {outcome} after {one['history']} under {one['dynamics']}, "
        f"{two_decimals(now[0])} [{limits(now[1:])}] in place of {two_decimals(was[0])} "
        f"[{limits(was[1:])}] (expected and new-clinic 80 % range)."
    )


def _durability(checks: Sequence[Record]) -> tuple[Section, ...]:
    shown = (4, 13, 26)
    heads = "".join(f"{f'week {week}':<15}" for week in shown)
    lines = [f"{'':<30}{heads}kept"]
    for one in checks:
        title = textwrap.wrap(one["title"], 28)
        share = dict(zip(one["weeks"], one["share"], strict=True))
        cells = "".join(f"{_range(share[week]):<15}" for week in shown)
        lines.append(f"{title[0]:<30}{cells}{one['weeks_in_response']['expected']:>4.1f}")
        lines += [f"  {line}" for line in title[1:]]
    return (
        Section(
            "Time in response: sensitivity to rows and priors",
            (prose.DURABILITY,),
            tuple(lines),
        ),
    )


def _updating(studies: Sequence[Record]) -> tuple[Section, ...]:
    head = f"{'patients':<10}{'outcome':<11}{'80 % held (SE)':<17}{'width':>6}   "
    lines = [f"{head}{'95 % held (SE)':<17}{'width':>6}{'bias':>8}"]
    for study in studies:
        lines.append(f"{prose.CLINICS[study['scenario']]} ({study['clinics']:,}):")
        rows = {(r["patients"], r["outcome"], r["level"]): r for r in study["coverage"]}
        for patients, outcome in dict.fromkeys((key[0], key[1]) for key in rows):
            narrow, wide = (rows[patients, outcome, level] for level in (0.80, 0.95))
            lines.append(
                f"{patients:<10}{outcome:<11}{_held(narrow):<17}{narrow['width']:>6.2f}   "
                f"{_held(wide):<17}{wide['width']:>6.2f}{narrow['bias']:>+8.3f}"
            )
    first = studies[0]
    before = prose.UPDATING.format(seed=first["seed"])
    after = (
        f"Of {sum(one['updates'] for one in studies)} updates "
        f"{sum(one['refits'] for one in studies)} were refits; in "
        f"{sum(one['refits_compared'] for one in studies)} clinics that were computed both ways "
        f"no bound differed by more than {max(one['refit_gap'] for one in studies):.3f}."
    )
    return (
        Section("A clinic's own results: simulated clinics", (before,), tuple(lines), (after,)),
    )


def _seen(record: Record) -> float:
    share: float = record["events"] / record["courses"]
    return share


def _tenth(part: Record) -> str:
    return f"{part['low']:.1f}-{part['high']:.1f}"


def _range(share: Record) -> str:
    return f"{two_decimals(share['expected'])} {limits(share['new_clinic'][0])}"


def _held(row: Record) -> str:
    return f"{100 * row['share']:.1f} % ({100 * row['se']:.1f})"
