"""Files are whole or absent, and damaged images are refused."""

import errno
import math
import os
import subprocess
import sys

import cv2
import numpy as np
import pytest

from common.data.images import read_image
from common.utils.errors import UserError
from common.utils.files import atomic_path, read_csv, read_json, write_csv, write_json
from common.utils.provenance import fingerprint, sha256


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
    with atomic_path(tmp_path / "a") as temporary:
        temporary.write_text("whole")
    assert sorted(path.name for path in tmp_path.iterdir()) == [f".a.{os.getppid()}.tmp", "a"]


def test_a_full_disk_is_told_with_the_file_name(tmp_path):
    with pytest.raises(OSError, match=r"b\.npy") as full, atomic_path(tmp_path / "b.npy"):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert full.value.errno == errno.ENOSPC


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


def test_csv_round_trip(tmp_path):
    write_csv(tmp_path / "a.csv", [{"a": "1,5", "b": "é"}, {"a": 2}], ["a", "b"])
    assert read_csv(tmp_path / "a.csv") == [{"a": "1,5", "b": "é"}, {"a": "2", "b": ""}]


def test_sha256_of_known_bytes(tmp_path):
    (tmp_path / "a").write_bytes(b"abc")
    assert sha256(tmp_path / "a").startswith("ba7816bf8f01cfea")


def test_fingerprint_changes_with_content_and_not_with_order(tmp_path):
    paths = [tmp_path / "a", tmp_path / "b"]
    for path in paths:
        path.write_text("1")
    before = fingerprint(paths, tmp_path)
    assert fingerprint(paths[::-1], tmp_path) == before
    paths[0].write_text("12")
    assert fingerprint(paths, tmp_path) != before


@pytest.mark.parametrize("suffix", [".jpg", ".png"])
def test_images_are_read_and_truncated_ones_refused(tmp_path, suffix):
    image = np.random.default_rng(0).integers(0, 255, (40, 60, 3), dtype=np.uint8)
    path = tmp_path / f"a{suffix}"
    cv2.imwrite(str(path), image)
    assert read_image(path).shape == (40, 60, 3)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(UserError, match=f"a{suffix} is cut short"):
        read_image(path)


@pytest.mark.parametrize("content", [b"", b"not an image", b"\xff\xd8\xff garbage \xff\xd9"])
def test_what_is_no_image_is_refused(tmp_path, content):
    (tmp_path / "a.jpg").write_bytes(content)
    with pytest.raises(UserError, match=r"a\.jpg"):
        read_image(tmp_path / "a.jpg")


def test_a_folder_in_place_of_an_image_is_told(tmp_path):
    with pytest.raises(UserError, match="can't be read"):
        read_image(tmp_path)


def test_a_png_named_jpg_is_read(tmp_path):
    cv2.imwrite(str(tmp_path / "a.png"), np.full((4, 4), 7, np.uint8))
    (tmp_path / "a.png").rename(tmp_path / "a.jpg")
    assert read_image(tmp_path / "a.jpg", cv2.IMREAD_GRAYSCALE)[0, 0] == 7
