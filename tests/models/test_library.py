"""A network of another library as one config, from training to export."""

import json
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch import nn

from polyp.errors import UserError
from polyp.models import LibraryModel
from tests.conftest import TINY_SYNTHETIC

CONFIG = """
_target_: polyp.models.LibraryModel
size_multiple: 8
network:
  _target_: torch.nn.Conv2d
  in_channels: 3
  out_channels: ${oc.select:logit_channels,1}
  kernel_size: 5
  padding: 2
"""


def test_sizes_and_channels_are_checked():
    model = LibraryModel(nn.Conv2d(1, 2, 1), in_channels=1, size_multiple=8)
    assert model(torch.zeros(2, 1, 16, 24)).shape == (2, 2, 16, 24)
    with pytest.raises(UserError, match="width 8 or 16"):
        model(torch.zeros(2, 1, 16, 12))
    with pytest.raises(UserError, match=r"needs \[B, 1, H, W\]"):
        model(torch.zeros(2, 3, 16, 16))


def test_from_training_to_export(command_line, script, tmp_path: Path):
    configs = tmp_path / "configs" / "model"
    configs.mkdir(parents=True)
    (configs / "mine.yaml").write_text(CONFIG)
    options = [option for option in TINY_SYNTHETIC if not option.startswith("model.")]
    run = command_line("--config-dir", str(configs.parent), "model=mine", *options)
    metrics = json.loads((run / "metrics.json").read_text())
    assert (metrics["model"], metrics["parameters"]) == ("mine", 3 * 25 + 1)
    assert metrics["multiply_adds"] == 3 * 25 * 32 * 32
    assert metrics["shift"]["control"] is None or metrics["shift"]["control"] > 0.9

    script("evaluate", f"run={run}", f"output={run}")  # the same numbers, or an error
    Image.new("RGB", (40, 30), "brown").save(tmp_path / "frame.png")
    found = tmp_path / "found"
    script("predict", f"run={run}", f"input={tmp_path / 'frame.png'}", f"output={found}")
    assert (found / "masks" / "frame.png").exists()
    script("export", f"run={run}", f"output={tmp_path / 'net.pt2'}")
    assert (tmp_path / "net.pt2").exists()


@pytest.mark.parametrize("model", ["monai_dynunet", "smp"])
def test_a_missing_library_is_told_in_one_line(refused, monkeypatch, model):
    modules = {"monai_dynunet": "monai", "smp": "segmentation_models_pytorch"}
    monkeypatch.setitem(sys.modules, modules[model], None)
    line = refused("trainer=cpu", f"model={model}")
    extra = model.partition("_")[0]
    expected = f"is not installed: pip install -c constraints.txt -e '.[{extra}]'"
    assert line == f"error: {modules[model]} {expected}"
