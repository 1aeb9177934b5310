"""Only runs on the same test images are compared: each test set is a section of its own."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from polyp.errors import UserError
from polyp.evaluation.sweep import turning
from polyp.names import dataset_name
from polyp.report.folds import folds_told, pool_folds
from polyp.report.identity import digest
from polyp.report.run import Run
from polyp.report.systems import Grouping, System, group

SPLITS = {
    "random": "random split by image",
    "sequence": "split by sequence",
    "file": "split from a file",
    "authors": "split of the authors",
}
RESIZES = {"pad": ", padded", "crop": ", cropped", "stretch": ", stretched"}


@dataclass(frozen=True)
class Section:
    """Systems that were tested on the same images, all with the same images and angles.

    title: dataset, split, test images and their size, as stated beside every number.
    slug: names its folder. notes: what a reader has to know beside the title.
    units: of each image what it belongs to: its group, a video sequence or a patient, or where that
    is not known itself. Images of different units are independent of each other.
    """

    title: str
    slug: str
    systems: list[System]
    notes: list[str]
    units: list[str]

    @property
    def images(self) -> list[str]:
        return self.systems[0].first.images

    @property
    def angles(self) -> list[float]:
        return self.systems[0].first.angles


def make_sections(runs: Sequence[Run]) -> tuple[list[Section], list[tuple[Run, str]]]:
    """The sections, and runs that are left out with the reason."""
    runs, left_out = pool_folds(runs)
    test_sets: list[list[Run]] = []
    for run in runs:
        for others in test_sets:
            if _same_test_set(run, others[0]):
                others.append(run)
                break
        else:
            test_sets.append([run])

    sections: list[Section] = []
    for same in sorted(test_sets, key=lambda same: (same[0].data, same[0].split)):
        section, out = _section(same, {section.slug for section in sections})
        sections.append(section)
        left_out += out
    return _styled(sections), left_out


def _styled(sections: Sequence[Section]) -> list[Section]:
    """The same sections, where systems of one label look alike in the figures of all of them."""
    labels = dict.fromkeys(system.label for section in sections for system in section.systems)
    styles = {label: number for number, label in enumerate(labels)}
    return [
        replace(section, systems=[replace(s, style=styles[s.label]) for s in section.systems])
        for section in sections
    ]


def _units(runs: Sequence[Run]) -> list[str]:
    """Those of the first run that knows groups: early versions wrote none."""
    groups = next((run.groups for run in runs if run.groups.any()), runs[0].groups)
    return [group or image for image, group in zip(groups.index, groups, strict=True)]


def _same_test_set(run: Run, other: Run) -> bool:
    """The same images in the same geometry, and with the same truth.

    Image ids alone do not tell: numbered images of two folders share them. The share of polyp in
    each image nearly does; ½ % is left to resizing, which may differ between library versions.
    """
    if _images_as(run) != _images_as(other):
        return False
    areas = (run.scores["polyp_area"], other.scores["polyp_area"].loc[run.images])
    return np.allclose(*areas, rtol=0, atol=0.005)


def _images_as(run: Run) -> tuple:
    return run.data, run.image_size, run.config.get("data.resize"), frozenset(run.images)


def _section(runs: list[Run], slugs: set[str]) -> tuple[Section, list[tuple[Run, str]]]:
    first = runs[0]
    angles = [angle for angle in first.angles if all(angle in run.angles for run in runs)]
    if not turning(angles).any():
        raise UserError(
            f"the rotation sweeps on {first.data} have no angle in common ({first.folder}: "
            f"{_listed(first.angles)}); compare fewer runs, or evaluate them at the same angles "
            "with scripts/evaluate.py"
        )
    aligned = [run.select(first.images, angles) for run in runs]
    grouping = group(aligned)

    splits = sorted({run.split for run in runs})
    count = f"{len(first.images)} test images"
    if first.part in ("train", "val"):
        count = f"{len(first.images)} images of the part {first.part}"
    said = " or ".join(SPLITS.get(split, split) for split in splits)
    resize = RESIZES.get(str(first.config.get("data.resize")), "")
    size = f"{first.image_size} px{resize}"
    title = f"{dataset_name(first.data)}: {said}, {count}, {size}"
    name = f"{first.data}-{'-'.join(splits)}-{first.image_size}px"
    slug = re.sub(r"[^\w.=+-]+", "-", name)
    if slug in slugs:
        slug = f"{slug}-{digest(sorted(first.images))}"
    while slug in slugs:  # the same ids, but other images
        slug += "-other"
    units = _units(aligned)
    notes = _notes(runs, grouping, angles, units)
    return Section(title, slug, grouping.systems, notes, units), grouping.left_out


def _notes(runs: list[Run], grouping: Grouping, angles: list[float], units: list[str]) -> list[str]:
    systems = grouping.systems
    notes = [f"Test set {digest(sorted(runs[0].images))}; sweep at {_listed(angles)}."]
    if any(run.angles != angles for run in runs):
        notes[0] += " Those are the angles that all runs have in common; others are left aside."
    if len(set(units)) < len(units):
        notes.append(
            f"The images belong to {len(set(units))} groups (video sequences or patients), and "
            "those of one group are alike: every interval draws whole groups."
        )
    if folds := next((run.folds for run in runs if run.folds), ()):
        if not folds[0].tests_own_fold:
            notes.append(f"The score of a seed is the mean over networks of {folds_told(folds)}.")
        elif folds_told(folds) != f"{len(folds)} folds":
            notes.append(f"The cross-validation is incomplete: {folds_told(folds)} only.")
    if grouping.usual:
        usual = ", ".join(f"{key}={value}" for key, value in grouping.usual.items())
        notes.append(f"Where a name does not say otherwise: {usual}.")
    if any(len(system.runs) == 1 for system in systems):
        notes.append(
            "Some systems have one run only: their intervals and differences say nothing about "
            "other trainings."
        )
    if len({tuple(system.seeds) for system in systems}) > 1:
        notes.append("Not all systems have the same seeds.")
    if len({run.machine for run in runs}) > 1:
        notes.append("Training times are from different machines.")
    return notes


def _listed(angles: Sequence[float]) -> str:
    """`0° to 350° by 10°`, or all of them."""
    steps = set(np.diff(angles).round(6).tolist())
    if len(angles) > 3 and len(steps) == 1:
        return f"{angles[0]:g}° to {angles[-1]:g}° by {steps.pop():g}°"
    return ", ".join(f"{angle:g}°" for angle in angles)
