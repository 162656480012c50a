"""What the predict scripts share: file names, the folder for results, few images in memory at a time."""

from dataclasses import replace
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import pytest

import stub
from common.inference.lesion_image import LesionImage, LesionPatch
from common.inference.measurements import COLUMNS
from common.inference.predict import load_predictor, output_names, predict, predict_parser
from common.inference.prompts import LesionPrompt
from common.recipe import DatasetInfo
from common.utils.errors import UserError
from common.utils.files import read_csv, write_csv
from common.weak_masks import quarters_mask


@pytest.mark.parametrize(
    ("paths", "names"),
    [
        (["a.jpg", "b.jpg"], ["a", "b"]),
        (["a.jpg", "a.png", "b/A.jpg"], ["a", "a_png", "b_A"]),
        (["a.jpg", "b/a.jpg", "c/a.jpg"], ["a", "b_a", "c_a"]),
        (["1/a.jpg", "1/b.jpg", "2/a.jpg"], ["1_a", "1_b", "2_a"]),
        (["1/p/a.jpg", "2/p/a.jpg", "3/p/a.png"], ["a", "a_jpg", "a_png"]),
        (["1/p/a.jpg", "2/p/a.jpg", "3/p/a.jpg"], ["a", "a_jpg", "a-2"]),
        (["volume-2.nii.gz", "volume-2.nii"], ["volume-2", "volume-2_nii"]),
        (["naïve face.v2.jpeg", ".jpg", "109"], ["naïve face.v2", ".jpg", "109"]),
    ],
)
def test_results_never_share_a_name(paths, names):
    assert output_names([Path(path) for path in paths]) == names


@pytest.fixture
def dataset(tmp_path):
    return DatasetInfo("Toy", tmp_path, "data", ("toy_data.py",), 4, "truth")


def arguments(*words):
    return predict_parser("A script.").parse_args(["--checkpoint", "a.pt", *map(str, words)])


def test_settings_reach_the_network(dataset, tmp_path, monkeypatch):
    network = stub.use(monkeypatch)
    flags = "--encoder resnet18 --canvas 128x144 --protocol corrected --device cpu --precision fp32 --tta".split()
    assert load_predictor(arguments("--out", tmp_path / "new" / "out", *flags), dataset, []) is network
    assert network.settings == {
        "checkpoint": Path("a.pt"), "dataset": "Toy", "encoder": "resnet18", "canvas": (128, 144),
        "protocol": "corrected", "device": "cpu", "precision": "fp32", "tta": True,
    }  # fmt: skip
    assert list((tmp_path / "new" / "out").iterdir()) == []
    network.model.settings.update({"encoder": "resnet18", "canvas": [128, 144], "protocol": "corrected"})
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
    stub.use(monkeypatch).model.settings.update({"encoder": "resnet18", "canvas": [128, 144], "protocol": "corrected"})
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
        ("--out o --target quarters", "--target: not allowed with argument --checkpoint"),
        ("--out o --target ellipse", "invalid choice: 'ellipse'"),
    ],
)
def test_a_bad_command_line_is_one_sentence(words, wrong):
    with pytest.raises(UserError, match=wrong):
        arguments(*words.split())


def test_a_network_or_marks_alone_must_be_chosen():
    with pytest.raises(UserError, match="one of the arguments --checkpoint --target is required"):
        predict_parser("A script.").parse_args(["--out", "o"])
    parser = predict_parser("A script.", checkpoint=Path("default.pt"))
    assert parser.parse_args(["--out", "o"]).checkpoint == Path("default.pt")
    assert parser.parse_args(["--out", "o", "--target", "quarters"]).target == "quarters"


MARK = np.array([[1, 6], [31, 6], [5, 3], [5, 9]], float)
MARKED, BOXED = LesionPrompt("a", 0, 1, 3, 31, 9, ends=MARK), LesionPrompt("b", 0, 1, 3, 31, 9, row=2)


def marks_alone(*words):
    return predict_parser("A script.", "CSV").parse_args(["--target", "quarters", "--lesions", "l.csv", *words])


def test_marks_alone_need_no_network_and_take_none_of_its_flags(dataset, tmp_path, monkeypatch):
    network = stub.use(monkeypatch)
    args = marks_alone("--out", str(tmp_path / "out"))
    assert load_predictor(args, dataset, [], [MARKED, MARKED]) is None
    assert network.settings is None
    with pytest.raises(
        UserError, match=r"l\.csv, row 2 after the header, gives no RECIST end points; --target quarters and"
    ):
        load_predictor(args, dataset, [], [MARKED, BOXED])
    args = marks_alone("--out", str(tmp_path / "out"), "--encoder", "resnet18")
    with pytest.raises(UserError, match="--encoder is a checkpoint's, and --target quarters needs none; leave it out"):
        load_predictor(args, dataset, [])
    with pytest.raises(UserError, match="--tta is a checkpoint's"):
        load_predictor(marks_alone("--out", str(tmp_path / "out"), "--tta"), dataset, [])


def test_a_network_that_sees_marks_is_not_given_boxes(dataset, tmp_path, monkeypatch):
    network = stub.use(monkeypatch)
    args = predict_parser("A script.", "CSV").parse_args(
        ["--checkpoint", "a.pt", "--lesions", "l.csv", "--out", str(tmp_path / "out")]
    )
    assert load_predictor(args, dataset, [], [BOXED]) is network  # this one sees none
    network.model.settings["prompt"] = "recist"
    assert load_predictor(args, dataset, [], [MARKED]) is network
    with pytest.raises(
        UserError, match=r"l\.csv, row 2 after the header, gives no RECIST end points; .* need end points"
    ):
        load_predictor(args, dataset, [], [BOXED, MARKED])


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


def marked_image():
    """An image of 60x120 px with a mark whose half diameters are 15 and 10 px, and its patch with another."""
    ends = np.array([[20, 30], [50, 30], [35, 20], [35, 40]], float)
    patch = LesionPatch("a", np.zeros((120, 120, 3)), lambda probability: probability[:60], None, ends + 0.25,
                        partial(quarters_mask, ends, (60, 120)))  # fmt: skip
    return LesionImage("in.png", "in", "in_mask.png", np.zeros((60, 120, 3), np.uint8), [patch])


def test_marks_alone_are_masks_and_measurements(tmp_path, capsys):
    predict(None, [marked_image()], tmp_path)
    names = ["in_mask.png", "in_overlay.png", "index.html", "measurements.csv"]
    assert sorted(path.name for path in tmp_path.iterdir()) == names
    (row,) = read_csv(tmp_path / "measurements.csv")
    # Half axes of 0.96 times 15 and 10 px.
    assert float(row["area_px"]) == pytest.approx(np.pi * 14.4 * 9.6, rel=0.02)
    assert (float(row["long_px"]), float(row["short_px"])) == (pytest.approx(28.8, abs=1), pytest.approx(19.2, abs=1))
    assert (row["cut"], row["parts"]) == ("0", "1")
    assert "1 lesions measured" in capsys.readouterr().out


@pytest.mark.parametrize("prompted", [False, True])
def test_a_network_gets_the_marks_of_its_patches_where_it_sees_them(prompted, tmp_path):
    network = stub.BrightIsLesion()
    network.model.settings["prompt"] = "recist" if prompted else "none"
    predict(network, [marked_image()], tmp_path)
    ends = [[[20.25, 30.25], [50.25, 30.25], [35.25, 20.25], [35.25, 40.25]]]
    (given,) = network.ends
    assert (np.array(given).tolist() == ends) if prompted else given is None


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


@pytest.mark.parametrize(("own", "shown"), [(True, 70), (False, 151)])
def test_a_larger_patch_that_shows_neighbours_alone_is_no_better(own, shown, tmp_path):
    """The bar is cut off; the larger patch shows it whole, or, where it is not the lesion's, whatever is there."""
    place = np.zeros((40, 400), np.uint8)
    place[15, 160 if own else 390] = 1
    (image, paste), (again, paste_again) = bar_image(150, 219), bar_image(150, 300, size=240)
    neighbour = np.zeros((40, 400), np.float32)
    neighbour[10:20, 240:260] = 1

    def paste_neighbour(probability):
        return neighbour * paste_again(np.ones_like(probability))

    larger = LesionPatch("a", again, paste_neighbour if own else paste_again, place=lambda: place)
    patch = LesionPatch("a", image, paste, lambda: larger, place=lambda: place)
    predict(stub.BrightIsLesion(), [LesionImage("a.png", "a", "a_mask.png", np.zeros((40, 400, 3), np.uint8), [patch])],
            tmp_path)  # fmt: skip
    (row,) = read_csv(tmp_path / "measurements.csv")
    assert float(row["long_px"]) == pytest.approx(np.hypot(shown, 9), abs=3)


def test_the_results_of_other_inputs_are_not_overwritten(dataset, tmp_path, monkeypatch):
    stub.use(monkeypatch)
    write_csv(tmp_path / "out" / "measurements.csv", [{"input": "a.png"}, {"input": "b.png"}], ["input"])
    with pytest.raises(UserError, match=r"out holds the results of a\.png; choose another folder, or delete it"):
        load_predictor(arguments("--out", tmp_path / "out"), dataset, [Path("b.png"), Path("c.png")])
    inputs = [Path("b.png"), Path("a.png"), Path("c.png")]
    assert load_predictor(arguments("--out", tmp_path / "out"), dataset, inputs)


def test_a_run_replaces_the_results_of_the_run_before(tmp_path):
    others = ["in 1_mask.nii.gz", "in 1_other_overlay.png", "in_mask.png", "notes.txt"]  # not listed in the table
    for name in others:
        (tmp_path / name).touch()
    predict(stub.BrightIsLesion(), images(2, []), tmp_path)
    (tmp_path / "in 1_12_overlay.png").touch()  # as of a volume's slice
    predict(stub.BrightIsLesion(), images(1, []), tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(
        ["in 0_mask.png", "in 0_overlay.png", "index.html", "measurements.csv", *others[1:]]
    )


@pytest.mark.parametrize(("done", "left"), [(0, ["in 0_mask.png", "measurements.csv"]), (8, ["in 0_mask.png"])])
def test_what_is_interrupted_leaves_no_table_beside_other_masks(done, left, tmp_path):
    predict(stub.BrightIsLesion(), images(2, []), tmp_path)

    def interrupted():
        yield from images(done, [])
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        predict(stub.BrightIsLesion(), interrupted(), tmp_path)
    names = {path.name for path in tmp_path.iterdir()}
    assert names & {"in 0_mask.png", "measurements.csv"} == set(left)


def test_the_same_input_gives_the_same_bytes(tmp_path):
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        predict(stub.BrightIsLesion(), images(1, []), tmp_path / name)
    for path in (tmp_path / "first").iterdir():
        assert path.read_bytes() == (tmp_path / "second" / path.name).read_bytes()


def test_few_images_are_held_at_a_time(tmp_path):
    taken, held = [], []
    network = stub.BrightIsLesion()

    def save_mask(mask):
        held.append(len(taken) - len(held))

    predict(network, (replace(image, save_mask=save_mask) for image in images(20, taken)), tmp_path)
    assert max(held) == 8
    assert network.batches == [16, 16, 8]
