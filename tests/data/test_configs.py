"""The data configs: whole, and usable elsewhere than as `data`."""

from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate

from polyp.data import DataModule, Synthetic

CONFIGS = Path(__file__).parents[2] / "configs"
NAMES = {path.stem for path in (CONFIGS / "data").glob("*.yaml")} - {"base"}


def composed(*overrides: str):
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        return compose("train", list(overrides))


@pytest.mark.parametrize("name", sorted(NAMES))
def test_a_config_makes_a_data_module(name):
    data = instantiate(composed(f"data={name}", f"++data.root=/{name}").data)
    assert isinstance(data, DataModule)
    assert data.dataset.num_classes == 2
    assert str(getattr(data.dataset, "root", f"/{name}")) == f"/{name}"


@pytest.mark.parametrize("name", sorted(NAMES - {"synthetic"}))
def test_a_config_can_be_placed_elsewhere(name):
    config = composed(f"+data@test_sets.other={name}", "test_sets.other.root=/other")
    other = instantiate(config.test_sets.other)
    assert str(other.dataset.root) == "/other"
    assert isinstance(instantiate(config.data).dataset, Synthetic)


def test_options_reach_the_data():
    data = instantiate(composed("data.fold=1/5", "data.channels=1", "data.image_size=48").data)
    assert (data.fold, data.channels, data.dataset.size) == ("1/5", 1, 48)
    classes = "+task.classes=[background,polyp,instrument]"
    for name in ("synthetic", "folder"):
        data = instantiate(composed(f"data={name}", "++data.root=/x", classes).data)
        assert data.dataset.num_classes == 3
    classes = "+task.classes={background: [0, 0, 0], polyp: [255, 0, 0]}"
    data = instantiate(composed("data=folder", "data.root=/x", classes).data)
    assert data.dataset.labels.values.tolist() == [[0, 0, 0], [255, 0, 0]]
