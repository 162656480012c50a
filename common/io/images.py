"""Image files."""

import re
import sys
import warnings
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from PIL import ExifTags, Image

from common.patches import resize_image
from common.utils.errors import UserError, join_names
from common.utils.files import atomic_path, describe_folder

SUFFIXES = tuple(".jpg .jpeg .jpe .jfif .png .bmp .dib .tif .tiff .webp .jp2 .gif .ppm .pgm .pbm .pnm".split())
"""Names of images end so; OpenCV decodes them all."""
_SIGNATURES = ((b"\xff\xd8\xff", b"\xff\xd9"), (b"\x89PNG\r\n\x1a\n", b"IEND\xaeB`\x82"))
"""First and last bytes of a JPEG and of a PNG."""
_TAIL = 4096
"""Cameras and editors may append a few bytes after the end marker, so it is searched for in this many last bytes."""
_FILM = re.compile(rb"\xff\xd9.{0,256}(?:ftyp|MotionPhoto_Data)", re.DOTALL)
"""The end of a JPEG after which a phone appended a video of several megabytes."""


def find_images(inputs: Iterable[Path], suffixes: Sequence[str] = SUFFIXES) -> list[Path]:
    """List the images among files and folders, each once.

    Raises:
        UserError: an input does not exist, or as `list_images`.
    """
    images: dict[Path, Path] = {}
    for path in inputs:
        if not path.exists():
            raise UserError(f"{path} does not exist")
        for file in list_images(path, suffixes) if path.is_dir() else [path]:
            images.setdefault(file.resolve(), file)
    return list(images.values())


def list_images(folder: Path, suffixes: Sequence[str] = SUFFIXES) -> list[Path]:
    """The images directly in a folder, by their suffix in upper or lower case, sorted; hidden files are passed over.

    Raises:
        UserError: there are none.
    """
    paths = sorted(folder.glob("[!.]*"))
    images = [path for path in paths if path.name.lower().endswith(tuple(suffixes)) and not path.is_dir()]
    if not images:
        raise UserError(f"no image is in {folder}: {describe_folder(folder)}; images end in {', '.join(suffixes)}")
    if others := [f"{path.name}/" if path.is_dir() else path.name for path in paths if path not in images]:
        print(f"{folder}: {join_names(others)}: folder, or not named like an image; left out", file=sys.stderr)
    return images


def read_image(path: Path, flags: int = cv2.IMREAD_COLOR) -> np.ndarray:
    """Decode an image file as ``cv2.imread`` does, but refuse those that are cut short.

    Args:
        path: the file; the format is recognised by content, not by name.
        flags: OpenCV's, e.g. ``cv2.IMREAD_COLOR`` for (H, W, 3) BGR, ``cv2.IMREAD_GRAYSCALE`` for (H, W).

    Raises:
        UserError: the file is unreadable, not an image, truncated, or holds several.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path} can't be read ({error.strerror})") from error
    for start, end in _SIGNATURES:  # OpenCV silently returns half a picture for a truncated JPEG
        if content.startswith(start) and end not in content[-_TAIL:] and not _FILM.search(content):
            raise UserError(f"{path} is cut short ({len(content)} bytes); download it again")
    try:
        image = cv2.imdecode(np.frombuffer(content, np.uint8), flags) if content else None
    except cv2.error as error:
        raise UserError(f"{path} can't be decoded as an image ({error.err})") from error
    if image is None:
        raise UserError(f"{path} is not a readable image; download it again")
    if _count_frames(path) > 1:
        raise UserError(f"{path} holds several images (pages or frames); save the right one as a file of its own")
    return image


def _count_frames(path: Path) -> int:
    """The pages or frames of a file that OpenCV has decoded; its own count crashes on damaged files."""
    # A phone's JPEG with a second picture for depth has one that is meant. Pillow raises whatever its code runs into
    # in files that only OpenCV can read.
    formats = ("TIFF", "GIF", "WEBP", "PNG")
    with suppress(Exception), warnings.catch_warnings(action="ignore"), Image.open(path, formats=formats) as image:
        return getattr(image, "n_frames", 1)
    return 1


class Photo(NamedTuple):
    """A colour image as viewers show it."""

    pixels: np.ndarray  # (H, W, 3) uint8 BGR
    orientation: int = 1  # EXIF's, from 1 to 8, of the stored picture; 1: stored as it is shown
    notes: tuple[str, ...] = ()  # sentences for the user

    def patch(self, *, rgb: bool) -> np.ndarray:
        """All of the image as the (120, 120, 3) patch: RGB, or BGR as published (FACTS.md 4.1)."""
        patch = resize_image(self.pixels)
        return np.ascontiguousarray(patch[..., ::-1]) if rgb else patch


def read_photo(path: Path) -> Photo:
    """Read an 8-bit or full-range 16-bit image, in colour or grey, and apply its EXIF orientation.

    Raises:
        UserError: as `read_image`; or the pixels are nearly of one colour, or would be once reduced to 8 bits.
    """
    pixels = read_image(path, cv2.IMREAD_UNCHANGED)
    notes: tuple[str, ...] = ()
    if pixels.ndim == 2:
        pixels = np.repeat(pixels[..., None], 3, axis=2)  # cvtColor knows few kinds of numbers
    if pixels.shape[2] == 4 and (pixels[..., 3] < pixels[..., 3].max()).any():
        notes = ("it has transparent pixels; the colours stored under them are used",)
    pixels = pixels[..., :3]
    if pixels.dtype != np.uint8:
        # No level in the upper half means 10, 12 or 14 bits: of 10,012 real skin images of 8 bits none is as dark. And
        # fewer than 40 of 256 greys are those of CT, HU + 32768, padded or not: none of those images has below 69.
        if pixels.dtype != np.uint16 or pixels.max() < 1 << 15 or len(np.unique(pixels >> 8)) < 40:
            raise UserError(
                f"{path} has {pixels.dtype} levels from {pixels.min():g} to {pixels.max():g}; save it with 8 bits, "
                "0..255, CT through a window"
            )
        pixels = (pixels >> 8).astype(np.uint8)  # as OpenCV does
    if np.ptp(pixels) <= 1:
        raise UserError(f"{path} shows nothing: all its levels are {pixels.min()} or {pixels.max()} of 0..255")
    orientation = read_orientation(path)
    return Photo(np.ascontiguousarray(turn(pixels, orientation)), orientation, notes)


def read_orientation(path: Path) -> int:
    """The EXIF orientation of a JPEG, PNG or WebP, 1 to 8; 1, which turns nothing, where there is none."""
    exif, formats = Image.Exif(), ("JPEG", "PNG", "WEBP")
    # The image's own `getexif` would decode all of a PNG.
    with suppress(Exception), warnings.catch_warnings(action="ignore"), Image.open(path, formats=formats) as image:
        exif.load(image.info["exif"])
    orientation = exif.get(ExifTags.Base.Orientation, 1)
    return orientation if orientation in range(1, 9) else 1


def turn(image: np.ndarray, orientation: int) -> np.ndarray:
    """Turn a stored (H, W[, C]) image to how it is shown, by its EXIF orientation."""
    if orientation >= 5:
        image = image.swapaxes(0, 1)
    if orientation in (2, 3, 6, 7):
        image = image[:, ::-1]
    return image[::-1] if orientation in (3, 4, 7, 8) else image


def write_image(path: Path, image: np.ndarray, parameters: Sequence[int] = ()) -> None:
    """Encode an image in the format of the file name's suffix and write it atomically.

    Raises:
        OSError: the file can't be written; ``cv2.imwrite`` is silent when the disk is full.
    """
    content = cv2.imencode(path.suffix, image, parameters)[1]
    with atomic_path(path) as temporary:
        temporary.write_bytes(content.tobytes())
