"""Only runs on the same test images are compared: each test set is a section of its own."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from polyp.report.run import Run
from polyp.report.systems import Grouping, System, digest, group, turning
from polyp.data.datasets import CVCClinicDB
from polyp.errors import UserError

SPLITS = {
    "random": "random split by image",
    "sequence": "split by sequence",
    "file": "split from a file",
}

# Of datasets whose images are frames of videos: the sequence of an image, None where not known.
SEQUENCES = {"cvc": CVCClinicDB.sequence}


@dataclass(frozen=True)
class Section:
    """Systems that were tested on the same images, all with the same images and angles.

    title: dataset, split, test images and their size, as stated beside every number.
    slug: names its folder. notes: what a reader has to know beside the title.
    """

    title: str
    slug: str
    systems: list[System]
    notes: list[str]

    @property
    def images(self) -> list[str]:
        return self.systems[0].first.images

    @property
    def angles(self) -> list[float]:
        return self.systems[0].first.angles

    @property
    def units(self) -> list[str]:
        """Of each image what it belongs to: its video sequence, or where there is none itself."""
        return _units(self.systems[0].first)


def make_sections(runs: Sequence[Run]) -> tuple[list[Section], list[tuple[Run, str]]]:
    """The sections, and runs that are left out with the reason."""
    test_sets: list[list[Run]] = []
    for run in runs:
        for others in test_sets:
            if _same_test_set(run, others[0]):
                others.append(run)
                break
        else:
            test_sets.append([run])

    sections: list[Section] = []
    left_out = []
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


def _units(run: Run) -> list[str]:
    sequence = SEQUENCES.get(run.data, lambda image: None)
    known = {image: sequence(image) for image in run.images}
    return [image if known[image] is None else f"sequence {known[image]}" for image in run.images]


def _same_test_set(run: Run, other: Run) -> bool:
    """The same images in the same geometry, and with the same truth.

    Image ids alone do not tell: numbered images of two folders share them. The share of polyp in
    each image nearly does; ½ % is left to resizing, which may differ between library versions.
    """
    if _images_as(run) != _images_as(other):
        return False
    return np.allclose(
        run.polyp_area, other.select(run.images, other.angles).polyp_area, rtol=0, atol=0.005
    )


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
    resize = first.config.get("data.resize")
    title = f"{first.data}: " + ", ".join(
        [
            " or ".join(SPLITS.get(split, split) for split in splits),
            f"{len(first.images)} test images",
            f"{first.image_size} px" + (f" (resize={resize})" if resize else ""),
        ]
    )
    slug = f"{first.data}-{'-'.join(splits)}-{first.image_size}px"
    if slug in slugs:
        slug = f"{slug}-{digest(sorted(first.images))}"
    while slug in slugs:  # the same ids, but other images
        slug += "-other"
    return Section(title, slug, grouping.systems, _notes(runs, grouping, angles)), grouping.left_out


def _notes(runs: list[Run], grouping: Grouping, angles: list[float]) -> list[str]:
    systems = grouping.systems
    notes = [f"Test set {digest(sorted(runs[0].images))}; sweep at {_listed(angles)}."]
    if any(run.angles != angles for run in runs):
        notes[0] += " Those are the angles that all runs have in common; others are left aside."
    if (units := len(set(_units(runs[0])))) < len(runs[0].images):
        notes.append(
            f"The images are frames of {units} video sequences, and those of one are alike: every "
            "interval draws whole sequences, and the paired tests compare means of sequences. "
            "Intervals from few sequences tend to be too narrow."
        )
    if grouping.usual:
        usual = ", ".join(f"{key}={value}" for key, value in grouping.usual.items())
        notes.append(f"Where a name does not say otherwise: {usual}.")
    if any(len(system.runs) == 1 for system in systems):
        notes.append(
            "Some systems have one seed only: a difference between them may be one between "
            "trainings."
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
