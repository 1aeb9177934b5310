"""scripts/export.py: files that need nothing of polyp, equal to the network within 1e-4."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from polyp.deploy.export import _output, export
from polyp.runs.folder import RunFolder
from polyp.runs.loading import load_model
from polyp.tasks import Binary, Multiclass
from tests.deploy.conftest import GREY, MULTICLASS, write_trained_run

# Overrides, and a network of a library in place of ours.
RUNS = {
    "unet": (["model=unet"], None),
    "p4unet": ([], None),
    "se2unet": (["model=se2unet"], None),
    "steerableunet": (["model=steerableunet"], None),
    "continuous": (["model=steerableunet", "model.layers.rotations=continuous"], None),
    "multiclass": (MULTICLASS, None),
    "grey": (GREY, None),
    "library": (
        [],
        {
            "_target_": "torch.nn.Sequential",
            "_args_": [
                {
                    "_target_": "torch.nn.Conv2d",
                    "in_channels": 3,
                    "out_channels": 4,
                    "kernel_size": 3,
                    "padding": 1,
                },
                {"_target_": "torch.nn.BatchNorm2d", "num_features": 4},
                {"_target_": "torch.nn.SiLU"},
                {
                    "_target_": "torch.nn.Conv2d",
                    "in_channels": 4,
                    "out_channels": 1,
                    "kernel_size": 1,
                },
            ],
        },
    ),
}


def logits_of(path: Path, image: torch.Tensor) -> np.ndarray:
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return session.run(None, {"image": image.numpy()})[0]


@pytest.mark.parametrize("name", RUNS)
def test_onnx_gives_the_logits_of_every_network(tmp_path, name):
    overrides, network = RUNS[name]
    run = write_trained_run(tmp_path / "run", overrides, network)
    path = tmp_path / "network.onnx"
    assert export(str(run), str(path)) <= 1e-4
    original = load_model(RunFolder.open(run))
    for batch in (1, 5):
        image = torch.rand(batch, 1 if name == "grey" else 3, 32, 32)
        with torch.no_grad():
            expected = original(image).numpy()
        assert np.abs(expected).max() > 0.1
        assert expected.shape[1] == (3 if name == "multiclass" else 1)
        np.testing.assert_allclose(logits_of(path, image), expected, rtol=0, atol=1e-4)


def test_what_a_user_has_to_know_is_in_the_file(script, trained_run, tmp_path):
    import onnx

    path = tmp_path / "new" / "network.onnx"
    script("export", f"run={trained_run}", f"output={path}")
    model = onnx.load(path)
    onnx.checker.check_model(model, full_check=True)
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    assert metadata["image_size"] == "32"
    assert metadata["resize"] == "pad"
    assert metadata["threshold"] == "0.5"
    assert metadata["task"] == "binary"
    assert metadata["channels"] == "RGB"
    assert metadata["output"] == "logits; the probability of polyp is their sigmoid"
    assert metadata["value_range"].startswith("0 to 1")
    assert json.loads(metadata["classes"]) == ["background", "polyp"]
    assert metadata["run"] == f"{trained_run.parent.name}/run"
    assert (metadata["model"], metadata["trained_on"]) == ("p4unet", "folder")
    assert len(metadata["checkpoint_sha256"]) == 64
    for value, name, channels in (
        (model.graph.input[0], "image", 3),
        (model.graph.output[0], "logits", 1),
    ):
        shape = [d.dim_param or d.dim_value for d in value.type.tensor_type.shape.dim]
        assert (value.name, shape) == (name, ["batch", channels, 32, 32])
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_a_user_has_to_know_the_classes_and_the_channels(
    script, multiclass_run, grey_run, tmp_path
):
    import onnx

    metadata, shapes = {}, {}
    for name, run in (("multiclass", multiclass_run), ("grey", grey_run)):
        script("export", f"run={run}", f"output={tmp_path / name}.onnx")
        model = onnx.load(tmp_path / f"{name}.onnx")
        metadata[name] = {entry.key: entry.value for entry in model.metadata_props}
        ends = model.graph.input[0], model.graph.output[0]
        shapes[name] = [end.type.tensor_type.shape.dim[1].dim_value for end in ends]
    assert shapes == {"multiclass": [3, 3], "grey": [1, 1]}
    assert metadata["grey"]["channels"] == "grey"
    assert metadata["multiclass"]["task"] == "multiclass"
    assert json.loads(metadata["multiclass"]["classes"]) == ["background", "polyp", "tool"]
    assert "softmax over the channels" in metadata["multiclass"]["output"]
    assert "threshold" not in metadata["multiclass"]


def test_the_threshold_of_another_task_is_not_told():
    class Cautious(Binary):
        def decide(self, probabilities):
            return probabilities > 0.2

    class Overlapping(Multiclass):
        decide = Cautious.decide

    names = ["background", "polyp", "tool"]
    assert "threshold" in _output(Binary())
    assert "threshold" not in _output(Cautious())
    assert "the largest" in _output(Multiclass(names))["output"]
    assert "the largest" not in _output(Overlapping(names))["output"]


def test_torch_export(script, trained_run, tmp_path):
    path = tmp_path / "network.pt2"
    script("export", f"run={trained_run}", f"output={path}")
    files = {"metadata.json": ""}
    network = torch.export.load(path, extra_files=files).module()
    assert json.loads(files["metadata.json"])["image_size"] == "32"
    image = torch.rand(3, 3, 32, 32)
    with torch.no_grad():
        difference = network(image) - load_model(RunFolder.open(trained_run))(image)
    assert difference.abs().max() < 1e-4


def test_a_file_that_differs_is_not_written(script_refused, trained_run, tmp_path, monkeypatch):
    from polyp.deploy import export as module

    path = tmp_path / "network.pt2"
    path.write_text("an older one")
    ordinary = module.ordinary

    def wrong(model):
        collapsed = ordinary(model)
        with torch.no_grad():
            collapsed.head.bias += 0.01
        return collapsed

    monkeypatch.setattr(module, "ordinary", wrong)
    line = script_refused("export", f"run={trained_run}", f"output={path}", "overwrite=true")
    assert "not written, as its logits differ from the network's by 0.01" in line
    assert path.read_text() == "an older one"
    assert list(tmp_path.iterdir()) == [path]


def test_weights_that_do_not_fit_into_one_file(
    script, script_refused, trained_run, tmp_path, monkeypatch
):
    monkeypatch.setattr("polyp.deploy.export.LARGEST_ONNX", 1000)
    line = script_refused("export", f"run={trained_run}", f"output={tmp_path / 'a.onnx'}")
    assert "MB of weights do not fit into an ONNX file; write a .pt2 file" in line
    script("export", f"run={trained_run}", f"output={tmp_path / 'a.pt2'}")
    assert [path.name for path in tmp_path.iterdir()] == ["a.pt2"]


def test_a_file_is_replaced_only_if_asked(script, script_refused, trained_run, tmp_path):
    path = tmp_path / "network.pt2"
    path.write_text("an older one")
    arguments = [f"run={trained_run}", f"output={path}"]
    line = script_refused("export", *arguments)
    assert f"output={path}: already exists; overwrite=true replaces it" in line
    assert path.read_text() == "an older one"
    script("export", *arguments, "overwrite=true")
    torch.export.load(path)


def test_a_network_whose_logits_are_not_of_the_task(script_refused, tmp_path):
    network = {"_target_": "torch.nn.Conv2d", "in_channels": 3, "out_channels": 1, "kernel_size": 2}
    run = write_trained_run(tmp_path / "run", network=network)
    line = script_refused("export", f"run={run}", f"output={tmp_path / 'a.pt2'}")
    assert "gives (1, 1, 31, 31) for its logits; (1, 1, 32, 32) is needed" in line


def test_without_onnx_the_extra_is_named(script_refused, trained_run, tmp_path, monkeypatch):
    from polyp.deploy import export as module

    find_spec = module.importlib.util.find_spec
    monkeypatch.setattr(
        module.importlib.util,
        "find_spec",
        lambda name, *rest: None if "onnx" in name else find_spec(name, *rest),
    )
    line = script_refused("export", f"run={trained_run}", f"output={tmp_path / 'a.onnx'}")
    assert "ONNX needs onnx, onnxruntime, onnxscript: pip install" in line


@pytest.mark.parametrize(
    ("argument", "expected"),
    [
        ("run=nowhere", "run=nowhere: not a run"),
        ("output=network.pth", "output=network.pth: must be a file that ends with .onnx or .pt2"),
        ("output=network", "output=network: must be a file"),
        ("output=FOLDER", "folder.onnx: must be a file"),
        ("output=/proc/a.onnx", "output=/proc/a.onnx: cannot be written (No such file"),
        ("output=/proc/a.pt2", "output=/proc/a.pt2: cannot be written (No such file"),
        ("output=/proc/version/a.pt2", "output=/proc/version/a.pt2: cannot be written ("),
        ("overwrite=maybe", "overwrite=maybe: must be true or false"),
        ("opset=18", "opset"),
    ],
)
def test_a_wrong_option(script_refused, trained_run, tmp_path, argument, expected):
    (tmp_path / "folder.onnx").mkdir()
    options = {"run": trained_run, "output": tmp_path / "network.onnx"}
    key, value = argument.split("=")
    options[key] = tmp_path / "folder.onnx" if value == "FOLDER" else value
    line = script_refused("export", *(f"{key}={value}" for key, value in options.items()))
    assert expected in line
    assert [path.name for path in tmp_path.iterdir()] == ["folder.onnx"]
