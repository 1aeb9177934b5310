"""Unpacking archives from elsewhere, refusing those that could do harm."""

import errno
import os.path
import shutil
import stat
import struct
import zlib
from pathlib import Path, PurePosixPath
from zipfile import ZIP_DEFLATED, ZIP_STORED, BadZipFile, ZipFile, ZipInfo

from tqdm import tqdm

from polyp.errors import UserError

MAX_BYTES = 2 * 10**9  # unpacked; the datasets have less than a tenth of it
MAX_MEMBERS = 20_000  # a file takes room even if it is empty

# What zipfile raises on damaged files.
DAMAGE = (BadZipFile, NotImplementedError, EOFError, ValueError, struct.error, zlib.error)


def unpack(archive: Path, folder: Path) -> None:
    """Unpacks a zip file into a folder, without the folders around all of its files.

    All names and sizes are checked before anything is written, the CRC of each file as it is read.
    Hidden files, and what macOS adds, are left out.

    Raises:
        UserError: not a zip file, a damaged one, or one that could do harm.
    """
    try:
        with ZipFile(archive) as zip:
            plan = _plan(archive, zip.infolist())
            bar = tqdm(plan.items(), f"Unpacking {archive.name}", unit="file", disable=None)
            for path, member in bar:
                target = folder / path
                target.parent.mkdir(parents=True, exist_ok=True)
                with zip.open(member) as source, target.open("xb") as file:
                    shutil.copyfileobj(source, file)
    except UserError:
        raise
    except (*DAMAGE, OSError) as error:
        if isinstance(error, OSError) and error.errno != errno.EINVAL:  # EINVAL: a wrong offset
            raise
        raise UserError(f"{archive}: {_diagnosis(archive)} ({error}); fetch it anew") from error


def _plan(archive: Path, members: list[ZipInfo]) -> dict[PurePosixPath, ZipInfo]:
    """Which member goes where, relative to the folder."""
    for member in members:
        fault = _fault(member)
        if fault:
            raise UserError(f"{archive}: refused, as its member {member.orig_filename!r} {fault}")
    size = sum(member.file_size for member in members)
    if size > MAX_BYTES or len(members) > MAX_MEMBERS:
        raise UserError(
            f"{archive}: refused, as it would unpack to {len(members):,} files of {size:,} bytes; "
            f"{MAX_MEMBERS:,} and {MAX_BYTES:,} are allowed"
        )
    files: dict[PurePosixPath, ZipInfo] = {}
    for member in members:
        path = PurePosixPath(member.filename)
        if member.is_dir() or any(p.startswith((".", "__MACOSX")) for p in path.parts):
            continue
        if path in files:
            raise UserError(f"{archive}: refused, as it has two members {member.filename!r}")
        files[path] = member
    if not files:
        raise UserError(f"{archive}: there are no files in it")
    for path in files:
        if not files.keys().isdisjoint(path.parents):
            raise UserError(f"{archive}: refused, as {path} in it is below another file")
    around = os.path.commonpath([path.parent for path in files])
    return {path.relative_to(around): member for path, member in files.items()}


def _fault(member: ZipInfo) -> str | None:
    """What is wrong with a member, by what the archive says of it."""
    name = member.orig_filename  # `filename` ends at a NUL
    if name.startswith("/") or ".." in name.split("/"):
        return "leads out of the folder"
    if any(sign in name for sign in "\\:\0"):  # folders, drives and streams on Windows
        return "has a name that means a path elsewhere on some systems"
    if stat.S_IFMT(member.external_attr >> 16) not in (0, stat.S_IFREG, stat.S_IFDIR):
        return "is a link or a device"
    if member.flag_bits & 1:
        return "is encrypted"
    if member.compress_type not in (ZIP_STORED, ZIP_DEFLATED):
        return f"is compressed by an unusual method ({member.compress_type})"
    return None


def _diagnosis(archive: Path) -> str:
    with archive.open("rb") as file:
        head = file.read(512)
    if head.lstrip().startswith(b"<"):
        return "a web page, not a zip file"
    return "a zip file that is damaged or cut off" if head[:2] == b"PK" else "not a zip file"
