"""Scores drawn from a hierarchy whose mean is known, and how often intervals cover it."""

from dataclasses import dataclass

import numpy as np
from scipy.special import betaincinv, ndtr

from polyp.report.bootstrap import cluster_interval, hierarchical_interval, paired_difference

SEED, SEQUENCE, INTERACTION, IMAGE = 0.015, 0.12, 0.05, 0.15  # standard deviations


@dataclass(frozen=True)
class Hierarchy:
    """Two systems on the same images; all chances are drawn anew at each `draw`.

    shape: "gaussian" adds normal effects to the mean. "beta" draws scores in [0, 1], skewed towards
    0 as Dice scores are: the mean of a sequence has a beta distribution, and so has an image about
    its sequence. shared: correlation of the two systems' effects of a sequence. Half the variance
    of an image is the image's own, alike in all runs. sizes: images of each sequence.
    training, data: standard deviations of the effects that the sequences of a fold have in common:
    of a training (a fold of a run), and of the training images of a fold (alike in all runs of a
    system). Sequence i is in fold i mod `folds`.
    """

    seeds: int
    sizes: tuple[int, ...]
    shape: str
    means: tuple[float, float] = (0.8, 0.75)
    shared: float = 0.8
    folds: int = 1
    training: float = 0.0
    data: float = 0.0

    @property
    def fold(self) -> np.ndarray:
        """Of each sequence."""
        return np.arange(len(self.sizes)) % self.folds

    def draw(self, generator: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Scores of A and of B, float [seeds, images], and the sequence of each image [images]."""
        unit = np.repeat(np.arange(len(self.sizes)), self.sizes)
        sequence, image = (generator.normal(size=n) for n in (len(self.sizes), len(unit)))
        systems = []
        for mean in self.means:
            own = generator.normal(size=len(self.sizes))
            of_sequence = np.sqrt(self.shared) * sequence + np.sqrt(1 - self.shared) * own
            of_run = SEED * generator.normal(size=(self.seeds, 1)) + (
                INTERACTION * generator.normal(size=(self.seeds, len(self.sizes)))
            )
            of_image = np.sqrt(0.5) * (image + generator.normal(size=(self.seeds, len(unit))))
            of_fold = self.training * generator.normal(size=(self.seeds, self.folds))
            of_fold = of_fold + self.data * generator.normal(size=self.folds)
            of_run = of_run + of_fold[:, self.fold]
            score = _gaussian if self.shape == "gaussian" else _beta
            systems.append(score(mean, of_sequence, of_run, of_image, unit))
        return systems[0], systems[1], unit


def _gaussian(mean, of_sequence, of_run, of_image, unit):
    return mean + (SEQUENCE * of_sequence + of_run)[:, unit] + IMAGE * of_image


def _beta(mean, of_sequence, of_run, of_image, unit):
    """Normal deviates become beta by their quantiles; runs shift a mean where there is room.

    A shift of m by r m (1 − m) keeps means in (0, 1) for |r| < 1 and adds nothing on average.
    """
    room = mean * (1 - mean) - SEQUENCE**2  # the average of m (1 − m) over sequences
    means = _quantile(mean, SEQUENCE**2 / (mean * (1 - mean)), of_sequence)
    shifted = means + np.clip(of_run / room, -0.95, 0.95) * means * (1 - means)
    return _quantile(shifted[:, unit], IMAGE**2 / room, of_image)


def _quantile(mean, share, deviate):
    """The beta distribution with this mean and `share` of the largest variance, mean (1 − mean)."""
    strength = 1 / share - 1
    mean = np.clip(mean, 1e-4, 1 - 1e-4)
    return betaincinv(mean * strength, (1 - mean) * strength, ndtr(deviate))


def coverage(
    hierarchy: Hierarchy, draws: int, seed: int = 0, resamples: int = 2000
) -> tuple[float, float]:
    """Share of draws whose interval covers the truth: of A's mean, and of the difference A − B."""
    generator = np.random.default_rng(seed)
    mean, difference = hierarchy.means[0], hierarchy.means[0] - hierarchy.means[1]
    covered = np.zeros(2)
    for index in range(draws):
        a, b, unit = hierarchy.draw(generator)
        one = hierarchical_interval(a, unit, index, resamples)
        two = paired_difference(a, b, unit, seed=index, resamples=resamples)
        covered += [one.low <= mean <= one.high, two.low <= difference <= two.high]
    return float(covered[0] / draws), float(covered[1] / draws)


def coverage_of_folds(hierarchy: Hierarchy, draws: int) -> tuple[float, float]:
    """As `coverage`, of the difference A − B: of `paired_difference`, and over folds."""
    generator = np.random.default_rng(0)
    difference = hierarchy.means[0] - hierarchy.means[1]
    covered = np.zeros(2)
    for index in range(draws):
        a, b, unit = hierarchy.draw(generator)
        one = paired_difference(a, b, unit, seed=index, resamples=500)
        low, high = cluster_interval(a.mean(axis=0) - b.mean(axis=0), hierarchy.fold[unit])
        covered += [one.low <= difference <= one.high, low <= difference <= high]
    return float(covered[0] / draws), float(covered[1] / draws)
