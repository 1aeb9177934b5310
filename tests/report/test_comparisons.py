"""Differences are those of the scores, and p values belong to what was declared."""

from itertools import product

import numpy as np
import pytest

from polyp.errors import UserError
from polyp.report.bootstrap import paired_difference
from polyp.report.comparisons import check_declaration, compare_systems, holm, missing_pairs
from polyp.report.sections import make_sections
from tests.report.runs import read_run

PLAIN, P4, SE2 = "plain U-Net", "p4 U-Net", "SE(2) U-Net"


@pytest.fixture
def sections(write_run):
    """Two test sets: on cvc three systems with three, three and one seed; on kvasir two."""
    runs = [("cvc", m, s) for m, s in product(("unet", "p4unet"), range(3))]
    runs += [("cvc", "se2unet", 0), *(("kvasir", m, 0) for m in ("unet", "p4unet"))]
    folders = [
        write_run(f"{data}-{model}-{seed}", model, seed, data=data, groups="112233")
        for data, model, seed in runs
    ]
    made, _ = make_sections([read_run(folder) for folder in folders])
    return made


def test_holm_by_hand():
    # Sorted .005, .01, .03, .04: 4 × .005, 3 × .01, 2 × .03, then 1 × .04 raised to the one before.
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.5, 0.9]) == pytest.approx([1, 1])
    assert holm([]) == []


def test_what_is_not_tested_does_not_count():
    assert holm([None, 0.04, None, 0.01]) == [None, 0.04, None, 0.02]


def test_without_a_declaration_all_pairs_have_intervals_and_no_p(sections):
    cvc, kvasir = compare_systems(sections, None, ["dice", "consistency_off_grid"], 0.5)
    assert len(cvc) == 2 * 3
    assert len(kvasir) == 2
    for each in cvc + kvasir:
        assert each.p is None
        assert each.p_holm is None
        assert each.second_opinion is None
        assert each.estimate.low < each.estimate.difference < each.estimate.high


def test_the_difference_is_that_of_the_printed_means(sections):
    section = sections[0]
    for each in compare_systems([section], None, ["dice", "dice_on_turned", "outliers"], 0.7)[0]:
        a, b = (system.values(each.measure, 0.7) for system in (each.a, each.b))
        assert each.estimate == paired_difference(a, b, section.units)
        assert each.estimate.difference == pytest.approx(a.mean() - b.mean(), abs=1e-9)


def test_declared_pairs_are_one_family_over_measures_and_test_sets(sections):
    declared = [(P4, PLAIN), (SE2, PLAIN)]
    measures = ["dice", "consistency_off_grid"]
    cvc, kvasir = compare_systems(sections, declared, measures, 0.5)
    assert [(each.measure, each.a.label, each.b.label) for each in cvc] == [
        (measure, *pair) for measure in measures for pair in declared
    ]
    assert [(each.a.label, each.b.label) for each in kvasir] == [(P4, PLAIN)] * 2
    made = cvc + kvasir
    assert [each.p_holm for each in made] == holm([each.p for each in made])
    assert len(made) == 6


def test_one_run_has_no_p_and_three_seeds_a_second_opinion(sections):
    cvc, kvasir = compare_systems(sections, [(P4, PLAIN), (SE2, PLAIN)], ["dice"], 0.5)
    three, one = cvc
    assert three.p is not None
    assert three.second_opinion.difference == pytest.approx(three.estimate.difference, abs=0.02)
    for each in (one, *kvasir):
        assert each.estimate.one_run
        assert each.p is None
        assert each.p_holm is None
        assert each.second_opinion is None


def test_images_without_the_measure_are_skipped_for_both(sections):
    section = sections[0]
    section.systems[0].runs[0].consistency.loc["a", 45.0] = np.nan
    made = compare_systems([section], None, ["consistency_off_grid"], 0.5)[0]
    concerned = [each for each in made if section.systems[0] in (each.a, each.b)]
    assert {each.estimate.images for each in concerned} == {5}
    a, b = (system.values("consistency_off_grid")[:, 1:] for system in (made[0].a, made[0].b))
    assert made[0].estimate.difference == pytest.approx(a.mean() - b.mean())


def test_what_a_run_did_not_measure_is_not_compared(sections):
    assert compare_systems(sections, None, ["shift"], 0.5) == [[], []]


def test_a_declared_pair_that_is_nowhere_is_told(sections):
    (line,) = missing_pairs(sections, [(P4, PLAIN), ("p4", PLAIN), (SE2, "p4m")])
    assert ": p4 − plain U-Net; SE(2) U-Net − p4m. The systems are " in line
    assert SE2 in line.split("The systems are ")[1]
    assert missing_pairs(sections, [(P4, PLAIN)]) == []


@pytest.mark.parametrize(
    ("pairs", "measures", "told"),
    [
        ([["a", "b"], ["b", "a"]], ["dice"], "pairs of different systems, each once"),
        ([["a", "a"]], ["dice"], "pairs of different systems"),
        (None, ["dyce"], "must be some of dice, "),
        (None, [], "must be some of"),
        (None, ["dice", "dice"], "each once"),
    ],
)
def test_bad_declarations_are_refused(pairs, measures, told):
    with pytest.raises(UserError, match=told):
        check_declaration(pairs, measures)
