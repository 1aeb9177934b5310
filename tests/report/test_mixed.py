"""The mixed model against the bootstrap, whose variance it estimates in another way."""

import numpy as np
import pytest
from scipy import stats

from polyp.report.bootstrap import paired_difference
from polyp.report.mixed import mixed_model, scores_frame
from tests.report.hierarchy import Hierarchy


def example(seeds=3, sizes=(20,) * 29, draw=1):
    a, b, units = Hierarchy(seeds, sizes, "gaussian").draw(np.random.default_rng(draw))
    return a, b, units, scores_frame({"A": a, "B": b}, units)


@pytest.mark.parametrize("sizes", [(20,) * 29, tuple(range(4, 33))], ids=["even", "uneven"])
def test_difference_is_the_printed_one_and_the_width_agrees(sizes):
    a, b, units, frame = example(sizes=sizes, draw=4)
    model, bootstrap = mixed_model(frame, "A", "B"), paired_difference(a, b, units)
    assert model.converged
    assert model.freedom == 4
    assert model.difference == pytest.approx(a.mean() - b.mean(), abs=1e-6)
    # The standard errors agree; the bootstrap has more degrees of freedom, so it is narrower.
    error = (model.high - model.low) / 2 / stats.t.ppf(0.975, 4)
    half = (bootstrap.high - bootstrap.low) / 2
    assert stats.t.ppf(0.975, 29) * error < 1.05 * half
    assert half < 1.02 * stats.t.ppf(0.975, 4) * error


def test_standard_deviations_are_those_of_the_hierarchy():
    *_, frame = example(seeds=5, sizes=(20,) * 45)
    model = mixed_model(frame, "A", "B")
    assert set(model.sd) == {"run", "unit", "system x unit", "residual"}
    assert model.sd["unit"] == pytest.approx(0.12 * np.sqrt(0.8), abs=0.03)
    assert model.sd["system x unit"] == pytest.approx(0.12 * np.sqrt(0.2), abs=0.02)
    assert model.sd["residual"] == pytest.approx(np.hypot(0.05, 0.15 / np.sqrt(40)), abs=0.01)


def test_order_of_systems_and_other_systems():
    a, b, units, _ = example()
    frame = scores_frame({"other": a - 0.3, "B": b, "A": a}, units)
    forth, back = mixed_model(frame, "A", "B"), mixed_model(frame, "B", "A")
    assert forth.difference == pytest.approx(-back.difference)
    assert forth.difference == pytest.approx(a.mean() - b.mean())


def test_a_fit_that_did_not_converge_says_so(monkeypatch):
    """A step of the optimiser is not enough."""
    from statsmodels.regression.mixed_linear_model import MixedLM

    fit = MixedLM.fit
    monkeypatch.setattr(MixedLM, "fit", lambda self, **kwargs: fit(self, maxiter=1, **kwargs))
    *_, frame = example()
    model = mixed_model(frame, "A", "B")
    assert not model.converged


def test_what_a_mixed_model_cannot_be_fitted_to():
    a, b, units, frame = example()
    with pytest.raises(ValueError, match=r"3 seeds of each system, got \{'A': 2, 'B': 3\}"):
        mixed_model(scores_frame({"A": a[:2], "B": b}, units), "A", "B")
    with pytest.raises(ValueError, match=r"3 seeds of each system, got \{'A': 3, 'C': 0\}"):
        mixed_model(frame, "A", "C")
    with pytest.raises(ValueError, match="the same images of every run"):
        mixed_model(frame.drop(index=5), "A", "B")
    with pytest.raises(ValueError, match="2 to 200 units, got 580"):
        mixed_model(scores_frame({"A": a, "B": b}, np.arange(580)), "A", "B")


def test_scores_that_hardly_vary_have_no_model():
    """As the share of outliers where one image of each run of A fails, and none of B."""
    a, b = np.zeros((3, 20)), np.zeros((3, 20))
    a[[0, 1, 2], [3, 9, 17]] = 1
    assert (
        mixed_model(scores_frame({"A": a, "B": b}, [str(i) for i in range(20)]), "A", "B") is None
    )
