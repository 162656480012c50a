"""A dataset without files, for the tests of preprocessing."""

from pathlib import Path

import numpy as np

from common.data.lesion import Dropped, Lesion
from common.data.preprocess import PreprocessConfig
from common.recipe import DatasetInfo
from common.recist import Ellipse
from common.utils.errors import UserError

ENDS = np.array([[40, 60], [80, 60], [60, 50], [60, 70]], float)
DATASET = DatasetInfo("Toy", Path("code_toy"), "data", ("toy_data.py",), clusters=2, truth="truth")


def make_lesions(number: int, *, fails_at: int | None = None) -> list:
    """A job yields as many lesions as its number modulo 3, in which 0 means dropped."""
    if number == fails_at:
        raise UserError(f"{number} is bad")
    if number % 3 == 0:
        return [Dropped(f"n{number}", "a multiple of 3")]
    fill = np.full((120, 120), number % 2, np.uint8)
    image = np.full((120, 120, 3), number, np.uint8)
    return [
        Lesion(
            f"n{number}-{part}",
            f"n{number}-{part}",
            image,
            fill,
            Ellipse(number, part, 1, 2, 3),
            ENDS,
            truth=fill,
            info={"source": number},
        )
        for part in range(number % 3)
    ]


def split_in_thirds(rows: list) -> list[str]:
    return ["train" if index % 3 == 0 else "val" if index % 3 == 1 else "test" for index in range(len(rows))]


def make_config(**changes) -> PreprocessConfig:
    return PreprocessConfig(
        **{
            "dataset": DATASET,
            "protocol": "released",
            "clusters": 2,
            "seed": 0,
            "preprocessing": {"channels": "bgr"},
            "settings": {},
            "inputs": "abc",
            **changes,
        }
    )
