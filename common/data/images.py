"""Images: reading and writing them, and a lesion's image and outline as a person sees them."""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from common.utils.errors import UserError
from common.utils.files import atomic_path

# First bytes and last bytes of the formats we read: OpenCV returns half a picture for a truncated JPEG
# without a word, so the end marker is looked for.
_JPEG = (b"\xff\xd8\xff", b"\xff\xd9")
_PNG = (b"\x89PNG\r\n\x1a\n", b"IEND\xaeB`\x82")
_TAIL = 4096  # cameras and editors may append a few bytes after the end marker

Colour = tuple[int, int, int]
# Okabe and Ito's colours, which colour-blind readers tell apart (RGB).
GREEN, ORANGE, BLUE = (0, 158, 115), (230, 159, 0), (86, 180, 233)
VERMILION, PURPLE, NAVY = (213, 94, 0), (204, 121, 167), (0, 114, 178)
SCALE = 2
"""A patch is drawn this many times larger, so that a thin outline does not hide the border."""


def display_image(image: np.ndarray, channels: str) -> np.ndarray:
    """A prepared image as it looks: (120, 120, 3) uint8 RGB.

    Args:
        image: (120, 120, 3), 0..255.
        channels: "bgr", "rgb" or "slices", of which the key slice in the middle is shown.
    """
    image = np.clip(image, 0, 255).astype(np.uint8)
    if channels == "slices":
        return np.repeat(image[..., 1:2], 3, axis=2)
    return np.ascontiguousarray(image[..., ::-1]) if channels == "bgr" else image


def outline(image: np.ndarray, mask: np.ndarray, colour: Colour) -> np.ndarray:
    """Draw a (120, 120) mask's outline on an RGB image; both are enlarged by `SCALE`."""
    size = (image.shape[1] * SCALE, image.shape[0] * SCALE)
    large = cv2.resize(image, size, interpolation=cv2.INTER_LINEAR)
    border, _ = cv2.findContours(
        cv2.resize(np.ascontiguousarray(mask), size, interpolation=cv2.INTER_NEAREST),
        cv2.RETR_EXTERNAL,
        cv2.CHAIN_APPROX_NONE,
    )
    return cv2.drawContours(large, border, -1, colour, SCALE)


def read_image(path: Path, flags: int = cv2.IMREAD_COLOR) -> np.ndarray:
    """Decode a JPEG or PNG as ``cv2.imread`` would, but refuse what is damaged.

    Args:
        path: the file; its content, not its name, decides the format.
        flags: OpenCV's, e.g. ``cv2.IMREAD_COLOR`` for (H, W, 3) BGR, ``cv2.IMREAD_GRAYSCALE`` for (H, W).

    Raises:
        UserError: not a file, not an image, or cut short.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path} can't be read ({error.strerror})") from error
    for start, end in (_JPEG, _PNG):
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
    """Encode as the name's suffix says and write, atomically.

    ``cv2.imwrite`` says nothing where the disk is full; this raises OSError.
    """
    content = cv2.imencode(path.suffix, image, parameters)[1]
    with atomic_path(path) as temporary:
        temporary.write_bytes(content.tobytes())
