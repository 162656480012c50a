"""`DL_info.csv`: usable, malformed and excluded rows, and the slices of the three channels."""

from pathlib import Path

import numpy as np
import pytest

from common.utils.errors import UserError
from common.utils.files import write_csv
from DeepLesion_info import COLUMNS, EXCLUDED, FULL_TABLE, find_channels, read_marks

GOOD = {
    "File_name": "000001_01_01_109.png",
    "Measurement_coordinates": "100, 100, 120, 100, 110, 95, 110, 105",
    "Bounding_boxes": "95, 90, 125, 110",
    "Spacing_mm_px_": "0.8, 0.8, 5",
    "DICOM_windows": "-175, 275",
    "Train_Val_Test": "3",
}


def table(folder: Path, *changes: dict[str, str]) -> Path:
    path = folder / "DL_info.csv"
    write_csv(path, [GOOD | change for change in changes], COLUMNS)
    return path


def test_a_row_is_read(tmp_path):
    (mark,), dropped = read_marks(table(tmp_path, {}))
    assert not dropped
    assert (mark.name, mark.row, mark.series, mark.slice) == ("000001_01_01_109", 0, "000001_01_01", 109)
    assert mark.split == "test"
    assert mark.ends == (100, 100, 120, 100, 110, 95, 110, 105)
    assert mark.box == (95, 90, 125, 110)
    assert mark.window == (-175, 275)
    assert (mark.spacing, mark.interval) == (0.8, 5)


@pytest.mark.parametrize("split, name", [("1", "train"), ("2", "val"), ("3", "test")])
def test_official_splits(tmp_path, split, name):
    assert read_marks(table(tmp_path, {"Train_Val_Test": split}))[0][0].split == name


@pytest.mark.parametrize("cell", ["0.8, 0.8, -5", "0.8, 0.8, nan", "0.8, 0.8, ", "0.8, 0.8", "", "0.8, 0.8, 0"])
def test_missing_or_negative_interval(tmp_path, cell):
    assert read_marks(table(tmp_path, {"Spacing_mm_px_": cell}))[0][0].interval is None


def test_lesions_on_one_slice_have_names_of_their_own_whatever_is_dropped(tmp_path):
    marks, _ = read_marks(table(tmp_path, {}, {"DICOM_windows": "x"}, {}))
    assert [mark.name for mark in marks] == ["000001_01_01_109", "000001_01_01_109-3"]
    assert [mark.row for mark in marks] == [0, 2]


@pytest.mark.parametrize(
    "column, cell",
    [
        ("File_name", "../../000001_01_01_109.png"),
        ("File_name", "/etc/000001_01_01_109.png"),
        ("File_name", "000001_01_01/109_001.png"),
        ("File_name", "..\\a_001.png"),
        ("File_name", "000001_01_01_109.jpg"),
        ("File_name", "000001_01_01_109.png\n"),
        ("File_name", ""),
        ("Measurement_coordinates", "1, 2, 3"),
        ("Measurement_coordinates", "100, 100, 120, 100, 110, 95, 110, x"),
        ("Measurement_coordinates", "100, 100, 120, 100, 110, 95, 110, nan"),
        ("Measurement_coordinates", "100, 100, 120, 100, 110, 95, 110, inf"),
        ("Measurement_coordinates", "100, 100, 100, 100, 110, 95, 110, 105"),  # long one without length
        ("Measurement_coordinates", "100, 100, 120, 100, 110, 95, 110, 95"),  # short one without length
        ("Measurement_coordinates", "100, 100, 120, 100, 105, 95, 115, 95"),  # parallel
        ("Bounding_boxes", "95, 90, 125"),
        ("Bounding_boxes", "125, 90, 95, 110"),
        ("Spacing_mm_px_", "0.8, 0.8, thick"),
        ("Spacing_mm_px_", "0.8, 0.8, 1e-9"),
        ("DICOM_windows", "40, 40"),
        ("DICOM_windows", "275, -175"),
        ("DICOM_windows", "40"),
        ("Train_Val_Test", "4"),
        ("Train_Val_Test", ""),
    ],
)
def test_malformed_rows_are_dropped_counted_and_named(tmp_path, capsys, column, cell):
    marks, (dropped,) = read_marks(table(tmp_path, {}, {column: cell}))
    assert [mark.row for mark in marks] == [0]
    assert dropped.lesion == "row 1 (line 3)"
    assert column in dropped.reason
    errors = capsys.readouterr().err
    assert "1 malformed rows" in errors and "row 1 (line 3)" in errors and column in errors


def test_rows_of_another_length(tmp_path):
    path = table(tmp_path, {}, {}, {})
    lines = path.read_text().splitlines()
    lines[2] += ",more"
    lines[3] = lines[3].rpartition(",")[0]
    path.write_text("\n".join(lines))
    marks, dropped = read_marks(path)
    assert [mark.row for mark in marks] == [0]
    assert [item.reason for item in dropped] == ["the row has too many or too few cells"] * 2


def test_the_screen_is_not_flooded(tmp_path, capsys):
    read_marks(table(tmp_path, {}, *[{"Train_Val_Test": "9"}] * 30))
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 12
    assert "and 20 more" in lines[-1]


def test_missing_table_says_where_it_goes(tmp_path):
    with pytest.raises(UserError, match=r"DL_info.csv is missing; download .* put it there"):
        read_marks(tmp_path / "DL_info.csv")


def test_missing_column(tmp_path):
    path = tmp_path / "DL_info.csv"
    write_csv(path, [{"File_name": "a"}], [column for column in COLUMNS if column != "DICOM_windows"])
    with pytest.raises(UserError, match="lacks the column DICOM_windows"):
        read_marks(path)


def test_no_usable_row(tmp_path):
    with pytest.raises(UserError, match="names no lesion: all 2 rows are malformed"):
        read_marks(table(tmp_path, {"Train_Val_Test": "x"}, {"Train_Val_Test": "x"}))
    with pytest.raises(UserError, match="it holds no rows"):
        read_marks(table(tmp_path))


def test_eight_rows_are_left_out_of_the_full_table_only(tmp_path):
    path = table(tmp_path, {})
    header, row = path.read_text().splitlines()
    path.write_text("\n".join([header] + [row] * FULL_TABLE))
    marks, dropped = read_marks(path)
    assert len(marks) == 32_727 and len(dropped) == 8
    assert not {mark.row for mark in marks} & EXCLUDED
    assert {item.reason for item in dropped} == {"left out by the release"}
    path.write_text("\n".join([header] + [row] * (FULL_TABLE - 1)))
    assert len(read_marks(path)[0]) == FULL_TABLE - 1


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
