"""Reads images and masks. Files that cannot be read correctly are errors."""

import io
from pathlib import Path, PurePath
from typing import Literal

import numpy as np
import tifffile
from PIL import Image, ImageOps, UnidentifiedImageError

from polyp.errors import UserError

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".webp"})


# Greys between dark and bright, and the largest part of the pixels that may have them. In masks
# that are stored as JPEG or resized, edges have such greys, but no area has.
MIDDLE = range(64, 192)
MAX_MIDDLE, MAX_FLAT = 0.25, 0.02


def read_image(path: str | Path, content: bytes | None = None) -> np.ndarray:
    """The colour image in a file.

    Greyscale and palette images become RGB, 16-bit ones are scaled to 8 bits, EXIF orientation is
    applied, an alpha channel that hides nothing is dropped. Of a photo with smaller versions of
    itself, as some phones write, the first one is read.

    Args:
        path: the file.
        content: of the file, where it is in memory already; the path is then only its name.

    Returns:
        uint8 [H, W, 3], RGB.

    Raises:
        UserError: the file is missing, truncated, not an image, has several pages, transparent
            pixels, or a pixel type other than 8 or 16 bits.
    """
    pixels = _eight_bits(Path(path), read_pixels(path, content))
    if pixels.ndim == 2:
        pixels = np.repeat(pixels[..., None], 3, axis=2)
    return np.ascontiguousarray(pixels)


def read_mask(path: str | Path, content: bytes | None = None) -> np.ndarray:
    """The mask in a file: polyp where grey > 127, of 255.

    The threshold is needed: masks stored as JPEG have grey edges, and 138 masks of CVC-ClinicDB
    hold values of 10 to 17 in the dark border of the frame.

    Args:
        path, content: as for `read_image`.

    Returns:
        bool [H, W].

    Raises:
        UserError: as for `read_image`; or the mask is not only dark and bright. Masks of several
            classes and photographs would silently give wrong masks.
    """
    pixels = _eight_bits(Path(path), read_pixels(path, content))
    if pixels.ndim == 3:
        pixels = np.asarray(Image.fromarray(pixels).convert("L"))
    if 0 < pixels.max() < MIDDLE.stop and not (pixels > 127).any():
        raise UserError(
            f"{path}: {_values(pixels)}, but polyp is where grey > 127; if polyp is stored as "
            f"{pixels.max()}: data.dataset.foreground={pixels.max()}"
        )
    middle = (pixels >= MIDDLE.start) & (pixels < MIDDLE.stop)
    # Flat: the same grey as the neighbours to the right and below. Greys of edges are not flat.
    grey = pixels.astype(np.int16)
    flat = middle[:-1, :-1] & (abs(grey[:-1, :-1] - grey[1:, :-1]) < 3)
    flat &= abs(grey[:-1, :-1] - grey[:-1, 1:]) < 3
    lit = np.count_nonzero(pixels >= MIDDLE.start)
    if np.count_nonzero(middle) > MAX_MIDDLE * lit or np.count_nonzero(flat) > MAX_FLAT * lit:
        raise UserError(
            f"{path}: {_values(pixels)}, so it is not a mask of polyp (bright) and background "
            "(dark); for several classes use task=multiclass with task.classes="
        )
    return pixels > 127


def _values(pixels: np.ndarray) -> str:
    """The values of a mask in words: only the most frequent ones if there are many."""
    values, counts = np.unique(pixels, return_counts=True)
    if len(values) == 1:
        return f"its only value is {values[0]}"
    shown = np.sort(values[np.argsort(-counts, kind="stable")[:4]]).tolist()
    most = f"its {len(values)} values are mostly" if len(values) > 4 else "its values are"
    return f"{most} {', '.join(map(str, shown[:-1]))} and {shown[-1]}"


def read_pixels(
    path: str | Path,
    content: bytes | None = None,
    palette: Literal["colours", "indices"] = "colours",
) -> np.ndarray:
    """The pixels in a file as they are stored, [H, W] or [H, W, 3].

    Args:
        path, content: as for `read_image`.
        palette: read pixels of a palette image as "colours" or as "indices".

    Returns:
        Whole numbers of 8 bits or more, or bool where a pixel has one bit.

    Raises:
        UserError: as for `read_image`, but for the pixel type.
    """
    path = Path(path)
    if content is None and not path.is_file():
        raise UserError(f"{path}: no such file")
    source = path if content is None else io.BytesIO(content)
    read = _read_tiff if is_tiff(path) else _read_other
    try:
        pixels = read(path, source, palette)
    except UnidentifiedImageError as error:
        raise UserError(f"{path}: not an image file, or its header is damaged") from error
    except tifffile.TiffFileError as error:
        raise UserError(f"{path}: not a readable TIFF file ({error})") from error
    except UserError:
        raise
    except (OSError, ValueError, SyntaxError, IndexError, Image.DecompressionBombError) as error:
        # What the decoders raise on damaged files: Pillow OSError and SyntaxError (PNG),
        # tifffile ValueError and IndexError.
        reason = " ".join(str(error).split())
        raise UserError(f"{path}: cannot be decoded ({reason}); download the file again") from error
    if pixels.size == 0:
        raise UserError(f"{path}: the image has no pixels")
    if pixels.dtype.kind not in "biu":
        raise UserError(f"{path}: pixels of type {pixels.dtype}; store it with 8 or 16 bits")
    return pixels


def is_tiff(path: str | PurePath) -> bool:
    """Whether the name of a file is that of a TIFF."""
    return PurePath(path).suffix.lower() in (".tif", ".tiff")


def check_sizes(
    image: np.ndarray, mask: np.ndarray, image_name: str | Path, mask_name: str | Path
) -> None:
    """Checks that an image [H, W, C] and its mask [H, W] have the same size.

    Raises:
        UserError: they have not; the message has their names.
    """
    if image.shape[:2] != mask.shape:
        (height, width), (mask_height, mask_width) = image.shape[:2], mask.shape
        raise UserError(
            f"{image_name} is {width}×{height} pixels, but its mask {mask_name} is "
            f"{mask_width}×{mask_height}"
        )


def _read_tiff(path: Path, source: Path | io.BytesIO, palette: str) -> np.ndarray:
    """TIFFs go through tifffile, which ignores the photometric tag.

    The tag is wrong in CVC-ClinicDB's originals: Pillow refuses them, and OpenCV returns the red
    channel three times.
    """
    with tifffile.TiffFile(source) as tiff:
        if len(tiff.pages) != 1:
            raise UserError(f"{path}: has {len(tiff.pages)} pages; one image per file is needed")
        page = tiff.pages[0]
        if page.photometric == tifffile.PHOTOMETRIC.PALETTE and palette != "indices":
            raise UserError(f"{path}: a TIFF with a palette; store it as greyscale or RGB")
        pixels = page.asarray()
        if page.photometric == tifffile.PHOTOMETRIC.MINISWHITE:
            raise UserError(f"{path}: a TIFF whose white is 0; store it with black as 0")
        if pixels.ndim == 3 and page.planarconfig == tifffile.PLANARCONFIG.SEPARATE:
            pixels = np.moveaxis(pixels, 0, -1)
    return _without_alpha(path, pixels)


def _read_other(path: Path, source: Path | io.BytesIO, palette: str) -> np.ndarray:
    with Image.open(source) as image:
        # MPO is a JPEG followed by others, of which the first is the photo.
        if image.format != "MPO" and getattr(image, "n_frames", 1) != 1:
            raise UserError(f"{path}: has {image.n_frames} frames; one image per file is needed")
        image.load()
        image = ImageOps.exif_transpose(image)
        if image.mode == "F":
            raise UserError(f"{path}: floating-point pixels; store it with 8 or 16 bits")
        if image.mode in ("I", "I;16", "I;16L", "I;16B", "I;16N"):
            return np.asarray(image)
        if image.mode == "1" or (image.mode == "P" and palette == "indices"):
            return np.asarray(image)
        if image.mode == "L" and "transparency" not in image.info:
            return np.asarray(image)
        if image.has_transparency_data:
            return _without_alpha(path, np.asarray(image.convert("RGBA")))
        return np.asarray(image.convert("RGB"))


def _without_alpha(path: Path, pixels: np.ndarray) -> np.ndarray:
    """[H, W] or [H, W, 3] of an array that may end with an alpha channel."""
    if pixels.ndim == 2:
        return pixels
    if pixels.ndim != 3 or not 1 <= pixels.shape[2] <= 4:
        raise UserError(f"{path}: pixels of shape {pixels.shape}; greyscale or RGB is needed")
    if pixels.shape[2] in (2, 4):
        alpha = pixels[..., -1]
        # The colour under a transparent pixel is arbitrary, so there is no right way to drop it.
        if (alpha != np.iinfo(alpha.dtype).max).any():
            raise UserError(f"{path}: has transparent pixels; flatten it to RGB")
        pixels = pixels[..., :-1]
    return pixels[..., 0] if pixels.shape[2] == 1 else pixels


def _eight_bits(path: Path, pixels: np.ndarray) -> np.ndarray:
    if pixels.dtype == np.uint8:
        return pixels
    if pixels.dtype == bool:
        return pixels.astype(np.uint8) * 255
    # Pillow opens some 16-bit files as 32-bit integers ("I").
    if pixels.dtype.kind in "iu" and pixels.min() >= 0 and pixels.max() <= 65535:
        return np.round(pixels / 257).astype(np.uint8)
    raise UserError(f"{path}: pixels of type {pixels.dtype}; store it with 8 or 16 bits")
