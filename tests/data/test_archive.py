"""Unpacking: what may lie in an archive, and what must be refused before anything is written."""

import stat
import struct
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pytest

from polyp.data.archive import unpack
from polyp.errors import UserError


def pack(archive: Path, *names: str, content: bytes = b"content") -> Path:
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as file:
        for name in names:
            file.writestr(name, content if not name.endswith("/") else b"")
    return archive


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    return pack(tmp_path / "a.zip", "top/", "top/images/", "top/images/1.jpg", "top/masks/1.jpg")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where to unpack, deep enough for what leads out of it to be seen below tmp_path."""
    folder = tmp_path / "x" / "y" / "z"
    folder.mkdir(parents=True)
    return folder


def names(folder: Path) -> list[str]:
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if not p.is_dir())


def refused(archive: Path, folder: Path, expected: str) -> None:
    """The archive must be refused, without a trace of it."""
    before = names(folder.parents[2])
    with pytest.raises(UserError, match=expected) as error:
        unpack(archive, folder)
    assert str(error.value).startswith(f"{archive}: ")
    assert names(folder.parents[2]) == before


@pytest.mark.parametrize(
    ("packed", "expected"),
    [
        (["top/images/1.jpg", "top/masks/1.jpg"], ["images/1.jpg", "masks/1.jpg"]),
        (["top/sub/images/1.jpg", "top/sub/masks/1.jpg"], ["images/1.jpg", "masks/1.jpg"]),
        (["images/1.jpg", "masks/1.jpg"], ["images/1.jpg", "masks/1.jpg"]),
        (["a/1.jpg", "b/c/1.jpg", "notes.txt"], ["a/1.jpg", "b/c/1.jpg", "notes.txt"]),
        (["top/a/1", "top/b/1", "__MACOSX/._top", ".DS_Store", "top/a/._1"], ["a/1", "b/1"]),
        (["./top/a/1", "top//b/1", "empty/"], ["a/1", "b/1"]),
    ],
)
def test_the_folders_around_all_files_are_left_out(tmp_path, folder, packed, expected):
    unpack(pack(tmp_path / "a.zip", *packed), folder)
    assert names(folder) == expected
    assert (folder / expected[0]).read_bytes() == b"content"


def test_rights_are_not_taken_over(tmp_path, folder):
    info = zipfile.ZipInfo("a/setuid")
    info.external_attr = (stat.S_IFREG | 0o6777) << 16
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as file:
        file.writestr(info, "x")
    unpack(tmp_path / "a.zip", folder)
    assert not (folder / "setuid").stat().st_mode & (stat.S_ISUID | stat.S_IXUSR)


def member(name: str, kind: int = 0, method: int = zipfile.ZIP_STORED) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo("x")
    info.filename = name  # as it is: the constructor would tidy it up
    info.external_attr, info.compress_type = (kind | 0o777) << 16, method
    return info


@pytest.mark.parametrize(
    ("evil", "expected"),
    [
        (member("../evil.txt"), "leads out of the folder"),
        (member("top/images/../../../evil.txt"), "leads out"),
        (member("/evil.txt"), "leads out"),
        (member("//evil.txt"), "leads out"),
        (member("top/.."), "leads out"),
        (member("__MACOSX/../../evil.txt"), "leads out"),
        (member("..\\evil.txt"), "a path elsewhere on some systems"),
        (member("C:/evil.txt"), "a path elsewhere"),
        (member("C:evil.txt"), "a path elsewhere"),
        (member("images/\0/../../evil.txt"), "leads out"),
        (member("images/1.jpg\0.txt"), "a path elsewhere"),
        (member("top/link", stat.S_IFLNK), "is a link or a device"),
        (member("top/pipe", stat.S_IFIFO), "is a link or a device"),
        (member("top/disk", stat.S_IFBLK), "is a link or a device"),
        (member("top/x", method=zipfile.ZIP_BZIP2), r"by an unusual method \(12\)"),
        (member("top/images/1.jpg"), "two members 'top/images/1.jpg'"),
        (member("top/./images//1.jpg"), "two members"),
        (member("top/images"), "top/images/1.jpg in it is below another file"),
        (member("."), "below another file"),
    ],
)
def test_evil_members(archive, folder, evil, expected):
    with zipfile.ZipFile(archive, "a") as file, warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Duplicate name")
        file.writestr(evil, "/etc/passwd")
    refused(archive, folder, f"refused, as .*{expected}")


def overwrite(archive: Path, offset: int, format: str, value: int) -> None:
    """Writes a field of the last entry in an archive's directory."""
    content = bytearray(archive.read_bytes())
    struct.pack_into(format, content, content.rindex(b"PK\x01\x02") + offset, value)
    archive.write_bytes(content)


def test_an_encrypted_archive(archive, folder):
    overwrite(archive, 8, "<H", 1)
    refused(archive, folder, "'top/masks/1.jpg' is encrypted")


def test_a_bomb(archive, folder, monkeypatch):
    monkeypatch.setattr("polyp.data.archive.MAX_MEMBERS", 3)
    refused(archive, folder, "4 files of 14 bytes; 3 and 2,000,000,000 are allowed")
    monkeypatch.undo()
    overwrite(archive, 24, "<I", 3 * 10**9)
    refused(archive, folder, "unpack to 4 files of 3,000,000,007 bytes; 20,000 and 2,000,000,000")


def test_a_member_that_holds_more_than_it_says(tmp_path, folder):
    archive = pack(tmp_path / "a.zip", "a/1", content=b"\0" * 10**6)
    overwrite(archive, 24, "<I", 10)
    with pytest.raises(UserError, match="Bad CRC-32 for file 'a/1'"):
        unpack(archive, folder)
    assert (folder / "1").stat().st_size <= 10


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", "not a zip file"),
        (b"Rar!\x1a\x07", "not a zip file"),
        (b"\n<!DOCTYPE html>", "a web page, not a zip file"),
        (b"PK\x03\x04 and no more", "damaged or cut off"),
    ],
)
def test_what_is_not_a_zip_file(archive, folder, content, expected):
    archive.write_bytes(content)
    refused(archive, folder, f"{expected} .*; fetch it anew")


def test_an_archive_without_files(tmp_path, folder):
    refused(pack(tmp_path / "a.zip", "top/", "top/images/"), folder, "no files in it")


def test_damage_anywhere_is_told_or_does_no_harm(archive, folder, tmp_path):
    """Three random bytes at a time: the whole archive or a UserError, and nothing outside."""
    rng = np.random.default_rng(0)
    content = archive.read_bytes()
    whole = 0
    for attempt in range(500):
        damaged = bytearray(content)
        for position in rng.integers(0, len(content), 3):
            damaged[position] = rng.integers(0, 256)
        archive.write_bytes(damaged)
        try:
            unpack(archive, folder / str(attempt))
            whole += 1
        except UserError:
            continue
    assert whole < 250
    assert all(name.startswith(("a.zip", "x/y/z/")) for name in names(tmp_path))
