"""Runs that differ only in their seed are one system; labels say what distinguishes systems."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from polyp.evaluation.scores import defined_mean, defined_means
from polyp.evaluation.sweep import off_grid, turning
from polyp.names import model_names
from polyp.report.bootstrap import Interval, hierarchical_interval
from polyp.report.identity import OF_TRAINING_IMAGES, identity, identity_key
from polyp.report.measures import measured
from polyp.report.run import Run, machines, mean_seconds_per_image

# A key that labels do not show if one of these keys already shows the difference.
SHORTER = {
    "augmentation.transforms": ["augmentation"],
    "train_images": ["trained_on", "data.train_fraction"],
    "val_images": ["trained_on"],
    "train_and_val_set": ["train_images", "val_images"],
}


@dataclass(frozen=True)
class System:
    """One way to train a network, with a run per seed, all on the same test images and angles.

    style: number of its colour and line in figures. options: of training and data, where they
        are not the usual ones and its label does not show them, {"lr": "0.01"}.
    """

    label: str
    runs: list[Run]
    style: int = 0
    options: dict[str, str] = field(default_factory=dict)

    @property
    def first(self) -> Run:
        return self.runs[0]

    @property
    def seeds(self) -> list[int]:
        return [run.seed for run in self.runs]

    @property
    def training_images(self) -> int:
        """In a cross-validation the mean over the folds, to the nearest number."""
        runs = self.first.folds or (self.first,)
        return round(sum(len(run.parts["train"]) for run in runs) / len(runs))

    @property
    def seconds_per_image(self) -> float | None:
        """The training time per image, the mean over the runs; None if it is unknown for a run."""
        return mean_seconds_per_image(self.runs)

    @property
    def machine(self) -> str:
        """Where the runs were trained: "AMD EPYC, AVX512, bfloat16, Linux x86_64, 1 threads"."""
        return machines(self.runs)

    @property
    def metrics(self) -> list[str]:
        """Names of the metrics that all runs have, also "dice.NAME" per class."""
        return [
            name
            for name in self.first.scores
            if name != "polyp_area"
            and ("." not in name or name.startswith("dice."))
            and all(name in run.scores for run in self.runs)
        ]

    def score(self, metric: str) -> np.ndarray:
        """The mean of each image over the seeds for which the metric is defined: float64 [images];
        NaN if there are none."""
        return defined_means(np.stack([run.scores[metric] for run in self.runs], axis=-1))

    @property
    def dice(self) -> np.ndarray:
        return self.score("dice")

    @property
    def consistency(self) -> np.ndarray:
        """The mean of each image at each angle over the seeds for which it is defined: float64
        [images, angles]."""
        return defined_means(np.stack([run.consistency for run in self.runs], axis=-1))

    def values(self, measure: str, outlier_dice: float = 0.5) -> np.ndarray | None:
        """A measure of each image for each seed: float64 [seeds, images], nan where it is
        undefined. None if a run does not have it. Names: `polyp.report.measures`."""
        found = [measured(run, measure, outlier_dice) for run in self.runs]
        values = [each for each in found if each is not None]
        return np.stack(values) if len(values) == len(found) else None

    def interval(self, measure: str, units: Sequence[str]) -> Interval | None:
        """The mean of a measure with its interval over seeds and units, over the images for which
        it is defined for every seed. None if there are none, or a run does not have the measure."""
        values = self.values(measure)
        if values is None:
            return None
        defined = np.isfinite(values).all(axis=0)
        if not defined.any():
            return None
        return hierarchical_interval(values[:, defined], np.array(units)[defined])

    @property
    def exact(self) -> bool:
        """Whether its consistency at multiples of 90° is 1, up to .001."""
        angles = self.first.angles
        quarters = self.consistency[:, turning(angles) & ~off_grid(angles)]
        means = [defined_mean(values) for values in quarters.T]
        return bool(means) and all(mean is not None and mean >= 0.999 for mean in means)

    @property
    def undefined(self) -> float | None:
        """The share of runs, images and angles (off the grid, if there are any) at which the
        consistency is undefined: both masks are empty, or both are full. None for runs of early
        versions, which counted such cases as 1."""
        if any("logit_error" not in run.losses for run in self.runs):
            return None
        off, turned = off_grid(self.first.angles), turning(self.first.angles)
        chosen = off if off.any() else turned
        return float(np.mean([run.consistency.isna().loc[:, chosen] for run in self.runs]))

    @property
    def degenerate(self) -> list[int]:
        """Seeds whose network finds nothing in any image, or polyp everywhere in all of them."""
        return [run.seed for run in self.runs if _degenerate(run)]

    def outliers(self, below: float) -> np.ndarray:
        """The share of the runs whose Dice is below a limit, for each image: float64 [images]."""
        return np.mean([run.dice < below for run in self.runs], axis=0)


def _degenerate(run: Run) -> bool:
    """Whether masks are empty, or full, at all angles. The consistency is then undefined, or 1 in
    runs of early versions. Other masks never have a consistency of 1 at all angles off the grid."""
    off = off_grid(run.angles)
    values = run.consistency.loc[:, off if off.any() else turning(run.angles)].to_numpy()
    alike = np.isnan(values) | (values == 1) if off.any() else np.isnan(values)
    return bool(alike.all())


@dataclass(frozen=True)
class Grouping:
    """systems: sorted by test Dice, the best first. usual: the options that most systems have and
    labels do not show, {key: value}."""

    systems: list[System]
    usual: dict[str, str]


def newest(runs: Sequence[Run]) -> tuple[list[Run], list[tuple[Run, str]]]:
    """Of runs with the same system and seed the newest, in the order in which each system was first
    run; and the others, with the reason."""
    found: dict[tuple, Run] = {}
    skipped = []
    for run in sorted(runs, key=lambda run: (run.started, str(run.folder))):
        key = identity_key(run), run.seed
        if key in found:
            reason = f"the same system and seed {run.seed} as {run.folder}, which is newer"
            skipped.append((found[key], reason))
        found[key] = run
    return list(found.values()), skipped


def group(runs: Sequence[Run]) -> Grouping:
    """Groups runs, of which no two have the same system and seed, into systems."""
    groups: dict[tuple, list[Run]] = defaultdict(list)
    for run in runs:
        groups[identity_key(run)].append(run)
    by_system = [sorted(same, key=lambda run: run.seed) for same in groups.values()]
    first = [same[0] for same in by_system]
    differences, usual = _differences(first)
    labels = _labels(
        [_name(same) for same in by_system], model_names([run.model for run in first]), differences
    )
    systems = [
        System(label, same, options=_unshown(own, usual, label))
        for label, same, own in zip(labels, by_system, differences, strict=True)
    ]
    systems.sort(key=lambda system: (-system.dice.mean(), system.label))
    return Grouping(systems, usual)


def _unshown(differing: dict[str, str], usual: dict[str, str], label: str) -> dict[str, str]:
    """The options that differ from the usual ones, without those that the label shows."""
    return {k: v for k, v in differing.items() if k in usual and f"{k}={v}" not in label}


def by_training_images(systems: Sequence[System]) -> list[list[System]]:
    """Systems that differ only in the number of training images, the fewest images first.

    One list for each kind of system with at least two numbers of images.
    """
    lines: dict[tuple, list[System]] = defaultdict(list)
    for system in systems:
        lines[identity_key(system.first, OF_TRAINING_IMAGES)].append(system)
    ordered = [sorted(line, key=lambda s: s.training_images) for line in lines.values()]
    return [line for line in ordered if line[0].training_images < line[-1].training_images]


def _differences(runs: Sequence[Run]) -> tuple[list[dict[str, str]], dict[str, str]]:
    """The options that each system's label shows beside the model; and the usual options.

    Options of the model are shown if systems with the same model name differ in them. Other options
    are shown if they differ from the usual value, which is that of most systems, {key: value}.
    """
    identities = [identity(run) for run in runs]
    digests = [own["train_and_val_set"] for own in identities]
    for own, name in zip(identities, _set_names(runs, digests), strict=True):
        own["train_and_val_set"] = name
    keys = dict.fromkeys(key for own in identities for key in own if key != "model")
    said: list[list[str]] = [[] for _ in runs]
    usual = {}
    for key in keys:
        if key.startswith("model."):
            for own, mine in zip(identities, said, strict=True):
                rivals = [other for other in identities if other["model"] == own["model"]]
                if key in own and len({repr(rival.get(key)) for rival in rivals}) > 1:
                    mine.append(key)
        elif len({repr(own.get(key)) for own in identities}) > 1 and not _implied(key, identities):
            values = [repr(own.get(key)) for own in identities]
            most = max(values, key=values.count)  # the first of several
            usual[key] = identities[values.index(most)].get(key)
            for own, value, mine in zip(identities, values, said, strict=True):
                if key in own and value != most:
                    mine.append(key)
    names = _short_names({**usual, **dict.fromkeys(key for mine in said for key in mine)})
    differences = [
        {names[key]: _text(key, own[key]) for key in mine}
        for own, mine in zip(identities, said, strict=True)
    ]
    return differences, {names[key]: _text(key, value) for key, value in usual.items()}


def _set_names(runs: Sequence[Run], digests: Sequence[str]) -> Sequence[str]:
    """A name for each run's training and validation images: the file that lists them, or their
    digest if not all of them have a file with a unique name."""
    files = [Path(run.config.get("data.split_file") or "").stem for run in runs]
    pairs = set(zip(digests, files, strict=True))
    named = all(files) and len(pairs) == len(set(digests)) == len(set(files))
    return files if named else digests


def _implied(key: str, identities: Sequence[dict]) -> bool:
    """Whether a shorter difference shows it already: a choice, or a number of images."""
    if key not in SHORTER:
        return False
    with_key = {tuple(repr(own.get(k)) for k in (*SHORTER[key], key)) for own in identities}
    return len({values[:-1] for values in with_key}) == len(with_key)


def _short_names(keys: Iterable[str]) -> dict[str, str]:
    """{"model.layers.sigma": "sigma"}, with more of the key if two would be the same."""
    keys = list(keys)
    names = {}
    for key in keys:
        parts = [part for part in key.split(".") if part != "_target_"]
        shared = [k for k in keys if k.removesuffix("._target_").split(".")[-1] == parts[-1]]
        names[key] = parts[-1] if len(shared) == 1 else ".".join(parts)
    return names


def _text(key: str, value: Any) -> str:
    """A value as it would be typed; the path of a class becomes its name, long values are cut."""
    if key.endswith("_target_"):
        text = str(value).rsplit(".", 1)[-1]
    elif isinstance(value, list):
        text = "[" + ",".join(str(item) for item in value) + "]"
    elif value is None or isinstance(value, bool):
        text = {None: "null", True: "true", False: "false"}[value]
    else:
        text = str(value)
    return text if len(text) <= 40 else text[:39] + "…"


def _name(runs: Sequence[Run]) -> str | None:
    """`name` of the config, where all runs of a system have the same."""
    names = {run.config.get("name") for run in runs}
    return str(names.pop()) if len(names) == 1 and None not in names else None


def _labels(
    names: Sequence[str | None], models: Sequence[str], differences: Sequence[dict[str, str]]
) -> list[str]:
    """The system's own name, or `plain U-Net augmentation=rot90`; with a number if this is not
    unique. Systems of one name are told apart by the options in which they differ."""
    labels = []
    for name, model, differing in zip(names, models, differences, strict=True):
        rivals = [own for other, own in zip(names, differences, strict=True) if other == name]
        said = [
            f"{key}={value}"
            for key, value in differing.items()
            if not name or any(rival.get(key) != value for rival in rivals)
        ]
        label = name if name and names.count(name) == 1 else " ".join([name or model, *said])
        same = sum(other == label or other.startswith(f"{label} #") for other in labels)
        labels.append(f"{label} #{same + 1}" if same else label)
    return labels
