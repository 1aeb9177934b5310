"""docs/lieconv.md does what it says: its code is run, and its table is what the code prints."""

import contextlib
import io
import re
from pathlib import Path

import pytest
import torch

PAGE = (Path(__file__).parents[1] / "docs" / "lieconv.md").read_text(encoding="utf-8")


def rows(text: str) -> dict[str, list[float]]:
    """The numbers of each group in a printed table."""
    lines = [line.split() for line in text.strip().splitlines()[1:]]
    return {name: [float(value) for value in values] for name, *values in lines}


@pytest.fixture(scope="module")
def example() -> dict:
    """What the code of the page defines, and what it prints, as `printed`."""
    code = "\n".join(re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL))
    names = {"__name__": "lieconv"}
    with contextlib.redirect_stdout(io.StringIO()) as output:
        exec(compile(code, "docs/lieconv.md", "exec"), names)
    return {**names, "printed": output.getvalue()}


def test_each_group_is_equivariant_under_its_own_elements_alone(example):
    printed = example["printed"]
    exact = {
        name: [value < 1e-12 for value in values]  # moved, turned, both
        for name, values in rows(printed).items()
    }
    assert exact == {
        "T(2)": [True, False, False],
        "SO(2)": [False, True, False],
        "SE(2)": [True, True, True],
    }
    assert all(v < 1e-12 or v > 1e-2 for values in rows(printed).values() for v in values)


def test_the_table_of_the_page_is_what_the_code_prints(example):
    shown = rows(re.findall(r"```\n(group.*?)```", PAGE, re.DOTALL)[0])
    for name, values in rows(example["printed"]).items():
        assert shown[name] == pytest.approx(values, rel=0.05, abs=1e-12)


def test_the_logarithm_of_a_rigid_motion(example):
    """The exponential of the coordinates, as a matrix, is v⁻¹u."""
    points = torch.randn(3, 2, dtype=torch.float64)
    pairs, count = example["motions"](points)
    turns = 2 * torch.pi / count * torch.arange(count, dtype=torch.float64)
    elements = torch.zeros(3, count, 3, 3, dtype=torch.float64)
    elements[..., 0, 0] = elements[..., 1, 1] = turns.cos()
    elements[..., 1, 0], elements[..., 0, 1] = turns.sin(), -turns.sin()
    elements[..., :2, 2], elements[..., 2, 2] = points[:, None], 1
    elements = elements.flatten(0, 1)
    algebra = torch.zeros(*pairs.shape[:2], 3, 3, dtype=torch.float64)
    algebra[..., 1, 0], algebra[..., 0, 1] = pairs[..., 2], -pairs[..., 2]
    algebra[..., :2, 2] = pairs[..., :2]
    expected = torch.linalg.inv(elements) @ elements[:, None]  # [u, v]: v⁻¹u
    torch.testing.assert_close(torch.linalg.matrix_exp(algebra), expected, atol=1e-5, rtol=0)
