"""What logits mean."""

import pytest
import torch

from polyp.errors import UserError
from polyp.tasks import Binary, Multiclass


def test_binary():
    task = Binary()
    assert (task.names, task.channels, task.foreground) == (["background", "polyp"], 1, ["polyp"])
    logits = torch.tensor([-1.0, 0.0, 2.0]).view(1, 1, 1, 3)
    assert task.masks(logits).flatten().tolist() == [False, False, True]
    assert task.probabilities(logits).flatten().tolist() == pytest.approx(
        [0.2689, 0.5, 0.8808], abs=1e-4
    )
    assert task.masks(torch.full((1, 1, 1, 1), 0.004, dtype=torch.bfloat16)).all()
    mask = torch.tensor([0, 1, 1], dtype=torch.uint8).view(1, 1, 1, 3)
    assert task.one_hot(mask).flatten().tolist() == [False, True, True]


def test_multiclass():
    task = Multiclass({"background": 0, "polyp": [255, 0, 0], "tool": [0, 255, 0]})
    assert (task.names, task.channels) == (["background", "polyp", "tool"], 3)
    logits = torch.tensor([[3.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 4.0]]).T.view(1, 3, 1, 3)
    masks = task.masks(logits)
    assert masks[0, :, 0].tolist() == [[False, True, False], [False, False, True]]
    assert not task.masks(torch.zeros(1, 3, 4, 4)).any()
    probabilities = task.probabilities(logits)
    assert probabilities.shape == (1, 2, 1, 3)
    assert torch.equal(probabilities, logits.softmax(1)[:, 1:])
    mask = torch.tensor([2, 0, 1], dtype=torch.uint8).view(1, 1, 1, 3)
    assert task.one_hot(mask)[0, :, 0].tolist() == [[False, False, True], [True, False, False]]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Multiclass(["only"]), "at least two different names"),
        (lambda: Multiclass(["a", "b", "b"]), "at least two different names"),
        (lambda: Binary(["a", "b", "c"]), "task=multiclass takes any number"),
    ],
)
def test_refused_classes(make, message):
    with pytest.raises(UserError, match=message):
        make()
