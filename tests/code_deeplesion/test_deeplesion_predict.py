"""Lesions of a slice get a mask of the slice's own size, through the patch that preprocessing makes."""

from functools import partial

import cv2
import numpy as np
import pytest

import deeplesion_predict
import stub
from common.data.dataset import LesionDataset
from common.inference.prompts import LesionPrompt
from common.io.images import write_image
from common.metrics import dice
from common.patches import Crop, cut_patch, paste_patch
from common.recist import long_first
from common.utils.errors import UserError
from common.utils.files import read_csv
from common.weak_masks import quarters_mask
from DeepLesion_data import INFO
from DeepLesion_info import read_marks


def write_slice(path, side, *lesions):
    """A slice of -175 HU with discs (x, y, radius) of 270 HU: black and nearly white in the default window."""
    hu = np.full((side, side), -175, np.int32)
    for x, y, radius in lesions:
        cv2.circle(hu, (x, y), radius, 270, -1)
    write_image(path, (hu + 32_768).astype(np.uint16))
    return hu == 270


def run(path, out, table, *words):
    lesions = path.parent / "lesions.csv"
    lesions.write_text(table)
    deeplesion_predict.main(["--checkpoint", "a.pt", str(path), "--lesions", str(lesions), "--out", str(out), *words])


@pytest.mark.parametrize(("side", "disc"), [(512, (200, 300, 20)), (512, (505, 4, 20)), (768, (400, 500, 30))])
def test_a_mask_lies_where_the_lesion_is(side, disc, tmp_path, monkeypatch):
    network = stub.use(monkeypatch)
    truth = write_slice(tmp_path / "CT 1" / "017.png", side, disc)
    x, y, radius = disc
    run(tmp_path / "CT 1" / "017.png", tmp_path / "out", f"x,y\n{x},{y}\n", "--spacing", "0.5")
    assert network.settings["dataset"] == "DeepLesion"
    mask = cv2.imread(str(tmp_path / "out" / "017_mask.png"), cv2.IMREAD_UNCHANGED)
    assert (mask.shape, mask.dtype) == ((side, side), np.uint8)
    assert dice(mask > 0, truth) > 0.99
    (row,) = read_csv(tmp_path / "out" / "measurements.csv")
    assert float(row["area_mm2"]) == pytest.approx(truth.sum() / 4, rel=0.02)
    assert (row["slice"], row["volume_ml"]) == ("", "")
    if disc[0] < 500:
        assert float(row["long_mm"]) == pytest.approx(radius, abs=0.8)


def test_several_lesions_share_a_mask_and_keep_their_measurements(tmp_path, monkeypatch):
    stub.use(monkeypatch)
    truth = write_slice(tmp_path / "a" / "slice.png", 512, (100, 100, 10), (400, 300, 20))
    run(tmp_path / "a" / "slice.png", tmp_path / "out", "lesion,x,y\nsmall,100,100\nlarge,400,300\n")
    mask = cv2.imread(str(tmp_path / "out" / "slice_mask.png"), cv2.IMREAD_UNCHANGED)
    np.testing.assert_array_equal(mask > 0, truth)
    small, large = read_csv(tmp_path / "out" / "measurements.csv")
    assert int(small["area_px"]) + int(large["area_px"]) == truth.sum()
    assert float(small["long_px"]) == pytest.approx(21, abs=1)
    assert small["long_mm"] == ""


def test_a_table_may_be_about_several_slices(tmp_path, monkeypatch, capsys):
    stub.use(monkeypatch)
    places = {"1_01/009.png": (100, 100, 10), "1_01/010.png": (200, 300, 20), "2_01/010.png": (400, 300, 15)}
    truth = {name: write_slice(tmp_path / name, 512, place) for name, place in places.items()}
    (tmp_path / "2_01" / "011.png").write_bytes(b"damaged")
    table = tmp_path / "lesions.csv"
    table.write_text(
        "File_name,x,y\n2_01_010.png,400,300\n1_01_009.png,100,100\n1_01_010.png,200,300\n3_01_001.png,1,1\n"
    )
    folders = [str(tmp_path / series) for series in ("1_01", "2_01")]
    words = ["--checkpoint", "a.pt", "--lesions", str(table), "--out", str(tmp_path / "out")]
    deeplesion_predict.main([*folders, *words])
    error = capsys.readouterr().err
    assert "lesions.csv names 3_01_001.png, not given: 1 of 4 rows are left out" in error
    assert "2_01/011.png; left out" in error
    rows = read_csv(tmp_path / "out" / "measurements.csv")
    assert [(row["lesion"], row["mask"]) for row in rows] == [
        ("2", "1_01_009_mask.png"), ("3", "1_01_010_mask.png"), ("1", "2_01_010_mask.png"),
    ]  # fmt: skip
    for row, name in zip(rows, truth, strict=True):
        mask = cv2.imread(str(tmp_path / "out" / row["mask"]), cv2.IMREAD_UNCHANGED)
        assert dice(mask > 0, truth[name]) > 0.99
    table.write_text("slice,x,y\n9,100,100\n10,200,300\n")
    with pytest.raises(UserError, match=r"row 2 after the header: 10 may be .*1_01/010\.png or .*2_01/010\.png; write"):
        deeplesion_predict.main([*folders, *words])
    with pytest.raises(UserError, match=r"holds the results of .*2_01/010\.png; choose another folder"):
        deeplesion_predict.main([folders[0], *words])


def test_the_window_is_the_given_one(tmp_path, monkeypatch):
    stub.use(monkeypatch)
    write_slice(tmp_path / "a" / "1.png", 512, (100, 100, 10))
    run(tmp_path / "a" / "1.png", tmp_path / "out", "x,y\n100,100\n", "--dicom-window=-500,1500")
    assert read_csv(tmp_path / "out" / "measurements.csv")[0]["area_px"] == "0"  # 270 HU are dark grey there


def test_patches_are_those_of_preprocessing(phantom_deeplesion):
    dataset = LesionDataset.open(phantom_deeplesion / "prepared")
    marks = {mark.name: mark for mark in read_marks(phantom_deeplesion / INFO)[0]}
    for row in range(0, 60, 6):  # a series is five lesions, and each series has another interval than the last
        mark = marks[dataset.lesions[row]["lesion"]]
        path = phantom_deeplesion / "Images_png" / mark.series / f"{mark.slice:03d}.png"
        prompt = LesionPrompt("a", 0, *(side - 1 for side in mark.box))
        image = deeplesion_predict.read_slice(path, [prompt], "a", window=mark.window, interval=mark.interval)
        np.testing.assert_array_equal(image.patches[0].image, dataset.array("images")[row])


@pytest.mark.parametrize("series", ["", "000001_01_01_"])
def test_without_interval_the_channels_are_copies_of_the_slice(series, tmp_path):
    for number, radius in ((9, 5), (10, 10), (11, 20)):
        write_slice(tmp_path / "a" / f"{series}{number:03d}.png", 512, (100, 100, radius))
    prompt, path = LesionPrompt("a", 0, 90, 90, 110, 110), tmp_path / "a" / f"{series}010.png"

    def areas(interval):
        (patch,) = deeplesion_predict.read_slice(path, [prompt], "a", interval=interval).patches
        return [int((patch.image[..., channel] > 0).sum()) for channel in range(3)]

    before, key, after = areas(2.0)
    assert before < key < after
    assert areas(None) == [key, key, key]


@pytest.mark.parametrize(
    "names", [("0009", "0010", "0011"), ("9", "10", "11"), ("099", "100", "101"), ("99", "100", "101")]
)
def test_neighbours_are_found_however_numbers_are_written(names, tmp_path):
    for name, radius in zip(names, (5, 10, 20), strict=True):
        write_slice(tmp_path / f"{name}.png", 512, (100, 100, radius))
    path = tmp_path / f"{names[1]}.png"
    (patch,) = deeplesion_predict.read_slice(path, [LesionPrompt("a", 0, 90, 90, 110, 110)], "a", interval=2.0).patches
    before, key, after = ((patch.image[..., channel] > 0).sum() for channel in range(3))
    assert before < key < after


def test_that_no_neighbour_is_there_is_said(tmp_path, capsys):
    write_slice(tmp_path / "10.png", 512, (100, 100, 9))
    deeplesion_predict.read_slice(tmp_path / "10.png", [LesionPrompt("a", 0, 90, 90, 110, 110)], "a", interval=2.0)
    assert "10.png: no neighbouring slice lies beside it; its channels are copies of it" in capsys.readouterr().err


@pytest.mark.parametrize(("scale", "left", "top"), [(1, 30, 40), (1, -20, 450), (0.5, 10, -7), (2, 300, 100)])
def test_pasting_inverts_cutting(scale, left, top):
    rng = np.random.default_rng(0)
    image = cv2.GaussianBlur(rng.random((512, 512), np.float32), None, 9)
    crop = Crop(scale, left, top)
    pasted = paste_patch(cut_patch(image, crop), crop, image.shape)
    assert pasted.shape == image.shape
    inside = paste_patch(np.ones((120, 120), np.float32), crop, image.shape) == 1
    assert inside.sum() >= 0.4 * (120 / scale) ** 2
    np.testing.assert_allclose(pasted[inside], image[inside], atol=0 if scale == 1 else 0.02)


@pytest.mark.parametrize(
    ("words", "wrong"),
    [
        ("--interval 5", "slice.png does not end in a number"),
        ("--interval 0", "is not a number of mm"),
        ("--spacing nan", "is not a number of mm"),
        ("--dicom-window=275,-175", "is not LOW,HIGH in HU"),
        ("--dicom-window=a,b", "is not LOW,HIGH in HU"),
    ],
)
def test_bad_settings_are_one_sentence(words, wrong, tmp_path, monkeypatch):
    network = stub.use(monkeypatch)
    write_slice(tmp_path / "a" / "slice.png", 512)
    with pytest.raises(UserError, match=wrong):
        run(tmp_path / "a" / "slice.png", tmp_path / "out", "x,y\n1,1\n", *words.split())
    assert network.settings is None


def test_bad_slices_are_one_sentence(tmp_path, monkeypatch):
    stub.use(monkeypatch)
    write_slice(tmp_path / "a" / "010.png", 512)
    write_slice(tmp_path / "a" / "011.png", 256)
    with pytest.raises(UserError, match=r"011.png has another size than slice 010"):
        run(tmp_path / "a" / "010.png", tmp_path / "out", "x,y\n1,1\n", "--interval", "2")
    write_image(tmp_path / "a" / "012.png", np.zeros((512, 512), np.uint8))
    with pytest.raises(UserError, match="16-bit"):
        run(tmp_path / "a" / "012.png", tmp_path / "out", "x,y\n1,1\n")
    with pytest.raises(UserError, match="row 1 after the header: it lies outside the image"):
        run(tmp_path / "a" / "010.png", tmp_path / "out", "x,y\n512,1\n")
    assert not list((tmp_path / "out").iterdir())


def ends_of(x, y, radius):
    return f"x1,y1,x2,y2,x3,y3,x4,y4\n{x - radius},{y},{x + radius},{y},{x},{y - radius},{x},{y + radius}\n"


def box_of(x, y, radius):
    return f"left,top,right,bottom\n{x - radius},{y - radius},{x + radius},{y + radius}\n"


def point_of(x, y, radius):
    return f"x,y\n{x},{y}\n"


@pytest.mark.parametrize("prompt", [box_of, ends_of, point_of], ids=["box", "RECIST", "point"])
@pytest.mark.parametrize(("side", "radius"), [(512, 100), (512, 61), (1024, 200), (256, 50)])
def test_a_lesion_larger_than_the_patch_is_measured_as_a_whole(prompt, side, radius, tmp_path, monkeypatch, capsys):
    stub.use(monkeypatch)
    place = (side // 2, side // 2 - 10, radius)
    truth = write_slice(tmp_path / "a" / "1.png", side, place)
    run(tmp_path / "a" / "1.png", tmp_path / "out", prompt(*place))
    (row,) = read_csv(tmp_path / "out" / "measurements.csv")
    assert row["cut"] == "0" and "warning" not in capsys.readouterr().err
    assert float(row["long_px"]) == pytest.approx(2 * radius, rel=0.02)
    mask = cv2.imread(str(tmp_path / "out" / "1_mask.png"), cv2.IMREAD_UNCHANGED)
    assert dice(mask > 0, truth) > 0.98


def test_a_mask_that_no_patch_holds_is_reported_as_cut(tmp_path, monkeypatch, capsys):
    stub.use(monkeypatch)
    # A box of 40 px in the middle of a disc of 200 px: the prompt gives the size, so that there is no second look.
    write_slice(tmp_path / "a" / "1.png", 512, (200, 250, 100))
    run(tmp_path / "a" / "1.png", tmp_path / "out", "lesion,left,top,right,bottom\nbig,180,230,220,270\n")
    (row,) = read_csv(tmp_path / "out" / "measurements.csv")
    assert (row["cut"], row["area_px"]) == ("1", str(120 * 120))
    error = capsys.readouterr().err
    assert "cut off by the patch (see the column cut): big;" in error and "larger than measured" in error


def test_the_images_own_border_cuts_nothing_off(tmp_path, monkeypatch):
    stub.use(monkeypatch)
    write_slice(tmp_path / "a" / "1.png", 512, (0, 250, 30))
    run(tmp_path / "a" / "1.png", tmp_path / "out", "x,y\n8,250\n")
    assert read_csv(tmp_path / "out" / "measurements.csv")[0]["cut"] == "0"


def test_a_lesion_that_fits_is_cut_at_the_published_scale(tmp_path):
    write_slice(tmp_path / "a" / "1.png", 512, (250, 250, 30))
    read = partial(deeplesion_predict.read_slice, tmp_path / "a" / "1.png")
    (fits,) = read([LesionPrompt("a", 0, 191, 191, 308, 308)], "a").patches  # 118 px
    (point,) = read([LesionPrompt("a", 0, 236.5, 236.5, 263.5, 263.5, (250, 250))], "a").patches
    np.testing.assert_array_equal(fits.image, point.image)
    assert fits.larger is None and point.larger is not None
    (scaled,) = read([LesionPrompt("a", 0, 190, 190, 309, 309)], "a").patches  # 120 px become 100
    assert (scaled.image[60] > 0).sum() == pytest.approx(6 * 61 * 5 / 6 / 2, abs=6)  # 3 channels of 61 px, scaled


@pytest.mark.parametrize(
    ("offset", "wrong"), [(1024, r"1.png holds 849 to 1294, .* HU \+ 32768 can't be .* add 31744"), (0, "can't be")]
)
def test_a_slice_with_another_offset_is_one_sentence(offset, wrong, tmp_path, monkeypatch):
    network = stub.use(monkeypatch)
    write_slice(tmp_path / "a" / "1.png", 512, (100, 100, 10))
    stored = cv2.imread(str(tmp_path / "a" / "1.png"), cv2.IMREAD_UNCHANGED).astype(int) - 32_768 + offset
    write_image(tmp_path / "a" / "1.png", stored.astype(np.uint16))
    with pytest.raises(UserError, match=wrong):
        run(tmp_path / "a" / "1.png", tmp_path / "out", "x,y\n100,100\n")
    assert network.settings is None


@pytest.mark.parametrize(("window", "colour"), [("300,500", "black"), ("-500,-300", "white")])
def test_a_patch_of_one_colour_is_one_sentence(window, colour, tmp_path, monkeypatch):
    stub.use(monkeypatch)
    write_slice(tmp_path / "a" / "1.png", 512, (100, 100, 10))
    wrong = rf"1.png is all {colour} about lesion 1 in the window {window}; check its place, .*--dicom-window"
    with pytest.raises(UserError, match=wrong):
        run(tmp_path / "a" / "1.png", tmp_path / "out", "x,y\n100,100\n", f"--dicom-window={window}")


def test_a_table_with_an_index_column_without_a_name(tmp_path, monkeypatch):
    stub.use(monkeypatch)
    truth = write_slice(tmp_path / "a" / "1.png", 512, (100, 100, 10))
    run(tmp_path / "a" / "1.png", tmp_path / "out", ",x,y\n0,100,100\n")  # as pandas writes it
    assert read_csv(tmp_path / "out" / "measurements.csv")[0]["area_px"] == str(truth.sum())


def test_a_network_sees_the_marks_that_preprocessing_makes(phantom_deeplesion):
    dataset = LesionDataset.open(phantom_deeplesion / "prepared")
    marks = {mark.name: mark for mark in read_marks(phantom_deeplesion / INFO)[0]}
    for row in range(0, 60, 6):
        mark = marks[dataset.lesions[row]["lesion"]]
        path = phantom_deeplesion / "Images_png" / mark.series / f"{mark.slice:03d}.png"
        ends = long_first(np.reshape(mark.ends, (4, 2)) - 1)
        prompt = LesionPrompt("a", 0, *(side - 1 for side in mark.box), ends=ends)
        (patch,) = deeplesion_predict.read_slice(path, [prompt], "a", window=mark.window).patches
        np.testing.assert_allclose(patch.ends, dataset.array("ends")[row], atol=1e-3)
        np.testing.assert_array_equal(patch.quarters(), quarters_mask(ends, (512, 512)))


def test_the_mark_of_a_lesion_that_is_scaled_down_lies_on_its_border(tmp_path, monkeypatch):
    network = stub.use(monkeypatch)
    network.model.settings["prompt"] = "recist"
    write_slice(tmp_path / "a" / "1.png", 512, (256, 246, 100))
    seen = []
    monkeypatch.setattr(network, "probabilities", lambda patches, ends: seen.extend(zip(patches, ends, strict=True))
                        or np.zeros((1, 120, 120)))  # fmt: skip
    run(tmp_path / "a" / "1.png", tmp_path / "out", ends_of(256, 246, 100))
    ((patch, ends),) = seen
    columns = np.flatnonzero(patch[round(ends[0, 1]), :, 1] > 127)
    np.testing.assert_allclose(ends[:2, 0], (columns[0], columns[-1]), atol=1)
    rows = np.flatnonzero(patch[:, round(ends[2, 0]), 1] > 127)
    np.testing.assert_allclose(ends[2:, 1], (rows[0], rows[-1]), atol=1)


def test_marks_alone_give_the_mask_of_a_slice(tmp_path, monkeypatch):
    network = stub.use(monkeypatch)
    path = tmp_path / "a" / "1.png"
    truth = write_slice(path, 512, (256, 246, 100))
    (path.parent / "lesions.csv").write_text(ends_of(256, 246, 100))
    words = [str(path), "--lesions", str(path.parent / "lesions.csv"), "--out", str(tmp_path / "out")]
    deeplesion_predict.main(["--target", "quarters", *words, "--spacing", "0.5"])
    assert network.settings is None
    mask = cv2.imread(str(tmp_path / "out" / "1_mask.png"), cv2.IMREAD_UNCHANGED)
    assert dice(mask > 0, truth) > 0.95
    (row,) = read_csv(tmp_path / "out" / "measurements.csv")
    assert float(row["area_mm2"]) == pytest.approx(np.pi * 96**2 / 4, rel=0.01)
    (path.parent / "lesions.csv").write_text("x,y\n256,246\n")
    with pytest.raises(UserError, match=r"lesions\.csv, row 1 after the header, gives no RECIST end points"):
        deeplesion_predict.main(["--target", "quarters", *words])
