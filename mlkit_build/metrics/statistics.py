"""What chance alone may do to a share of samples: intervals, and a test for two models on the same samples.

A few lines of arithmetic each, so that a build needs no statistics package.
"""

from __future__ import annotations

import math

Z_95 = 1.959963984540054
"""The standard normal's 97.5% quantile: intervals are two-sided and of 95%."""
_EXACT = 20_000
"""Up to so many changed samples the binomial tail is summed; above, the normal distribution differs in no digit shown."""


def wilson(right: int, samples: int) -> tuple[float, float]:
    """Return the 95% interval of a share of `right` among `samples` (Wilson 1927; Newcombe 1998, method 3)."""
    share, z2 = right / samples, Z_95 * Z_95
    centre = (share + z2 / (2 * samples)) / (1 + z2 / samples)
    half = Z_95 * math.sqrt(share * (1 - share) / samples + z2 / (4 * samples * samples)) / (1 + z2 / samples)
    low = 0.0 if right == 0 else max(0.0, centre - half)
    high = 1.0 if right == samples else min(1.0, centre + half)
    return low, high


def mcnemar(lost: int, gained: int) -> float:
    """Return the two-sided mid-p value of McNemar's test: how likely so uneven a change is if neither model is better.

    Of samples that one model has right and the other wrong, each is as likely lost as gained (Fagerland, Lydersen, Laake 2013).
    """
    changed, fewer = lost + gained, min(lost, gained)
    if changed == 0:
        return 1.0
    if changed > _EXACT:
        return math.erfc(abs(lost - gained) / math.sqrt(2 * changed))
    logs = math.lgamma(changed + 1) - changed * math.log(2)
    point = [math.exp(logs - math.lgamma(i + 1) - math.lgamma(changed - i + 1)) for i in range(fewer + 1)]
    return min(1.0, 2 * math.fsum(point) - point[-1])


def drop_interval(lost: int, gained: int, samples: int) -> tuple[float, float]:
    """Return the 95% interval of the drop, as a share of samples (Bonett and Price 2012: Wald's after one more of each)."""
    n = samples + 2
    p, q = (lost + 1) / n, (gained + 1) / n
    half = Z_95 * math.sqrt(max(0.0, p + q - (p - q) ** 2) / n)
    return max(-1.0, p - q - half), min(1.0, p - q + half)
