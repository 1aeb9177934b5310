"""Only runs on the same test images are compared: each test set is a section of its own."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from polyp.errors import UserError
from polyp.evaluation.sweep import turning
from polyp.names import dataset_name
from polyp.report.folds import describe_folds, fold_of_images, pool_folds
from polyp.report.identity import digest
from polyp.report.run import Run
from polyp.report.systems import Grouping, System, group, newest

SPLITS = {
    "random": "random split by image",
    "sequence": "split by sequence",
    "file": "split from a file",
    "authors": "split of the authors",
}
RESIZES = {"pad": ", padded", "crop": ", cropped", "stretch": ", stretched"}


@dataclass(frozen=True)
class Section:
    """Systems that were tested on the same images at the same angles.

    title: dataset, split, test images and their size.
    slug: the name of its folder. notes: further facts that a reader has to know.
    units: the unit of each image: its group (a video sequence or a patient), or the image itself if
    its group is unknown. Images of different units are independent of each other.
    folds: the fold of a cross-validation that tests each image; [] if there are fewer than two.
    """

    title: str
    slug: str
    systems: list[System]
    notes: list[str]
    units: list[str]
    folds: list[int] = field(default_factory=list)

    @property
    def images(self) -> list[str]:
        return self.systems[0].first.images

    def only(self, labels: Sequence[str]) -> "Section":
        """The same with some of its systems; with all of them if it has none of these."""
        chosen = [system for system in self.systems if system.label in labels]
        return replace(self, systems=chosen or self.systems)

    @property
    def angles(self) -> list[float]:
        return self.systems[0].first.angles


def make_sections(
    runs: Sequence[Run], first: Sequence[str] = ()
) -> tuple[list[Section], list[tuple[Run, str]]]:
    """The sections, and the skipped runs with the reason.

    first: labels of systems whose colours and lines should differ most.
    """
    runs, skipped = pool_folds(runs)
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
        skipped += out
    return _styled(sections, first), skipped


def _styled(sections: Sequence[Section], first: Sequence[str]) -> list[Section]:
    """The same sections; systems of the same label have the same colour and line in all figures."""
    labels = dict.fromkeys(system.label for section in sections for system in section.systems)
    styles = {
        label: n for n, label in enumerate(sorted(labels, key=lambda label: label not in first))
    }
    return [
        replace(section, systems=[replace(s, style=styles[s.label]) for s in section.systems])
        for section in sections
    ]


def _units(runs: Sequence[Run]) -> list[str]:
    """The units of the first run with groups; early versions wrote no groups."""
    groups = next((run.groups for run in runs if run.groups.any()), runs[0].groups)
    return [group or image for image, group in zip(groups.index, groups, strict=True)]


def _same_test_set(run: Run, other: Run) -> bool:
    """Whether two runs have the same images, in the same geometry and with the same true masks.

    Image ids are not enough, because numbered images of two folders have the same ids. Therefore
    the share of polyp in each image is compared too. It may differ by ½ %, because resizing may
    differ between library versions.
    """
    if _images_as(run) != _images_as(other):
        return False
    areas = (run.scores["polyp_area"], other.scores["polyp_area"].loc[run.images])
    return np.allclose(*areas, rtol=0, atol=0.005)


def _images_as(run: Run) -> tuple:
    return run.data, run.image_size, run.config.get("data.resize"), frozenset(run.images)


def _section(runs: list[Run], slugs: set[str]) -> tuple[Section, list[tuple[Run, str]]]:
    kept, skipped = newest(runs)
    first = next(run for run in runs if any(run is each for each in kept))
    runs = kept
    angles = [angle for angle in first.angles if all(angle in run.angles for run in runs)]
    if not turning(angles).any():
        raise UserError(
            f"the rotation sweeps on {first.data} have no angle in common ({first.folder}: "
            f"{_listed(first.angles)}); compare fewer runs, or evaluate them at the same angles "
            "with polyp evaluate"
        )
    aligned = [run.select(first.images, angles) for run in runs]
    grouping = group(aligned)

    splits = sorted({run.split for run in runs})
    count = f"{len(first.images)} test images"
    if first.part in ("train", "val"):
        count = f"{len(first.images)} images of the part {first.part}"
    split_text = " or ".join(SPLITS.get(split, split) for split in splits)
    resize = RESIZES.get(str(first.config.get("data.resize")), "")
    size = f"{first.image_size} px{resize}"
    title = f"{dataset_name(first.data)}: {split_text}, {count}, {size}"
    name = f"{first.data}-{'-'.join(splits)}-{first.image_size}px"
    slug = re.sub(r"[^\w.=+-]+", "-", name)
    if slug in slugs:
        slug = f"{slug}-{digest(sorted(first.images))}"
    while slug in slugs:  # the same ids, but other images
        slug += "-other"
    units = _units(aligned)
    notes = _notes(runs, grouping, angles, units)
    fold_of = fold_of_images(first)
    folds = [fold_of[image] for image in first.images] if len(set(fold_of.values())) > 1 else []
    return Section(title, slug, grouping.systems, notes, units, folds), skipped


def _notes(runs: list[Run], grouping: Grouping, angles: list[float], units: list[str]) -> list[str]:
    systems = grouping.systems
    notes = [f"Test set {digest(sorted(runs[0].images))}; angles of the sweep: {_listed(angles)}."]
    if any(run.angles != angles for run in runs):
        notes[0] += " These are the angles that all runs have in common; other angles are not used."
    if len(set(units)) < len(units):
        notes.append(
            f"The images belong to {len(set(units))} groups (video sequences or patients). Images "
            "of one group are alike, so every interval resamples whole groups."
        )
    if folds := next((run.folds for run in runs if run.folds), ()):
        if not folds[0].tests_own_fold:
            notes.append(
                f"The score of a seed is the mean over the networks of {describe_folds(folds)}."
            )
        elif describe_folds(folds) != f"{len(folds)} folds":
            notes.append(f"The cross-validation is incomplete: {describe_folds(folds)} only.")
    if grouping.usual:
        notes.append(f"Unless a system has other options: {_options(grouping.usual)}.")
    named = [f"{each.label}: {_options(each.options)}" for each in systems if each.options]
    if named:
        notes.append(f"Options that names do not show: {'; '.join(named)}.")
    if any(len(system.runs) == 1 for system in systems):
        notes.append(
            f"Some systems have only one run{' per fold' if folds else ''}: their intervals and "
            "differences say nothing about other trainings."
        )
    if len({tuple(system.seeds) for system in systems}) > 1:
        notes.append("Not all systems have the same seeds.")
    if len({run.machine for run in runs}) > 1:
        notes.append("Training times were measured on different machines.")
    return notes


def _options(options: dict[str, str]) -> str:
    return ", ".join(f"{key}={value}" for key, value in options.items())


def _listed(angles: Sequence[float]) -> str:
    """`0° to 350° by 10°`, or a list of all angles."""
    steps = set(np.diff(angles).round(6).tolist())
    if len(angles) > 3 and len(steps) == 1:
        return f"{angles[0]:g}° to {angles[-1]:g}° by {steps.pop():g}°"
    return ", ".join(f"{angle:g}°" for angle in angles)
