"""Maximum of the binomial-normal likelihood: Newton's method, checked by finer quadrature."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np
from scipy.special import expit

from ketacast.arrays import FloatArray
from ketacast.errors import ConvergenceError
from ketacast.numerics.binomial.likelihood import (
    BinomialData,
    LikelihoodPoint,
    Rule,
    even_rule,
    gamma_steps,
    hermite_rule,
    logistic_point,
    mixed_point,
)
from ketacast.numerics.binomial.separation import is_separated

#: A finer rule must move no estimate by more than this many standard errors.
NODE_TOLERANCE: Final = 1e-7
#: Evenly spaced rules take over where doubled Gauss-Hermite nodes disagree.
FIRST_EVEN: Final = 64
#: Enough for a between-study SD of LARGEST_TAU; their number is doubled up to here.
MOST_EVEN: Final = 8192
#: Newton stops when its step, in units of each coefficient's standard error,
#: is below this; its error is then the square of it.
LAST_STEP: Final = 1e-4
MAX_STEPS: Final = 100
#: Steps shorter than this many standard errors are taken whole: close to the
#: root of the score, quadrature error makes the value a poorer guide than it.
WHOLE_STEP: Final = 0.05
#: A between-study SD, in logits, beyond which no counts can tell one from another.
LARGEST_TAU: Final = 100.0
#: A between-study SD below this share of the smallest sampling SD is zero.
NEGLIGIBLE_TAU: Final = 1e-4
#: A start with a between-study SD above this, where Gauss-Hermite nodes have nothing
#: to say, begins with so many evenly spaced ones per logit of it.
SMOOTH_TAU: Final = 5.0
NODES_PER_LOGIT: Final = 40.0
#: The between-study SDs where the search for starts looks: from this share of the
#: smallest sampling SD up to so many logits.
START_SHARE: Final = 0.3
START_HIGHEST: Final = 8.0
START_POINTS: Final = 6
#: Nodes for comparing starts, which needs no accuracy.
START_NODES: Final = 7
#: What a positive tau must gain in log-likelihood over tau = 0: less is within the
#: accuracy of the integrals, and moves tau2 by less than a ten-thousandth of the
#: sampling variances.
LEAST_GAIN: Final = 1e-9
#: Expected opposite outcomes in an all-or-nothing study below which the search for
#: a maximum asks whether there is one.
SUSPICIOUS: Final = 1e-3


def fit_logistic(data: BinomialData) -> LikelihoodPoint:
    """Maximise the likelihood at tau = 0 (plain logistic regression).

    Raises
    ------
    ConvergenceError
        If there is no finite maximum (separation), or none was reached.
    """
    p = data.basis.shape[1]
    share = (data.events.sum() + 0.5) / (data.n.sum() + 1.0)
    gamma = np.log(share / (1.0 - share)) * data.basis.sum(axis=0)
    point = logistic_point(data, gamma)
    settled = False
    for _ in range(MAX_STEPS):
        step = newton_step(point, p)
        point, length = _advance(lambda at: logistic_point(data, at), point, step)
        settled = length <= LAST_STEP**2
        if settled:
            break
    _refuse_separation(data, point, settled=settled)
    return point


def _refuse_separation(data: BinomialData, point: LikelihoodPoint, *, settled: bool) -> None:
    if settled and data.mixed.all():
        return
    eta = data.basis @ point.theta[:-1]
    # An all-or-nothing study whose probability is 1e-3 / n from its limit may be on its
    # way to infinity.
    opposite = np.where(data.events > 0.0, -eta, eta)
    suspicious = ~data.mixed & (opposite < np.log(SUSPICIOUS / data.n))
    if (suspicious.any() or not settled) and is_separated(data):
        raise ConvergenceError(
            "the log-odds grow without limit (separation): some combination of moderators "
            "splits studies with all events from studies with none; drop or merge moderators, "
            "or pool arms"
        )
    if not settled:
        raise ConvergenceError(
            f"logistic regression did not settle in {MAX_STEPS} steps; centre the moderators or "
            "drop one"
        )


def fit_mixed(
    data: BinomialData, fixed: LikelihoodPoint, nodes: int, start: FloatArray | None = None
) -> LikelihoodPoint | None:
    """Maximise over (gamma, tau) from the best start; None if tau > 0 gains nothing.

    Parameters
    ----------
    data : BinomialData
        The data.
    fixed : LikelihoodPoint
        The maximum at tau = 0.
    nodes : int
        Gauss-Hermite nodes to begin with.
    start : ndarray, shape (p + 1,), optional
        A further start.

    Raises
    ------
    ConvergenceError
        If tau grows without limit, or no maximum was reached.
    """
    starts = _starts(data, fixed, start)
    least = fixed.value + LEAST_GAIN
    climbed = [_refined(data, theta, nodes, least) for theta in starts]
    best = max((at for at in climbed if at), key=lambda at: at.value, default=None)
    if best is not None and best.value <= least:
        best = None
    endless = best is not None and float(best.theta[-1]) > LARGEST_TAU
    if not data.mixed.any():
        # Nothing but all or none: the likelihood may rise for ever past a local maximum.
        top = fixed.value if best is None else best.value
        endless |= fit_at_tau(data, _far(fixed), nodes).value > top + LEAST_GAIN
    if endless:
        raise ConvergenceError(
            f"the between-study standard deviation grows without limit (beyond {LARGEST_TAU:g} "
            "logits): nearly every study has all events or none; pool arms or fit without "
            "random effects"
        )
    return best


def _starts(
    data: BinomialData, fixed: LikelihoodPoint, further: FloatArray | None
) -> list[FloatArray]:
    """Points from which to climb: the local maxima of a coarse profile in tau."""
    probability = expit(data.basis @ fixed.theta[:-1])
    information = float(np.max(data.n * probability * (1.0 - probability)))
    lowest = min(START_SHARE / np.sqrt(information), 0.1 * START_HIGHEST)
    tau = np.geomspace(lowest, START_HIGHEST, START_POINTS)
    # Averaging over the random effect flattens log-odds by about this factor.
    flattened = np.sqrt(1.0 + 0.35 * tau**2)
    thetas = np.column_stack([flattened[:, None] * fixed.theta[:-1], tau])
    if further is not None:
        thetas = np.vstack([further, thetas])
    rule = hermite_rule(START_NODES)
    first, _, steps = gamma_steps(data, thetas, rule)
    moved = thetas.copy()
    moved[:, :-1] += steps
    values, gains, steps = gamma_steps(data, moved, rule)
    better = values >= first
    moved[:, :-1] += steps
    thetas = np.where(better[:, None], moved, thetas)
    values = np.where(better, values + gains, first)
    own = values[-START_POINTS:]
    ahead, behind = np.append(own[1:], -np.inf), np.insert(own[:-1], 0, fixed.value)
    chosen = (own >= behind) & (own >= ahead)
    # A likelihood that rises from tau = 0 has a maximum before or beyond the first point.
    chosen[0] |= float(fixed.hessian[-1, -1]) > 0.0 and own[0] < fixed.value
    starts: list[FloatArray] = []
    if further is not None and values[0] >= own.max():
        # It stands for the highest of them, whose hill it is on.
        chosen[np.argmax(own)] = False
        starts.append(thetas[0])
    starts += [_summit(thetas[-START_POINTS:], own, int(i)) for i in np.flatnonzero(chosen)]
    return starts


def _summit(thetas: FloatArray, values: FloatArray, i: int) -> FloatArray:
    """Top of the parabola in log tau through a local maximum and its neighbours."""
    if not 0 < i < values.size - 1:
        return np.array(thetas[i])
    left, right = float(values[i] - values[i - 1]), float(values[i] - values[i + 1])
    shift = 0.5 * (left - right) / (left + right) if left + right > 0.0 else 0.0
    # Coefficients grow with tau smoothly enough for a straight line.
    neighbour = thetas[i + 1] if shift > 0.0 else thetas[i - 1]
    start: FloatArray = thetas[i] + abs(shift) * (neighbour - thetas[i])
    start[-1] = thetas[i, -1] * (thetas[i + 1, -1] / thetas[i, -1]) ** shift
    return start


def _far(fixed: LikelihoodPoint) -> FloatArray:
    # For large tau the coefficients grow in proportion to it.
    return np.append(fixed.theta[:-1] * np.sqrt(1.0 + 0.35 * LARGEST_TAU**2), LARGEST_TAU)


def fit_at_tau(data: BinomialData, start: FloatArray, nodes: int) -> LikelihoodPoint:
    """Maximise over gamma with tau > 0 held at ``start[-1]``."""
    point = _refined(data, start, nodes, None)
    if point is None:
        raise ConvergenceError(f"tau = {float(start[-1])!r} cannot be told from 0; use 0")
    return point


def _refined(
    data: BinomialData, start: FloatArray, nodes: int, least: float | None
) -> LikelihoodPoint | None:
    """Climb with one rule, check with a finer one, until they agree.

    With `least`, over (gamma, tau), and None if that likelihood is not exceeded or tau
    shrinks to 0; without, over gamma alone.
    """
    free = start.size - (least is None)
    rule, finer, count = hermite_rule(nodes), hermite_rule(2 * nodes), FIRST_EVEN
    if float(start[-1]) > SMOOTH_TAU:
        count = 2 ** int(np.ceil(np.log2(NODES_PER_LOGIT * float(start[-1]))))
        rule, finer, count = even_rule(count), even_rule(2 * count), 2 * count
    point = mixed_point(data, start, rule)
    while True:
        climbed = _climb(data, point, rule, free)
        if climbed is None:
            return None
        check = mixed_point(data, climbed.theta, finer)
        beyond = float(check.theta[-1]) > LARGEST_TAU
        if beyond or _length(newton_step(check, free), check) <= NODE_TOLERANCE:
            return check
        if least is not None and finer.even and check.value <= least:
            return None
        if count > MOST_EVEN:
            raise ConvergenceError(
                f"maximum likelihood did not settle with {MOST_EVEN} nodes: the between-study "
                f"standard deviation ({float(check.theta[-1]):.3g} logits) is hardly bounded by "
                "these counts; pool arms or fit without random effects"
            )
        rule, finer, count = even_rule(count), even_rule(2 * count), 2 * count
        point = mixed_point(data, check.theta, rule)


def _climb(
    data: BinomialData, point: LikelihoodPoint, rule: Rule, free: int
) -> LikelihoodPoint | None:
    """Newton's method until it settles, or stalls because the integrals are too rough.

    None if tau becomes too small to matter.
    """
    smallest = smallest_tau(data)
    fixed_part = point.theta[free:]

    def evaluate(moved: FloatArray) -> LikelihoodPoint:
        return mixed_point(data, np.append(moved, fixed_part), rule)

    for _ in range(MAX_STEPS):
        step = newton_step(point, free)
        following, length = _advance(evaluate, point, step)
        stalled = following is point
        point = following
        tau = float(point.theta[-1])
        if tau < smallest:
            return None
        if stalled or length <= LAST_STEP or tau > LARGEST_TAU:
            break
    return point


def smallest_tau(data: BinomialData) -> float:
    """Between-study SD that cannot be told from 0: moments of z would lose their digits."""
    return NEGLIGIBLE_TAU / float(np.sqrt(data.n.max()))


def newton_step(point: LikelihoodPoint, free: int) -> FloatArray:
    """Newton's step in the first `free` parameters, always uphill.

    Negative curvature is reflected, and a floor keeps a flat direction from throwing
    the search away.
    """
    values, vectors = np.linalg.eigh(point.hessian[:free, :free])
    size = np.abs(values)
    floor = 1e-13 * size.max() + np.finfo(float).tiny
    along = (point.score[:free] @ vectors) / np.maximum(size, floor)
    step: FloatArray = vectors @ along
    return step


def _advance(
    evaluate: Callable[[FloatArray], LikelihoodPoint], point: LikelihoodPoint, step: FloatArray
) -> tuple[LikelihoodPoint, float]:
    """Take the step, halved until the likelihood does not fall; tell its length in SEs."""
    start = point.theta[: step.size]
    length = _length(step, point)
    if length < WHOLE_STEP:
        return evaluate(start + step), length
    for halving in range(40):
        candidate = evaluate(start + step * 0.5**halving)
        if candidate.value >= point.value:
            return candidate, length
    return point, length


def _length(step: FloatArray, point: LikelihoodPoint) -> float:
    information = point.hessian[: step.size, : step.size]
    return float(np.sqrt(np.abs(step @ information @ step)))
