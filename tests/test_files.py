"""Files appear whole or not at all."""

import errno

import pytest
import torch

from polyp.files import atomic_path, disk_full


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


def test_an_error_names_the_file_and_not_the_temporary_one(tmp_path):
    path = tmp_path / "metrics.json"

    def full(_):
        raise OSError(28, "No space left on device")

    def not_there(temporary):
        temporary.read_text()

    def no_folder(temporary):
        (temporary / "curve.png").touch()

    for block, name in ((full, path), (not_there, path), (no_folder, None)):
        with pytest.raises(OSError, match=r"No s") as caught, atomic_path(path) as temporary:
            block(temporary)
        assert caught.value.filename == str(name or temporary / "curve.png")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
def test_a_full_disk_is_found_behind_another_error(code):
    named, unnamed = OSError(code, "full", "last.ckpt"), OSError(code, "full")
    later = RuntimeError("writer closed")
    later.__context__, unnamed.__context__ = unnamed, named
    assert disk_full(later) is named
    unnamed.__context__ = None
    assert disk_full(later) is unnamed
    assert disk_full(OSError(errno.EACCES, "denied", "x")) is None
