"""What provenance.json says of a run, and of one that was resumed."""

import hashlib
import json
from importlib.metadata import distributions
from pathlib import Path

import torch

from polyp.runs.provenance import provenance
from tests.conftest import TINY_SYNTHETIC


def test_machine_and_packages():
    record = provenance()
    assert torch.backends.cpu.get_cpu_capability() in record["processor"].split(", ")
    native = torch.ops.mkldnn._is_mkldnn_bf16_supported()
    assert ("bfloat16" in record["processor"].split(", ")) == native
    lines = sorted({f"{each.name.lower()}=={each.version}" for each in distributions()})
    assert f"torch=={torch.__version__}" in lines
    assert record["packages_sha256"] == hashlib.sha256("\n".join(lines).encode()).hexdigest()


def test_the_gpu_is_named_only_if_the_network_runs_there(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: f"GPU {device.index}")
    assert provenance(device=torch.device("cuda", 1))["gpu"] == "GPU 1"
    assert provenance(device=torch.device("cpu"))["gpu"] is None
    assert provenance()["gpu"] is None


def test_a_resumed_run_names_all_its_commands(command_line):
    folder: Path = command_line(*TINY_SYNTHETIC, "schedule=constant")
    first = json.loads((folder / "provenance.json").read_text())
    last = folder / "checkpoints" / "last.ckpt"
    identity = torch.load(last, weights_only=True)["identity"]
    assert first["data"] == identity["data"]
    assert first["precision"] == "32-true"
    assert "earlier" not in first

    longer = ["schedule=constant", "trainer.max_epochs=3"]
    command_line(*TINY_SYNTHETIC, *longer, f"resume={last}")
    second = json.loads((folder / "provenance.json").read_text())
    assert f"resume={last}" in second["command"]
    assert [record["command"] for record in second["earlier"]] == [first["command"]]
    assert second["earlier"][0]["started"] == first["started"]
