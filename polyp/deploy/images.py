"""Finds and reads the images of `input=`."""

import glob
import io
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
MAX_NAMES = 5  # names of skipped files in one line of the log


class Found(NamedTuple):
    """An image file, and the name of its results: its path relative to the folder of `input=`."""

    path: Path
    name: str


class Search:
    """Looks for images, and records skipped files.

    Args:
        recursive: look into subfolders too. Links to folders are not followed.
        without: the folder of the results, which is not searched.
    """

    def __init__(self, recursive: bool, without: Path):
        self.recursive, self.without = recursive, without.resolve()
        self.skipped: dict[str, list[str]] = {}  # by reason

    def __call__(self, asked: str | Sequence[str]) -> list[Found]:
        """The images of a file, a folder, a glob pattern, or a list of these, without repetition.

        Hidden files are ignored. The results of a file have the name of the file, those of a folder
        the path relative to it, and those of a pattern the path relative to the part of the pattern
        without wildcards.

        Raises:
            UserError: a part of the input does not exist or has no image.
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

    def log_skipped(self) -> None:
        """Logs the skipped files, a line per reason."""
        for reason, names in self.skipped.items():
            more = f" and {len(names) - MAX_NAMES} more" if len(names) > MAX_NAMES else ""
            log.info("skipped (%s): %s%s", reason, ", ".join(names[:MAX_NAMES]), more)

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
                    self._skip("the results go there", name)
                elif not self.recursive:
                    self._skip("use recursive=true to read subfolders", name)
                elif path.is_symlink():
                    self._skip("links to folders are not followed", name)
                else:
                    yield from self._in(path, top)
            elif path.suffix.lower() in SUFFIXES:
                yield Found(path, name.as_posix())
            else:
                self._skip(f"images end with {ENDINGS}", name)

    def _skip(self, reason: str, name: Path) -> None:
        self.skipped.setdefault(reason, []).append(str(name))


def read_on_black(path: Path, content: bytes | None = None) -> np.ndarray:
    """The colour image in a file as `read_image` reads it, uint8 [H, W, 3], but with transparent
    pixels on black, which occur around the round picture of many scopes."""
    source = path if content is None else io.BytesIO(content)
    # `read_image` reports problems of the file.
    faults = OSError, ValueError, SyntaxError, Image.DecompressionBombError
    with suppress(*faults), Image.open(source) as image:
        if getattr(image, "n_frames", 1) == 1 and image.has_transparency_data:
            image = ImageOps.exif_transpose(image).convert("RGBA")
            if image.getextrema()[3][0] < 255:
                black = Image.new("RGBA", image.size, "black")
                return np.array(Image.alpha_composite(black, image).convert("RGB"))
    return read_image(path, content)
