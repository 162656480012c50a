"""Locate DeepLesion's slices, and choose those that make up each lesion's three channels."""

import math
from collections.abc import Callable, Collection, Iterable
from pathlib import Path
from typing import NamedTuple

from common.data.lesion import Dropped
from common.utils.errors import UserError
from common.utils.files import find_files
from DeepLesion_info import Mark

IMAGES = "Images_png"
NEIGHBOUR = 2.0  # mm from the key slice to the first and the third channel

Channel = tuple[tuple[float, int], ...]  # (weight, slice number) of the slices that are blended into a channel


class Task(NamedTuple):
    """A lesion, and the slices that its channels are made from: previous, key and next."""

    mark: Mark
    channels: tuple[Channel, Channel, Channel]
    files: dict[int, Path]  # of these slices, by number

    @property
    def name(self) -> str:
        """The lesion's name."""
        return self.mark.name


def find_slices(data: Path, series: Collection[str]) -> dict[str, dict[int, Path]]:
    """Find the slices of some series below the folder ``data``, by series and number.

    They are named `SERIES/NNN.png`, at any depth or, if there are none, `SERIES_NNN.png`. Of several copies of a
    slice, that in `Images_png/SERIES` counts, else the first.

    Raises:
        UserError: files of one name are of different sizes, and none is in `Images_png/SERIES`.
    """
    paths = find_files(data, ".png")
    slices: dict[str, dict[int, Path]] = {}
    for flat in (False, True):
        for path in paths:
            name, _, number = path.stem.rpartition("_") if flat else (path.parent.name, "", path.stem)
            if name not in series or not (number.isascii() and number.isdigit()):
                continue
            files = slices.setdefault(name, {})
            first = files.setdefault(int(number), path)
            if first is path:
                continue
            if (documented := data / IMAGES / name / path.name).is_file():
                files[int(number)] = documented
            elif first.stat().st_size != path.stat().st_size:
                raise UserError(f"{first} and {path} differ; move the one that is no slice of DeepLesion out of {data}")
        if slices:  # files with flat names beside folders are masks (`DeepLesion_truth`)
            break
    return slices


def find_channels(key: int, interval: float | None, present: Callable[[int], bool]) -> tuple[Channel, Channel, Channel]:
    """Choose the slices of the three channels, previous, key and next, and their weights (FACTS.md section 3).

    Args:
        key: number of the key slice.
        interval: mm between slices; None gives three copies of the key slice.
        present: whether a slice is there; a missing one is replaced by the nearest present towards the key slice.
    """
    key_channel: Channel = ((1.0, key),)
    if interval is None:
        return key_channel, key_channel, key_channel
    steps = NEIGHBOUR / interval
    near, far = math.floor(steps), math.ceil(steps)
    blend = ((1.0, far),) if near == far else ((steps - near, far), (far - steps, near))

    def nearest_present(step: int, sign: int) -> int:
        return next((key + sign * s for s in range(step, 0, -1) if present(key + sign * s)), key)

    previous, following = (tuple((weight, nearest_present(step, sign)) for weight, step in blend) for sign in (-1, 1))
    return previous, key_channel, following


def find_tasks(data: Path, marks: Iterable[Mark]) -> tuple[list[Task], list[Dropped]]:
    """Separate the lesions whose key slice is below ``data`` from those without: a partial download is normal."""
    marks = list(marks)
    slices = find_slices(data, {mark.series for mark in marks})
    tasks, dropped = [], []
    for mark in marks:
        files = slices.get(mark.series, {})

        def present(number: int, files: dict[int, Path] = files) -> bool:
            return number in files and files[number].is_file()  # a link may lead nowhere

        if present(mark.slice):
            channels = find_channels(mark.slice, mark.interval, present)
            tasks.append(Task(mark, channels, files_of(channels, files.__getitem__)))
        else:
            dropped.append(Dropped(mark.name, "the key slice is missing"))
    return tasks, dropped


def files_of(channels: Iterable[Channel], file: Callable[[int], Path]) -> dict[int, Path]:
    """The files that channels are made from, by number."""
    return {number: file(number) for channel in channels for _, number in channel}
