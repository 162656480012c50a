"""Image files, and how a lesion's image and outline look on screen."""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from common.utils.errors import UserError
from common.utils.files import atomic_path

Colour = tuple[int, int, int]
"""RGB, 0..255."""
# Okabe and Ito's colours, which colour-blind readers can tell apart.
GREEN, ORANGE, BLUE = (0, 158, 115), (230, 159, 0), (86, 180, 233)
VERMILION, PURPLE, NAVY = (213, 94, 0), (204, 121, 167), (0, 114, 178)

SCALE = 2
"""`outline` enlarges images by this factor, so that its thin line does not hide the border."""

_SIGNATURES = ((b"\xff\xd8\xff", b"\xff\xd9"), (b"\x89PNG\r\n\x1a\n", b"IEND\xaeB`\x82"))
"""First and last bytes of a JPEG and of a PNG."""
_TAIL = 4096
"""Cameras and editors may append a few bytes after the end marker, so it is searched for in this many last bytes."""


def read_image(path: Path, flags: int = cv2.IMREAD_COLOR) -> np.ndarray:
    """Decode a JPEG or PNG as ``cv2.imread`` does, but refuse damaged files.

    Args:
        path: the file; the format is recognised by content, not by name.
        flags: OpenCV's, e.g. ``cv2.IMREAD_COLOR`` for (H, W, 3) BGR, ``cv2.IMREAD_GRAYSCALE`` for (H, W).

    Raises:
        UserError: the file is unreadable, not an image, or truncated.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path} can't be read ({error.strerror})") from error
    for start, end in _SIGNATURES:  # OpenCV silently returns half a picture for a truncated JPEG
        if content.startswith(start) and end not in content[-_TAIL:]:
            raise UserError(f"{path} is cut short ({len(content)} bytes); download it again")
    try:
        image = cv2.imdecode(np.frombuffer(content, np.uint8), flags) if content else None
    except cv2.error as error:
        raise UserError(f"{path} can't be decoded as an image ({error.err})") from error
    if image is None:
        raise UserError(f"{path} is not a readable image; download it again")
    return image


def write_image(path: Path, image: np.ndarray, parameters: Sequence[int] = ()) -> None:
    """Encode an image in the format of the file name's suffix and write it atomically.

    Raises:
        OSError: the file can't be written; ``cv2.imwrite`` is silent when the disk is full.
    """
    content = cv2.imencode(path.suffix, image, parameters)[1]
    with atomic_path(path) as temporary:
        temporary.write_bytes(content.tobytes())


def display_image(image: np.ndarray, channels: str) -> np.ndarray:
    """Convert a prepared image to (120, 120, 3) uint8 RGB.

    Args:
        image: (120, 120, 3), 0..255.
        channels: "bgr", "rgb" or "slices"; of slices, the key slice in the middle is used.
    """
    image = np.clip(image, 0, 255).astype(np.uint8)
    if channels == "slices":
        return np.repeat(image[..., 1:2], 3, axis=2)
    return np.ascontiguousarray(image[..., ::-1]) if channels == "bgr" else image


def outline(image: np.ndarray, mask: np.ndarray, colour: Colour) -> np.ndarray:
    """Draw the outline of an (H, W) mask on an (H, W, 3) RGB image, both enlarged by `SCALE`."""
    size = (image.shape[1] * SCALE, image.shape[0] * SCALE)
    enlarged = cv2.resize(image, size, interpolation=cv2.INTER_LINEAR)
    enlarged_mask = cv2.resize(np.ascontiguousarray(mask), size, interpolation=cv2.INTER_NEAREST)
    contours, _ = cv2.findContours(enlarged_mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    return cv2.drawContours(enlarged, contours, -1, colour, SCALE)
