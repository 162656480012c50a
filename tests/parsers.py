"""What must hold of every parser of text from outside, whatever the text.

Shared by the properties (hypothesis), the fuzzer (atheris) and the replay of its corpus. Each function gets the bytes
of a file or of a word of a command line, and fails if the parser neither refuses them as documented nor returns a value
that the rest of the project can use. It returns whether the parser accepted them.
"""

import argparse
import contextlib
import io
import math
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from common.data.dataset import SPLITS
from common.inference.prompts import Grid, read_prompts
from common.patches import LARGEST_CANVAS, PATCH, canvas_index, parse_canvas
from common.recist import ellipse_from_diameters
from common.utils.errors import UserError
from common.utils.files import read_csv
from DeepLesion_data import window_image
from DeepLesion_info import LEAST_INTERVAL, read_marks
from DeepLesion_slices import find_channels
from lits_data import grey, parse_window
from lits_split import read_split_file

HU = np.array([-1024, -1, 0, 1, 3071], np.int16)
SHAPE = (64, 96, 4)
VOLUMES = {"volume-0", "volume-12"}
_FOLDER = TemporaryDirectory()


@contextlib.contextmanager
def file(content: bytes) -> Iterator[Path]:
    """A file with this content; what is printed is dropped, and a warning fails."""
    path = Path(_FOLDER.name) / "a.csv"
    path.write_bytes(content)
    with warnings.catch_warnings(action="error"), contextlib.redirect_stderr(io.StringIO()):
        yield path


def dl_info(content: bytes) -> bool:
    """A table `DL_info.csv`."""
    with file(content) as path:
        try:
            marks, dropped = read_marks(path)
        except UserError as error:
            assert str(path) in str(error)
            return False
        assert len(marks) + len(dropped) == len(read_csv(path))
        assert len({mark.name for mark in marks}) == len(marks)
        for mark in marks:
            assert mark.split in SPLITS
            left, top, right, bottom = mark.box
            assert left <= right
            assert top <= bottom
            assert np.isfinite(ellipse_from_diameters(np.reshape(mark.ends, (4, 2)))).all()
            assert mark.interval is None or mark.interval >= LEAST_INTERVAL
            for channel in find_channels(mark.slice, mark.interval, lambda number: number % 2 == 0):
                assert math.isclose(sum(weight for weight, _ in channel), 1)
            grey_levels = window_image(HU.astype(np.float32), *mark.window)
            assert (np.diff(grey_levels) >= 0).all()
            assert grey_levels[0] >= 0
            assert grey_levels[-1] <= 255
    return True


def split_file(content: bytes) -> bool:
    """A LiTS split file."""
    with file(content) as path:
        try:
            chosen = read_split_file(path, VOLUMES)
        except UserError as error:
            assert str(path) in str(error)
            return False
    assert chosen.keys() == VOLUMES
    assert set(chosen.values()) <= set(SPLITS)
    return True


def prompts(content: bytes) -> bool:
    """A CSV of lesion prompts, for a volume and for an image."""
    accepted = False
    for shape, kind in ((SHAPE, "volume"), (SHAPE[:2], "slice")):
        with file(content) as path:
            try:
                (lesions,) = read_prompts(path, [Path("9.png")], lambda _, shape=shape: Grid(shape), kind).values()
            except UserError as error:
                assert str(path) in str(error)
                continue
        accepted = True
        assert len({(prompt.lesion, prompt.slice) for prompt in lesions}) == len(lesions) > 0
        for prompt in lesions:
            assert prompt.lesion.strip()
            assert 0 <= prompt.slice < SHAPE[2]
            assert 0 <= prompt.left <= prompt.right <= SHAPE[1] - 1
            assert 0 <= prompt.top <= prompt.bottom <= SHAPE[0] - 1
            if prompt.ends is not None:
                assert prompt[2:6] == (*prompt.ends.min(axis=0), *prompt.ends.max(axis=0))
    return accepted


def canvas(content: bytes) -> bool:
    """The word after ``--canvas``."""
    try:
        rows, columns = parse_canvas(content.decode(errors="surrogateescape"))
    except argparse.ArgumentTypeError:
        return False
    assert parse_canvas(f"{rows}x{columns}") == (rows, columns)
    for side, index in zip((rows, columns), canvas_index((rows, columns)), strict=True):
        assert PATCH <= side <= LARGEST_CANVAS
        assert len(index) == side
        assert set(index) == set(range(PATCH))  # every pixel of the patch is on the canvas
    return True


def window(content: bytes) -> bool:
    """The word after ``--window``."""
    try:
        centre, width = parse_window(content.decode(errors="surrogateescape"))
    except argparse.ArgumentTypeError:
        return False
    assert parse_window(f"{centre!r},{width!r}") == (centre, width)
    with warnings.catch_warnings(action="error"):
        assert (np.diff(grey(HU, (centre, width)).astype(int)) >= 0).all()
        assert grey(np.array([centre]), (centre, width))[0] in (127, 128)
    return True


PARSERS: dict[str, Callable[[bytes], bool]] = {
    check.__name__: check for check in (dl_info, split_file, prompts, canvas, window)
}
