"""scripts/export.py: files that need nothing of polyp, equal to the network within 1e-4."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf
from polyp.runs.saved import open_run

from polyp.deploy.export import export

MODELS = {
    "unet": {},
    "p4unet": {},
    "se2unet": {},
    "steerableunet": {},
    "continuous": {"rotations": "continuous"},
}


def untrained_run(folder: Path, model: str, layers: dict) -> Path:
    """What scripts need of a run, around a small network as after some training."""
    configs = Path(__file__).parents[2] / "configs"
    config = OmegaConf.load(configs / "model" / f"{model}.yaml")
    config = OmegaConf.merge(config, {"widths": [4, 4, 6], "layers": layers})
    torch.manual_seed(0)
    network = instantiate(config)
    with torch.no_grad():
        for _ in range(10):
            network(2 * torch.rand(4, 3, 32, 32))
    (folder / ".hydra").mkdir(parents=True)
    (folder / "checkpoints").mkdir()
    run = {"model": config, "data": {"image_size": 32, "resize": "pad"}, "trainer": {}}
    OmegaConf.save(OmegaConf.create(run), folder / ".hydra" / "config.yaml")
    choices = {"hydra": {"runtime": {"choices": {"model": model, "data": "synthetic"}}}}
    OmegaConf.save(OmegaConf.create(choices), folder / ".hydra" / "hydra.yaml")
    state = {f"model.{key}": value for key, value in network.state_dict().items()}
    torch.save({"state_dict": state}, folder / "checkpoints" / "best.ckpt")
    return folder


def logits_of(path: Path, image: torch.Tensor) -> np.ndarray:
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return session.run(None, {"image": image.numpy()})[0]


@pytest.mark.parametrize("name", MODELS)
def test_onnx_gives_the_logits_of_every_model(tmp_path, name):
    model = "steerableunet" if name == "continuous" else name
    run = untrained_run(tmp_path / "run", model, MODELS[name])
    path = tmp_path / "network.onnx"
    assert export(str(run), str(path)) <= 1e-4
    original = open_run(run).model()
    for batch in (1, 5):
        image = torch.rand(batch, 3, 32, 32)
        with torch.no_grad():
            expected = original(image).numpy()
        assert np.abs(expected).max() > 0.1
        np.testing.assert_allclose(logits_of(path, image), expected, rtol=0, atol=1e-4)


def test_what_a_user_has_to_know_is_in_the_file(script, finished_run, tmp_path):
    import onnx

    path = tmp_path / "new" / "network.onnx"
    script("export", f"run={finished_run}", f"output={path}")
    model = onnx.load(path)
    onnx.checker.check_model(model, full_check=True)
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    assert metadata["image_size"] == "32"
    assert metadata["resize"] == "pad"
    assert metadata["threshold"] == "0.5"
    assert metadata["value_range"].startswith("0 to 1")
    assert json.loads(metadata["classes"]) == ["background", "polyp"]
    assert metadata["run"] == f"{finished_run.parent.name}/run"
    assert (metadata["model"], metadata["trained_on"]) == ("p4unet", "folder")
    assert len(metadata["checkpoint_sha256"]) == 64
    for value, name, channels in (
        (model.graph.input[0], "image", 3),
        (model.graph.output[0], "logits", 1),
    ):
        shape = [d.dim_param or d.dim_value for d in value.type.tensor_type.shape.dim]
        assert (value.name, shape) == (name, ["batch", channels, 32, 32])
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_torch_export(script, finished_run, tmp_path):
    path = tmp_path / "network.pt2"
    script("export", f"run={finished_run}", f"output={path}")
    files = {"metadata.json": ""}
    network = torch.export.load(path, extra_files=files).module()
    assert json.loads(files["metadata.json"])["image_size"] == "32"
    image = torch.rand(3, 3, 32, 32)
    with torch.no_grad():
        difference = network(image) - open_run(finished_run).model()(image)
    assert difference.abs().max() < 1e-4


def test_a_file_that_differs_is_not_written(script_refused, finished_run, tmp_path, monkeypatch):
    from polyp.deploy import export as module

    path = tmp_path / "network.pt2"
    path.write_text("an older one")
    collapse = module.collapse

    def wrong(model):
        collapsed = collapse(model)
        with torch.no_grad():
            collapsed.head.bias += 0.01
        return collapsed

    monkeypatch.setattr(module, "collapse", wrong)
    line = script_refused("export", f"run={finished_run}", f"output={path}")
    assert "not written, as its logits differ from the network's by 0.01" in line
    assert path.read_text() == "an older one"
    assert list(tmp_path.iterdir()) == [path]


def test_without_onnx_the_extra_is_named(script_refused, finished_run, tmp_path, monkeypatch):
    from polyp.deploy import export as module

    find_spec = module.importlib.util.find_spec
    monkeypatch.setattr(
        module.importlib.util,
        "find_spec",
        lambda name, *rest: None if "onnx" in name else find_spec(name, *rest),
    )
    line = script_refused("export", f"run={finished_run}", f"output={tmp_path / 'a.onnx'}")
    assert "ONNX needs onnx, onnxruntime, onnxscript: pip install" in line


@pytest.mark.parametrize(
    ("argument", "expected"),
    [
        ("run=nowhere", "run=nowhere: not a run"),
        ("output=network.pth", "output=network.pth: must be a file that ends with .onnx or .pt2"),
        ("output=network", "output=network: must be a file"),
        ("output=FOLDER", "folder.onnx: must be a file"),
        ("opset=18", "opset"),
    ],
)
def test_a_wrong_option(script_refused, finished_run, tmp_path, argument, expected):
    (tmp_path / "folder.onnx").mkdir()
    options = {"run": finished_run, "output": tmp_path / "network.onnx"}
    key, value = argument.split("=")
    options[key] = tmp_path / "folder.onnx" if value == "FOLDER" else value
    line = script_refused("export", *(f"{key}={value}" for key, value in options.items()))
    assert expected in line
    assert [path.name for path in tmp_path.iterdir()] == ["folder.onnx"]
