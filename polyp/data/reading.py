"""Reading images and masks from files, refusing by name what cannot be read right."""

from pathlib import Path

import numpy as np
import tifffile
from PIL import Image, ImageOps, UnidentifiedImageError

from polyp.errors import UserError

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".webp"})


def read_image(path: str | Path) -> np.ndarray:
    """The colour image in a file.

    Greyscale and palette images become RGB, 16-bit ones are scaled to 8 bits, EXIF orientation is
    applied, an alpha channel that hides nothing is dropped.

    Returns:
        uint8 [H, W, 3], RGB.

    Raises:
        UserError: the file is missing, truncated, not an image, has several pages, transparent
            pixels, or a pixel type other than 8 or 16 bits.
    """
    pixels = _read(Path(path))
    if pixels.ndim == 2:
        pixels = np.repeat(pixels[..., None], 3, axis=2)
    return np.ascontiguousarray(pixels)


def read_mask(path: str | Path) -> np.ndarray:
    """The mask in a file: polyp where grey > 127, of 255.

    The threshold is needed: masks stored as JPEG have grey edges, and 138 masks of CVC-ClinicDB
    hold values of 10 to 17 in the dark border of the frame.

    Returns:
        bool [H, W].

    Raises:
        UserError: as for `read_image`; or the mask is not black but nowhere brighter than 127,
            as masks that store class numbers are: they would silently be read as empty.
    """
    pixels = _read(Path(path))
    if pixels.ndim == 3:
        pixels = np.asarray(Image.fromarray(pixels).convert("L"))
    brightest = int(pixels.max())
    if 0 < brightest <= 127:
        raise UserError(
            f"{path}: the mask's brightest grey is {brightest}, but polyp is where grey > 127; "
            "store polyp as 255"
        )
    return pixels > 127


def _read(path: Path) -> np.ndarray:
    """uint8 [H, W] or [H, W, 3]."""
    if not path.is_file():
        raise UserError(f"{path}: no such file")
    try:
        pixels = _read_tiff(path) if path.suffix.lower() in (".tif", ".tiff") else _read_other(path)
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
        raise UserError(f"{path}: cannot be decoded ({reason}); fetch the file anew") from error
    if pixels.size == 0:
        raise UserError(f"{path}: the image has no pixels")
    return _eight_bits(path, pixels)


def _read_tiff(path: Path) -> np.ndarray:
    """TIFFs go through tifffile, which ignores the photometric tag.

    The tag is wrong in CVC-ClinicDB's originals: Pillow refuses them, and OpenCV returns the red
    channel three times.
    """
    with tifffile.TiffFile(path) as tiff:
        if len(tiff.pages) != 1:
            raise UserError(f"{path}: has {len(tiff.pages)} pages; one image a file is needed")
        page = tiff.pages[0]
        if page.photometric == tifffile.PHOTOMETRIC.PALETTE:
            raise UserError(f"{path}: a TIFF with a palette; store it as greyscale or RGB")
        pixels = page.asarray()
        if page.photometric == tifffile.PHOTOMETRIC.MINISWHITE:
            raise UserError(f"{path}: a TIFF whose white is 0; store it with black as 0")
        if pixels.ndim == 3 and page.planarconfig == tifffile.PLANARCONFIG.SEPARATE:
            pixels = np.moveaxis(pixels, 0, -1)
    return _without_alpha(path, pixels)


def _read_other(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        if getattr(image, "n_frames", 1) != 1:
            raise UserError(f"{path}: has {image.n_frames} frames; one image a file is needed")
        image.load()
        image = ImageOps.exif_transpose(image)
        if image.mode == "F":
            raise UserError(f"{path}: floating-point pixels; store it with 8 or 16 bits")
        if image.mode in ("I", "I;16", "I;16L", "I;16B", "I;16N"):
            return np.asarray(image)
        if image.mode == "1":
            return np.asarray(image.convert("L"))
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
