"""Getting the real datasets: fetched, or unpacked from an archive, and checked."""

import hashlib
import logging
import re
import shlex
import shutil
import uuid
from dataclasses import dataclass
from pathlib import Path

from omegaconf import DictConfig

from polyp.data.archive import unpack
from polyp.data.datasets import CVCClinicDB, KvasirSEG, PairedFolders
from polyp.data.prepared import prepare
from polyp.data.transfer import Part, fetch
from polyp.errors import UserError

log = logging.getLogger(__name__)

MOST = 1_000_000  # of the numbers in the config: more is a slip


@dataclass(frozen=True)
class Source:
    """A dataset that can be got.

    Attributes:
        dataset: its class, made from a folder.
        pairs: how many it has.
        citation: what its terms ask to be cited.
        instructions: how to get it by hand; None if it can be fetched. {root} is its folder, and
            {chosen} the options that name it.
    """

    dataset: type[PairedFolders]
    pairs: int
    citation: str
    instructions: str | None = None


SOURCES = {
    "kvasir": Source(
        KvasirSEG,
        1000,
        "Jha et al., Kvasir-SEG: A Segmented Polyp Dataset, MultiMedia Modeling 2020",
    ),
    "cvc": Source(
        CVCClinicDB,
        612,
        "Bernal et al., WM-DOVA maps for accurate polyp highlighting in colonoscopy, "
        "Computerized Medical Imaging and Graphics 43, 2015",
        """\
CVC-ClinicDB is given to those who accept its terms, so it has to be fetched by a person:
  1. Ask for it at https://polyp.grand-challenge.org/CVCClinicDB/
  2. If it comes as a zip file: python scripts/download_data.py {chosen} archive=FILE
     Else unpack it by hand, to 612 frames and their masks, as TIFF or PNG, in
       {root}/Original/1.tif … 612.tif
       {root}/Ground Truth/1.tif … 612.tif
     The two folders may also lie in PNG or TIF below {root}.
  3. Check what is there: python scripts/download_data.py {chosen}""",
    ),
}


def download(config: DictConfig, choice: str, named: set[str]) -> None:
    """Puts a dataset where `data=` looks for it, or says how to; configs/download_data.yaml.

    Its folder appears when everything in it has been checked.

    Args:
        config: the config.
        choice: what was given as `data=`.
        named: the keys that the user gave a value, such as {"data", "root"}.

    Raises:
        UserError: the dataset is not there in the end.
    """
    if choice not in SOURCES:
        raise UserError(
            f"data={choice}: nothing to download; it is data={' or data='.join(SOURCES)}"
        )
    source = SOURCES[choice]
    _check_options(config)
    pairs = source.pairs if config.pairs is None else config.pairs
    root = Path(config.root)
    elsewhere = [f"data.root={root}"] if named & {"root", "data.root"} else []
    chosen = shlex.join([f"data={choice}", *elsewhere])  # how commands name the dataset
    part = Part(Path(f"{root}.zip.part"), str(config.url))
    try:
        if root.is_symlink():
            root = root.resolve()  # to put the folder where the link leads, not in its place
        if _is_there(source, root, pairs):
            log.info("%s is there already: %d pairs, all readable", root, pairs)
        else:
            log.info("For research and educational purposes only; please cite %s", source.citation)
            if config.archive is not None:
                digest = _from_archive(config, source, root, pairs)
            elif source.instructions is None:
                digest = _from_network(config, source, root, pairs, part)
            else:
                log.info("%s", source.instructions.format(root=root, chosen=chosen))
                raise UserError(f"{chosen}: nothing at {root} yet; how to get it is told above")
            log.info("%s: %d pairs, all readable", root, pairs)
            log.info("sha256 of the archive: %s", digest)
    except KeyboardInterrupt as error:
        raise UserError(f"interrupted{_what_is_kept(part)}") from error
    except OSError as error:  # of the disk: a connection's have become UserErrors
        place = error.filename or root.parent
        raise UserError(f"{place}: {error.strerror or error}{_what_is_kept(part)}") from error
    log.info("Next: python train.py model=p4unet %s", chosen)


def _check_options(config: DictConfig) -> None:
    """A UserError for a value that could not be used later on."""
    if not isinstance(config.root, str) or not Path(config.root).name:
        raise UserError(f"root={config.root}: must be a folder with a name")
    for key, types in {
        "pairs": (int, type(None)),
        "attempts": int,
        "timeout": (int, float),
    }.items():
        value = config[key]
        right = isinstance(value, types) and not isinstance(value, bool)
        if not right or (value is not None and not 0 < value <= MOST):
            raise UserError(f"{key}={value}: must be a number above 0, and at most {MOST:,}")
    if not isinstance(config.keep, bool):
        raise UserError(f"keep={config.keep}: must be true or false")
    if config.sha256 is not None and not re.fullmatch("[0-9a-fA-F]{64}", str(config.sha256)):
        raise UserError(f"sha256={config.sha256}: must be 64 hexadecimal digits")


def _is_there(source: Source, root: Path, pairs: int) -> bool:
    """Whether the dataset is at `root`; a UserError if anything else is."""
    for place in root.parents:
        if place.is_file():
            raise UserError(f"root={root}: {place} is a file, not a folder")
    if not root.exists() or (root.is_dir() and not any(root.iterdir())):
        return False
    dataset = source.dataset(root)
    way_out = "move it away, or name another folder as root="
    if not root.is_dir():
        raise UserError(f"{root}: a file is there; {way_out}")
    try:
        dataset.folders()
    except UserError as error:
        raise UserError(
            f"{root}: something else than {dataset.name} is there; {way_out}"
        ) from error
    try:
        _check(dataset, pairs)
    except UserError as error:
        raise UserError(f"{root} is there, but not as it should be: {error}; {way_out}") from error
    return True


def _from_archive(config: DictConfig, source: Source, root: Path, pairs: int) -> str:
    """Installs what the user has fetched by hand; its sha256."""
    archive = Path(str(config.archive))
    if not archive.is_file():
        raise UserError(f"archive={archive}: no such file")
    digest = _digest(archive, config.sha256)
    _install(archive, source, root, pairs)
    return digest


def _from_network(config: DictConfig, source: Source, root: Path, pairs: int, part: Part) -> str:
    """Fetches an archive and installs it; its sha256."""
    kept = part.path.with_suffix("")  # without .part
    if config.keep and kept.exists():
        raise UserError(f"keep=true: {kept} is there already; archive={kept} unpacks it")
    log.info("Fetching %s", part.url)
    try:
        fetch(part, config.attempts, config.timeout)
    except UserError as error:
        raise UserError(f"{error}{_what_is_kept(part)}") from error
    try:
        digest = _digest(part.path, config.sha256)
        _install(part.path, source, root, pairs)
    except UserError:
        part.discard()  # the whole of a wrong archive is of no use
        raise
    if config.keep:
        part.path.rename(kept)
    part.discard()
    return digest


def _digest(archive: Path, expected: str | None) -> str:
    with archive.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if expected is not None and digest != expected.lower():
        raise UserError(f"{archive}: its sha256 is {digest}, not sha256={expected}; fetch it anew")
    return digest


def _install(archive: Path, source: Source, root: Path, pairs: int) -> None:
    """Unpacks an archive beside `root` and checks it there: no reader meets half a dataset."""
    temporary = root.with_name(f".{root.name}-{uuid.uuid4().hex}")
    temporary.mkdir(parents=True)
    try:
        unpack(archive, temporary)
        try:
            _check(source.dataset(temporary), pairs)
        except UserError as error:
            message = str(error).replace(str(temporary), archive.name)
            raise UserError(f"{archive}: not the dataset: {message}") from error
        temporary.rename(root)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _check(dataset: PairedFolders, pairs: int) -> None:
    """Reads every file of a dataset, and counts its pairs."""
    found = len(prepare(dataset, size=16, resize="pad", cache=None).samples)
    if found != pairs:
        raise UserError(
            f"{found} pairs of image and mask instead of {pairs}; pairs={found} would accept them"
        )


def _what_is_kept(part: Part) -> str:
    """The end of a message: what a broken transfer leaves."""
    here = part.beginning()
    if here is None:
        return ""
    return f"; {here.start:,} bytes are kept in {part.path}: the same command goes on from there"
