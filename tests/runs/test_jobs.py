"""Sweeps: the finished is skipped, the half-done resumed, and one failure stays one."""

import functools
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from hydra.core.config_store import ConfigStore
from hydra.types import RunMode
from omegaconf import OmegaConf
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from polyp.commands import train
from polyp.errors import UserError
from polyp.runs import traces
from polyp.runs.jobs import job_name
from polyp.runs.signals import Stopped
from polyp.training import Segmentation
from tests.conftest import TINY_SYNTHETIC

ROOT = Path(__file__).parents[2]


@pytest.fixture
def sweep(monkeypatch, capfd, tmp_path: Path) -> Callable[..., tuple[int, list[str]]]:
    """Runs train.py -m in this process; gives its exit status and the lines it says."""

    def run(*arguments: str) -> tuple[int, list[str]]:
        arguments = (*TINY_SYNTHETIC, *arguments, f"hydra.sweep.dir={tmp_path / 'sweep'}")
        monkeypatch.setattr(sys, "argv", ["train.py", "-m", *arguments])
        monkeypatch.delenv("HYDRA_FULL_ERROR", raising=False)
        capfd.readouterr()
        status = 0
        try:
            train.main()
        except SystemExit as exit:
            status = exit.code
        out, err = capfd.readouterr()
        return status, [*out.splitlines(), *err.splitlines()]

    return run


def job(sweep: Path, *overrides: str) -> Path:
    """The folder of one of its jobs."""
    named = dict(override.split("=") for override in (*TINY_SYNTHETIC, *overrides))
    return sweep / job_name([f"{key}={value}" for key, value in named.items()], "synthetic")


def contents(folder: Path) -> dict[str, tuple[bytes, int]]:
    """Bytes and time of every file."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(file): (file.read_bytes(), file.stat().st_mtime_ns) for file in files}


def results(folder: Path) -> list[str]:
    names = ("metrics.json", "scores.csv", "equivariance.csv", "split.json")
    return [(folder / name).read_text() for name in names]


def power_failure(monkeypatch: pytest.MonkeyPatch, epoch: int, when=lambda: True) -> None:
    training_step = Segmentation.training_step

    def step(module, batch, batch_index):
        if module.current_epoch == epoch and batch_index == 1 and when():
            raise RuntimeError("power failure")
        return training_step(module, batch, batch_index)

    monkeypatch.setattr(Segmentation, "training_step", step)


# --- the folder


@pytest.mark.parametrize(
    ("overrides", "data", "name"),
    [
        (["seed=0", "model=unet"], "synthetic", "model=unet,seed=0"),
        (["model=unet", "seed=0"], "synthetic", "model=unet,seed=0"),
        ([], "synthetic", "defaults"),
        (["seed=0", "data.cache=null", "data.num_workers=4", "sweep=joblib"], "cvc", "seed=0"),
        (["data=cvc", "data.root=/a/b", "resume=x"], "cvc", "data=cvc"),
        (["+data.num_workers=3", "+trainer.x=1", "~loss.bce"], "cvc", "+trainer.x=1,~loss.bce"),
    ],
)
def test_a_folder_is_named_by_what_is_run(overrides, data, name):
    assert job_name(overrides, data) == name


def test_names_hold_no_folders_and_are_not_too_long():
    up, down = (job_name([f"data.split_file={path}"], "cvc") for path in ("../../x", "..-../x"))
    assert "/" not in up + down
    assert up != down
    a, b = (job_name([f"model.widths={[*range(100), last]}"], "cvc") for last in (1, 2))
    assert a != b
    assert len(a.encode()) <= 240
    assert len(job_name([f"data.split_file={'é' * 200}"], "cvc").encode()) <= 240
    # With data=folder the root is the dataset.
    roots = [job_name(["data=folder", f"data.root={root}"], "folder") for root in ("/a", "/b")]
    assert roots[0] != roots[1]
    assert roots[0].startswith("data.root=-a,data=folder~")


# --- resuming


def test_the_same_command_skips_what_is_finished_and_a_larger_one_adds(sweep, tmp_path):
    assert sweep("seed=0")[0] == 0
    first = job(tmp_path / "sweep", "seed=0")
    before = contents(first)
    # Where and how it is run does not count, nor does the order.
    status, lines = sweep("data.num_workers=0", "data.cache=null", "seed=0,1")
    assert status == 0
    dice = json.loads((first / "metrics.json").read_text())["val"]["dice"]
    assert f"{first}: already finished, best validation Dice {dice:.4f}" in lines
    assert contents(first) == before
    metrics = json.loads((job(tmp_path / "sweep", "seed=1") / "metrics.json").read_text())
    assert metrics["seed"] == 1


def test_a_failure_leaves_the_others_alone_and_is_resumed_by_the_same_command(
    sweep, command_line, monkeypatch, tmp_path
):
    options = ["trainer.max_epochs=3", "trainer.log_every_n_steps=1"]
    whole = command_line(*TINY_SYNTHETIC, *options)
    failing, other = (job(tmp_path / "sweep", *options, f"seed={seed}") for seed in (0, 1))
    power_failure(monkeypatch, epoch=1, when=lambda: not other.exists())
    status, lines = sweep(*options, "seed=0,1")
    assert status == 1
    assert lines[-2:] == [
        f"failed: {failing}: RuntimeError: power failure",
        "error: one job of the sweep failed; repeat the command to try again",
    ]
    assert "Traceback" in (failing / "train.log").read_text()
    assert not (failing / "metrics.json").exists()
    assert (other / "metrics.json").exists()
    monkeypatch.undo()

    before = contents(other)
    status, lines = sweep(*options, "seed=0,1")
    assert status == 0
    assert not [line for line in lines if "failed" in line]
    assert results(failing) == results(whole)
    assert contents(other) == before
    # TensorBoard shows the repeated steps once.
    accumulator = EventAccumulator(str(failing / "tensorboard")).Reload()
    steps = [event.step for event in accumulator.Scalars("train/loss_step")]
    assert steps == list(range(12))
    images = [event.step for event in accumulator.Images("val/masks")]
    assert images == [3, 7, 11]


@pytest.mark.parametrize(
    "options",
    [
        ["trainer.max_epochs=2"],
        ["trainer.max_epochs=20", "early_stopping_patience=1", "optimizer.lr=1e-30"],
    ],
    ids=["all epochs", "stopped early"],
)
def test_a_run_killed_after_its_last_epoch_is_only_measured(sweep, tmp_path, options):
    assert sweep(*options)[0] == 0
    folder = job(tmp_path / "sweep", *options)
    before, last = results(folder), (folder / "checkpoints" / "last.ckpt").read_bytes()
    assert json.loads(before[0])["epochs"] < 20
    (folder / "metrics.json").unlink()
    assert sweep(*options)[0] == 0
    assert results(folder) == before
    assert (folder / "checkpoints" / "last.ckpt").read_bytes() == last


def test_a_run_killed_before_its_first_checkpoint_starts_anew(sweep, monkeypatch, tmp_path):
    power_failure(monkeypatch, epoch=0)
    options = ["seed=3", "trainer.log_every_n_steps=1"]
    folder = job(tmp_path / "sweep", *options)
    assert sweep(*options)[0] == 1
    assert (folder / "tensorboard").exists()
    monkeypatch.undo()
    assert sweep(*options)[0] == 0
    accumulator = EventAccumulator(str(folder / "tensorboard")).Reload()
    assert [event.step for event in accumulator.Scalars("train/loss_step")] == list(range(8))


@pytest.mark.parametrize("finished", [True, False])
def test_a_run_of_another_config_is_refused_and_left_as_it_is(sweep, tmp_path, finished):
    name = "hydra.sweep.subdir=all/the/same"
    assert sweep(name, "seed=0")[0] == 0
    folder = tmp_path / "sweep" / "all" / "the" / "same"
    if not finished:
        (folder / "metrics.json").unlink()
    before = contents(folder)
    status, lines = sweep(name, "seed=1", "model.layers.kernel_size=5")
    assert status == 1
    [line] = [line for line in lines if line.startswith("failed")]
    assert f"{folder}: has a run of another config" in line
    assert "model.layers.kernel_size is 3 there and 5 here, seed is 0 there and 1 here" in line
    assert "another hydra.sweep.dir=" in line
    assert contents(folder) == before

    config = folder / ".hydra" / "config.yaml"
    for damage in (lambda: config.write_text("a: ["), config.unlink):
        damage()
        status, lines = sweep(name, "seed=0")
        assert status == 1
        assert any(line.startswith(f"failed: {folder}: {config}: ") for line in lines)


def test_a_damaged_checkpoint(sweep, tmp_path):
    assert sweep()[0] == 0
    folder = job(tmp_path / "sweep")
    last = folder / "checkpoints" / "last.ckpt"
    (folder / "metrics.json").unlink()
    last.write_bytes(last.read_bytes()[:1000])
    status, lines = sweep()
    assert status == 1
    message = f"failed: {folder}: resume={last}: not a checkpoint of a run, or damaged; delete"
    assert any(line.startswith(message) for line in lines)


def test_a_job_that_another_process_is_at_work_on(sweep, tmp_path):
    folder = job(tmp_path / "sweep")
    lock = folder.parent / ".jobs" / f"{folder.name}.lock"
    lock.parent.mkdir(parents=True)
    code = (
        "import filelock, sys; lock = filelock.FileLock(sys.argv[1]); lock.acquire(); "
        "print('locked', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(lock)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as other:
        other.stdout.readline()
        status, lines = sweep()
        assert status == 1
        assert (
            f"failed: {folder}: another process is running this job; wait for it to finish" in lines
        )
        assert not (folder / "checkpoints").exists()
        other.communicate()
    assert sweep()[0] == 0


# --- stopping


@pytest.mark.parametrize(
    ("stop", "status"),
    [(Stopped(signal.SIGTERM), 143), (Stopped(signal.SIGINT), 130), (KeyboardInterrupt(), 130)],
    ids=lambda value: type(value).__name__,
)
def test_a_stopped_job_ends_the_sweep(sweep, monkeypatch, stop, status):
    started = []

    def run(config, folder, choices):
        started.append(folder)
        raise stop

    monkeypatch.setattr("polyp.runs.train.run", run)
    found, lines = sweep("seed=0,1")
    assert found == status
    assert len(started) == 1
    assert "The sweep was stopped. To continue, repeat the command." in lines


@pytest.mark.slow
def test_control_c_ends_the_sweep(tmp_path):
    options = ["data.dataset.images=400", "trainer.max_epochs=10000"]
    first, second = (job(tmp_path, *options, f"seed={seed}") for seed in (0, 1))
    process = start(tmp_path, *TINY_SYNTHETIC, *options, "seed=0,1")
    wait_for(first / "checkpoints" / "last.ckpt", process)
    os.killpg(process.pid, signal.SIGINT)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 130
    assert stderr.splitlines()[-1] == "The sweep was stopped. To continue, repeat the command."
    assert "resume=" not in stderr
    assert "Traceback" not in stderr
    assert not second.exists()


def test_a_refused_job_in_a_process_of_its_own_leaves_no_folder(tmp_path, monkeypatch):
    """As joblib and submitit start them; such a process was not told which folders were there."""
    monkeypatch.setattr(traces, "_existing", [])
    config = OmegaConf.create({"mode": RunMode.MULTIRUN})
    monkeypatch.setattr(traces.HydraConfig, "get", lambda: config)
    folder = tmp_path / "sweep" / "seed=-1"
    folder.mkdir(parents=True)
    with pytest.raises(UserError), traces.no_empty_folder(folder):
        raise UserError("refused")
    assert (tmp_path / "sweep").is_dir()
    assert not folder.exists()


def test_a_file_in_place_of_the_folder(sweep, tmp_path):
    (tmp_path / "sweep").touch()
    assert sweep("seed=0,1") == (1, [f"error: {tmp_path / 'sweep'}: File exists"])


# --- single runs


def test_the_record_of_a_run_is_what_hydra_would_write(command_line):
    folder = command_line(*TINY_SYNTHETIC, "hydra.output_subdir=hydras")
    for name in ("config.yaml", "hydra.yaml", "overrides.yaml"):
        assert (folder / ".hydra" / name).read_text() == (folder / "hydras" / name).read_text()


@pytest.mark.parametrize("removed", ["checkpoints", "metrics.json"])
def test_a_folder_with_a_run_is_refused_and_left_as_it_is(command_line, refused, removed):
    folder = command_line(*TINY_SYNTHETIC)
    path = folder / removed
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    before = contents(folder)
    line = refused(*TINY_SYNTHETIC, "seed=1")
    assert f"hydra.run.dir={folder} already has a run: " in line
    assert ("resume=" in line) == (removed == "metrics.json")
    assert contents(folder) == before


# --- launchers and searches


def start(folder: Path, *options: str) -> subprocess.Popen:
    """train.py -m in processes of a group of its own."""
    return subprocess.Popen(
        [sys.executable, "train.py", "-m", *options, f"hydra.sweep.dir={folder}"],
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        # Where the tests run in the background, a child would ignore the signal.
        preexec_fn=functools.partial(signal.signal, signal.SIGINT, signal.SIG_DFL),
    )


def finish(folder: Path, *options: str) -> tuple[int, list[str]]:
    """Exit status and what is said on standard error."""
    process = start(folder, *options)
    _, stderr = process.communicate(timeout=240)
    return process.returncode, stderr.splitlines()


def wait_for(path: Path, process: subprocess.Popen) -> None:
    deadline = time.monotonic() + 120
    while not path.exists():
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < deadline, path
        time.sleep(0.005)


@pytest.mark.parametrize(("group", "plugin"), [("launcher", "joblib"), ("sweeper", "optuna")])
def test_a_plugin_that_is_not_installed(sweep, monkeypatch, group, plugin):
    installed = ConfigStore.instance().repo["hydra"][group]
    monkeypatch.delitem(installed, f"{plugin}.yaml", raising=False)
    status, lines = sweep(f"sweep={plugin}")
    assert status == 1
    assert len(lines) == 1
    assert f"Could not find 'hydra/{group}/{plugin}'" in lines[0]
    assert "the extra `sweeps`" in lines[0]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("package", "options"),
    [
        ("hydra_joblib_launcher", ["sweep=joblib", "hydra.launcher.n_jobs=2"]),
        ("hydra_submitit_launcher", ["hydra/launcher=submitit_local"]),
    ],
    ids=["joblib", "submitit"],
)
def test_jobs_in_other_processes(tmp_path, package, options):
    pytest.importorskip(f"hydra_plugins.{package}")
    options = [*TINY_SYNTHETIC, *options, "seed=0,-1"]
    status, lines = finish(tmp_path, *options)
    assert status == 1
    assert lines[-2:] == [
        f"failed: {job(tmp_path, 'seed=-1')}: seed=-1: must be a whole number from 0 to 4294967295",
        "error: one job of the sweep failed; repeat the command to try again",
    ]
    assert (job(tmp_path, "seed=0") / "metrics.json").exists()
    if package == "hydra_joblib_launcher":
        record = json.loads((job(tmp_path, "seed=0") / "provenance.json").read_text())
        assert record["machine"].endswith(" 1 threads")


@pytest.mark.slow
def test_a_search_proposes_the_same_again_and_finds_its_trials(tmp_path):
    pytest.importorskip("hydra_plugins.hydra_optuna_sweeper")
    options = [*TINY_SYNTHETIC, "sweep=optuna", "hydra.sweeper.sampler.n_startup_trials=1"]

    def found(trials: int) -> tuple[dict, set[Path]]:
        status, lines = finish(tmp_path, *options, f"hydra.sweeper.n_trials={trials}")
        assert status == 0, lines
        best = yaml.safe_load((tmp_path / "optimization_results.yaml").read_text())
        return best, {path.parent for path in tmp_path.glob("*/metrics.json")}

    _, three = found(3)
    before = contents(tmp_path / next(iter(three)))
    best, four = found(4)
    assert (len(three), len(four)) == (3, 4)
    assert three < four
    assert contents(tmp_path / next(iter(three))) == before
    dice = [json.loads((folder / "metrics.json").read_text())["val"]["dice"] for folder in four]
    assert best["best_value"] == max(dice)


@pytest.mark.parametrize(
    ("name", "package"),
    [("joblib", "joblib_launcher"), ("optuna", "optuna_sweeper"), ("slurm", "submitit_launcher")],
)
def test_the_ready_configs_compose(monkeypatch, capfd, name, package):
    pytest.importorskip(f"hydra_plugins.hydra_{package}")
    monkeypatch.setattr(sys, "argv", ["train.py", f"sweep={name}", "--cfg", "all"])
    train.main()
    config = yaml.safe_load(capfd.readouterr().out)
    assert config["hydra"]["mode"] == "MULTIRUN"
    assert "$" not in config["hydra"]["sweep"]["dir"]  # Hydra resolves it too early for ${hydra:…}
    part = config["hydra"]["sweeper" if name == "optuna" else "launcher"]
    assert part["_target_"].startswith(f"hydra_plugins.hydra_{package}.")
    assert config["trainer"]["accelerator"] == ("gpu" if name == "slurm" else "auto")


# --- the proof


@pytest.mark.slow
@pytest.mark.timeout(900)  # of a busy machine; by itself it takes about one minute
def test_a_sweep_killed_three_times_ends_as_if_it_never_was(tmp_path, script):
    options = [*TINY_SYNTHETIC, "trainer.max_epochs=20", "model=unet,p4unet", "seed=0,1"]
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    moments = random.Random(0)

    started = time.monotonic()
    assert finish(whole, *options) == (0, [])
    duration = time.monotonic() - started

    def kill(model: str, seed: int) -> None:
        """Somewhere after the first epoch of this job, and before its end."""
        folder = job(killed, "trainer.max_epochs=20", f"model={model}", f"seed={seed}")
        process = start(killed, *options)
        wait_for(folder / "checkpoints" / "last.ckpt", process)
        time.sleep(moments.uniform(0, 0.5))
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        assert not (folder / "metrics.json").exists()

    kill("unet", 1)
    kill("p4unet", 0)
    process = start(killed, *options)
    time.sleep(moments.uniform(0.3, 0.9) * duration)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    assert finish(killed, *options) == (0, [])

    runs = sorted(path.parent.name for path in whole.glob("*/metrics.json"))
    assert len(runs) == 4
    for name in runs:
        assert results(killed / name) == results(whole / name)
    script("compare", f"runs={killed}", f"output={tmp_path / 'comparison'}")
    page = (tmp_path / "comparison" / "index.html").read_text()
    assert "<b>Left out</b>" not in page
    assert "p4 U-Net" in page
