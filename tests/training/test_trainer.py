"""Precision, and what the trainer refuses."""

from types import SimpleNamespace

import pytest
import torch

from polyp.errors import UserError
from polyp.training import make_trainer, trainer

CPU = {"accelerator": "cpu", "devices": 1, "max_epochs": 1, "logger": False}


@pytest.fixture
def chosen(monkeypatch):
    """The precision that Lightning is asked for on a machine with or without bfloat16."""

    def run(cuda: bool, cuda_bf16: bool, cpu_bf16: bool, **options) -> str:
        monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
        monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: cuda_bf16)
        monkeypatch.setattr(trainer, "cpu_multiplies_bf16", lambda: cpu_bf16)
        given = {}
        made = SimpleNamespace(strategy=None)
        monkeypatch.setattr(trainer, "Trainer", lambda **options: given.update(options) or made)
        make_trainer(**options)
        return given["precision"]

    return run


@pytest.mark.parametrize("cpu_bf16", [True, False])
@pytest.mark.parametrize(
    ("accelerator", "cuda", "cuda_bf16", "expected"),
    [
        ("auto", True, True, "bf16-mixed"),
        ("auto", True, False, "32-true"),
        ("auto", False, False, "32-true"),
        ("cpu", True, True, "32-true"),
    ],
)
def test_automatic_precision_is_float32_on_every_cpu(
    chosen, accelerator, cuda, cuda_bf16, cpu_bf16, expected
):
    assert chosen(cuda, cuda_bf16, cpu_bf16, accelerator=accelerator) == expected


@pytest.mark.parametrize(
    ("accelerator", "cuda", "cuda_bf16", "cpu_bf16", "expected"),
    [
        ("cpu", False, False, True, "bf16-mixed"),
        ("cpu", False, False, False, "32-true"),
        ("cpu", True, True, False, "32-true"),
        ("auto", True, True, False, "bf16-mixed"),
        ("auto", True, False, True, "32-true"),
    ],
)
def test_bfloat16_where_it_is_fast(
    chosen, caplog, accelerator, cuda, cuda_bf16, cpu_bf16, expected
):
    options = {"precision": "bf16-auto", "accelerator": accelerator}
    assert chosen(cuda, cuda_bf16, cpu_bf16, **options) == expected
    assert not caplog.records


@pytest.mark.parametrize("cpu_bf16", [True, False])
def test_bfloat16_where_it_is_asked_for(chosen, caplog, cpu_bf16):
    options = {"precision": "bf16-mixed", "accelerator": "cpu"}
    assert chosen(False, False, cpu_bf16, **options) == "bf16-mixed"
    warnings = [record.getMessage() for record in caplog.records]
    assert len(warnings) == (0 if cpu_bf16 else 1)
    assert all(line.startswith("trainer.precision=bf16-mixed: ") for line in warnings)


def test_this_processor_can_be_asked():
    assert trainer.cpu_multiplies_bf16() in (True, False)


def test_a_given_precision_is_kept():
    assert make_trainer(precision="bf16-mixed", **CPU).precision == "bf16-mixed"


@pytest.mark.parametrize("option", [{"max_epoch": 3}, {"precision": "7"}, {"max_epochs": -5}])
def test_refused_options(option):
    with pytest.raises(UserError, match="trainer: "):
        make_trainer(**{**CPU, **option})
