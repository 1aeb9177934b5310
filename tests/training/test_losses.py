"""The loss, against its definition written out pixel by pixel."""

import math

import pytest
import torch

from polyp.training import BCEDiceLoss


def batch(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(3, 1, 4, 5, generator=generator)
    mask = torch.rand(3, 1, 4, 5, generator=generator) > 0.5
    return logits, mask


def by_hand(logits, mask, bce_weight: float, dice_weight: float, smooth: float) -> float:
    entropy, pixels, dice_losses = 0.0, 0, []
    for image in range(len(logits)):
        both = either = 0.0
        for y in range(logits.shape[2]):
            for x in range(logits.shape[3]):
                p = 1 / (1 + math.exp(-logits[image, 0, y, x].item()))
                t = float(mask[image, 0, y, x])
                entropy -= t * math.log(p) + (1 - t) * math.log(1 - p)
                pixels += 1
                both += p * t
                either += p + t
        dice_losses.append(1 - (2 * both + smooth) / (either + smooth))
    return bce_weight * entropy / pixels + dice_weight * sum(dice_losses) / len(dice_losses)


@pytest.mark.parametrize(("bce", "dice", "smooth"), [(1, 1, 1), (1, 0, 1), (0, 1, 1), (0.3, 2, 5)])
def test_equals_the_definition(bce, dice, smooth):
    loss = BCEDiceLoss(bce, dice, smooth)(*batch())
    assert loss.item() == pytest.approx(by_hand(*batch(), bce, dice, smooth), rel=1e-5)


def test_an_empty_mask_is_finite_and_rewards_an_empty_prediction():
    mask = torch.zeros(1, 1, 4, 4, dtype=torch.bool)
    losses = [BCEDiceLoss()(torch.full((1, 1, 4, 4), v), mask) for v in (-50.0, 0.0, 50.0)]
    assert losses[0] == pytest.approx(0, abs=1e-6)
    assert losses[0] < losses[1] < losses[2] < math.inf


def test_half_precision_logits_are_summed_in_float32():
    logits, mask = (x.repeat(1, 1, 64, 64) for x in batch())
    expected = BCEDiceLoss()(logits.bfloat16().float(), mask)
    torch.testing.assert_close(BCEDiceLoss()(logits.bfloat16(), mask), expected)
