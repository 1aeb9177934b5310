"""What each key of the configs may be, checked before anything is built.

Arguments of classes are listed by the class, wherever a config names it as `_target_`; the other
keys by command. What is not listed is free, as are the arguments of users' own classes.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import InterpolationKeyError

from polyp.errors import UserError
from polyp.runs.folder import flat


@dataclass(frozen=True)
class Rule:
    """What a value may be.

    Attributes:
        test: whether a value is allowed.
        wanted: what it must be, in words: "true or false".
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
    told = " and ".join(f"{name} {end:g}" for name, end in ends.items() if math.isfinite(end))
    return Rule(
        lambda value: (
            isinstance(value, int | float)
            and not isinstance(value, bool)
            and math.isfinite(value)
            and least <= value <= most
            and above < value < below
        ),
        f"a number {told}" if told else "a finite number",
    )


def one_of(*choices: Any) -> Rule:
    """One of some values."""
    told = ["true" if c is True else "false" if c is False else str(c) for c in choices]
    return Rule(
        # By type too: 1 is not true.
        lambda value: any(type(value) is type(c) and value == c for c in choices),
        " or ".join(filter(None, [", ".join(told[:-1]), told[-1]])),
    )


def list_of(rule: Rule) -> Rule:
    """A list, each of whose elements keeps a rule."""
    return Rule(
        lambda value: isinstance(value, list) and all(map(rule.test, value)),
        f"a list, and each element {rule.wanted}",
    )


def optional(rule: Rule) -> Rule:
    """What keeps a rule, or null."""
    return Rule(lambda value: value is None or rule.test(value), f"{rule.wanted}, or null")


def either(one: Rule, other: Rule) -> Rule:
    """What keeps one of two rules."""
    return Rule(
        lambda value: one.test(value) or other.test(value), f"{one.wanted}, or {other.wanted}"
    )


TRUTH = one_of(True, False)
WORD = Rule(lambda value: isinstance(value, str) and value != "", "a word")
PATH = Rule(  # a folder may be called 2024
    lambda value: (
        isinstance(value, str | int | float) and not isinstance(value, bool) and value != ""
    ),
    "a path",
)
FIGURE = Rule(
    lambda value: str(value).lower().endswith((".png", ".pdf", ".svg")),
    "a file that ends with .png, .pdf or .svg",
)
ANGLES = list_of(number())  # in degrees; the rest is said by polyp.evaluation.check_angles
WEIGHT = number(least=0)

# --- arguments of classes

# Larger ones take hours to build, or more memory than there is.
KERNEL_SIZE = whole(1, 15, odd=True)
ROTATIONS = whole(1, 36)

SE2 = {
    "kernel_size": KERNEL_SIZE,
    "rotations": ROTATIONS,
    "sigma": number(least=0.1, most=10),  # in pixels: narrower is no weight, wider all the same
    "reflections": TRUTH,
}
ADAM = {"lr": number(above=0, most=100), "weight_decay": number(least=0, most=10)}
LOSS = {"bce": WEIGHT, "cross_entropy": WEIGHT, "dice": WEIGHT, "smooth": number(above=0)}
DATA = {
    "image_size": whole(8, 16384),
    "batch_size": whole(1),
    "channels": whole(1),
    "split_seed": whole(0),
    "seed": whole(0),
    "augmentation": Rule(lambda value: isinstance(value, list), "a list of transforms"),
    "train_fraction": number(above=0, most=1),
    "partial": TRUTH,
    "num_workers": whole(0),
    "cache": optional(PATH),
    "split_file": optional(PATH),
}

CLASSES: Mapping[str, Mapping[str, Rule]] = {
    "polyp.data.DataModule": DATA,
    "polyp.models.UNet": {
        "widths": list_of(whole(1, 4096)),
        "in_channels": whole(1),
        "out_channels": whole(1),
        "margin": whole(0, 4096),
    },
    "polyp.models.Canonicalized": {"fields": whole(1, 4096)},
    "polyp.layers.PlainLayers": {"kernel_size": KERNEL_SIZE},
    "polyp.layers.P4Layers": {"kernel_size": KERNEL_SIZE, "reflections": TRUTH},
    "polyp.layers.SE2Layers": SE2,
    "polyp.layers.SeparableSE2Layers": SE2,
    "polyp.layers.SteerableLayers": {
        "kernel_size": KERNEL_SIZE,
        "rotations": either(ROTATIONS, one_of("continuous")),
        "max_frequency": whole(1, 18),
        "reflections": TRUTH,
    },
    "polyp.layers.LieLayers": {
        "kernel_size": KERNEL_SIZE,
        "rotations": ROTATIONS,
        "separable": TRUTH,
        "omega": number(above=0, most=1000),
        "hidden": whole(1, 1024),
        "layers": whole(1, 16),
        "reflections": TRUTH,
    },
    "polyp.training.BCEDiceLoss": LOSS,
    "polyp.training.CrossEntropyDiceLoss": LOSS,
    "torch.optim.Adam": ADAM,
    "torch.optim.AdamW": ADAM,
    "torch.optim.SGD": ADAM | {"momentum": number(least=0, below=1), "nesterov": TRUTH},
    "polyp.training.one_cycle": {"warmup": number(above=0, below=1)},
    "polyp.training.cosine": {"warmup": number(least=0, most=1)},
    "polyp.training.make_trainer": {
        "max_epochs": whole(1, 1_000_000),
        "gradient_clip_val": optional(number(above=0)),
        "accumulate_grad_batches": whole(1),
        "log_every_n_steps": whole(1),
        "num_nodes": whole(1),
        "sync_batchnorm": TRUTH,
    },
}

# --- other keys

EVALUATION = {
    "evaluation.angles": ANGLES,
    "evaluation.part_angles": ANGLES,
    "evaluation.shifts": TRUTH,
}

COMMANDS: Mapping[str, Mapping[str, Rule]] = {
    "train": {
        "seed": whole(0, 2**32 - 1),
        "resume": optional(PATH),
        "init_from": optional(PATH),
        "init_from_seen": TRUTH,
        "name": optional(WORD),
        "early_stopping_patience": optional(whole(1)),
        **EVALUATION,
        "evaluation.every_n_epochs": whole(0),
        "evaluation.drift_angles": ANGLES,
    },
    "evaluate": {
        "run": optional(PATH),
        "maps": optional(PATH),
        "output": optional(PATH),
        "part": one_of("own", "all", "train", "val", "test"),
        "device": WORD,
        **{key: optional(rule) for key, rule in EVALUATION.items()},
        **{f"data.{key}": optional(rule) for key, rule in DATA.items()},
    },
    "predict": {
        "run": PATH,
        "recursive": TRUTH,
        "threshold": optional(number(above=0, below=1)),
        "probabilities": one_of(True, False, 8, 16),
        "angles": optional(ANGLES),
        "device": WORD,
        "precision": one_of("float32", "bfloat16"),
    },
    "export": {"run": PATH, "output": PATH, "overwrite": TRUTH},
    "archive": {"output": PATH},
    "compare": {"output": PATH, "outlier_dice": number(least=0, most=1)},
    "rotation_error": {"output": FIGURE, "angles": ANGLES, "seeds": whole(1, 1000)},
    "benchmark": {
        "image_size": DATA["image_size"],
        "batch_size": whole(1),
        "rounds": whole(1),
        "threads": whole(1),
    },
    "download_data": {},  # polyp.data.download checks what it takes from anywhere
}


def check(command: str, config: DictConfig, usage: str) -> None:
    """Checks a composed config.

    Args:
        command: the name of its file, such as "train".
        config: what is to be checked.
        usage: how the command is called, for one who has left something out.

    Raises:
        UserError: a value is missing, of another type or out of its range.
    """
    missing = _missing(config)
    if missing:
        verb = "is" if len(missing) == 1 else "are"
        raise UserError(f"{' and '.join(f'{key}=' for key in missing)} {verb} missing: {usage}")
    for key, rule in COMMANDS[command].items():
        *above, last = key.split(".")
        node = OmegaConf.select(config, ".".join(above)) if above else config
        _check(node, last, key, rule)
    for key, node in _nodes(config):
        for argument, rule in CLASSES.get(node["_target_"], {}).items():
            _check(node, argument, f"{key}.{argument}", rule)


def _missing(config: DictConfig) -> list[str]:
    """Keys that have to be given; not those that refer to them."""
    plain: Any = OmegaConf.to_container(config)
    return sorted(key for key, value in flat(plain).items() if value == "???")


def _check(node: Any, argument: str, key: str, rule: Rule) -> None:
    if not isinstance(node, DictConfig) or argument not in node:
        return
    try:
        value = node[argument]
    except InterpolationKeyError:  # of what training alone has, as ${seed} in a download
        return
    if OmegaConf.is_config(value):
        value = OmegaConf.to_container(value, resolve=True)
    if not rule.test(value):
        raise UserError(f"{key}={_shown(value)}: must be {rule.wanted}")


def _nodes(config: DictConfig, above: str = "") -> Iterator[tuple[str, DictConfig]]:
    """The mappings in a config that name a class, by key."""
    names: list[Any] = list(config)
    for name in names:
        # What refers to another place is visited there.
        if OmegaConf.is_missing(config, name) or OmegaConf.is_interpolation(config, name):
            continue
        node, key = config[name], f"{above}{name}"
        if isinstance(node, DictConfig):
            if "_target_" in node:
                yield key, node
            yield from _nodes(node, f"{key}.")


def _shown(value: Any) -> str:
    """As it would be given on the command line."""
    if value is None:
        return "null"
    if isinstance(value, list):
        return f"[{', '.join(map(_shown, value))}]"
    return str(value).lower() if isinstance(value, bool) else str(value)
