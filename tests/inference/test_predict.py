"""What the predict scripts share: file names, the folder for results, few images in memory at a time."""

from pathlib import Path

import cv2
import numpy as np
import pytest

import stub
from common.inference.lesion_image import LesionImage, LesionPatch
from common.inference.measurements import COLUMNS
from common.inference.predict import load_predictor, output_names, predict, predict_parser
from common.recipe import DatasetInfo
from common.utils.errors import UserError
from common.utils.files import read_csv


@pytest.mark.parametrize(
    ("paths", "names"),
    [
        (["a.jpg", "b.jpg"], ["a", "b"]),
        (["a.jpg", "a.png", "b/A.jpg"], ["a", "a_png", "A_jpg"]),
        (["a.jpg", "b/a.jpg", "c/a.jpg"], ["a", "a_jpg", "a-2"]),
        (["volume-2.nii.gz", "volume-2.nii"], ["volume-2", "volume-2_nii"]),
        (["naïve face.v2.jpeg", ".jpg", "109"], ["naïve face.v2", ".jpg", "109"]),
    ],
)
def test_results_never_share_a_name(paths, names):
    assert output_names([Path(path) for path in paths]) == names


@pytest.fixture
def dataset(tmp_path):
    return DatasetInfo("Toy", tmp_path, "data", "toy_data.py", 4, "truth")


def arguments(*words):
    return predict_parser("A script.").parse_args(["--checkpoint", "a.pt", *map(str, words)])


def test_settings_reach_the_network(dataset, tmp_path, monkeypatch):
    network = stub.use(monkeypatch)
    flags = "--encoder resnet18 --canvas 128x144 --protocol corrected --device cpu --precision fp32".split()
    assert load_predictor(arguments("--out", tmp_path / "new" / "out", *flags), dataset, []) is network
    assert network.settings == {
        "checkpoint": Path("a.pt"), "dataset": "Toy", "encoder": "resnet18", "canvas": (128, 144),
        "protocol": "corrected", "device": "cpu", "precision": "fp32",
    }  # fmt: skip
    assert list((tmp_path / "new" / "out").iterdir()) == []
    network.model.settings = {"encoder": "resnet18", "canvas": [128, 144], "protocol": "corrected"}
    assert load_predictor(arguments("--out", tmp_path / "new" / "out", *flags), dataset, []) is network


@pytest.mark.parametrize(
    ("flag", "wrong"),
    [
        ("--encoder resnet34", "a.pt was trained with another encoder, resnet18; leave --encoder out"),
        ("--canvas 384x480", r"another canvas, \[128, 144\]; leave --canvas out"),
        ("--protocol released", "another protocol, corrected; leave --protocol out"),
    ],
)
def test_a_flag_that_contradicts_the_checkpoint_is_refused(flag, wrong, dataset, tmp_path, monkeypatch):
    stub.use(monkeypatch).model.settings = {"encoder": "resnet18", "canvas": [128, 144], "protocol": "corrected"}
    with pytest.raises(UserError, match=wrong):
        load_predictor(arguments("--out", tmp_path / "out", *flag.split()), dataset, [])


def test_a_folder_that_cannot_take_results_is_refused_before_the_network_loads(dataset, tmp_path, monkeypatch):
    network = stub.use(monkeypatch)
    file = tmp_path / "photo.jpg"
    file.touch()
    with pytest.raises(UserError, match="is a file; choose a folder"):
        load_predictor(arguments("--out", file), dataset, [])
    with pytest.raises(UserError, match=r"holds the input photo.jpg; choose a folder of its own"):
        load_predictor(arguments("--out", tmp_path / ".." / tmp_path.name), dataset, [file])
    monkeypatch.setattr("tempfile.TemporaryFile", lambda dir: (tmp_path / "none" / "there").open("w"))
    with pytest.raises(UserError, match=r"out can't be written to .*; pass another --out"):
        load_predictor(arguments("--out", tmp_path / "out"), dataset, [file])
    assert network.settings is None


@pytest.mark.parametrize(
    ("words", "wrong"),
    [
        ("--out o --canvas 100x100", "from 128x128"),
        ("--checkpoint", "expected one argument"),
        ("", "--out"),
        ("--out o --lesions x.csv", "unrecognized arguments"),
    ],
)
def test_a_bad_command_line_is_one_sentence(words, wrong):
    with pytest.raises(UserError, match=wrong):
        arguments(*words.split())


def images(count, taken):
    """Images whose left half is lesion "a", and whose right half, dark, is lesion "b"."""
    for number in range(count):
        taken.append(number)
        image = np.zeros((120, 120, 3), np.uint8)
        image[10:30, 10:50] = 255
        bright, dark = (LesionPatch(name, patch, lambda probability: probability[:60])
                        for name, patch in (("a", image), ("b", image * 0)))  # fmt: skip
        yield LesionImage(f"in {number}.png", f"in {number}", f"in {number}_mask.png", image[:60], [bright, dark])


def test_masks_overlays_and_measurements_are_written(tmp_path, capsys):
    predict(stub.BrightIsLesion(), images(2, []), tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "in 0_mask.png", "in 0_overlay.png", "in 1_mask.png", "in 1_overlay.png", "index.html", "measurements.csv",
    ]  # fmt: skip
    mask = cv2.imread(str(tmp_path / "in 1_mask.png"), cv2.IMREAD_UNCHANGED)
    assert (mask.shape, mask.dtype, np.unique(mask).tolist()) == ((60, 120), np.uint8, [0, 255])
    assert np.argwhere(mask).min(axis=0).tolist() == [10, 10]
    rows = read_csv(tmp_path / "measurements.csv")
    assert tuple(rows[0]) == COLUMNS
    assert [(row["input"], row["lesion"]) for row in rows] == [
        ("in 0.png", "a"), ("in 0.png", "b"), ("in 1.png", "a"), ("in 1.png", "b")]  # fmt: skip
    full, empty = rows[:2]
    assert (full["area_px"], full["parts"], full["mask"]) == ("800", "1", "in 0_mask.png")
    assert float(full["long_px"]) == pytest.approx(np.hypot(40, 19), abs=1e-3)
    assert (empty["area_px"], empty["long_px"], empty["short_px"], empty["long_mm"]) == ("0", "0.0", "0.0", "")
    assert "4 lesions measured, 2 of them empty" in capsys.readouterr().out


def bar_image(left, right, *, size=None):
    """A bar from ``left`` to ``right`` of 400 columns; the patch starts at column 100 and is ``size`` px wide."""
    size = size or 120
    pixels = np.zeros((40, 400), np.float32)
    pixels[10:20, left : right + 1] = 1

    def paste(probability):
        image = np.zeros(pixels.shape, np.float32)
        image[:, 100 : 100 + size] = cv2.resize(probability, (size, size))[:40]
        return image

    patch = np.zeros((size, size, 3), np.float32)
    patch[:40] = 255 * pixels[:, 100 : 100 + size, None]
    return cv2.resize(patch, (120, 120)), paste


@pytest.mark.parametrize(
    ("left", "right", "larger", "cut", "length"),
    [
        (150, 180, None, 0, 31),
        (101, 218, None, 0, 118),  # a px of background on each side
        (150, 219, None, 1, 70),  # to the patch's last column
        (100, 180, None, 1, 81),  # from its first column
        (150, 300, None, 1, 70),
        (150, 300, 240, 0, 151),
        (150, 399, 240, 1, 190),  # cut by the larger patch too, but less
        (150, 300, 0, 1, 70),  # a larger patch that shows nothing is no better
    ],
)
def test_a_mask_cut_off_by_its_patch_is_told_and_looked_at_again(left, right, larger, cut, length, tmp_path, capsys):
    image, paste = bar_image(left, right)
    again, paste_again = bar_image(left, right, size=larger or 120)
    second = LesionPatch("a", again if larger else again * 0, paste_again)
    patch = LesionPatch("a", image, paste, None if larger is None else lambda: second)
    predict(stub.BrightIsLesion(), [LesionImage("a.png", "a", "a_mask.png", np.zeros((40, 400, 3), np.uint8), [patch])],
            tmp_path)  # fmt: skip
    (row,) = read_csv(tmp_path / "measurements.csv")
    assert row["cut"] == str(cut)
    assert float(row["long_px"]) == pytest.approx(np.hypot(length, 9), abs=3 if larger else 0.1)
    warned = "warning: cut off by the patch (see the column cut): a;" in capsys.readouterr().err
    assert warned == bool(cut)


def test_the_same_input_gives_the_same_bytes(tmp_path):
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        predict(stub.BrightIsLesion(), images(1, []), tmp_path / name)
    for path in (tmp_path / "first").iterdir():
        assert path.read_bytes() == (tmp_path / "second" / path.name).read_bytes()


def test_few_images_are_held_at_a_time(tmp_path):
    taken, held = [], []
    network = stub.BrightIsLesion()
    predict(network, images(20, taken), tmp_path, lambda image, mask: held.append(len(taken) - len(held)))
    assert max(held) == 8
    assert network.batches == [16, 16, 8]
