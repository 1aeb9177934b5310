"""Downloads the real datasets with pooch, or unpacks an archive, and verifies them.

A failed transfer is repeated from its start, because pooch does not resume transfers.
"""

import errno
import logging
import os.path
import shlex
import shutil
import stat
import struct
import sys
import uuid
import zlib
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit
from zipfile import BadZipFile, ZipFile, ZipInfo

import pooch
from filelock import FileLock
from omegaconf import DictConfig
from requests.exceptions import HTTPError, RequestException

from polyp.data.datasets import PairedFolders
from polyp.data.polyps import CVCClinicDB, KvasirSEG
from polyp.data.prepared import prepare
from polyp.data.published import check_content
from polyp.errors import UserError

log = logging.getLogger(__name__)

MAX_BYTES = 2 * 10**9  # unpacked; more than ten times the size of the datasets
MAX_MEMBERS = 20_000  # a file takes room even if it is empty
BY_HAND = "url= names another address, archive= a file that you have downloaded yourself"

# What zipfile raises on damaged archives, and the system on paths that exclude each other.
DAMAGE = (BadZipFile, NotImplementedError, RuntimeError, EOFError, ValueError)
DAMAGE += (struct.error, zlib.error)
DAMAGED_PATHS = (errno.EINVAL, errno.EEXIST, errno.ENOTDIR, errno.EISDIR)


@dataclass(frozen=True)
class Source:
    """Where a dataset comes from.

    Attributes:
        dataset: its class, which takes a folder.
        citation: the publication that its terms ask to cite.
        instructions: how to get it by hand; None if it can be downloaded. {root} is its folder, and
            {chosen} the options that name it.
    """

    dataset: type[PairedFolders]
    citation: str
    instructions: str | None = None


SOURCES = {
    "kvasir": Source(
        KvasirSEG,
        "Jha et al., Kvasir-SEG: A Segmented Polyp Dataset, MultiMedia Modeling 2020",
    ),
    "cvc": Source(
        CVCClinicDB,
        "Bernal et al., WM-DOVA maps for accurate polyp highlighting in colonoscopy, "
        "Computerized Medical Imaging and Graphics 43, 2015",
        """\
CVC-ClinicDB is only given to people who accept its terms, so you have to request it yourself:
  1. Request it at https://polyp.grand-challenge.org/CVCClinicDB/
  2. If it is a zip file: polyp download {chosen} archive=FILE
     Otherwise unpack it yourself, as 612 frames and their masks, TIFF or PNG:
       {root}/Original/1.tif … 612.tif
       {root}/Ground Truth/1.tif … 612.tif
     The two folders may also lie in PNG or TIF below {root}.
  3. Verify it: polyp download {chosen}""",
    ),
}


def download(config: DictConfig, choice: str, named: set[str]) -> None:
    """Downloads a dataset to where `data=` looks for it, or prints instructions.

    The dataset folder is created only after every file has been verified.

    Args:
        config: configs/download_data.yaml.
        choice: what was given as `data=`.
        named: the keys that the user gave a value, such as {"data", "root"}.

    Raises:
        UserError: the dataset could not be downloaded or verified.
    """
    if choice not in SOURCES:
        raise UserError(
            f"data={choice}: cannot be downloaded; choose data={' or data='.join(SOURCES)}"
        )
    source = SOURCES[choice]
    _check_options(config)
    pairs = source.dataset.expected if config.pairs is None else config.pairs
    root = Path(config.root)
    elsewhere = [f"data.root={root}"] if named & {"root", "data.root"} else []
    chosen = shlex.join([f"data={choice}", *elsewhere])  # the dataset's options in commands
    try:
        if root.is_symlink():
            root = root.resolve()  # to write to the target of the link, not to replace it
        if not _is_there(source, root, pairs):
            log.info("For research and education only. Please cite %s", source.citation)
            if config.archive is None and source.instructions is not None:
                log.info("%s", source.instructions.format(root=root, chosen=chosen))
                raise UserError(f"{chosen}: no dataset at {root}; see the instructions above")
            _get(config, source, root, pairs)
    except KeyboardInterrupt as error:
        raise UserError("interrupted; to start again, repeat the command") from error
    except OSError as error:  # of the disk: those of the connection are UserErrors by now
        raise UserError(f"{error.filename or root.parent}: {error.strerror or error}") from error
    log.info("Next: polyp train model=p4unet %s", chosen)


def _check_options(config: DictConfig) -> None:
    """Raises UserError for mistakes that `polyp.schema` does not find."""
    if not Path(str(config.root)).name:
        raise UserError(f"root={config.root}: must be a folder with a name")
    try:
        urlsplit(config.url).port  # noqa: B018
    except ValueError as error:
        raise UserError(f"url={config.url}: not an address ({error}); {BY_HAND}") from error
    if config.archive is not None and not Path(str(config.archive)).is_file():
        raise UserError(f"archive={config.archive}: no such file")


def _is_there(source: Source, root: Path, pairs: int) -> bool:
    """Whether the dataset is at `root`. Raises UserError if something else is there."""
    for place in root.parents:
        if place.is_file():
            raise UserError(f"root={root}: {place} is a file, not a folder")
    if not root.exists() or (root.is_dir() and not any(root.iterdir())):
        return False
    dataset = source.dataset(root)
    hint = "move it, or choose another folder with root="
    if not root.is_dir():
        raise UserError(f"{root}: is a file; {hint}")
    try:
        dataset.parts()
    except UserError as error:
        raise UserError(f"{root}: exists, but is not {dataset.name}; {hint}") from error
    try:
        _check(dataset, pairs)
    except UserError as error:
        raise UserError(f"{root}: exists, but is not complete: {error}; {hint}") from error
    log.info("%s is complete: %d pairs, all readable", root, pairs)
    return True


def _get(config: DictConfig, source: Source, root: Path, pairs: int) -> None:
    """Downloads and unpacks into a folder beside `root`, and renames it once it is verified."""
    kept = Path(f"{root}.zip")
    if config.keep and config.archive is None and kept.exists():
        raise UserError(f"keep=true: {kept} already exists; archive={kept} unpacks it")
    temporary = root.with_name(f".{root.name}-{uuid.uuid4().hex}")
    root.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(root.with_name(f".{root.name}.lock")):  # a second command waits for the first
        if _is_there(source, root, pairs):
            return
        temporary.mkdir()
        try:
            fetched = config.archive is None
            archive = _fetch(config, temporary) if fetched else Path(config.archive)
            digest = pooch.file_hash(str(archive), alg="sha256")
            if config.sha256 is not None and digest != config.sha256.lower():
                raise UserError(
                    f"{archive}: its sha256 is {digest}, not sha256={config.sha256}; download again"
                )
            dataset = temporary / "dataset"
            try:
                unpack(archive, dataset)
                _check(source.dataset(dataset), pairs)
            except UserError as error:
                place = str(config.url if fetched else archive)
                message = str(error).replace(str(dataset), Path(place).name)
                raise UserError(f"{place}: not the dataset: {message}; {BY_HAND}") from error
            dataset.rename(root)
            if fetched and config.keep:
                archive.rename(kept)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    log.info("%s: %d pairs, all readable", root, pairs)
    pins = "" if config.sha256 else f"; sha256={digest} requires this archive"
    log.info("sha256 of the archive: %s%s", digest, pins)


def _fetch(config: DictConfig, folder: Path) -> Path:
    """Downloads the archive into a folder."""
    log.info("Downloading %s", config.url)
    pooch.get_logger().setLevel(logging.WARNING)
    name = "archive.zip"
    fetcher = pooch.create(
        folder,
        base_url="",
        registry={name: None if config.sha256 is None else f"sha256:{config.sha256.lower()}"},
        urls={name: config.url},
        retry_if_failed=int(config.attempts) - 1,
    )
    downloader = pooch.HTTPDownloader(timeout=config.timeout, progressbar=sys.stderr.isatty())
    try:
        return Path(fetcher.fetch(name, downloader=downloader))
    except HTTPError as error:
        answer = f"the server answers {error.response.status_code} {error.response.reason}"
        raise UserError(f"{config.url}: {answer}; {BY_HAND}") from error
    except RequestException as error:
        reason = " ".join(str(error).split())
        raise UserError(f"{config.url}: no connection ({reason}); {BY_HAND}") from error
    except ValueError as error:  # raised by pooch: another hash
        reason = " ".join(str(error).split())
        raise UserError(f"{config.url}: {reason}; {BY_HAND}") from error


def unpack(archive: Path, folder: Path) -> None:
    """Unpacks a zip file into a new folder, without the folders around all of its files.

    All names and sizes are checked before anything is written, the CRC of each file as it is read.
    Hidden files, and those that macOS adds, are skipped.

    Raises:
        UserError: not a zip file, a damaged one, or an unsafe one.
    """
    try:
        with ZipFile(archive) as zip:
            for path, member in _plan(zip.infolist()).items():
                target = folder / path
                target.parent.mkdir(parents=True, exist_ok=True)
                with zip.open(member) as source, target.open("xb") as file:
                    shutil.copyfileobj(source, file)
    except UserError:
        raise
    except (*DAMAGE, OSError) as error:
        if isinstance(error, OSError) and error.errno not in DAMAGED_PATHS:
            raise
        with archive.open("rb") as file:
            page = file.read(512).lstrip().startswith(b"<")
        kind = "a web page, not a zip file" if page else "not a zip file, or a damaged one"
        raise UserError(f"{kind} ({error})") from error


def _plan(members: list[ZipInfo]) -> dict[PurePosixPath, ZipInfo]:
    """The members by their path, relative to the folder."""
    for member in members:
        name = member.orig_filename  # `filename` ends at a NUL
        if name.startswith("/") or ".." in name.split("/") or any(s in name for s in "\\:\0"):
            raise UserError(f"its member {name!r} leads out of the folder, here or elsewhere")
        if stat.S_IFMT(member.external_attr >> 16) not in (0, stat.S_IFREG, stat.S_IFDIR):
            raise UserError(f"its member {name!r} is a link or a device")
    size = sum(member.file_size for member in members)
    if size > MAX_BYTES or len(members) > MAX_MEMBERS:
        raise UserError(
            f"it would unpack to {len(members):,} files of {size:,} bytes; {MAX_MEMBERS:,} and "
            f"{MAX_BYTES:,} are allowed"
        )
    files = {
        PurePosixPath(member.filename): member
        for member in members
        if not member.is_dir()
        and not any(p.startswith((".", "__MACOSX")) for p in PurePosixPath(member.filename).parts)
    }
    if not files:
        raise UserError("there are no files in it")
    around = os.path.commonpath([path.parent for path in files])
    return {path.relative_to(around): member for path, member in files.items()}


def _check(dataset: PairedFolders, pairs: int) -> None:
    """Reads every file of a dataset, counts its pairs, and compares them with the published ones.

    Another number of pairs than the published one is accepted with `pairs=`.
    """
    prepared = prepare(dataset, size=16, resize="pad", cache=None)
    found = len(prepared.samples)
    if found != pairs:
        raise UserError(
            f"{found} pairs of image and mask instead of {pairs}; pairs={found} would accept them"
        )
    if pairs == dataset.expected:
        check_content(dataset, prepared)
