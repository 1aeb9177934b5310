"""What stops a run from outside: signals and a full disk. And processes that train together."""

import errno
import json
import logging
import os
import resource
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from hydra.core.override_parser.overrides_parser import OverridesParser
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from polyp import cli
from polyp.commands import train
from polyp.errors import UserError
from polyp.runs.signals import prints_resume_hint, resume_hint
from polyp.training import Segmentation
from tests.conftest import TINY_SYNTHETIC
from tests.runs.test_train import ROOT, same, shell, weights

# 14 training images: 4 steps an epoch.
OPTIONS = [*TINY_SYNTHETIC, "augmentation=full"]
TABLES = ("metrics.json", "scores.csv", "equivariance.csv", "split.json")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that nothing stops."""
    folder = tmp_path_factory.mktemp("whole")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["train.py", *OPTIONS, f"hydra.run.dir={folder}"])
        train.main()
    return folder


def last(run: Path) -> Path:
    return run / "checkpoints" / "last.ckpt"


def hint(run: Path) -> str:
    """The line that a run prints that has ended early."""
    return f"To continue, repeat the command with: resume={last(run)} hydra.run.dir={run}"


def position(run: Path) -> tuple[int, int]:
    """Epoch and batch at which last.ckpt continues."""
    state = torch.load(last(run), weights_only=True)["DataModule"]
    return state["epoch"], state["batches"]


def assert_equal(run: Path, other: Path) -> None:
    """Bit for bit."""
    for name in ("last", "best"):
        assert same(weights(run, name), weights(other, name)), name
    for name in TABLES:
        assert (run / name).read_text() == (other / name).read_text(), name


# --- SIGTERM


@pytest.fixture
def terminated(command_line, monkeypatch, capfd, tmp_path) -> Callable[..., Path]:
    """Runs train.py, which must end with status 143 and one line on standard error.

    `when` is "training_step" or "validation_step", an epoch and a batch; SIGTERM comes there.
    """

    def run(when: tuple[str, int, int], *arguments: str) -> Path:
        name, epoch, batch_index = when
        step = getattr(Segmentation, name)

        def with_signal(module, batch, index):
            if (module.current_epoch, index) == (epoch, batch_index):
                os.kill(os.getpid(), signal.SIGTERM)
            return step(module, batch, index)

        before = signal.getsignal(signal.SIGTERM)
        capfd.readouterr()
        with monkeypatch.context() as patch:
            patch.setattr(Segmentation, name, with_signal)
            with pytest.raises(SystemExit) as exit:
                command_line(*arguments, folder="stopped")
        assert exit.value.code == 143
        assert signal.getsignal(signal.SIGTERM) == before
        folder = tmp_path / "stopped"
        (line,) = capfd.readouterr().err.splitlines()
        assert line == f"Terminated. {hint(folder)}"
        return folder

    return run


@pytest.mark.slow
@pytest.mark.parametrize(
    ("when", "stopped_at", "workers"),
    [
        (("training_step", 0, 0), (0, 1), 0),  # when there is no checkpoint yet
        (("training_step", 1, 1), (1, 2), 1),
        (("training_step", 0, 3), (1, 0), 1),  # the last step: its epoch is ended
        (("validation_step", 1, 0), (2, 0), 0),
    ],
)
def test_a_terminated_run_goes_on_at_the_next_step(
    command_line, terminated, whole, when, stopped_at, workers
):
    stopped = terminated(when, *OPTIONS)
    assert position(stopped) == stopped_at
    assert not (stopped / "metrics.json").exists()
    assert not list(stopped.rglob(".*.ckpt"))
    seconds = torch.load(last(stopped), weights_only=True)["callbacks"]["Checkpoints"]["seconds"]
    assert 0 < seconds < 300
    resume = f"resume={last(stopped)}"
    resumed = command_line(*OPTIONS, resume, f"data.num_workers={workers}", folder="stopped")
    assert_equal(whole, resumed)


def test_a_step_of_several_batches_is_ended(terminated):
    options = [*TINY_SYNTHETIC, "+trainer.accumulate_grad_batches=2"]
    assert position(terminated(("training_step", 0, 0), *options)) == (0, 2)


def test_the_resume_hint_can_be_copied_to_a_shell(tmp_path):
    folder = tmp_path / "seed=0,model=unet (1)"
    last(folder).parent.mkdir(parents=True)
    last(folder).touch()
    hydra = OverridesParser.create()
    before, words = resume_hint(folder).split(": ")
    assert before == "To continue, repeat the command with"
    words = shlex.split(words)
    assert [(o.key_or_group, o.value()) for o in hydra.parse_overrides(words)] == [
        ("resume", str(last(folder))),
        ("hydra.run.dir", str(folder)),
    ]


def test_an_epoch_is_resumed_with_the_same_batches_only(terminated, refused):
    resume = f"resume={last(terminated(('training_step', 0, 0), *TINY_SYNTHETIC))}"
    line = refused(*TINY_SYNTHETIC, resume, "data.batch_size=2")
    assert "trained with data.batch_size=4, here it is 2" in line


def test_terminated_in_the_final_measurement(command_line, monkeypatch, capfd, tmp_path, whole):
    with monkeypatch.context() as patch:
        terminate = lambda *_, **__: os.kill(os.getpid(), signal.SIGTERM)  # noqa: E731
        patch.setattr("polyp.runs.train.measure", terminate)
        with pytest.raises(SystemExit) as exit:
            command_line(*OPTIONS)
    assert exit.value.code == 143
    folder = tmp_path / "run"
    assert capfd.readouterr().err.startswith(f"Terminated. {hint(folder)}\n")
    assert_equal(whole, command_line(*OPTIONS, f"resume={last(folder)}", folder="run"))


def test_terminated_before_training_in_a_sweep(command_line, monkeypatch, capfd, tmp_path):
    """The end of its first job is that of the sweep."""
    from polyp.data import DataModule

    jobs = []

    def setup(*_):
        jobs.append(1)
        os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(DataModule, "setup", setup)
    with pytest.raises(SystemExit) as exit:
        command_line("-m", *TINY_SYNTHETIC, "seed=0,1", f"hydra.sweep.dir={tmp_path}")
    assert exit.value.code == 143
    assert jobs == [1]
    assert "Terminated. Nothing was saved yet. To start again, repeat the command.\n" in (
        capfd.readouterr().err
    )


@pytest.mark.slow
def test_killed_in_an_epoch(command_line, tmp_path, whole):
    """SIGKILL, which no program notices: the epoch is made again."""
    folder = tmp_path / "killed"
    options = [*OPTIONS, "loss._target_=tests.parts.StallingLoss"]
    command = [sys.executable, "train.py", *options, f"hydra.run.dir={folder}"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL) as process:
        try:
            deadline = time.monotonic() + 120
            while not last(folder).exists():
                assert process.poll() is None
                assert time.monotonic() < deadline
                time.sleep(0.1)
        finally:
            process.kill()
    assert position(folder) == (1, 0)
    assert_equal(whole, command_line(*options, f"resume={last(folder)}", folder="killed"))


# --- a full disk


def in_epoch(epoch: int, monkeypatch: pytest.MonkeyPatch, action: Callable[[], None]) -> None:
    """Has `action` done in the first step of that epoch."""
    step = Segmentation.training_step

    def training_step(module, batch, index):
        if (module.current_epoch, index) == (epoch, 0):
            action()
        return step(module, batch, index)

    monkeypatch.setattr(Segmentation, "training_step", training_step)


def assert_kept(run: Path, epochs: int) -> None:
    """The checkpoint of so many epochs is there, and no part of a later one."""
    assert position(run) == (epochs, 0)
    assert all(value.isfinite().all() for value in weights(run, "best").values())
    assert not list(run.rglob(".*.ckpt"))


@pytest.fixture
def file_limit() -> Iterator[Callable[[], None]]:
    """Call it, and no file can grow beyond 60 kB: the kernel then fails a write as it does on a
    full disk. A checkpoint of TINY has 83 kB."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, limits[1]))
    resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def test_a_checkpoint_that_cannot_be_written(refused, monkeypatch, tmp_path, file_limit):
    in_epoch(1, monkeypatch, file_limit)
    line = refused(*TINY_SYNTHETIC)
    folder = tmp_path / "run"
    assert line.endswith(f".ckpt: File too large. Free some space. {hint(folder)}")
    assert_kept(folder, epochs=1)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """The run's folder, on a disk of its own, of 1 MB. Skipped where it may not be mounted."""
    place = tmp_path / "run"
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=1m", "none", str(place)]
    try:
        subprocess.run(command, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"cannot mount a disk here: {error}")
    yield place
    # Lazily, as the run's log is still open.
    subprocess.run(["umount", "--lazy", str(place)], check=True)


def test_a_full_disk(refused, command_line, monkeypatch, small_disk, whole):
    rest = small_disk / "rest"

    def fill():
        rest.write_bytes(bytes(shutil.disk_usage(small_disk).free))

    with monkeypatch.context() as patch:
        in_epoch(1, patch, fill)
        line = refused(*OPTIONS)
    assert f"No space left on device. Free some space. {hint(small_disk)}" in line
    assert_kept(small_disk, epochs=1)
    rest.unlink()
    assert_equal(whole, command_line(*OPTIONS, f"resume={last(small_disk)}"))


def test_a_full_disk_below_tensorboard(refused, monkeypatch, tmp_path):
    """It writes in a thread, whose error must neither be lost nor end in a traceback."""
    from tensorboard.summary.writer.record_writer import RecordWriter

    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    in_epoch(1, monkeypatch, lambda: monkeypatch.setattr(RecordWriter, "write", full))
    line = refused(*TINY_SYNTHETIC, "trainer.log_every_n_steps=1", "trainer.max_epochs=50")
    assert f"{tmp_path / 'run'}: No space left on device. Free some space. To continue, " in line
    assert position(tmp_path / "run") >= (1, 0)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_log_that_cannot_be_written(tmp_path):
    @prints_resume_hint
    def run(config, folder, choices):
        logging.getLogger("polyp").error("so far")

    handler = logging.FileHandler("/dev/full")
    logging.getLogger().addHandler(handler)
    try:
        with pytest.raises(UserError, match=r"/dev/full: No space left on device\. Free some"):
            run({}, tmp_path, {})
    finally:
        logging.getLogger().removeHandler(handler)
        with pytest.raises(OSError, match="No space left"):
            handler.close()  # what it could not write is still in its buffer


# --- several processes


def numbers(value: object) -> list[float]:
    """All numbers in metrics.json, in order."""
    if isinstance(value, dict):
        return [x for item in value.values() for x in numbers(item)]
    if isinstance(value, list):
        return [x for item in value for x in numbers(item)]
    return [float(value)] if isinstance(value, int | float) else []


def validation(run: Path) -> dict[str, list[float]]:
    """What TensorBoard holds of each epoch's validation."""
    curves: dict[str, list[float]] = {"val/loss": [], "val/dice": []}
    for events in sorted((run / "tensorboard").iterdir()):
        if "tfevents" in events.name:
            accumulator = EventAccumulator(str(events)).Reload()
            for tag in curves.keys() & accumulator.Tags()["scalars"]:
                curves[tag] += [event.value for event in accumulator.Scalars(tag)]
    return curves


@pytest.mark.slow
def test_two_processes_give_the_numbers_of_one(command_line, tmp_path):
    """Terminated when started by Lightning, resumed when started by torchrun.

    Two processes with batches of 1 against one with batches of 2, on a network without batch
    normalisation: that of two processes is the same only where torch can synchronise it, on GPUs.
    Of the 3 validation images, the second process has one, and then a batch that is blank.
    """
    options = [option for option in TINY_SYNTHETIC if option.split("=")[0] != "data.batch_size"]
    options += ["model=unet", "model.layers._target_=tests.parts.WithoutNorm"]
    options += ["optimizer=sgd", "schedule=constant"]
    one = command_line(*options, "data.batch_size=2", folder="one")

    options = [option for option in options if option != "trainer=cpu"]
    options += ["data.batch_size=1", "trainer=ddp", "trainer.accelerator=cpu"]
    options += ["trainer.devices=2", "trainer.sync_batchnorm=false"]
    options += ["loss._target_=tests.parts.TerminatingLoss"]
    two = tmp_path / "two"
    done = shell(*options, f"hydra.run.dir={two}", TERMINATE="1")
    assert done.returncode == 143, done.stderr
    assert done.stderr == f"Terminated. {hint(two)}\n"
    assert position(two) == (0, 2)
    assert sorted(path.name for path in two.iterdir()) == [
        *(".hydra", "checkpoints", "split.json", "train.log")
    ]
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2"]
    done = subprocess.run(
        [*torchrun, "train.py", *options, f"resume={last(two)}", f"hydra.run.dir={two}"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("run written to") == 1
    assert not list(two.rglob("train_ddp_process_1.log"))

    metrics = [json.loads((run / "metrics.json").read_text()) for run in (one, two)]
    assert metrics[1].keys() == metrics[0].keys()
    assert numbers(metrics[1]) == pytest.approx(numbers(metrics[0]), abs=1e-6)
    expected, curves = validation(one), validation(two)
    assert len(expected["val/loss"]) == 2
    for tag, values in expected.items():
        assert curves[tag] == pytest.approx(values, abs=1e-6), tag
    assert weights(one).keys() == weights(two).keys()
    for key, value in weights(one).items():
        torch.testing.assert_close(weights(two)[key], value, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("rank", ["RANK", "LOCAL_RANK", "NODE_RANK", "SLURM_PROCID"])
def test_later_processes_write_no_files(monkeypatch, rank):
    seen = []
    monkeypatch.setattr(cli.hydra, "main", lambda **_: lambda task: lambda: seen.append(sys.argv))
    command = cli.command_line("train")(train.main.__wrapped__)

    def arguments(*given: str) -> list[str]:
        monkeypatch.setattr(sys, "argv", ["train.py", *given])
        command()
        return seen[-1][1:]

    quiet = ["hydra.output_subdir=null", "hydra/job_logging=none", "hydra/hydra_logging=none"]
    monkeypatch.setenv(rank, "0")
    assert arguments("seed=1") == ["seed=1"]
    monkeypatch.setenv(rank, "1")
    assert arguments("seed=1", "--cfg", "job")[:-2] == ["seed=1", *quiet, "hydra.run.dir=."]
    assert arguments("hydra.run.dir=x") == ["hydra.run.dir='x'", *quiet]
    assert arguments() == [*quiet, "hydra.run.dir=."]


def test_a_wrong_number_of_processes(refused, monkeypatch):
    monkeypatch.setenv("SLURM_JOB_NAME", "polyp")
    monkeypatch.setenv("SLURM_NTASKS", "2")
    assert "--ntasks-per-node=2" in refused(*TINY_SYNTHETIC)


def test_no_sweep_in_several_processes(command_line, capfd, tmp_path):
    options = ["trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=2"]
    options.append("trainer.sync_batchnorm=false")
    with pytest.raises(SystemExit):
        command_line("-m", *TINY_SYNTHETIC, *options, f"hydra.sweep.dir={tmp_path}")
    assert "a sweep (-m) trains each run in one process" in capfd.readouterr().err
