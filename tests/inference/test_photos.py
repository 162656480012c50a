"""Photos: what is taken from folders, and one bad file among good ones."""

import subprocess
import sys
from dataclasses import replace

import cv2
import numpy as np
import pytest

import stub
from common.inference.photos import predict_photos
from common.inference.prompts import ENDS
from common.metrics import dice
from common.recipe import A1CLASS, DatasetInfo
from common.recist import diameters
from common.run.own_data import recipes
from common.utils.errors import UserError
from common.utils.files import read_csv, write_csv
from common.weak_masks import quarters_mask
from helpers import ROOT


@pytest.fixture
def dataset(tmp_path):
    return DatasetInfo("Toy", tmp_path, "data", ("toy_data.py",), 4, "truth")


@pytest.fixture
def photos(tmp_path):
    """A folder with three images."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for name in ("a.png", "b.BMP", "c.tif"):
        picture = np.zeros((60, 80, 3), np.uint8)
        picture[20:40, 20:60] = 255
        (folder / name).write_bytes(cv2.imencode(name[1:].lower(), picture)[1].tobytes())
    return folder


@pytest.mark.parametrize(
    ("broken", "listed", "sentence"),
    [
        (["d.jpg"], [], r"d\.jpg is not a readable image; download it again \(the others are done, in .*out\)"),
        (["d.jpg", "e.png"], ["d.jpg is not", "e.png is not"], "2 images can't be read, as listed above; the others"),
    ],
)
def test_unreadable_images_do_not_lose_the_others(
    dataset, photos, tmp_path, monkeypatch, capsys, broken, listed, sentence
):
    stub.use(monkeypatch)
    for name in broken:
        (photos / name).write_bytes(b"no image")
    out = tmp_path / "out"
    with pytest.raises(UserError, match=sentence):
        predict_photos(dataset, None, ["--checkpoint", "a.pt", str(photos), "--out", str(out)])
    assert [row["lesion"] for row in read_csv(out / "measurements.csv")] == ["a", "b", "c"]
    assert all(f"{name} is not a readable image" in (out / "index.html").read_text() for name in broken)
    err = capsys.readouterr().err
    assert all(text in err for text in listed)


def test_where_all_are_unreadable_nothing_is_written(dataset, photos, tmp_path, monkeypatch):
    stub.use(monkeypatch)
    for path in photos.iterdir():
        path.write_bytes(b"no image")
    with pytest.raises(UserError, match="3 images can't be read, as listed above; nothing is written"):
        predict_photos(dataset, None, ["--checkpoint", "a.pt", str(photos), "--out", str(tmp_path / "out")])
    assert list((tmp_path / "out").iterdir()) == []


def test_a_recipe_gives_the_checkpoint_and_the_method(dataset, photos, tmp_path, monkeypatch):
    network = stub.use(monkeypatch, "corrected")
    words = [str(photos / "a.png"), "--out", str(tmp_path / "out")]
    predict_photos(dataset, None, words, recipes(dataset)["A1"])
    assert network.settings["checkpoint"] == tmp_path / "checkpoints" / "toy_a1.pt"
    network.model = replace(network.model, method=A1CLASS)
    with pytest.raises(UserError, match=r"toy_a1\.pt holds the network of A1\+L; say predict A1class"):
        predict_photos(dataset, None, words, recipes(dataset)["A1"])


MARKS = f"image,{','.join(ENDS)}\nold.png,1,1,2,2,3,3,4,4\nB,40,20,40,40,20,30,60,30\na.png,20,30,60,30,40,20,40,40\n"
"""Of `photos`, whose lesion is 40 px wide and 20 px high, once with the short diameter first."""


@pytest.fixture
def marks(photos, tmp_path):
    (photos / "c.tif").unlink()
    path = tmp_path / "marks.csv"
    path.write_text(MARKS)
    return path


def test_a_network_sees_the_mark_of_each_photo(dataset, photos, marks, tmp_path, monkeypatch):
    network = stub.use(monkeypatch)
    network.model.settings["prompt"] = "recist"
    words = ["--checkpoint", "a.pt", str(photos), "--out", str(tmp_path / "out")]
    with pytest.raises(UserError, match=r"^a\.pt needs the RECIST marks of the lesions; pass --lesions CSV"):
        predict_photos(dataset, None, words)
    predict_photos(dataset, None, [*words, "--lesions", str(marks)])
    # 80x60 px become 120x120: column 20 is 20.5 * 1.5 - 0.5 = 30.25, row 30 is 30.5 * 2 - 0.5 = 60.5.
    for ends in network.ends[0]:
        assert sorted(ends.tolist()[:2]) == [[30.25, 60.5], [90.25, 60.5]]
        assert sorted(ends.tolist()[2:]) == [[60.25, 40.5], [60.25, 80.5]]
    network.model.settings["prompt"] = "none"
    with pytest.raises(UserError, match=r"^a\.pt sees no marks: it was trained without --prompt; leave --lesions out"):
        predict_photos(dataset, None, [*words, "--lesions", str(marks)])


def test_marks_alone_give_masks_at_the_photos_own_size(dataset, photos, marks, tmp_path, monkeypatch):
    network = stub.use(monkeypatch)
    words = ["--target", "quarters", str(photos), "--out", str(tmp_path / "out")]
    with pytest.raises(UserError, match=r"^--target quarters needs the RECIST marks of the lesions; pass --lesions"):
        predict_photos(dataset, None, words)
    predict_photos(dataset, None, [*words, "--lesions", str(marks)], recipes(dataset)["A1"])
    assert network.settings is None
    expected = quarters_mask(np.array([[20, 30], [60, 30], [40, 20], [40, 40]], float), (60, 80))
    for name in "ab":
        np.testing.assert_array_equal(cv2.imread(str(tmp_path / "out" / f"{name}_mask.png"), 0), expected * 255)
    assert [row["lesion"] for row in read_csv(tmp_path / "out" / "measurements.csv")] == ["a", "b"]


@pytest.mark.parametrize(
    ("before", "after", "wrong"),
    [
        ("a.png", "d.png", r"marks\.csv has no row for a\.png; add rows"),
        ("40,20,40,40,20,30,60,30", "40,20,40,40,20,30,60,", r"marks\.csv line 3 must have a number in each of x1"),
        (
            "40,20,40,40,20,30,60,30",
            "40,20,40,40,41,20,41,30",
            r"marks\.csv: the row of b\.BMP has diameters that are par",
        ),
        (
            "60,30,40,20",
            "90,30,40,20",
            r"end points of a\.png lie outside the image of 80 columns .*the others are done",
        ),
    ],
)
def test_marks_that_do_not_fit_are_one_sentence(dataset, photos, marks, tmp_path, before, after, wrong):
    marks.write_text(MARKS.replace(before, after))
    words = ["--target", "quarters", str(photos), "--lesions", str(marks), "--out", str(tmp_path / "out")]
    with pytest.raises(UserError, match=wrong):
        predict_photos(dataset, None, words)
    assert (tmp_path / "out").exists() == ("others are done" in wrong)


def test_marks_alone_need_no_torch(photos, marks, tmp_path):
    code = f"""import sys
sys.path.insert(0, {str(ROOT / "code_ham")!r})
import HAM_predict
HAM_predict.main({["--target", "quarters", str(photos), "--lesions", str(marks), "--out", str(tmp_path / "out")]})
assert "torch" not in sys.modules"""
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
    assert len(read_csv(tmp_path / "out" / "measurements.csv")) == 2


def test_marks_measured_on_real_outlines_give_real_masks(dataset, shared, tmp_path):
    data, rows, truths = shared / "data" / "ham10000", [], {}
    images = sorted((data / "HAM10000_images_part_1").glob("*.jpg"))[:6]
    for path in images:
        outline = data / "HAM10000_segmentations_lesion_tschandl" / f"{path.stem}_segmentation.png"
        truths[path.stem] = cv2.imread(str(outline), 0) > 0
        rows.append({"image": path.stem, **dict(zip(ENDS, diameters(truths[path.stem]).ends.ravel(), strict=True))})
    write_csv(tmp_path / "marks.csv", rows, ["image", *ENDS])
    words = ["--target", "quarters", *map(str, images), "--lesions", str(tmp_path / "marks.csv")]
    predict_photos(dataset, None, [*words, "--out", str(tmp_path / "out")])
    masks = {name: cv2.imread(str(tmp_path / "out" / f"{name}_mask.png"), 0) > 0 for name in truths}
    scores = [dice(masks[name], truth) for name, truth in truths.items()]
    assert np.mean(scores) > 0.9 and min(scores) > 0.8
