"""The paired t-test, for tables of a few seeds."""

import math
from collections.abc import Sequence

import numpy as np

_CELLS = 20_000  # of the numerical integration


def paired_t_test(a: Sequence[float], b: Sequence[float]) -> float:
    """Two-sided p-value of the hypothesis that the pairs' mean difference is 0.

    ``a`` and ``b`` hold the same runs (seeds) in the same order. NaN with fewer than two pairs.
    """
    differences = np.subtract(a, b)
    count = len(differences)
    if count < 2:
        return math.nan
    spread = differences.std(ddof=1) / math.sqrt(count)
    if spread == 0:
        return 1.0 if differences.mean() == 0 else 0.0
    return student_t_tails(abs(differences.mean()) / spread, count - 1)


def student_t_tails(t: float, freedom: int) -> float:
    """P(|T| > t) of Student's distribution.

    With T = sqrt(n) tan(a) the density becomes cos(a)^(n - 1) on (-pi/2, pi/2).
    """
    angle = math.atan(t / math.sqrt(freedom))

    def area(start: float) -> float:
        width = (math.pi / 2 - start) / _CELLS
        middles = start + width * (np.arange(_CELLS) + 0.5)
        return float((np.cos(middles) ** (freedom - 1)).sum() * width)

    return area(angle) / area(0.0)
