"""Files are whole or absent."""

import errno
import gzip
import math
import os
import subprocess
import sys

import numpy as np
import pytest

from common.utils.errors import UserError
from common.utils.files import (
    ROOT,
    atomic_path,
    check_writable,
    describe_folder,
    file_stem,
    find_files,
    read_csv,
    read_json,
    read_rows,
    write_csv,
    write_json,
    write_text,
)


def test_a_failed_write_leaves_the_old_file_and_no_temporary(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(ValueError, match="midway"), atomic_path(path) as temporary:
        temporary.write_text("half")
        raise ValueError("midway")
    assert [item.name for item in tmp_path.iterdir()] == ["a.txt"]
    assert path.read_text() == "old"


def test_a_folder_is_replaced_as_a_whole(tmp_path):
    path = tmp_path / "folder"
    path.mkdir()
    (path / "old").touch()
    with atomic_path(path) as temporary:
        temporary.mkdir()
        (temporary / "new").touch()
    assert [item.name for item in path.iterdir()] == ["new"]
    assert [item.name for item in tmp_path.iterdir()] == ["folder"]


def test_what_a_killed_process_left_is_removed_and_what_a_living_one_writes_is_not(tmp_path):
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    (tmp_path / f".a.{dead.pid}.tmp").write_text("half")
    (tmp_path / f".a.{os.getppid()}.tmp").write_text("under way")
    (tmp_path / ".a.12345678901.tmp").write_text("the number of no process")
    with atomic_path(tmp_path / "a") as temporary:
        temporary.write_text("whole")
    assert sorted(path.name for path in tmp_path.iterdir()) == [f".a.{os.getppid()}.tmp", "a"]


def test_a_full_disk_is_reported_with_the_file_name(tmp_path):
    with pytest.raises(OSError, match=r"b\.npy") as full, atomic_path(tmp_path / "b.npy"):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert full.value.errno == errno.ENOSPC


def test_text_is_written_whatever_the_names_of_files_in_it_hold(tmp_path):
    write_text(tmp_path / "a.html", "Läsion \udcff")
    assert (tmp_path / "a.html").read_text(encoding="utf-8") == r"Läsion \udcff"


def test_json_writes_nan_as_null(tmp_path):
    write_json(tmp_path / "a.json", {"a": math.nan, "b": [np.float64(0.5), np.int64(2)]})
    assert read_json(tmp_path / "a.json") == {"a": None, "b": [0.5, 2]}


@pytest.mark.parametrize("content", ["", "{", "[1]", "\udcff"])
def test_damaged_json_is_named(tmp_path, content):
    (tmp_path / "a.json").write_bytes(content.encode(errors="surrogateescape"))
    with pytest.raises(UserError, match=r"a\.json"):
        read_json(tmp_path / "a.json")


def test_json_that_is_no_file_is_named(tmp_path):
    (tmp_path / "a.json").symlink_to("a.json")
    for path in (tmp_path, tmp_path / "a.json", tmp_path / "none.json"):
        with pytest.raises(UserError, match=f"{path} is not a file"):
            read_json(path)


def test_what_spreadsheets_leave_around_a_table_is_passed_over(tmp_path):
    (tmp_path / "a.csv").write_text("volume, split \n\n1,train\n,\n2,test\n,\n,\n")
    rows = [{"volume": "1", "split": "train"}, {"volume": "2", "split": "test"}]
    assert read_csv(tmp_path / "a.csv") == rows


def test_csv_round_trip(tmp_path):
    write_csv(tmp_path / "a.csv", [{"a": "1,5", "b": "é"}, {"a": 2}], ["a", "b"])
    assert read_csv(tmp_path / "a.csv") == [{"a": "1,5", "b": "é"}, {"a": "2", "b": ""}]


@pytest.mark.parametrize(("header", "rows"), [("a;b", '"1;2";3,5'), ('a\t"b"', '1;2\t"3,5"'), ("a,b", '1;2,"3,5"')])
def test_the_header_tells_what_stands_between_cells(tmp_path, header, rows):
    (tmp_path / "a.csv").write_text(f"\ufeff{header}\r\n{rows}\r\n", encoding="utf-8")
    assert read_csv(tmp_path / "a.csv") == [{"a": "1;2", "b": "3,5"}]


def test_a_table_may_be_compressed_and_a_damaged_one_is_named(tmp_path):
    write_csv(tmp_path / "a.csv", [{"a": "1,5", "b": "é"}], ["a", "b"])
    path, content = tmp_path / "a.csv.gz", gzip.compress((tmp_path / "a.csv").read_bytes(), mtime=0)
    path.write_bytes(content)
    assert read_csv(path) == [{"a": "1,5", "b": "é"}]
    for damaged in (b"a,b\n1,2\n", content[:-9], content[:12] + b"\xff" + content[13:]):
        path.write_bytes(damaged)
        with pytest.raises(UserError, match=r"a\.csv\.gz is not a readable CSV file"):
            read_csv(path)


@pytest.mark.parametrize("cell", ["=1+1", "@a", "+a", "-a", "'=b", "''-c"])
def test_a_cell_that_a_spreadsheet_would_run_is_written_as_text_and_read_back(tmp_path, cell):
    write_csv(tmp_path / "a.csv", [{"a": cell, "b": "-1.5"}], ["a", "b"])
    assert (tmp_path / "a.csv").read_text() == f"a,b\n'{cell},-1.5\n"
    assert read_csv(tmp_path / "a.csv") == [{"a": cell, "b": "-1.5"}]


def test_the_projects_folder_holds_the_package():
    assert (ROOT / "common" / "utils" / "files.py").is_file()


def test_rows_that_a_person_wrote(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text(", Image ,X,note\n0, a.png ,1.5,\n\n1,b.png,2,x,,\n2,c.png\n")  # empty cells at the end do no harm
    assert read_rows(path) == [
        {"image": "a.png", "x": "1.5", "note": ""},
        {"image": "b.png", "x": "2", "note": "x"},
        {"image": "c.png", "x": "", "note": ""},
    ]
    path.write_text("image,x,y\na,1,2\nb,1,5,2,5\n")
    with pytest.raises(
        UserError, match=r"a\.csv, row 2 after the header, has more cells than the header; write decimals"
    ):
        read_rows(path)
    path.write_text("image,x,X\na,1,2\n")
    with pytest.raises(UserError, match=r"a\.csv has two columns whose names differ in capitals alone"):
        read_rows(path)


@pytest.mark.parametrize("name", ["a.b.nii", "a.b.NII", "a.b.nii.gz", "a.b.NII.GZ"])
def test_a_stem_has_no_suffix(name):
    assert file_stem(name) == "a.b"


def test_files_are_found_at_any_depth_without_what_systems_leave_behind(tmp_path):
    names = (
        "a/b/c/2.JPG 1.jpg a/._1.jpg a/.DS_Store __MACOSX/1.jpg .hidden/1.jpg prepared/1.jpg a/notes.txt a/b/Thumbs.db"
    )
    for name in names.split():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "prepared" / "prepared.json").touch()
    (tmp_path / "a" / "loop").symlink_to(tmp_path)
    assert [str(path.relative_to(tmp_path)) for path in find_files(tmp_path, ".jpg")] == ["1.jpg", "a/b/c/2.JPG"]
    assert find_files(tmp_path / "none", ".jpg") == []


def test_a_folder_is_described_by_what_it_holds(tmp_path):
    assert describe_folder(tmp_path / "none") == "there is no such folder"
    assert describe_folder(tmp_path) == "it is empty"
    for name in "abcdefgh":
        (tmp_path / name).mkdir()
    assert describe_folder(tmp_path) == "it holds a/, b/, c/, d/, e/, f/ and 2 more"


def test_a_folder_is_tried_before_it_is_needed(tmp_path, monkeypatch):
    check_writable(tmp_path / "new" / "folder", "pass another --out")
    assert not list((tmp_path / "new" / "folder").iterdir())

    def refuse(**_: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr("tempfile.TemporaryFile", refuse)
    with pytest.raises(UserError, match=r"new can't be written to \(Read-only file system\); pass another --out"):
        check_writable(tmp_path / "new", "pass another --out")


def test_a_column_that_is_there_twice_is_refused(tmp_path):
    (tmp_path / "a.csv").write_text("slice,x, x,y\n1,2,3,4\n")
    with pytest.raises(UserError, match=r"a\.csv has two columns named x; rename or remove one"):
        read_csv(tmp_path / "a.csv")
    (tmp_path / "b.csv").write_text(",,x\n1,2,3\n")  # as pandas leaves an index
    assert read_csv(tmp_path / "b.csv")[0]["x"] == "3"
