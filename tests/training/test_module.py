"""What is measured on the validation set."""

import pytest
import torch
from torch import nn

from polyp.evaluation import scores
from polyp.tasks import Binary
from polyp.training import BCEDiceLoss, Segmentation, constant


class Red(nn.Module):
    """Takes the red channel for the logits."""

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return image[:, :1]


@pytest.fixture
def module(monkeypatch) -> Segmentation:
    module = Segmentation(Red(), Binary(), BCEDiceLoss(), torch.optim.AdamW, constant)
    module.logged = {}
    monkeypatch.setattr(module, "log", lambda name, value, **_: module.logged.update({name: value}))
    return module


def batch(images: int, seed: int) -> dict[str, torch.Tensor]:
    """The higher the seed, the better the images are solved; padding on the left."""
    generator = torch.Generator().manual_seed(seed)
    mask = torch.rand(images, 1, 8, 8, generator=generator) > 0.6
    image = torch.randn(images, 3, 8, 8, generator=generator) + seed * (2.0 * mask - 1)
    valid = torch.ones_like(mask)
    valid[..., :2] = False
    return {"image": image, "mask": mask, "valid": valid}


def test_each_image_counts_alike_whatever_the_size_of_its_batch(module):
    """Also in the last batch, which is smaller, and not the blank images that fill it up."""
    batches = [batch(5, seed=0), batch(2, seed=2)]
    whole = {key: torch.cat([b[key] for b in batches]) for key in batches[0]}
    filled = {key: torch.cat([value, 0 * value[:1]]) for key, value in batches[1].items()}
    blank = {key: 0 * value[:1] for key, value in batches[0].items()}
    for i, part in enumerate((batches[0], filled, blank)):
        part = {k: v if k == "image" else v.bool() for k, v in part.items()}
        module.validation_step(part, i)
    logits = whole["image"][:, :1]
    loss = BCEDiceLoss()(logits, whole["mask"])
    dice = scores(logits > 0, whole["mask"], whole["valid"])["dice"]
    assert module.logged["val/loss"].compute().item() == pytest.approx(loss.item())
    assert module.logged["val/dice"].compute().item() == pytest.approx(dice.mean().item())
    by_batch = [BCEDiceLoss()(b["image"][:, :1], b["mask"]).item() for b in batches]
    assert loss.item() != pytest.approx(sum(by_batch) / 2, rel=0.05)
