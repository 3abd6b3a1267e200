"""Whether a logistic likelihood has a finite maximum (Albert & Anderson 1984, Biometrika 71:1).

It has none exactly when some combination of the moderators is at no study against
the data: positive or zero where all are events, negative or zero where none are,
zero where there are both, and not zero everywhere. Random effects do not alter this.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from ketacast.errors import ConvergenceError
from ketacast.numerics.binomial.likelihood import BinomialData

#: The combination's coefficients are bounded by 1 and the columns orthonormal; the
#: linear program's own tolerance is 1e-7.
RESOLUTION: Final = 1e-6
#: Sizes below this are rounding: the columns are orthonormal.
RANK_TOLERANCE: Final = 1e-10


def is_separated(data: BinomialData) -> bool:
    """Tell whether the log-odds can grow without limit, by linear programming.

    Raises
    ------
    ConvergenceError
        If the linear program fails.
    """
    # Imported where it is needed: almost no fit asks, and loading it takes a while.
    from scipy.optimize import linprog  # noqa: PLC0415

    p = data.basis.shape[1]
    mixed = data.basis[data.mixed]
    free = np.eye(p)
    if mixed.size:
        _, size, directions = np.linalg.svd(mixed, full_matrices=True)
        rank = int(np.count_nonzero(size > RANK_TOLERANCE))
        free = directions[rank:].T
    if free.shape[1] == 0:
        return False
    sign = np.where(data.events > 0.0, 1.0, -1.0)[~data.mixed]
    toward = sign[:, None] * (data.basis[~data.mixed] @ free)
    # Only their directions matter, and the program's tolerance is absolute.
    length = np.linalg.norm(toward, axis=1)
    seen = length > RANK_TOLERANCE
    toward = toward[seen] / length[seen, None]
    answer = linprog(
        -toward.sum(axis=0), A_ub=-toward, b_ub=np.zeros(toward.shape[0]), bounds=(-1.0, 1.0)
    )
    if answer.fun is None:
        raise ConvergenceError(
            f"the check for separation failed ({answer.message}); drop or rescale moderators"
        )
    return answer.fun < -RESOLUTION
