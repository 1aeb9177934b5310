"""Differences between systems on the same images, and the p values of a declared family."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np

from polyp.errors import UserError
from polyp.report.bootstrap import SEEDS, Difference, cluster_interval, paired_difference
from polyp.report.measures import MEASURES
from polyp.report.mixed import UNITS, MixedModel, mixed_model, scores_frame
from polyp.report.sections import Section
from polyp.report.systems import System

Pair = tuple[str, str]  # labels of systems


@dataclass(frozen=True)
class Comparison:
    """How much higher a scores than b, on the images where the measure is defined for all runs.

    measure: a name of `polyp.report.measures`. declared: it belongs to the family of tests.
    p_holm: p corrected over the family. second_opinion: by a mixed model, if both systems have at
    least three seeds. over_folds: the interval of the difference with the folds of a
    cross-validation as the random sample, in place of seeds and units.
    """

    a: System
    b: System
    measure: str
    estimate: Difference
    declared: bool
    p_holm: float | None = None
    second_opinion: MixedModel | None = None
    over_folds: tuple[float, float] | None = None

    @property
    def p(self) -> float | None:
        """None if it was not declared, or one system has fewer than three seeds."""
        return self.estimate.p if self.declared else None


def compare_systems(
    sections: Sequence[Section],
    declared: Sequence[Pair] | None,
    measures: Sequence[str],
    outlier_dice: float,
) -> list[list[Comparison]]:
    """The comparisons of each section.

    declared: the pairs to test, for each measure and on each test set that has both systems; p
    values are corrected over all of them. None: all pairs, without p values.
    """
    found = []
    for section in sections:
        systems = {system.label: system for system in section.systems}
        pairs = list(combinations(systems, 2)) if declared is None else declared
        found.append(
            [
                comparison
                for measure in measures
                for a, b in pairs
                if a in systems and b in systems
                if (
                    comparison := _compare(
                        systems[a], systems[b], measure, section, outlier_dice, declared is not None
                    )
                )
            ]
        )
    corrected = iter(holm([each.p for comparisons in found for each in comparisons]))
    return [[replace(each, p_holm=next(corrected)) for each in made] for made in found]


def _compare(
    a: System, b: System, measure: str, section: Section, outlier_dice: float, declared: bool
) -> Comparison | None:
    """None if a run does not have the measure, or it is not defined in all runs for any image."""
    of_a, of_b = a.values(measure, outlier_dice), b.values(measure, outlier_dice)
    if of_a is None or of_b is None:
        return None
    defined = np.isfinite(np.concatenate([of_a, of_b])).all(axis=0)
    if not defined.any():
        return None
    units = np.array(section.units)[defined]
    of_a, of_b = of_a[:, defined], of_b[:, defined]
    estimate = paired_difference(of_a, of_b, units)
    second = None
    if declared and min(estimate.seeds) >= SEEDS and 2 <= estimate.units <= UNITS:
        second = mixed_model(scores_frame({a.label: of_a, b.label: of_b}, units), a.label, b.label)
    over_folds = None
    if section.folds:
        by_image = of_a.mean(axis=0) - of_b.mean(axis=0)
        over_folds = cluster_interval(by_image, np.array(section.folds)[defined])
    return Comparison(a, b, measure, estimate, declared, None, second, over_folds)


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """p values corrected by Holm's step-down procedure (1979), in the order given.

    The smallest of m values is multiplied by m, the next by m − 1, and so on. Each corrected value
    is at least as large as the one before it, and at most 1. None is a comparison without a test.
    """
    adjusted: list[float | None] = [None] * len(p_values)
    running = 0.0
    tested = sorted((p, index) for index, p in enumerate(p_values) if p is not None)
    for rank, (p, index) in enumerate(tested):
        running = max(running, min(1.0, (len(tested) - rank) * p))
        adjusted[index] = running
    return adjusted


def check_declaration(pairs: Sequence[Sequence[str]] | None, measures: Sequence[str]) -> None:
    """Checks `comparisons` and `measures` of the config.

    Raises:
        UserError: a measure is unknown, or something is compared twice or with itself.
    """
    unknown = [name for name in measures if name not in MEASURES]
    if unknown or not measures or len(set(measures)) < len(measures):
        raise UserError(
            f"measures={list(measures)}: must be some of {', '.join(MEASURES)}, each once"
        )
    different = {frozenset(pair) for pair in pairs or []}
    if len(different) < len(pairs or []) or any(len(pair) != 2 for pair in different):
        raise UserError(
            f"comparisons={[list(pair) for pair in pairs or []]}: must be pairs of different "
            "systems, each once, such as [[A,B],[A,C]]"
        )


def missing_pairs(sections: Sequence[Section], declared: Sequence[Pair]) -> list[str]:
    """A line that names the declared pairs of systems that no test set has; no line if there are
    none."""
    known = _labels(sections)
    missing = [pair for pair in declared if not any({*pair} <= labels for labels in known)]
    if not missing:
        return []
    pairs = "; ".join(f"{a} − {b}" for a, b in missing)
    return [
        f"comparisons of which no test set has both systems: {pairs}. The systems are "
        f"{_listed(known)}"
    ]


def missing_systems(sections: Sequence[Section], shown: Sequence[str]) -> list[str]:
    """A line that names those of the shown systems that no test set has; no line if there are
    none."""
    known = _labels(sections)
    missing = [label for label in shown if not any(label in labels for labels in known)]
    if not missing:
        return []
    return [
        f"figures of systems that no test set has: {'; '.join(missing)}. The systems are "
        f"{_listed(known)}"
    ]


def _labels(sections: Sequence[Section]) -> list[set[str]]:
    return [{system.label for system in section.systems} for section in sections]


def _listed(labels: Sequence[set[str]]) -> str:
    return "; ".join(sorted(set().union(*labels)))
