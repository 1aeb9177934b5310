"""Types and ranges of all config keys, checked before anything is built.

Arguments of classes are listed by class, wherever a config names it as `_target_`, and other keys
by command. Keys that are not listed, such as arguments of users' own classes, are not checked.
"""

import math
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import InterpolationKeyError

from polyp.errors import UserError
from polyp.runs.folder import flat


@dataclass(frozen=True)
class Rule:
    """A rule for a value.

    Attributes:
        test: whether a value is allowed.
        wanted: the allowed values in words, such as "true or false".
    """

    test: Callable[[Any], bool]
    wanted: str


def whole(least: int, most: float = math.inf, odd: bool = False) -> Rule:
    """A whole number from `least` to `most`."""
    kind = f"{'an odd' if odd else 'a'} whole number"
    ends = f"of at least {least}" if most == math.inf else f"from {least} to {most}"
    return Rule(
        lambda value: (
            isinstance(value, int)
            and not isinstance(value, bool)
            and least <= value <= most
            and (not odd or value % 2 == 1)
        ),
        f"{kind} {ends}",
    )


def number(
    least: float = -math.inf,
    most: float = math.inf,
    above: float = -math.inf,
    below: float = math.inf,
) -> Rule:
    """A finite number: from `least` to `most`, above `above` and below `below`."""
    ends = {"at least": least, "above": above, "at most": most, "below": below}
    bounds = " and ".join(f"{name} {end:.12g}" for name, end in ends.items() if math.isfinite(end))
    return Rule(
        lambda value: (
            isinstance(value, int | float)
            and not isinstance(value, bool)
            and math.isfinite(value)
            and least <= value <= most
            and above < value < below
        ),
        f"a number {bounds}" if bounds else "a finite number",
    )


def one_of(*choices: Any) -> Rule:
    """One of some values."""
    names = ["true" if c is True else "false" if c is False else str(c) for c in choices]
    return Rule(
        # By type too: 1 is not true.
        lambda value: any(type(value) is type(c) and value == c for c in choices),
        " or ".join(filter(None, [", ".join(names[:-1]), names[-1]])),
    )


def list_of(rule: Rule) -> Rule:
    """A list whose elements all satisfy a rule."""
    return Rule(
        lambda value: isinstance(value, list) and all(map(rule.test, value)),
        f"a list, and each element {rule.wanted}",
    )


def optional(rule: Rule) -> Rule:
    """A value that satisfies a rule, or null."""
    return Rule(lambda value: value is None or rule.test(value), f"{rule.wanted}, or null")


def either(one: Rule, other: Rule) -> Rule:
    """A value that satisfies one of two rules."""
    return Rule(
        lambda value: one.test(value) or other.test(value), f"{one.wanted}, or {other.wanted}"
    )


def mapping_of(rule: Rule, least: int = 0) -> Rule:
    """A mapping with at least `least` values, which all satisfy a rule."""
    at_least = f" of at least {least}" if least else ""
    return Rule(
        lambda value: (
            isinstance(value, dict)
            and len(value) >= least
            and all(isinstance(name, str) for name in value)
            and all(map(rule.test, value.values()))
        ),
        f"a mapping{at_least}, and each value {rule.wanted}",
    )


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


SHOWN = 100  # characters of a value in a message

TRUTH = one_of(True, False)
TEXT = Rule(lambda value: isinstance(value, str), "a text")
WORD = Rule(lambda value: isinstance(value, str) and value != "", "a word")
PATH = Rule(  # a folder may be called 2024
    lambda value: (
        isinstance(value, str | int | float) and not isinstance(value, bool) and value != ""
    ),
    "a path",
)
PATHS = Rule(
    lambda value: PATH.test(value) or (value != [] and list_of(PATH).test(value)),
    "a path, or a list of at least one",
)
OUTPUT_PATH = Rule(  # a number or list is more likely a mistake than the name of a new folder
    lambda value: (
        isinstance(value, str)
        and value.lower() not in ("", "true", "false", "???")
        and not _is_number(value)
    ),
    "a path (./5 of a folder called 5)",
)
PART = Rule(
    lambda value: (
        isinstance(value, dict)
        and isinstance(value.get("_target_"), str)
        and isinstance(value.get("_partial_", False), bool)
    ),
    "a mapping with the _target_ (and _partial_) of a file in configs/",
)
SECTION = Rule(lambda value: isinstance(value, dict), "a mapping of keys")
FIGURE = Rule(
    lambda value: isinstance(value, str) and value.lower().endswith((".png", ".pdf", ".svg")),
    "a file that ends with .png, .pdf or .svg",
)
HTML = Rule(
    lambda value: isinstance(value, str) and value.lower().endswith(".html"),
    "a file that ends with .html",
)
SHA256 = Rule(
    lambda value: isinstance(value, str) and re.fullmatch("[0-9a-fA-F]{64}", value) is not None,
    "64 hexadecimal digits",
)
URL = Rule(
    lambda value: isinstance(value, str) and re.match("https?://[^/]", value, re.I) is not None,
    "an address that starts with https://",
)
PAIR = Rule(
    lambda value: isinstance(value, list) and len(value) == 2 and all(map(WORD.test, value)),
    "a pair of systems, such as [A,B]",
)
ANGLES = list_of(number())  # in degrees; polyp.evaluation.check_angles checks the rest
WEIGHT = number(least=0, most=1e6)
SEED = whole(0, 2**32 - 1)

# --- arguments of classes: types and ranges. Each class checks its own choices of words.

# Larger values take hours to build, or too much memory.
KERNEL_SIZE = whole(1, 15, odd=True)
ROTATIONS = whole(1, 36)
CHANNELS = whole(1, 4096)
BATCH_SIZE = whole(1, 65536)

SE2 = {
    "kernel_size": KERNEL_SIZE,
    "rotations": ROTATIONS,
    "interpolation": WORD,
    "offset": WORD,
    "sigma": number(least=0.1, most=10),  # in pixels
    "reflections": TRUTH,
}
OPTIMIZER = {
    "lr": number(above=0, most=100),
    "weight_decay": number(least=0, most=10),
    **dict.fromkeys(("maximize", "capturable", "differentiable"), TRUTH),
    **{name: optional(TRUTH) for name in ("foreach", "fused")},
}
ADAM = OPTIMIZER | {
    "betas": list_of(number(least=0, below=1)),
    "eps": number(least=0, most=1),
    "amsgrad": TRUTH,
}
LOSS = {
    "bce": WEIGHT,
    "cross_entropy": WEIGHT,
    "dice": WEIGHT,
    "smooth": number(above=0, most=1e6),
}
DATA = {
    "dataset": PART,
    "root": optional(PATH),
    "image_size": whole(8, 16384),
    "resize": WORD,
    "batch_size": BATCH_SIZE,
    "channels": CHANNELS,
    "split": WORD,
    "split_seed": SEED,
    "split_file": optional(PATH),
    "fold": optional(WORD),
    "partial": TRUTH,
    "train_fraction": number(above=0, most=1),
    "augmentation": list_of(PART),
    "seed": SEED,
    "num_workers": whole(0, 256),
    "cache": optional(OUTPUT_PATH),
}
ROOT = {"root": PATH}
# Names, or values or colours by name: see polyp.data.Labels.
CLASS_NAMES = either(list_of(WORD), mapping_of(either(whole(0), list_of(whole(0)))))
DEVICES = either(either(whole(1, 1024), one_of("auto", -1)), list_of(whole(0)))

CLASSES: Mapping[str, Mapping[str, Rule]] = {
    "polyp.data.DataModule": DATA,
    "polyp.data.Synthetic": {
        "images": whole(1, 1_000_000),
        "size": DATA["image_size"],
        "seed": SEED,
        "labels": optional(CLASS_NAMES),
    },
    "polyp.data.PairedFolders": {
        **ROOT,
        "images": PATH,
        "masks": PATH,
        "mask_suffix": TEXT,
        "mask_prefix": TEXT,
        "labels": optional(CLASS_NAMES),
        "group": optional(WORD),
        "foreground": optional(whole(1, 65535)),
    },
    "polyp.data.CVCClinicDB": ROOT,
    "polyp.data.CVCColonDB": {**ROOT, "distinct": TRUTH},
    "polyp.data.ETISLarib": ROOT,
    "polyp.data.KvasirSEG": ROOT,
    "polyp.data.PolypGen": ROOT,
    "polyp.data.PraNet": {**ROOT, "tests": list_of(WORD), "trains": list_of(WORD)},
    "polyp.models.UNet": {
        "widths": list_of(CHANNELS),
        "layers": PART,
        "pool": WORD,
        "upsample": WORD,
        "in_channels": CHANNELS,
        "out_channels": CHANNELS,
        "margin": whole(0, 4096),
        "project": WORD,
        "prior": optional(number(above=0, below=1)),
    },
    "polyp.models.Canonicalized": {"model": PART, "group": WORD, "fields": CHANNELS},
    "polyp.models.LibraryModel": {
        "network": PART,
        "in_channels": CHANNELS,
        "size_multiple": whole(1, 4096),
    },
    "polyp.models.Symmetrized": {"model": PART, "group": WORD, "in_training": TRUTH},
    "polyp.layers.PlainLayers": {"kernel_size": KERNEL_SIZE},
    "polyp.layers.IsotropicLayers": {"kernel_size": KERNEL_SIZE},
    "polyp.layers.P4Layers": {"kernel_size": KERNEL_SIZE, "reflections": TRUTH},
    "polyp.layers.SE2Layers": SE2,
    "polyp.layers.SeparableSE2Layers": SE2 | {"first": WORD},
    "polyp.layers.SteerableLayers": {
        "kernel_size": KERNEL_SIZE,
        "rotations": either(ROTATIONS, one_of("continuous")),
        "max_frequency": whole(1, 18),
        "reflections": TRUTH,
        "rings": optional(list_of(number(least=0, most=7))),
        "frequencies_cutoff": optional(number(least=0, most=36)),
    },
    "polyp.layers.LieLayers": {
        "kernel_size": KERNEL_SIZE,
        "rotations": ROTATIONS,
        "offset": WORD,
        "separable": TRUTH,
        "first": WORD,
        "omega": number(above=0, most=1000),
        "hidden": whole(1, 1024),
        "layers": whole(1, 16),
        "reflections": TRUTH,
    },
    "polyp.tasks.Binary": {"classes": optional(CLASS_NAMES)},
    "polyp.tasks.Multiclass": {"classes": CLASS_NAMES},
    "polyp.training.BCEDiceLoss": LOSS,
    "polyp.training.CrossEntropyDiceLoss": LOSS,
    "torch.optim.Adam": ADAM,
    "torch.optim.AdamW": ADAM,
    "torch.optim.SGD": OPTIMIZER
    | {
        "momentum": number(least=0, below=1),
        "dampening": number(least=0, most=1),
        "nesterov": TRUTH,
    },
    "polyp.training.one_cycle": {"warmup": number(above=0, below=1)},
    "polyp.training.cosine": {"warmup": number(least=0, most=1)},
    "polyp.training.make_trainer": {
        "accelerator": WORD,
        "devices": DEVICES,
        "strategy": WORD,
        "precision": either(WORD, one_of(16, 32, 64)),
        "max_epochs": whole(1, 1_000_000),
        "gradient_clip_val": optional(number(above=0)),
        "accumulate_grad_batches": whole(1, 1_000_000),
        "log_every_n_steps": whole(1, 1_000_000),
        "num_nodes": whole(1, 1024),
        "sync_batchnorm": TRUTH,
    },
    "polyp.evaluation.metrics.SurfaceDice": {"tolerance": number(least=0, most=16384)},
    "lightning.pytorch.loggers.TensorBoardLogger": {
        "name": TEXT,
        "version": WORD,
        "default_hp_metric": TRUTH,
    },
    "polyp.training.CSVLogger": {"name": TEXT, "version": WORD},
    "lightning.pytorch.loggers.MLFlowLogger": {"experiment_name": WORD},
    "lightning.pytorch.loggers.WandbLogger": {"project": WORD, "offline": TRUTH},
}

# --- other keys

EVALUATION = {
    "evaluation.angles": ANGLES,
    "evaluation.part_angles": ANGLES,
    "evaluation.shifts": TRUTH,
    "evaluation.sample": either(whole(1, 1_000_000), one_of("all")),
}
SIZES = list_of(DATA["image_size"])
STEP = one_of(1, 2, 3, 5, 6, 9, 10, 15, 18, 30, 45, 90)  # degrees of the viewer; divide 90
ROUNDS = whole(1, 1000)

COMMANDS: Mapping[str, Mapping[str, Rule]] = {
    "train": {
        **dict.fromkeys(("task", "data", "model", "loss", "optimizer", "schedule"), PART),
        "trainer": PART,
        "metrics": mapping_of(PART, least=1),
        "test_sets": optional(mapping_of(SECTION)),
        "test_sets.own.part": one_of("test"),
        "logger": optional(mapping_of(PART)),
        "augmentation": SECTION,
        "augmentation.transforms": list_of(PART),
        "logit_channels": CHANNELS,
        "seed": SEED,
        "resume": optional(PATH),
        "init_from": optional(PATH),
        "init_from_seen": TRUTH,
        "name": optional(WORD),
        "early_stopping_patience": optional(whole(1, 1_000_000)),
        "evaluation": SECTION,
        **EVALUATION,
        "evaluation.every_n_epochs": whole(0, 1_000_000),
        "evaluation.drift_angles": ANGLES,
    },
    "evaluate": {
        "run": optional(PATH),
        "maps": optional(PATH),
        "output": optional(OUTPUT_PATH),
        "part": one_of("own", "all", "train", "val", "test"),
        "device": WORD,
        "data": SECTION,
        "evaluation": SECTION,
        **{key: optional(rule) for key, rule in EVALUATION.items()},
        **{f"data.{key}": optional(rule) for key, rule in DATA.items()},
    },
    "predict": {
        "run": PATH,
        "input": PATHS,
        "output": OUTPUT_PATH,
        "recursive": TRUTH,
        "threshold": optional(number(above=0, below=1)),
        "probabilities": one_of(True, False, 8, 16),
        "angles": ANGLES,
        "device": WORD,
        "precision": one_of("float32", "bfloat16"),
    },
    "view": {
        "runs": PATHS,
        "output": HTML,
        "images": optional(list_of(PATH)),
        "step": STEP,
        "device": WORD,
        "data": SECTION,
        "data.root": optional(PATH),
    },
    "serve": {
        "run": optional(PATH),
        "runs": optional(PATHS),
        "port": whole(0, 65535),
        "step": STEP,
        "max_megabytes": number(above=0, most=100_000),
        "device": WORD,
    },
    "export": {"run": PATH, "output": OUTPUT_PATH, "overwrite": TRUTH},
    "archive": {"runs": PATHS, "output": OUTPUT_PATH},
    "compare": {
        "runs": PATHS,
        "output": OUTPUT_PATH,
        "outlier_dice": number(least=0, most=1),
        "viewer": TRUTH,
        "comparisons": optional(list_of(PAIR)),
        "measures": list_of(WORD),
        "figures": optional(list_of(WORD)),
    },
    "rotation_error": {
        "output": FIGURE,
        "angles": ANGLES,
        "seeds": whole(1, 1000),
        "families": mapping_of(PART, least=1),
    },
    "benchmark": {
        "measure": either(WORD, list_of(WORD)),
        "image_size": DATA["image_size"],
        "batch_size": BATCH_SIZE,
        "rounds": ROUNDS,
        "threads": whole(1, 1024),
        "device": WORD,
        "models": mapping_of(PART),
        "families": SECTION,
        "families.models": mapping_of(PART),
        "families.image_size": DATA["image_size"],
        "families.batch_size": BATCH_SIZE,
        "families.rounds": ROUNDS,
        "peers": SECTION,
        "peers.batch_size": BATCH_SIZE,
        "peers.rounds": ROUNDS,
        "data": SECTION,
        "data.model": WORD,
        "data.image_size": DATA["image_size"],
        "data.images": whole(1, 1_000_000),
        "data.kvasir": PATH,
        "sweep": SECTION,
        "sweep.models": mapping_of(PART),
        "sweep.image_size": DATA["image_size"],
        "sweep.batch_size": BATCH_SIZE,
        "sweep.rounds": ROUNDS,
        "sweep.angles": ANGLES,
        "start": SECTION,
        "start.options": list_of(WORD),
        "start.rounds": ROUNDS,
        "memory": SECTION,
        "memory.predictions": list_of(whole(1, 10_000_000)),
        "scaling": SECTION,
        "scaling.name": WORD,
        "scaling.model": PART,
        "scaling.rounds": ROUNDS,
        "scaling.base": SECTION,
        "scaling.base.image_size": DATA["image_size"],
        "scaling.base.batch_size": BATCH_SIZE,
        "scaling.base.rotations": ROTATIONS,
        "scaling.axes": SECTION,
        "scaling.axes.image_size": SIZES,
        "scaling.axes.batch_size": list_of(BATCH_SIZE),
        "scaling.axes.rotations": list_of(ROTATIONS),
    },
    "download_data": {
        "data": PART,
        "root": PATH,
        "url": URL,
        "archive": optional(PATH),
        "sha256": optional(SHA256),
        "pairs": optional(whole(1, 1_000_000)),
        "keep": TRUTH,
        "attempts": whole(1, 1_000_000),
        "timeout": number(above=0, most=1_000_000),
    },
}


def check(command: str, config: DictConfig, usage: str) -> None:
    """Checks a composed config.

    Args:
        command: the name of its file, such as "train".
        config: what is to be checked.
        usage: of the command, shown if a required key that it names is missing.

    Raises:
        UserError: a value is missing, of another type or out of its range.
    """
    missing = _missing(config)
    if missing:
        verb = "is" if len(missing) == 1 else "are"
        if not all(f"{key}=" in usage for key in missing):
            usage = f"add {' '.join(f'{key}=VALUE' for key in missing)}"
        raise UserError(f"{' and '.join(f'{key}=' for key in missing)} {verb} missing: {usage}")
    for key, rule in COMMANDS[command].items():
        *above, last = key.split(".")
        if above:
            _check(OmegaConf.select(config, ".".join(above)), last, key, rule)
        elif key in config:
            _check(config, key, key, rule)
        else:  # an empty list of a group, as logger=[], leaves nothing
            require(key, None, rule)
    for key, node in _nodes(config):
        for argument, rule in CLASSES.get(node["_target_"], {}).items():
            _check(node, argument, f"{key}.{argument}", rule)


def _missing(config: DictConfig) -> list[str]:
    """Required keys without a value, without keys that refer to other keys."""
    plain: Any = OmegaConf.to_container(config)
    return sorted(key for key, value in flat(plain).items() if value == "???")


def _check(node: Any, argument: str, key: str, rule: Rule) -> None:
    if not isinstance(node, DictConfig) or argument not in node:
        return
    try:
        value = node[argument]
        if OmegaConf.is_config(value):
            value = OmegaConf.to_container(value, resolve=True)
    except InterpolationKeyError:  # of a key that only training has, such as ${seed} in a download
        return
    require(key, value, rule)


def require(key: str, value: Any, rule: Rule) -> None:
    """Raises UserError if the value of a key does not satisfy a rule."""
    if not rule.test(value):
        raise UserError(f"{key}={_shown(value)}: must be {rule.wanted}")


def _nodes(config: DictConfig, above: str = "") -> Iterator[tuple[str, DictConfig]]:
    """The mappings in a config that name a class, by key."""
    names: list[Any] = list(config)
    for name in names:
        # A reference is visited at its target.
        if OmegaConf.is_missing(config, name) or OmegaConf.is_interpolation(config, name):
            continue
        node, key = config[name], f"{above}{name}"
        if isinstance(node, DictConfig):
            if "_target_" in node:
                yield key, node
            yield from _nodes(node, f"{key}.")


def _shown(value: Any) -> str:
    """A value as it is written on the command line, shortened."""
    if value is None:
        shown = "null"
    elif isinstance(value, list):
        shown = f"[{', '.join(map(_shown, value))}]"
    elif isinstance(value, dict):
        shown = f"{{{', '.join(f'{key}: {_shown(item)}' for key, item in value.items())}}}"
    else:
        shown = str(value).lower() if isinstance(value, bool) else str(value)
    return shown if len(shown) <= SHOWN else f"{shown[:SHOWN]}…"
