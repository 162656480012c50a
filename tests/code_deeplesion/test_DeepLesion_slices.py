"""Where slices lie, in every layout that downloads leave, and which of them make the three channels."""

import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from common.utils.errors import UserError
from DeepLesion_info import Mark
from DeepLesion_slices import find_channels, find_slices, find_tasks

SERIES = ("000001_01_01", "000002_01_01")
MARK = Mark("", 0, "", SERIES[0], 109, "train", (), (), (), None, 1.0)


def put(root: Path, *names: str, size: int = 1) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(bytes(size))


def names_of(slices: dict[str, dict[int, Path]], root: Path) -> set[str]:
    return {path.relative_to(root).as_posix() for files in slices.values() for path in files.values()}


@pytest.mark.parametrize(
    "names",
    [
        ("Images_png/000001_01_01/109.png", "Images_png/000002_01_01/007.png"),
        ("Images_png/Images_png/000001_01_01/109.png", "Images_png/Images_png/000002_01_01/007.png"),
        ("Images_png_01/Images_png/000001_01_01/109.png", "Images_png_02/Images_png/000002_01_01/007.png"),
        ("Images_png/000001_01_01/109.png", "Images_png_02/Images_png/000002_01_01/007.png"),  # some fetched
        ("000001_01_01/109.png", "000002_01_01/007.PNG"),
        ("000001_01_01_109.png", "000002_01_01_007.png"),
        ("archive/000001_01_01_109.png", "archive/000002_01_01_007.png"),
    ],
)
def test_layouts(names, tmp_path):
    put(tmp_path, *names)
    junk = ("._109.png", "109.txt", "Thumbs.db", ".DS_Store", "109_mask.png", "overview.png", "x_000001_01_01_109.png")
    put(tmp_path, *junk, *(f"{Path(names[0]).parent}/{name}" for name in junk))
    put(tmp_path, "__MACOSX/000001_01_01/108.png", "000003_01_01/109.png", "000003_01_01_109.png")
    slices = find_slices(tmp_path, SERIES)
    assert names_of(slices, tmp_path) == set(names)
    assert {series: list(files) for series, files in slices.items()} == {SERIES[0]: [109], SERIES[1]: [7]}


def test_a_series_split_across_archives_is_one_series(tmp_path):
    put(tmp_path, "Images_png_01/Images_png/000001_01_01/108.png", "Images_png_02/Images_png/000001_01_01/109.png")
    ((task,), _) = find_tasks(tmp_path, [MARK])
    assert {number: path.parts[-4] for number, path in task.files.items()} == {
        108: "Images_png_01",
        109: "Images_png_02",
    }


def test_a_slice_that_lies_there_twice_is_taken_once_the_documented_place_first(tmp_path):
    copies = ("Images_a/000001_01_01/109.png", "Images_b/000001_01_01/109.png")
    put(tmp_path, *copies)
    assert names_of(find_slices(tmp_path, SERIES), tmp_path) == {copies[0]}
    put(tmp_path, copies[1], size=2)
    with pytest.raises(UserError, match=r"Images_a/000001_01_01/109.png and .*Images_b.* differ; move the one"):
        find_slices(tmp_path, SERIES)
    put(tmp_path, "Images_png/000001_01_01/109.png", size=3)
    assert names_of(find_slices(tmp_path, SERIES), tmp_path) == {"Images_png/000001_01_01/109.png"}


def test_masks_with_flat_names_beside_folders_of_slices_are_no_slices(tmp_path):
    put(tmp_path, "Images_png/000001_01_01/109.png", "Human/000001_01_01_109.png", "Human/000001_01_01_108.png")
    assert names_of(find_slices(tmp_path, SERIES), tmp_path) == {"Images_png/000001_01_01/109.png"}


def test_what_is_no_file_is_missing(tmp_path):
    put(tmp_path, "000001_01_01/110.png")
    (tmp_path / "000001_01_01" / "109.png").mkdir()
    (tmp_path / "000001_01_01" / "111.png").symlink_to("nowhere")
    tasks, dropped = find_tasks(tmp_path, [MARK, replace(MARK, slice=111), replace(MARK, slice=110)])
    assert [item.reason for item in dropped] == ["the key slice is missing"] * 2
    assert [list(task.files) for task in tasks] == [[110]]


def test_many_slices_are_found_quickly(tmp_path):
    names = [f"Images_png/{patient:06d}_01_01/{number:03d}.png" for patient in range(50) for number in range(60)]
    put(tmp_path, *names, size=0)
    start = time.perf_counter()
    slices = find_slices(tmp_path, {name.split("/")[1] for name in names})
    assert names_of(slices, tmp_path) == set(names)
    assert time.perf_counter() - start < 1  # about 0.1


@pytest.mark.parametrize(
    "interval, previous, following",
    [
        (1.0, {98: 1}, {102: 1}),
        (2.0, {99: 1}, {101: 1}),
        (2.5, {99: 0.8, 100: 0.2}, {101: 0.8, 100: 0.2}),
        (5.0, {99: 0.4, 100: 0.6}, {101: 0.4, 100: 0.6}),
        (1.5, {98: 1 / 3, 99: 2 / 3}, {102: 1 / 3, 101: 2 / 3}),
        (None, {100: 1}, {100: 1}),
    ],
)
def test_neighbours_two_mm_away(interval, previous, following):
    channels = find_channels(100, interval, lambda number: True)
    assert [{number: weight for weight, number in channel} for channel in channels] == [
        pytest.approx(previous),
        {100: 1},
        pytest.approx(following),
    ]


@pytest.mark.parametrize(
    "interval, present, previous, following",
    [
        (1.0, {99, 100, 101, 102}, [(1, 99)], [(1, 102)]),
        (1.0, {98, 100}, [(1, 98)], [(1, 100)]),
        (5.0, {100, 101}, [(0.4, 100), (0.6, 100)], [(0.4, 101), (0.6, 100)]),
        (1.6, {99, 100}, [(0.25, 99), (0.75, 99)], [(0.25, 100), (0.75, 100)]),
    ],
)
def test_missing_neighbours_are_replaced_by_the_nearest_towards_the_key(interval, present, previous, following):
    channels = find_channels(100, interval, present.__contains__)
    assert np.ravel(channels[0]) == pytest.approx(np.ravel(previous))
    assert np.ravel(channels[2]) == pytest.approx(np.ravel(following))
