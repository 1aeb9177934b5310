"""Corrections, effect sizes and tests against their definitions."""

import numpy as np
import pytest
from scipy import stats

from polyp.report.statistics import holm, paired_tests, rank_biserial, wilcoxon


def units(images: int) -> list[str]:
    """Images that are independent of each other."""
    return [str(image) for image in range(images)]


def test_holm_by_hand():
    # Sorted .005, .01, .03, .04: 4 × .005, 3 × .01, 2 × .03, then 1 × .04 raised to the one before.
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.5, 0.9]) == pytest.approx([1, 1])
    assert holm([0.2]) == pytest.approx([0.2])


def test_rank_biserial_by_hand():
    # |d| ranks 1, 2, 3.5, 3.5; the zero is dropped. Positive 1 + 3.5 + 3.5 = 8, negative 2.
    assert rank_biserial(np.array([0.1, -0.2, 0.3, 0.3, 0])) == pytest.approx((8 - 2) / 10)
    assert rank_biserial(np.array([0.1, 0.2])) == 1
    assert rank_biserial(np.array([-0.1, -0.2])) == -1
    assert rank_biserial(np.zeros(4)) == 0


def test_wilcoxon_is_exact_for_few_images():
    assert wilcoxon(np.array([1.0, 2, 3, 4, 5])) == pytest.approx(2 / 2**5)


def test_rank_biserial_agrees_with_the_statistic_of_the_test():
    d = np.random.default_rng(0).normal(0.3, 1, 40)
    positive = stats.wilcoxon(d, alternative="greater").statistic
    assert rank_biserial(d) == pytest.approx(2 * positive / (40 * 41 / 2) - 1)


@pytest.mark.parametrize("images", [1, 2, 60])
def test_systems_that_agree_everywhere(images):
    scores = np.random.default_rng(0).random(images)
    # The same scores up to the rounding of an average.
    (test,) = paired_tests({"a": scores, "b": scores * (1 + 1e-16) + 1e-16}, units(images))
    assert (test.p, test.p_holm, test.effect) == (1, 1, 0)
    assert (test.difference, test.low, test.high) == (0, 0, 0)


@pytest.mark.parametrize("images", [1, 3, 12, 92])
def test_many_zeros_and_ties_warn_of_nothing(images):
    a = np.round(np.random.default_rng(0).random(images), 1)
    (test,) = paired_tests({"a": a, "b": np.roll(a, 1)}, units(images))
    assert 0 <= test.p <= 1


def test_all_pairs_with_their_direction_and_the_same_bootstrap_each_time():
    generator = np.random.default_rng(0)
    low = generator.uniform(0, 0.5, 30)
    values = {"high": low + 0.3, "middle": low + 0.1 * generator.random(30), "low": low}
    tests = paired_tests(values, units(30))
    assert [(t.a, t.b) for t in tests] == [("high", "middle"), ("high", "low"), ("middle", "low")]
    assert all(t.effect == 1 and 0 < t.low < t.difference < t.high for t in tests[:1])
    assert tests[1].difference == pytest.approx(0.3)
    assert [t.p_holm for t in tests] == holm([t.p for t in tests])
    assert tests == paired_tests(values, units(30))


def test_near_copies_are_no_further_evidence():
    generator = np.random.default_rng(0)
    a, b = generator.random(12), generator.random(12)
    (once,) = paired_tests({"a": a, "b": b}, units(12))
    videos = [f"video {image}" for image in range(12) for _ in range(8)]
    frames = {"a": np.repeat(a, 8), "b": np.repeat(b, 8)}
    (copied,) = paired_tests(frames, videos)
    assert (copied.images, copied.units) == (96, 12)
    assert (copied.p, copied.effect) == pytest.approx((once.p, once.effect))
    # The bootstrap draws the same number of units, in another order.
    width = once.high - once.low
    assert (copied.low, copied.high) == pytest.approx((once.low, once.high), abs=0.05 * width)
    (taken_alone,) = paired_tests(frames, units(96))
    assert taken_alone.p < 0.1 * once.p
    assert taken_alone.high - taken_alone.low < 0.5 * width


@pytest.mark.parametrize(("a_alone", "b_alone"), [(5, 16), (40, 20)])
def test_that_of_outliers_is_mcnemars(a_alone, b_alone):
    a = np.arange(150) < a_alone
    b = np.flip(np.arange(150) < b_alone)
    (test,) = paired_tests({"a": a, "b": b}, units(150))
    chi_squared = (a_alone - b_alone) ** 2 / (a_alone + b_alone)
    assert test.p == pytest.approx(stats.chi2.sf(chi_squared, df=1))
    assert test.difference == pytest.approx((a_alone - b_alone) / 150)


def test_that_of_few_outliers_is_exact():
    (test,) = paired_tests({"a": np.arange(14) < 5, "b": np.zeros(14, bool)}, units(14))
    assert test.p == pytest.approx(stats.binomtest(5, 5).pvalue)
