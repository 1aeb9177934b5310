"""Files appear whole or not at all."""

import pytest
import torch

from polyp.files import atomic_path


def test_the_file_appears_when_the_block_ends(tmp_path):
    path = tmp_path / "metrics.json"
    with atomic_path(path) as temporary:
        temporary.write_text("{}")
        assert not path.exists()
    assert path.read_text() == "{}"
    assert list(tmp_path.iterdir()) == [path]


def test_a_failed_block_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "metrics.json"
    path.write_text("old")

    def write():
        with atomic_path(path) as temporary:
            temporary.write_text("half of the n")
            raise RuntimeError("interrupted")

    with pytest.raises(RuntimeError, match="interrupted"):
        write()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_the_temporary_path_keeps_suffix_and_folder(tmp_path):
    with atomic_path(tmp_path / "curve.png") as temporary:
        assert temporary.suffix == ".png"
        assert temporary.parent == tmp_path
        temporary.touch()


def test_missing_folders_are_made_and_strings_accepted(tmp_path):
    path = tmp_path / "runs" / "1" / "weights.pt"
    with atomic_path(str(path)) as temporary:
        torch.save(torch.arange(3), temporary)
    assert torch.load(path).tolist() == [0, 1, 2]
