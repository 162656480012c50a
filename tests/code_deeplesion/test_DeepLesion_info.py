"""`DL_info.csv`: where it lies, and its usable, malformed, excluded and noisy rows."""

from pathlib import Path

import pytest

from common.utils.errors import UserError
from common.utils.files import write_csv
from DeepLesion_info import COLUMNS, EXCLUDED, FULL_TABLE, NOISY, choose_noisy, find_table, read_marks

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


def test_missing_table_says_where_it_goes_and_what_is_there(tmp_path):
    with pytest.raises(UserError, match=r"DL_info.csv is missing, .*no such folder\); download .* put it there"):
        find_table(tmp_path / "nowhere")
    table(tmp_path).rename(tmp_path / "my_DL_info.csv")
    with pytest.raises(UserError, match=r"none lies deeper \(it holds my_DL_info.csv\)"):
        find_table(tmp_path)


def test_the_table_is_found_at_any_depth_the_documented_place_first(tmp_path):
    places = [tmp_path / "a" / "b" / "DL_info.csv", tmp_path / "dl_info.csv" / "DL_Info.CSV", tmp_path / "DL_info.csv"]
    for place in places:
        place.parent.mkdir(parents=True, exist_ok=True)
        place.touch()
        (place.parent / "._DL_info.csv").touch()
        assert find_table(tmp_path) == place  # each lies less deep than those before


def test_possibly_noisy_rows_are_counted_and_left_out_where_that_is_asked_for(tmp_path, capsys):
    path = tmp_path / "DL_info.csv"
    rows = [GOOD | {NOISY: cell} for cell in ("0", "1", "1.0", "")]
    write_csv(path, rows, [*COLUMNS, NOISY])
    marks, _ = read_marks(path)
    assert [mark.noisy for mark in marks] == [False, True, True, False]
    assert choose_noisy(marks, path, keep=True) == (marks, [])
    line = f"{path}: 2 of 4 lesions are possibly noisy; "
    assert capsys.readouterr().out == f"{line}kept, as published (--no-noisy leaves them out)\n"
    kept, left_out = choose_noisy(marks, path, keep=False)
    assert [mark.row for mark in kept] == [0, 3]
    assert [(item.lesion, item.reason) for item in left_out] == [(mark.name, "possibly noisy") for mark in marks[1:3]]
    assert capsys.readouterr().out == f"{line}left out\n"


@pytest.mark.parametrize("cell", ["TRUE", "x", "2"])
def test_what_possibly_noisy_means_is_not_guessed(cell, tmp_path, capsys):
    path = tmp_path / "DL_info.csv"
    write_csv(path, [GOOD | {NOISY: "0"}, GOOD | {NOISY: cell}], [*COLUMNS, NOISY])
    marks, dropped = read_marks(path)
    assert [mark.row for mark in marks] == [0]
    assert [item.reason for item in dropped] == ["Possibly_noisy is not 0 or 1"]


def test_noisy_rows_that_can_not_be_left_out(tmp_path, capsys):
    marks, _ = read_marks(table(tmp_path, {}))
    assert choose_noisy(marks, tmp_path, keep=True) == (marks, [])
    with pytest.raises(UserError, match="--no-noisy: it lacks the column Possibly_noisy"):
        choose_noisy(marks, tmp_path, keep=False)
    assert not capsys.readouterr().out
    write_csv(tmp_path / "DL_info.csv", [GOOD | {NOISY: "1"}], [*COLUMNS, NOISY])
    with pytest.raises(UserError, match="--no-noisy: all of its lesions are Possibly_noisy"):
        choose_noisy(read_marks(tmp_path / "DL_info.csv")[0], tmp_path, keep=False)


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


def test_eight_rows_are_left_out_of_the_full_table_only(tmp_path, capsys):
    path = table(tmp_path, {})
    header, row = path.read_text().splitlines()
    path.write_text("\n".join([header] + [row] * FULL_TABLE))
    marks, dropped = read_marks(path)
    assert len(marks) == 32_727 and len(dropped) == 8
    assert not {mark.row for mark in marks} & EXCLUDED
    assert {item.reason for item in dropped} == {"left out by the release"}
    assert not capsys.readouterr().err
    for name, told in (
        ("000000_01_01_109.png", True),
        (GOOD["File_name"].replace(GOOD["File_name"][-7:-4], "001"), False),
    ):
        other = row.replace(GOOD["File_name"], name)
        path.write_text("\n".join([header] + [row] * (FULL_TABLE - 1) + [other]))
        read_marks(path)
        assert ("is not in the published order, of patients, studies" in capsys.readouterr().err) == told
    path.write_text("\n".join([header] + [row] * (FULL_TABLE - 1)))
    assert len(read_marks(path)[0]) == FULL_TABLE - 1
