"""Opening a run again, and refusing what is no run, is damaged, or would run code."""

import contextlib
import io
import os
import pickle
import shutil
from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf

from polyp.errors import UserError
from polyp.runs.folder import RunFolder
from polyp.runs.loading import choose_device, load_checkpoint, load_model
from tests.conftest import TINY_SYNTHETIC


@pytest.fixture
def run(finished_run: Path, tmp_path: Path) -> Path:
    """A copy of the finished run, to be damaged."""
    return shutil.copytree(finished_run, tmp_path / "copy")


class Payload:
    """Pickled, it is code that makes a folder when it is read."""

    def __init__(self, trace: Path):
        self.trace = trace

    def __reduce__(self):
        return os.mkdir, (str(self.trace),)


def malicious(place: Path, trace: Path, how: str) -> None:
    """Writes a checkpoint that would run code, if its reader let it."""
    good = torch.load(place, weights_only=True)
    if how == "beside the weights":
        torch.save({**good, "extra": Payload(trace)}, place)
    elif how == "as a weight":
        good["state_dict"]["model.head.bias"] = Payload(trace)
        torch.save(good, place)
    elif how == "in the format before torch 1.6":
        torch.save({**good, "extra": Payload(trace)}, place, _use_new_zipfile_serialization=False)
    else:
        place.write_bytes(pickle.dumps({**good, "extra": Payload(trace)}))


HOW = ["beside the weights", "as a weight", "in the format before torch 1.6", "as a plain pickle"]


def test_the_network_is_that_of_the_best_epoch(finished_run):
    saved = RunFolder.open(finished_run)
    assert saved.choices["model"] == "p4unet"
    model = load_model(saved)
    assert not model.training
    state = torch.load(saved.best, weights_only=True)["state_dict"]
    for key, value in model.state_dict().items():
        assert torch.equal(value, state[f"model.{key}"])


@pytest.mark.parametrize("how", HOW)
def test_code_in_a_checkpoint_is_not_run(run, tmp_path, how):
    saved, trace = RunFolder.open(run), tmp_path / "trace"
    malicious(saved.best, trace, how)
    with pytest.raises(UserError) as error:
        load_model(saved)
    if how != "as a plain pickle":  # which is no checkpoint anyway
        assert "best.ckpt: rejected, because it would run code (posix.mkdir)" in str(error.value)
    assert not trace.exists()
    # The payload is a real one: read as torch did by default before 2.6, it runs.
    with contextlib.suppress(RuntimeError):  # what it reads afterwards may be no checkpoint
        torch.load(saved.best, weights_only=False)
    assert trace.exists()


@pytest.mark.parametrize("name", ["evaluate", "predict", "export"])
def test_no_script_runs_the_code(script_refused, run, tmp_path, name):
    trace, output = tmp_path / "trace", tmp_path / "result.onnx"
    malicious(run / "checkpoints" / "best.ckpt", trace, HOW[0])
    arguments = [f"run={run}", f"output={output}"]
    if name == "predict":
        arguments.append(f"input={run / 'predictions.png'}")
    assert "rejected, because it would run code" in script_refused(name, *arguments)
    assert not trace.exists()
    assert not output.exists()


def test_resuming_runs_no_code(run, refused, tmp_path):
    trace, last = tmp_path / "trace", run / "checkpoints" / "last.ckpt"
    malicious(last, trace, HOW[0])
    line = refused(*TINY_SYNTHETIC, f"resume={last}")
    assert f"resume={last}: rejected, because it would run code" in line
    assert not trace.exists()


@pytest.mark.parametrize(
    ("key", "target"),
    [
        ("model", {"_target_": "os.mkdir", "path": "TRACE"}),
        ("model.layers", {"_target_": "pathlib.Path.touch", "_args_": ["TRACE"]}),
        ("model.widths", [{"_target_": "subprocess.Popen", "args": ["touch", "TRACE"]}]),
        ("model.layers.kernel_size", {"_target_": "builtins.open", "file": "TRACE", "mode": "w"}),
        ("model.layers", {"_target_": "no.such.module"}),
    ],
)
def test_a_config_cannot_name_code_either(run, tmp_path, key, target):
    trace = tmp_path / "trace"
    config = OmegaConf.load(run / ".hydra" / "config.yaml")
    text = OmegaConf.to_yaml(OmegaConf.create({"x": target})).replace("TRACE", str(trace))
    OmegaConf.update(config, key, OmegaConf.create(text).x, merge=False)
    OmegaConf.save(config, run / ".hydra" / "config.yaml")
    with pytest.raises(UserError, match=r"the run's config\.yaml: model names _target_="):
        load_model(RunFolder.open(run))
    assert not trace.exists()


@pytest.mark.parametrize("length", [0, 1, 100, 5_000, -1])
def test_a_truncated_checkpoint(run, length):
    saved = RunFolder.open(run)
    content = saved.best.read_bytes()
    saved.best.write_bytes(content[:length])
    with pytest.raises(UserError, match=r"best\.ckpt: not a checkpoint of a run, or damaged$"):
        load_model(saved)


@pytest.mark.parametrize("content", [[1, 2], {}, {"state_dict": 3}, {"state_dict": {1: 2}}])
def test_a_file_of_something_else(run, content):
    saved = RunFolder.open(run)
    torch.save(content, saved.best)
    with pytest.raises(UserError, match=r"best\.ckpt: not a checkpoint of a run, or damaged$"):
        load_model(saved)


def test_a_checkpoint_of_another_network(run):
    saved = RunFolder.open(run)
    saved.config.model.widths = [4, 6]
    with pytest.raises(UserError, match=r"best\.ckpt: of a run with another model= \(size mism"):
        load_model(saved)


def test_weights_that_are_no_tensors(run):
    saved = RunFolder.open(run)
    state = {f"model.{key}": "three" for key in load_model(saved).state_dict()}
    torch.save({"state_dict": state}, saved.best)
    with pytest.raises(UserError, match="of a run with another model="):
        load_model(saved)


@pytest.mark.parametrize("file", ["config.yaml", "hydra.yaml"])
def test_damaged_configs(run, file):
    path = run / ".hydra" / file
    for content in (b"a: [", b"\xff\xfe", b"{}", b"model: 3"):
        path.write_bytes(content)
        with pytest.raises(UserError, match=r"the configs in \.hydra are damaged"):
            RunFolder.open(run)
    path.unlink()
    with pytest.raises(UserError, match=rf"not a run, .*{file} is missing"):
        RunFolder.open(run)


def test_a_checkpoint_is_loaded_into_a_module_of_any_kind():
    linear, file = torch.nn.Linear(2, 1), io.BytesIO()
    torch.save({"state_dict": {f"model.{k}": v for k, v in linear.state_dict().items()}}, file)
    file.seek(0)
    other = torch.nn.Linear(2, 1)
    load_checkpoint(other, file)
    assert torch.equal(other.weight, linear.weight)


def test_devices(finished_run):
    saved = RunFolder.open(finished_run)
    assert choose_device(saved, "auto").type == "cpu"  # it was trainer=cpu
    assert choose_device(saved, "cpu").type == "cpu"
    for asked in ("tpu", "cuda:99", "GPU"):
        with pytest.raises(UserError, match=f"device={asked}: not available"):
            choose_device(saved, asked)
