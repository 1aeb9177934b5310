"""A second opinion on a difference between two systems: a linear mixed model."""

import warnings
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import stats
from statsmodels.regression.mixed_linear_model import MixedLM

from polyp.report.bootstrap import SEEDS

UNITS = 200  # statsmodels factors dense matrices of all cells; more units would take minutes


@dataclass(frozen=True)
class MixedModel:
    """Mean of A − B over seeds and images by a mixed model, with its 95 % interval.

    sd: standard deviations of the random effects, by name: `run` (a seed of a system), `unit`,
    `system x unit`, and `residual` (run x unit and the noise of images).
    freedom: degrees of freedom of the t quantile in the interval. converged: two optimisers found
    the same standard error; otherwise low and high are meaningless and must not be printed.
    """

    difference: float
    low: float
    high: float
    freedom: int
    sd: dict[str, float]
    converged: bool


def scores_frame(values: dict[str, np.ndarray], units: np.ndarray | list[str]) -> pd.DataFrame:
    """{system: float [seeds, images]} as the rows that `mixed_model` reads; units: [images]."""
    rows = [
        pd.DataFrame({"system": system, "seed": seed, "unit": units, "score": scores})
        for system, runs in values.items()
        for seed, scores in enumerate(np.asarray(runs, dtype=np.float64))
    ]
    return pd.concat(rows, ignore_index=True)


def mixed_model(frame: pd.DataFrame, a: str, b: str) -> MixedModel | None:
    """score ~ system, with random effects of runs, units, and units under each system, by REML.

    frame: a row per image of each run, with the columns `system`, `seed`, `unit` (sequence or
    patient) and `score`; rows of systems other than a and b are ignored. Every run has the same
    images. Seeds belong to one system: seed 0 of A has nothing in common with seed 0 of B.

    Runs and units are crossed (Baayen, Davidson and Bates, 2008). Without the effect of units under
    each system the interval would be far too narrow (Barr et al., 2013). The model uses the
    contribution of each unit to the mean over images, so that its difference is the printed one,
    in which long sequences count more. The interval uses the t distribution with the smaller of the
    degrees of freedom of runs and of units (Pinheiro and Bates, 2000, section 2.4.2), so it is wide
    if runs differ little.

    None if the model cannot be fitted, because the scores hardly vary.

    Raises ValueError for fewer than 3 seeds of a system, runs of different images, or more than
    200 units.
    """
    cells = _cells(frame, a, b)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # `converged` says what matters
        try:
            fit, other = (_fit(cells, method) for method in ("nm", "powell"))
        except np.linalg.LinAlgError:  # hardly any variance, as with few outliers
            return None
    error, second = fit.bse["is_a"], other.bse["is_a"]
    freedom = min(len(set(cells["run"])) - 2, len(set(cells["unit"])) - 1)
    margin = stats.t.ppf(0.975, freedom) * error
    difference = fit.params["is_a"]
    sizes = [*fit.vcomp, fit.scale]
    names = [*fit.model.exog_vc.names, "residual"]
    return MixedModel(
        difference=float(difference),
        low=float(difference - margin),
        high=float(difference + margin),
        freedom=freedom,
        sd={name: float(np.sqrt(size)) for name, size in zip(names, sizes, strict=True)},
        converged=bool(fit.converged and other.converged and abs(error - second) < 0.05 * error),
    )


def _cells(frame: pd.DataFrame, a: str, b: str) -> pd.DataFrame:
    """A row per run and unit: the contribution of the unit to the mean over the images."""
    rows = frame.loc[frame["system"].isin([a, b])]
    table = rows.groupby(["system", "seed", "unit"])["score"].agg(["sum", "count"]).reset_index()
    seeds = {name: rows.loc[rows["system"] == name, "seed"].nunique() for name in (a, b)}
    if min(seeds.values()) < SEEDS:
        raise ValueError(f"a mixed model needs {SEEDS} seeds of each system, got {seeds}")
    runs, units = sum(seeds.values()), table["unit"].nunique()
    images = table.groupby("unit")["count"].agg(["min", "max", "size"])
    if (images["min"] < images["max"]).any() or (images["size"] < runs).any():
        raise ValueError("a mixed model needs the same images of every run, and finite scores")
    if not 2 <= units <= UNITS:
        raise ValueError(f"a mixed model needs 2 to {UNITS} units, got {units}")
    # As in the bootstrap: the residuals of a ratio, sum of scores by number of images.
    by_system = table.groupby("system")
    mean = by_system["sum"].transform("sum") / by_system["count"].transform("sum")
    weight = units / images["min"].sum()
    table["score"] = mean + (table["sum"] - mean * table["count"]) * weight
    table["is_a"] = (table["system"] == a).astype(float)
    table["run"] = table["system"].astype(str) + "/" + table["seed"].astype(str)
    table["under"] = table["system"].astype(str) + "/" + table["unit"].astype(str)
    return table


def _fit(cells: pd.DataFrame, method: str):
    """The fit by one optimiser; all rows are one group, as crossed effects need in statsmodels."""
    model = MixedLM.from_formula(
        "score ~ is_a",
        cells,
        groups=np.ones(len(cells)),
        re_formula="0",
        vc_formula={"run": "0 + C(run)", "unit": "0 + C(unit)", "system x unit": "0 + C(under)"},
    )
    return model.fit(reml=True, method=[method])
