"""Learning rates over a run."""

import pytest
import torch

from polyp.errors import UserError
from polyp.training import constant, cosine, one_cycle


def rates(schedule, steps: int = 100, **options) -> list[float]:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.5)
    scheduler = schedule(optimizer, steps, **options)
    seen = []
    for _ in range(steps):
        seen.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        if len(seen) < steps:
            scheduler.step()
    return seen


@pytest.mark.parametrize(("schedule", "warmup"), [(one_cycle, 0.3), (cosine, 0.1)])
def test_up_to_the_optimisers_rate_and_down_to_nothing(schedule, warmup):
    seen = rates(schedule, warmup=warmup)
    peak = seen.index(max(seen))
    assert max(seen) == pytest.approx(0.5)
    assert peak == pytest.approx(100 * warmup, abs=1)
    assert seen[0] < 0.1
    assert seen[-1] < 0.001
    assert seen[: peak + 1] == sorted(seen[: peak + 1])
    assert seen[peak:] == sorted(seen[peak:], reverse=True)


def test_constant():
    assert rates(constant) == [0.5] * 100


@pytest.mark.parametrize("schedule", [one_cycle, cosine, constant])
@pytest.mark.parametrize("steps", [2, 3])
def test_the_shortest_runs(schedule, steps):
    assert all(rate >= 0 for rate in rates(schedule, steps))


def test_one_cycle_goes_on_with_its_own_length_alone():
    def schedule(steps: int):
        return one_cycle(torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.5), steps)

    state = schedule(100).state_dict()
    schedule(100).load_state_dict(state)
    with pytest.raises(UserError, match=r"100 steps, this run has 150: .*trainer\.max_epochs"):
        schedule(150).load_state_dict(state)
