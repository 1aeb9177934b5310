"""Which images a user means, and reading them whatever they are."""

import glob
import logging
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import numpy as np
from omegaconf import ListConfig
from PIL import Image, ImageOps

from polyp.data import read_image
from polyp.data.reading import SUFFIXES
from polyp.errors import UserError

log = logging.getLogger(__name__)

ENDINGS = " ".join(sorted(SUFFIXES))
MAX_NAMES = 5  # of files that are left out, in one line of the log


class Found(NamedTuple):
    """An image file, and the name that its results get: its path below what was asked for."""

    path: Path
    name: str


class Search:
    """Looks for images, and keeps account of what it leaves out.

    Args:
        recursive: look into subfolders too. Links to folders are not followed.
        without: a folder that is not looked into: that of the results.
    """

    def __init__(self, recursive: bool, without: Path):
        self.recursive, self.without = recursive, without.resolve()
        self.skipped: dict[str, list[str]] = {}  # by reason

    def __call__(self, asked: str | Sequence[str]) -> list[Found]:
        """The images of a file, a folder, a glob pattern, or a list of these, without repetition.

        Hidden files are passed over in silence. The results of a file are named by the file, those
        of a folder by the path below it, and those of a pattern by the path below the part of it
        that has no wildcards.

        Raises:
            UserError: something that was asked for does not exist or holds no image.
        """
        places = asked if isinstance(asked, list | tuple | ListConfig) else [asked]
        if not places:
            raise UserError("input=[]: must name at least one file or folder")
        found: dict[Path, Found] = {}
        for place in places:
            if not isinstance(place, str | int | float) or place == "":
                raise UserError(f"input={place!r}: must be a file, a folder, a pattern or a list")
            images = list(self._at(str(place)))
            if not images:
                deeper = "" if self.recursive else "; recursive=true looks into subfolders"
                raise UserError(f"input={place}: no images in it (looked for {ENDINGS}{deeper})")
            for image in images:
                found.setdefault(image.path, image)
        return list(found.values())

    def tell(self) -> None:
        """Logs what was left out, a line per reason."""
        for reason, names in self.skipped.items():
            more = f" and {len(names) - MAX_NAMES} more" if len(names) > MAX_NAMES else ""
            log.info("skipped, %s: %s%s", reason, ", ".join(names[:MAX_NAMES]), more)

    def _at(self, place: str) -> Iterator[Found]:
        path = Path(place)
        if path.is_file():
            yield Found(path, path.name)
        elif path.is_dir():
            yield from self._in(path, path)
        elif glob.has_magic(place):
            parts = path.parts
            count = next(i for i, part in enumerate(parts) if glob.has_magic(part))
            top, pattern = Path(*parts[:count]), str(Path(*parts[count:]))
            try:
                matches = sorted(top.glob(pattern))  # unlike `glob`, follows no links to folders
            except ValueError as error:
                raise UserError(f"input={place}: not a pattern ({error})") from error
            if not matches:
                raise UserError(f"input={place}: no file or folder matches")
            yield from self._of(matches, top)
        else:
            raise UserError(f"input={place}: no such file or folder")

    def _in(self, folder: Path, top: Path) -> Iterator[Found]:
        yield from self._of(sorted(folder.iterdir(), key=lambda p: (p.stem, p.suffix)), top)

    def _of(self, paths: list[Path], top: Path) -> Iterator[Found]:
        for path in paths:
            name = path.relative_to(top)
            if any(part.startswith(".") for part in name.parts):
                continue
            if path.is_dir():
                if path.resolve() == self.without:
                    self._leave_out("as the results go there", name)
                elif not self.recursive:
                    self._leave_out("as recursive=true looks into folders", name)
                elif path.is_symlink():
                    self._leave_out("as links to folders are not followed", name)
                else:
                    yield from self._in(path, top)
            elif path.suffix.lower() in SUFFIXES:
                yield Found(path, name.as_posix())
            else:
                self._leave_out(f"as images end with {ENDINGS}", name)

    def _leave_out(self, reason: str, name: Path) -> None:
        self.skipped.setdefault(reason, []).append(str(name))


def read_on_black(path: Path) -> np.ndarray:
    """The colour image in a file as `read_image` reads it, uint8 [H, W, 3], but where it is
    transparent black shines through, as around the round picture of many a scope."""
    # Of what is wrong with a file `read_image` tells.
    faults = OSError, ValueError, SyntaxError, Image.DecompressionBombError
    with suppress(*faults), Image.open(path) as image:
        if getattr(image, "n_frames", 1) == 1 and image.has_transparency_data:
            image = ImageOps.exif_transpose(image).convert("RGBA")
            if image.getextrema()[3][0] < 255:
                black = Image.new("RGBA", image.size, "black")
                return np.array(Image.alpha_composite(black, image).convert("RGB"))
    return read_image(path)
