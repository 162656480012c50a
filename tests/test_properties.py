"""Parsers of text from outside, on text that hypothesis makes up: `parsers.py` says what must hold."""

import csv
import io

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import parsers
from common.patches import LARGEST_CANVAS, parse_canvas
from DeepLesion_info import COLUMNS, read_marks
from lits_data import parse_window

examples = settings(derandomize=True, database=None, deadline=None, max_examples=100)
"""The same in every run."""
LETTERS = st.text(st.characters(codec="utf-8"), max_size=12)
NUMBERS = st.one_of(
    st.integers(-9, 99).map(str),
    st.floats().map(repr),
    st.sampled_from(["", " ", "-0", "1e400", "0x10", "1_0", "٣", "\uff11", "1e-320", "999999.9"]),
)


def numbers(count: int) -> st.SearchStrategy[str]:
    """Cells of about so many numbers."""
    return st.lists(NUMBERS, min_size=max(count - 1, 0), max_size=count + 1).map(", ".join)


def pixels(count: int) -> st.SearchStrategy[list[int]]:
    """So many px of a slice."""
    return st.lists(st.integers(1, 512), min_size=count, max_size=count)


def mostly(right: st.SearchStrategy, wrong: st.SearchStrategy) -> st.SearchStrategy:
    return st.integers(0, 9).flatmap(lambda draw: wrong if draw == 9 else right)


def table(columns: dict[str, st.SearchStrategy[str]], row_count: int | None = None) -> st.SearchStrategy[bytes]:
    """CSV files whose rows are nearly right, where cells, columns and line ends may go wrong."""

    def write(rows: list[dict[str, str]], names: list[str], end: str) -> bytes:
        out = io.StringIO()
        writer = csv.DictWriter(out, names, restval="", extrasaction="ignore", lineterminator=end)
        writer.writeheader()
        writer.writerows(rows)
        return out.getvalue().encode()

    row = st.fixed_dictionaries({name: mostly(cell, LETTERS) for name, cell in columns.items()})
    rows = st.lists(row, max_size=4)
    if row_count is not None:
        rows = mostly(st.lists(row, min_size=row_count, max_size=row_count), rows)
    shuffled = st.permutations([*columns, *columns, "", "more"])
    names = mostly(st.just(list(columns)), shuffled.map(lambda names: names[:-2]))
    return st.builds(write, rows, names, st.sampled_from(["\n", "\r\n", "\r", "\n\n"]))


FILE_NAMES = mostly(
    st.from_regex(r"[0-9_]{1,12}_[0-9]{3,5}\.png", fullmatch=True),
    st.sampled_from(["../../etc/passwd_001.png", "/a_001.png", "..\\a_001.png", "a_001.png\n", "a_1.png"]),
)
TABLES = {
    "dl_info": table({
        "File_name": FILE_NAMES,
        "Measurement_coordinates": mostly(pixels(8).map(lambda ends: str(ends)[1:-1]), numbers(8)),
        "Bounding_boxes": mostly(pixels(4).map(lambda box: str(sorted(box))[1:-1]), numbers(4)),
        "Spacing_mm_px_": numbers(3),
        "DICOM_windows": st.one_of(pixels(2).map(lambda window: str(sorted(window))[1:-1]), numbers(2)),
        "Train_Val_Test": st.sampled_from(["1", "2", "3", " 1 ", "4"]),
    }),
    "split_file": table({
        "volume": mostly(st.sampled_from(["0", "12", "volume-0", " volume-12 "]), st.sampled_from(["1", "\uff10"])),
        "split": mostly(st.sampled_from(["train", "val", "test "]), st.sampled_from(["TEST", ""])),
    }, row_count=len(parsers.VOLUMES)),
    "prompts": table({"lesion": LETTERS, **dict.fromkeys(("x", "Y ", "slice"), NUMBERS), "x1": st.just("")}),
}  # fmt: skip


def check_parser(name: str, contents: st.SearchStrategy[bytes]) -> int:
    """Check a parser on made-up contents; returns how many of them it accepted."""
    accepted = 0

    @examples
    @given(contents)
    def check(content: bytes) -> None:
        nonlocal accepted
        accepted += parsers.PARSERS[name](content)

    check()
    return accepted


@pytest.mark.parametrize("name", TABLES)
def test_tables_that_are_nearly_right(name):
    assert check_parser(name, TABLES[name]) >= 5


@pytest.mark.parametrize("name", parsers.PARSERS)
def test_any_bytes(name):
    words = st.text(st.sampled_from("0123456789xX,.-+e \n\"'nai"), max_size=20).map(str.encode)
    check_parser(name, words | st.binary(max_size=60))


@pytest.mark.parametrize(("name", "mark"), [("canvas", "x"), ("window", ",")])
def test_pairs_of_numbers(name, mark):
    check_parser(name, st.tuples(NUMBERS, NUMBERS).map(lambda pair: mark.join(pair).encode()))


@examples
@given(st.integers(8, LARGEST_CANVAS // 16), st.integers(8, LARGEST_CANVAS // 16))
def test_every_canvas_is_understood(rows, columns):
    text = f"{16 * rows}x{16 * columns}"
    assert parse_canvas(text) == (16 * rows, 16 * columns)
    assert parsers.canvas(text.encode())


@examples
@given(st.floats(-1e5, 1e5), st.floats(0.5, 1e5))
def test_every_window_is_understood(centre, width):
    text = f"{centre!r},{width!r}"
    assert parse_window(text) == (centre, width)
    assert parsers.window(text.encode())


@examples
@given(
    st.tuples(*[st.floats(1, 512)] * 4), st.floats(1, 100), st.floats(0.01, 10), st.floats(0.1, 10),
    st.integers(0, 99_999), st.sampled_from([("1", "train"), ("2", "val"), ("3", "test")]),
)  # fmt: skip
def test_a_row_comes_back_as_it_was_written(place, long, short, spacing, number, split):
    x, y, left, top = place
    cells = {
        "Measurement_coordinates": (x, y, x + long, y, x + long / 2, y, x + long / 2, y + 1 + short),
        "Bounding_boxes": (left, top, left + long, top + short),
        "Spacing_mm_px_": (spacing, spacing, spacing),
        "DICOM_windows": (-long, short),
    }
    row = {name: ", ".join(map(repr, values)) for name, values in cells.items()}
    row |= {"File_name": f"000001_01_02_{number:03}.png", "Train_Val_Test": split[0]}
    text = "\n".join([",".join(COLUMNS), ",".join(f'"{row[name]}"' for name in COLUMNS)])
    with parsers.file(text.encode()) as path:
        (mark,), dropped = read_marks(path)
    assert dropped == []
    assert (mark.series, mark.slice, mark.split) == ("000001_01_02", number, split[1])
    assert (mark.ends, mark.box, mark.window) == tuple(
        cells[name] for name in ("Measurement_coordinates", "Bounding_boxes", "DICOM_windows")
    )
    assert (mark.spacing, mark.interval) == (spacing, spacing)
