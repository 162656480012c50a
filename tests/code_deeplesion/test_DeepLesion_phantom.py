"""The synthetic DeepLesion: the original layout, the same pixels for the same seed, lesions that can be prepared."""

from pathlib import Path

import cv2
import numpy as np
import pytest

import DeepLesion_phantom
from common.patches import PATCH
from common.utils.files import read_csv, write_csv
from common.weak_masks import quarters_mask
from DeepLesion_data import make_lesions, place_patch
from DeepLesion_info import EXCLUDED, FULL_TABLE, INFO, read_marks
from DeepLesion_phantom import COLUMNS, INTERVALS, write_deeplesion
from DeepLesion_slices import IMAGES, find_tasks

LESIONS = 35


@pytest.fixture(scope="module")
def phantom(tmp_path_factory):
    folder = tmp_path_factory.mktemp("phantom")
    write_deeplesion(folder, LESIONS)
    return folder


def test_every_lesion_can_be_prepared(phantom):
    marks, malformed = read_marks(phantom / INFO)
    assert len(marks) == LESIONS and not malformed
    assert {mark.interval for mark in marks} == set(INTERVALS)
    assert {mark.split for mark in marks} == {"train", "val", "test"}
    tasks, dropped = find_tasks(phantom, marks)
    assert not dropped
    for lesion in make_lesions(tasks[:5], corrected=True, grabcut=False):
        inside = lesion.ellipse.astype(bool)
        around = cv2.dilate(lesion.ellipse, np.ones((15, 15))).astype(bool) & ~inside
        assert abs(lesion.image[inside, 1].mean() - lesion.image[around, 1].mean()) > 10


def test_marks_measure_their_nodule():
    nodules = DeepLesion_phantom.draw_series(np.random.default_rng(0), 1.0, 3)[1]
    for nodule in nodules:
        row = DeepLesion_phantom._row("a", nodule)
        ends = np.array(row["Measurement_coordinates"].split(", "), float).reshape(4, 2) - 1
        drawn = quarters_mask(ends, nodule.mask.shape, 1)
        assert 2 * (drawn & nodule.mask).sum() / (drawn.sum() + nodule.mask.sum()) > 0.9


def test_layout(phantom):
    rows = read_csv(phantom / INFO)
    assert tuple(rows[0]) == COLUMNS and len(COLUMNS) == 18
    assert all(all(row.values()) for row in rows)
    image = cv2.imread(str(next((phantom / IMAGES).rglob("*.png"))), cv2.IMREAD_UNCHANGED)
    assert image.shape == (512, 512) and image.dtype == np.uint16


def test_the_same_seed_gives_the_same_pixels(phantom, tmp_path):
    write_deeplesion(tmp_path, 5)
    assert (tmp_path / INFO).read_text() in (phantom / INFO).read_text()
    for path in (tmp_path / IMAGES).rglob("*.png"):
        assert path.read_bytes() == (phantom / path.relative_to(tmp_path)).read_bytes()


def repeat_rows(folder: Path, lesions: int, seed: int = 0) -> None:
    """Make the table ``lesions`` rows long on the same slices: rows are repeated, moved by up to 20 px."""
    path = folder / INFO
    rows, rng = read_csv(path), np.random.default_rng(seed)
    rows_out = []
    for number in range(lesions):
        # Rows of a slice stay together, as they do in the real table.
        row = dict(rows[number * len(rows) // lesions])
        move = rng.integers(-20, 21, 2)
        for name in ("Measurement_coordinates", "Bounding_boxes"):
            points = np.array([float(text) for text in row[name].split(",")]).reshape(-1, 2) + move
            row[name] = ", ".join(f"{value:g}" for value in points.ravel())
        rows_out.append(row)
    write_csv(path, rows_out, COLUMNS)


def test_a_full_table_on_few_slices(phantom, tmp_path):
    (tmp_path / INFO).write_bytes((phantom / INFO).read_bytes())
    repeat_rows(tmp_path, FULL_TABLE)
    marks, dropped = read_marks(tmp_path / INFO)
    assert len(marks) == FULL_TABLE - len(EXCLUDED) and len(dropped) == len(EXCLUDED)
    assert len({(mark.series, mark.slice) for mark in marks}) == LESIONS
    ends = place_patch(marks[-1], 1.0, corrected=False)[1]
    assert (ends > 0).all() and (ends < PATCH).all()
