"""Precision, and what the trainer refuses."""

from types import SimpleNamespace

import pytest
import torch

from polyp.errors import UserError
from polyp.training import make_trainer

CPU = {"accelerator": "cpu", "devices": 1, "max_epochs": 1, "logger": False}


@pytest.mark.parametrize(
    ("accelerator", "cuda", "bf16", "expected"),
    [
        ("auto", True, True, "bf16-mixed"),
        ("auto", True, False, "32-true"),
        ("auto", False, False, "32-true"),
        ("cpu", True, True, "32-true"),
    ],
)
def test_automatic_precision(monkeypatch, accelerator, cuda, bf16, expected):
    from polyp.training import trainer

    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: bf16)
    given = {}
    made = SimpleNamespace(strategy=None)
    monkeypatch.setattr(trainer, "Trainer", lambda **options: given.update(options) or made)
    make_trainer(accelerator=accelerator)
    assert given["precision"] == expected


def test_a_given_precision_is_kept():
    assert make_trainer(precision="bf16-mixed", **CPU).precision == "bf16-mixed"


@pytest.mark.parametrize("option", [{"max_epoch": 3}, {"precision": "7"}, {"max_epochs": -5}])
def test_refused_options(option):
    with pytest.raises(UserError, match="trainer: "):
        make_trainer(**{**CPU, **option})
