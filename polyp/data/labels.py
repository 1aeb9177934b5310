"""Masks of several classes: the class of each value or colour in a mask file."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from polyp.data.reading import read_pixels
from polyp.errors import UserError

SHOWN_VALUES = 6


class Labels:
    """The classes of mask files, background first.

    Args:
        classes: a list of names, where masks hold each name's place in the list; or a mapping from
            each name to its value, or to its colour [r, g, b], in the masks.

    Attributes:
        names: of the classes, by index.
        values: int [n], or colours int [n, 3].

    Raises:
        UserError: fewer than two classes, or two classes with the same value or colour.
    """

    def __init__(self, classes: Sequence[str] | Mapping[str, int | Sequence[int]]):
        if isinstance(classes, str) or not isinstance(classes, Mapping | Sequence):
            raise UserError(f"labels={classes}: must be a list of names, or name: value or colour")
        self.names = [str(name) for name in classes]
        given: list = (
            list(classes.values()) if isinstance(classes, Mapping) else list(range(len(classes)))
        )
        colours = [not isinstance(value, int) for value in given]
        right = all(
            len(value) == 3 and all(type(part) is int and 0 <= part <= 255 for part in value)
            if colour and isinstance(value, Sequence)
            else type(value) is int and 0 <= value <= 65535
            for value, colour in zip(given, colours, strict=True)
        )
        if not right or len(set(colours)) > 1:
            pairs = dict(zip(self.names, given, strict=True))
            raise UserError(
                f"labels={pairs}: must give each class a whole number from 0 to 65535, or each "
                "a colour [red, green, blue] of numbers from 0 to 255"
            )
        self.values = np.array([list(v) if colours[0] else v for v in given], np.int64)
        if not 2 <= len(self.names) <= 256:
            raise UserError(f"labels: {len(self.names)} classes; 2 to 256 are needed")
        for what, seen in ("name", self.names), ("value", self.values.tolist()):
            if twice := [entry for entry in seen if seen.count(entry) > 1]:
                raise UserError(f"labels: two classes have the {what} {twice[0]}")

    def __str__(self) -> str:
        return str(dict(zip(self.names, self.values.tolist(), strict=True)))

    def read(self, path: str | Path) -> np.ndarray:
        """The classes in a mask file, uint8 [H, W] of indices.

        Values are those in the file: the indices of a palette, the numbers 0 and 1 of a mask with
        one bit per pixel. Colours are read as RGB.

        Raises:
            UserError: as for `polyp.data.read_image`; or a pixel belongs to no class.
        """
        coloured = self.values.ndim == 2
        pixels = read_pixels(path, palette="colours" if coloured else "indices")
        if coloured:
            pixels = np.repeat(pixels[..., None], 3, axis=2) if pixels.ndim == 2 else pixels
            codes, values = _code(pixels), _code(self.values)
        else:
            if pixels.ndim == 3:
                if (pixels != pixels[..., :1]).any():
                    raise UserError(
                        f"{path}: a mask in colours; labels have to give each class a colour, as "
                        "polyp: [255, 0, 0]"
                    )
                pixels = pixels[..., 0]
            codes, values = pixels.astype(np.int64), self.values
        order = np.argsort(values)
        place = np.searchsorted(values[order], codes).clip(max=len(values) - 1)
        index = order[place]
        if (unknown := values[index] != codes).any():
            found = np.unique(pixels[unknown], axis=0).tolist()
            more = f" and {len(found) - SHOWN_VALUES} more" if len(found) > SHOWN_VALUES else ""
            hint = "; JPEG changes values, store masks as PNG" if _is_jpeg(path) else ""
            raise UserError(
                f"{path}: holds {', '.join(map(str, found[:SHOWN_VALUES]))}{more}, which no class "
                f"has; labels are {self}{hint}"
            )
        return index.astype(np.uint8)


def _code(colours: np.ndarray) -> np.ndarray:
    """One number for each colour [..., 3]."""
    return colours.astype(np.int64) @ [65536, 256, 1]


def _is_jpeg(path: str | Path) -> bool:
    return Path(path).suffix.lower() in (".jpg", ".jpeg")
