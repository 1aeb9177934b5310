"""Paired tests between systems on the same images."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
from scipy import stats

from polyp.evaluation.scores import summary


@dataclass(frozen=True)
class PairedTest:
    """Whether a scores higher than b on the same images.

    units: how many independent ones the images belong to (groups, or the images themselves).
    difference: mean of a − b over the images, with its 95 % interval `low` to `high` by a bootstrap
    of units. effect: matched-pairs rank-biserial correlation, from −1 (b higher everywhere) to 1.
    p: of the two-sided Wilcoxon signed-rank test; both are of the units' means. p_holm: p,
    corrected by Holm.
    """

    a: str
    b: str
    images: int
    units: int
    difference: float
    low: float
    high: float
    effect: float
    p: float
    p_holm: float


def paired_tests(values: dict[str, np.ndarray], units: Sequence[str]) -> list[PairedTest]:
    """A test per pair of systems, {label: float64 [images]}, corrected over all the pairs.

    units: what each image belongs to; images of different units are independent of each other.
    Of values that are true or false, differences are those of shares, and where each image is a
    unit the test is McNemar's (1947). A system without any defined score is in no pair.
    """
    values = {label: each for label, each in values.items() if np.isfinite(each).any()}
    pairs = list(combinations(values, 2))
    # Averages over seeds differ in their last digits where the scores do not.
    differences = [np.round(1.0 * values[a] - values[b], 12) for a, b in pairs]
    # Images at which a score is undefined are no part of a pair's test.
    defined = [np.isfinite(d) for d in differences]
    differences = [d[kept] for d, kept in zip(differences, defined, strict=True)]
    of_pair = [list(np.array(units)[kept]) for kept in defined]
    by_unit = [_means(d, u) for d, u in zip(differences, of_pair, strict=True)]
    p_values = [wilcoxon(means) for means in by_unit]
    p_corrected = holm(p_values)
    tests = []
    for index, (a, b) in enumerate(pairs):
        bootstrapped = summary(differences[index], units=of_pair[index])
        low, high = bootstrapped["ci95"]
        tests.append(
            PairedTest(
                a=a,
                b=b,
                images=len(of_pair[index]),
                units=len(by_unit[index]),
                difference=bootstrapped["mean"],
                low=low,
                high=high,
                effect=rank_biserial(by_unit[index]),
                p=p_values[index],
                p_holm=p_corrected[index],
            )
        )
    return tests


def _means(values: np.ndarray, units: Sequence[str]) -> np.ndarray:
    """The mean over the images of each unit: float64 [units]."""
    _, unit = np.unique(units, return_inverse=True)
    return np.bincount(unit, values) / np.bincount(unit)


def wilcoxon(differences: np.ndarray) -> float:
    """Two-sided p of the signed-rank test (Wilcoxon, 1945); zeros are dropped, as he did.

    Without any difference other than zero, p is 1.
    """
    differences = differences[differences != 0]
    if not differences.size:
        return 1.0
    result: Any = stats.wilcoxon(differences)  # scipy does not say of which type
    return float(result.pvalue)


def rank_biserial(differences: np.ndarray) -> float:
    """Matched-pairs rank-biserial correlation (Kerby, 2014), zeros dropped; 0 if all are.

    The share of the rank sum on the positive side minus that on the negative.
    """
    differences = differences[differences != 0]
    if not differences.size:
        return 0.0
    ranks = stats.rankdata(np.abs(differences))
    return float((ranks * np.sign(differences)).sum() / ranks.sum())


def holm(p_values: Sequence[float]) -> list[float]:
    """p values corrected by Holm's step-down procedure (1979), in the order given.

    The smallest of m is multiplied by m, the next by m − 1, …; none is less than one before it,
    and none more than 1.
    """
    adjusted = [0.0] * len(p_values)
    running = 0.0
    for rank, index in enumerate(np.argsort(p_values, kind="stable")):
        running = max(running, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = running
    return adjusted
