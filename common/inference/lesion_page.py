"""The page that shows a prediction's lesions, with their measurements in a table that can be sorted."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from common.inference.lesion_image import draw_overlay
from common.inference.measurements import COLUMNS
from common.utils.files import write_text
from common.utils.pages import data_uri, render

PAGE = "index.html"
TEMPLATE = Path(__file__).with_name("lesion_page.html.j2")
_LONGEST_SIDE = 256  # px of an image before `draw_overlay` enlarges it; 1,000 pictures are some 20 MB
_IN_WORDS = ("parts", "cut", "mask")  # columns that the page tells in words, or shows


def draw_thumbnail(image: np.ndarray, mask: np.ndarray, diameter_ends: Iterable[np.ndarray]) -> str:
    """A small overlay (see `draw_overlay`) as a data: URI."""
    overlay = draw_overlay(image, mask, diameter_ends, _LONGEST_SIDE)
    return data_uri(cv2.imencode(".jpg", overlay[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 80])[1].tobytes(), "jpeg")


def write_page(
    path: Path,
    lesions: Sequence[Mapping[str, Any]],
    pictures: Mapping[tuple[str, int | None], str],
    unreadable: Sequence[str],
) -> None:
    """Write the page.

    Args:
        path: of the page.
        lesions: rows of `measurements.csv`.
        pictures: a thumbnail for each input and slice.
        unreadable: a sentence for each image that could not be read.
    """
    columns = [
        name for name in COLUMNS if name not in _IN_WORDS and any(row.get(name) not in (None, "") for row in lesions)
    ]
    content = {"lesions": lesions, "columns": columns, "pictures": pictures, "unreadable": unreadable}
    write_text(path, render(TEMPLATE, **content))
