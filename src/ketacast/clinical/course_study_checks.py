"""Whether the course dynamics fit their evidence, and what other dynamics would answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy import special

from ketacast.clinical.calibration import CountInterval, count_interval, mid_p
from ketacast.clinical.course_study import LEVELS, PLANNED
from ketacast.clinical.dynamics import Dynamics, halved_logit
from ketacast.clinical.fit import FittedModel
from ketacast.clinical.midcourse import Condition, midcourse_rates
from ketacast.clinical.parallel import Progress, map_in_order
from ketacast.clinical.rates import Coding, components
from ketacast.numerics.draws import EqualDraws
from ketacast.numerics.propensity import condition_on_history
from ketacast.numerics.propensity_decay import condition_with_decay
from ketacast.numerics.propensity_fit import fit_propensity
from ketacast.numerics.propensity_table import table_log_likelihood

Float = NDArray[np.float64]

HISTORIES: Final = ("N", "R", "M", "NN", "NNN", "NNR", "NNNNN")
DECAYS: Final = (0.25, 0.5, 1.0)
"""Falls of the log correlation per doubling: it keeps 78, 61 and 37 %."""

NODES: Final = 16
"""Even quantiles of w over which a table is predicted."""


@dataclass(frozen=True, slots=True)
class TableCheck:
    """One table of early by final status, predicted from the other tables.

    Attributes
    ----------
    family, early, final : str
        Whose, and what was rated when.
    counts : (int, int, int, int)
        Patients yes-yes, yes-no, no-yes, no-no.
    propensity_others : (float, float, float)
        Median and 80 % interval of a new clinic's w given the other tables.
    propensity_own : float
        Posterior mean of this table's w given all of them.
    expected : float
        Predicted number yes-yes, given the table's margins.
    intervals : tuple of CountInterval
        Of that number, at 80 and 95 %.
    pit : float
        Predictive probability of fewer yes-yes (half of the observed number included).
    """

    family: str
    early: str
    final: str
    counts: tuple[int, int, int, int]
    propensity_others: tuple[float, float, float]
    propensity_own: float
    expected: float
    intervals: tuple[CountInterval, ...]
    pit: float


@dataclass(frozen=True, slots=True)
class DynamicsAnswer:
    """Chances at the planned end under other dynamics, rater unknown.

    Attributes
    ----------
    dynamics, history : str
        Which dynamics, and the statuses so far.
    response, remission : (float, float, float)
        Expected chance and new-clinic 80 % interval.
    effective : float
        Effective number of draws, per component.
    """

    dynamics: str
    history: str
    response: tuple[float, float, float]
    remission: tuple[float, float, float]
    effective: float


@dataclass(frozen=True, slots=True)
class DynamicsCheck:
    """Tables and answers; see :func:`check_dynamics`."""

    failed_trials: int
    planned: int
    tables: tuple[TableCheck, ...]
    answers: tuple[DynamicsAnswer, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain dictionary for the validation file."""
        return asdict(self)


def check_dynamics(
    model: FittedModel,
    dynamics: Dynamics,
    *,
    histories: Sequence[str] = HISTORIES,
    n_jobs: int = 1,
    progress: Progress | None = None,
) -> DynamicsCheck:
    """Predict every early-change table from the others; repeat answers with other dynamics.

    Parameters
    ----------
    model : FittedModel
        Gives the marginal rates.
    dynamics : Dynamics
        Its course dynamics.
    histories : sequence of str
        Statuses so far for which answers are compared.
    n_jobs : int
        Processes; the result does not depend on it.
    progress : callable, optional
        Told after every piece.

    Returns
    -------
    DynamicsCheck
        Without tables if there are fewer than two.

    Raises
    ------
    ConvergenceError
        If a posterior does not settle.

    Notes
    -----
    Both margins of a table are taken as they are, so that only the tie between the
    statuses is tested: the probability of each table with these margins is its
    likelihood (probit margins integrated out) averaged over w.
    """
    tables: list[TableCheck] = []
    if len(dynamics.tables) > 1:
        places = range(len(dynamics.tables))
        work = partial(_table_check, dynamics)
        tables = map_in_order(work, places, n_jobs, progress, "early-change tables")
    failed = round(model.recipe.data.reference_failed_trials)
    answer = partial(_answer, model.draws, model.coding, dynamics.draws(model.draws), failed)
    asked = [(kind, history) for kind in _KINDS for history in histories]
    answers = map_in_order(answer, asked, n_jobs, progress, "other dynamics")
    return DynamicsCheck(failed, PLANNED, tuple(tables), tuple(answers))


def _table_check(dynamics: Dynamics, place: int) -> TableCheck:
    table, priors = dynamics.tables[place], dynamics.rules.priors
    others = [one.counts for i, one in enumerate(dynamics.tables) if i != place]
    posterior = fit_propensity(others, priors)
    w = posterior.new_quantile((np.arange(NODES) + 0.5) / NODES)
    least, pmf = table_probabilities(table.counts, w, priors.margin_sd)
    observed = table.counts[0]
    median, low, high = posterior.new_quantile(np.array([0.5, 0.1, 0.9])).tolist()
    return TableCheck(
        family=table.family,
        early=table.early,
        final=table.final,
        counts=table.counts,
        propensity_others=(median, low, high),
        propensity_own=float(dynamics.posterior.w_mean[place]),
        expected=float(least + np.arange(pmf.size) @ pmf),
        intervals=tuple(_moved(count_interval(pmf, observed - least, at), least) for at in LEVELS),
        pit=mid_p(pmf, observed - least),
    )


def table_probabilities(
    counts: tuple[int, int, int, int], propensity: Float, margin_sd: float
) -> tuple[int, Float]:
    """Predict the number yes-yes of a 2 x 2 table with given margins.

    Parameters
    ----------
    counts : (int, int, int, int)
        Patients yes-yes, yes-no, no-yes, no-no; only the margins count.
    propensity : (m,) float array
        Equally likely values of w.
    margin_sd : float
        SD of the normal priors of the probit margins, > 0.

    Returns
    -------
    least : int
        Smallest possible number.
    probabilities : (k,) float array
        Of `least` and every larger possible number. With w = 0 the hypergeometric
        distribution.
    """
    yes_yes, yes_no, no_yes, no_no = counts
    least = max(0, yes_yes - no_no)
    log_mass = []
    for count in range(least, yes_yes + min(yes_no, no_yes) + 1):
        more = count - yes_yes
        cells = np.array([count, yes_no - more, no_yes - more, no_no + more])
        ways = -special.gammaln(cells + 1.0).sum()
        log_mass.append(
            special.logsumexp(ways + table_log_likelihood(cells, propensity, margin_sd))
        )
    mass = np.exp(np.array(log_mass) - max(log_mass))
    return least, mass / mass.sum()


def _moved(interval: CountInterval, by: int) -> CountInterval:
    return CountInterval(
        interval.level, interval.low + by, interval.high + by, interval.mass, interval.covered
    )


_KINDS: Final[Sequence[tuple[str, float]]] = (
    ("model", 0.0),
    ("halved", 0.0),
    *((f"decay {decay:g}", decay) for decay in DECAYS),
)


def _answer(
    draws: EqualDraws,
    coding: Coding,
    propensity: Float,
    failed: int,
    asked: tuple[tuple[str, float], str],
) -> DynamicsAnswer:
    (name, decay), history = asked
    condition: Condition = condition_on_history
    if decay > 0.0:
        condition = partial(condition_with_decay, decay=decay)
    mixture = components([failed], "unknown")
    rates = midcourse_rates(
        draws,
        halved_logit(propensity) if name == "halved" else propensity,
        coding,
        mixture=mixture,
        history=history,
        planned=PLANNED,
        levels=(LEVELS[0],),
        condition=condition,
    )
    response, remission = ((one[0], one[4], one[5]) for one in rates.at(PLANNED))
    effective = min(rates.average_effective, rates.new_effective / len(mixture))
    return DynamicsAnswer(name, history, response, remission, effective)
