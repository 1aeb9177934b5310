"""Random inputs near the configs: wrong types, values out of range, misspelt keys.

python -m tests.fuzz COMMAND COUNT [SEED] runs them, in an empty folder, and reports each that
ended otherwise than it should.
"""

import contextlib
import importlib
import io
import os
import random
import signal
import sys
import tempfile
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from omegaconf import OmegaConf

from polyp.cli import configs_folder
from polyp.runs import traces
from tests.benchmark.conftest import TINY as TINY_BENCHMARK

LIMIT = 60  # seconds that one input may take

VALUES = [
    *("", "null", "nan", "inf", "-inf", "-1", "0", "1", "1.5", "1e30", "9" * 25, "1e-320"),
    *("true", "abc", "ü", "'a b'", "[]", "{}", "[nan]", "[[0]]", "[null]", "{a: 1}", "[1,[2]]"),
    *("/dev/null/x", "${nowhere}", "???", "x" * 300),
]

# What a value must look like, by the type of the default: all else has to be refused.
NUMBERS = {"-1", "0", "1", "1.5", "1e30", "9" * 25, "1e-320"}


@dataclass(frozen=True)
class Input:
    """One command line, and whether it has to be refused whatever the schema says."""

    overrides: list[str]
    must_be_refused: bool


def inputs(command: str, base: list[str], count: int, seed: int) -> Iterator[Input]:
    """Inputs of a command, each with one key changed.

    Args:
        command: the name of its config.
        base: overrides that make the command fast and, but for the drawn one, legal.
        count: how many.
        seed: of the draws.
    """
    rng = random.Random(f"{command} {seed}")
    with initialize_config_dir(str(configs_folder()), version_base="1.3"):
        config = compose(command, base, return_hydra_config=True)
    choices = [c for c in config.hydra.runtime.choices if not c.startswith("hydra/")]
    del config.hydra
    plain: Any = OmegaConf.to_container(config)
    defaults = dict(_keys(plain))
    for _ in range(count):
        kind = rng.random()
        if kind < 0.1:
            key = rng.choice(sorted(defaults))
            override, refused = f"{_misspelt(key, rng)}=1", True
        elif kind < 0.2 and choices:
            override, refused = f"{rng.choice(choices)}={rng.choice(VALUES)}", False
        elif kind < 0.25:
            override, refused = f"hydra.run.dir={rng.choice(VALUES)}", False
        else:
            key, value = rng.choice(sorted(defaults)), rng.choice(VALUES)
            override, refused = f"{key}={value}", _wrong_type(defaults[key], value)
        name = override.split("=")[0]
        yield Input([*(o for o in base if o.split("=")[0] != name), override], refused)


def _keys(config: dict, above: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in config.items():
        yield f"{above}{key}", value
        if isinstance(value, dict):
            yield from _keys(value, f"{above}{key}.")


def _misspelt(key: str, rng: random.Random) -> str:
    place = rng.randrange(len(key))
    return key[:place] + rng.choice("qxz") + key[place:]


def _wrong_type(default: Any, value: str) -> bool:
    """Whether a value has another type than the default; False where that cannot be told."""
    if isinstance(default, bool):
        return value != "true"
    if isinstance(default, int | float):
        return value not in NUMBERS
    if isinstance(default, list):
        return not value.startswith("[")
    if isinstance(default, dict):
        return not value.startswith("{")
    return False


@dataclass(frozen=True)
class Outcome:
    """How a command ended, and what it left in its folder."""

    status: int
    errors: str
    left: list[str]

    def fault(self, must_be_refused: bool) -> str | None:
        """What is wrong with it; None if nothing is."""
        if self.status not in (0, 1) or "Traceback" in self.errors:
            return "traceback"
        if self.status == 0:
            return "accepted" if must_be_refused else None
        last = self.errors.strip().splitlines()[-1:]
        if not last or not last[0].startswith("error: ") or len(last[0]) > 1500:
            return "no line that helps"
        return f"left behind: {self.left}" if self.left else None


def run(command: str, overrides: list[str], folder: Path) -> Outcome:
    """Runs a command in this process and in a folder, as the shell would."""
    module = {"download_data": "download"}.get(command, command)
    main = importlib.import_module(f"polyp.commands.{module}").main
    before, argv, errors = Path.cwd(), sys.argv, io.StringIO()
    there = set(folder.rglob("*"))
    os.chdir(folder)
    sys.argv = [f"{command}.py", *overrides]
    status = 0
    try:
        with contextlib.redirect_stderr(errors), contextlib.redirect_stdout(io.StringIO()):
            main()
    except SystemExit as exit:
        status = exit.code if isinstance(exit.code, int) else 1
    except BaseException:
        status = 2
        errors.write(traceback.format_exc())
    finally:
        os.chdir(before)
        sys.argv = argv
        GlobalHydra.instance().clear()
        traces._existing.clear()  # a process runs one command
    left = sorted(str(p.relative_to(folder)) for p in set(folder.rglob("*")) - there)
    return Outcome(status, errors.getvalue(), left)


def base(command: str, finished: Path, data: Path) -> list[str]:
    """Overrides that make a command legal and fast.

    Args:
        command: the name of its config.
        finished: a finished run.
        data: a folder of pairs, with `images` and `masks`.
    """
    return {
        "train": [
            "model.widths=[4,4]",
            "data.image_size=32",
            "data.batch_size=4",
            "data.dataset.images=20",
            "trainer=cpu",
            "trainer.max_epochs=1",
            "evaluation.angles=[0,90]",
            "evaluation.part_angles=[]",
            "hydra.run.dir=run",
        ],
        "evaluate": [f"run={finished}", "output=new", "evaluation.angles=[0,90]"],
        "predict": [f"run={finished}", f"input={data / 'images' / 'polyp1.png'}", "output=new"],
        "view": [f"runs={finished}", "output=new.html", "step=90"],
        "archive": [f"runs={finished}", "output=new"],
        "compare": [f"runs={finished}", "output=new"],
        "export": [f"run={finished}", "output=new.pt2"],
        "download_data": ["data=kvasir", "root=new/root", f"archive={data}/nowhere.zip"],
        "rotation_error": ["output=new.png", "seeds=1", "angles=[0,90]"],
        "benchmark": [*TINY_BENCHMARK, "measure=[sweep]", "hydra.run.dir=run"],
    }[command]


def _alarm(*_: Any) -> None:
    raise TimeoutError(f"still running after {LIMIT} seconds")


def main() -> None:
    """Runs inputs of one command and prints each fault, and what was accepted."""
    from tests.conftest import write_pairs

    command, count, seed = sys.argv[1], int(sys.argv[2]), int((sys.argv[3:] or ["0"])[0])
    place = Path(tempfile.mkdtemp(prefix="fuzz-"))
    data, finished = place / "data", place / "finished"
    write_pairs(data / "images", data / "masks", [f"polyp{i}" for i in range(20)])
    options = [o for o in base("train", finished, data) if "hydra" not in o and "dataset" not in o]
    options += ["data=folder", f"data.root={data}", "data.cache=null", f"hydra.run.dir={finished}"]
    made = run("train", options, place)
    assert made.status == 0, made.errors
    signal.signal(signal.SIGALRM, _alarm)
    faults = accepted = 0
    for index, drawn in enumerate(inputs(command, base(command, finished, data), count, seed)):
        folder = place / str(index)
        folder.mkdir()
        signal.alarm(LIMIT)
        outcome = run(command, drawn.overrides, folder)
        signal.alarm(0)
        fault = outcome.fault(drawn.must_be_refused)
        faults, accepted = faults + (fault is not None), accepted + (outcome.status == 0)
        lines = outcome.errors.strip().splitlines()
        last = lines[-1] if lines and outcome.status else ""
        print(f"{fault or 'ok'} | {outcome.status} | {drawn.overrides[-1]} | {last}", flush=True)
    print(f"{command}: {count} inputs, {accepted} accepted, {faults} faults")


if __name__ == "__main__":
    main()
