"""DeepLesion: the golden values of the published code, where the patch lies, its channels and masks, and bad input."""

import re
import shutil
import sys
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import pytest

import DeepLesion_data as deep
from common.data.lesion import Unreadable
from common.patches import Crop
from common.recist import ellipse_from_diameters
from common.utils.errors import UserError
from common.utils.files import read_csv, read_json, write_csv
from DeepLesion_info import COLUMNS, NOISY, Mark, read_marks
from DeepLesion_slices import IMAGES, find_tasks
from helpers import golden_masks

SERIES = "000001_01_01"


def mark(box=(200, 200, 240, 230), ends=(205, 215, 235, 215, 220, 205, 220, 225), interval=None, window=(0, 255)):
    return Mark(f"{SERIES}_010", 0, f"{SERIES}_010.png", SERIES, 10, "train", ends, box, window, 0.8, interval)


def write_slice(data: Path, number: int, hu: np.ndarray) -> None:
    folder = data / IMAGES / SERIES
    folder.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(folder / f"{number:03d}.png"), (hu + deep.HU_OFFSET).astype(np.uint16))


def flat(hu: float, size: int = 512) -> np.ndarray:
    return np.full((size, size), hu)


def lesion_of(data: Path, lesion: Mark, corrected: bool = False, grabcut: bool = False):
    tasks, _ = find_tasks(data, [lesion])
    (outcome,) = deep.make_lesions(tasks, corrected=corrected, grabcut=grabcut)
    return outcome


def write_table(data: Path, *changes: dict[str, str]) -> None:
    row = {
        "File_name": f"{SERIES}_010.png",
        "Measurement_coordinates": "205, 215, 235, 215, 220, 205, 220, 225",
        "Bounding_boxes": "200, 200, 240, 230",
        "Spacing_mm_px_": "0.8, 0.8, 1",
        "DICOM_windows": "0, 255",
        "Train_Val_Test": "1",
    }
    rows = [row | change for change in changes]
    write_csv(data / deep.INFO, rows, [*COLUMNS, *([NOISY] if NOISY in rows[0] else [])])


def run(monkeypatch, data: Path, *flags: str) -> None:
    arguments = ["DeepLesion_data.py", "--data", str(data), "--workers", "1", "--clusters", "1", *flags]
    monkeypatch.setattr(sys, "argv", arguments)
    deep.main()


# Golden values


@pytest.fixture(scope="module")
def real(shared):
    data = shared / "data" / "deeplesion"
    tasks, dropped = find_tasks(data, read_marks(data / deep.INFO)[0])
    assert not dropped
    make = partial(deep.make_lesions, tasks, grabcut=True)
    return {"tasks": tasks, "released": make(corrected=False), "corrected": make(corrected=True)}


@pytest.fixture(scope="module")
def golden(shared):
    with np.load(shared / "golden" / "deeplesion.npz") as file:
        return dict(file)


def overlap(masks: np.ndarray, others: np.ndarray) -> np.ndarray:
    return (masks & others).sum((1, 2)) / (masks | others).sum((1, 2))


def test_golden_rows_and_splits(real, golden):
    assert [lesion.info["source"] for lesion in real["released"]] == golden["names"].tolist()
    numbers = {"train": 1, "val": 2, "test": 3}
    assert [numbers[lesion.info["split"]] for lesion in real["released"]] == golden["split"].tolist()


def test_golden_images(real, golden):
    images = np.stack([lesion.image for lesion in real["released"]])
    assert images.dtype == np.float32
    assert np.abs(images[:, ::2, ::2] - golden["image"]).max() < 0.01
    assert np.array_equal(images, np.stack([lesion.image for lesion in real["corrected"]]))


def test_golden_end_points(real, golden):
    ends = [deep.place_patch(task.mark, 1.0, corrected=False)[1].ravel() for task in real["tasks"]]
    assert np.abs(ends - golden["endpoints"]).max() < 1e-3


def test_the_marks_are_kept_with_the_longer_diameter_first(real, golden, tmp_path):
    for protocol in ("released", "corrected"):
        ends = np.stack([lesion.ends for lesion in real[protocol]])
        assert np.abs(ends.reshape(-1, 8) - golden["endpoints"]).max() < 1e-3  # the table has it first
    write_slice(tmp_path, 10, flat(100))
    usual, swapped = mark(), mark(ends=(220, 205, 220, 225, 205, 215, 235, 215))
    first, second = (lesion_of(tmp_path, lesion) for lesion in (usual, swapped))
    assert first.ends.tolist() == second.ends.tolist()
    assert first.recist != second.recist  # as the release takes the lines


@pytest.mark.parametrize("protocol", ["released", "corrected"])
def test_golden_ellipse_parameters(real, golden, protocol):
    recist = [lesion.recist for lesion in real[protocol]]
    assert np.abs(np.array(recist) - golden["ellipse_params"]).max() < 1e-3


def test_golden_ellipses(real, shared):
    ellipses = np.stack([lesion.ellipse for lesion in real["released"]])
    similar = overlap(ellipses, golden_masks(shared, "deeplesion", "ellipse"))
    assert similar.mean() >= 0.97 and similar.min() >= 0.92
    exact = np.stack([lesion.ellipse for lesion in real["corrected"]])
    assert (exact <= ellipses).all() and (exact.sum((1, 2)) < ellipses.sum((1, 2))).all()


def test_released_grabcut_gives_back_the_ellipse_and_corrected_does_not(real, shared):
    released, golden = real["released"], golden_masks(shared, "deeplesion", "grabcut_released")
    assert np.array_equal(golden, golden_masks(shared, "deeplesion", "ellipse"))
    assert all(np.array_equal(lesion.grabcut, lesion.ellipse) for lesion in released)
    # Many real lesions look like their own rim to GrabCut, and an empty result falls back to the ellipse.
    assert sum(not np.array_equal(lesion.grabcut, lesion.ellipse) for lesion in real["corrected"]) >= 5


# The ellipse of two diameters


def test_crossing_of_diameters():
    ends = np.array([(0, 0), (10, 0), (4, -3), (4, 3)], float)
    assert ellipse_from_diameters(ends) == pytest.approx((4, 0, 6, 10, 90))
    # 45 degrees down on the screen, off the middle of both
    ends = np.array([(0, 6), (6, 0), (1, 1), (4, 4)], float)
    assert ellipse_from_diameters(ends) == pytest.approx((3, 3, 18**0.5, 72**0.5, 45))


def test_diameters_that_cross_only_when_extended():
    ends = np.array([(0, 0), (10, 0), (4, 2), (4, 5)], float)
    assert ellipse_from_diameters(ends) == pytest.approx((4, 0, 3, 10, 90))


@pytest.mark.parametrize(
    "ends",
    [
        [(0, 0), (0, 0), (4, -3), (4, 3)],
        [(0, 0), (10, 0), (4, 3), (4, 3)],
        [(0, 0), (10, 0), (2, 1), (8, 1)],
    ],
)
def test_no_ellipse_without_length_or_angle(ends):
    assert ellipse_from_diameters(np.array(ends, float)) is None


# Where the patch lies; boxes and end points are 1-based, patches 0-based


def test_patch_in_the_middle():
    crop, ends = deep.place_patch(mark(), 1.0, corrected=False)
    # 0-based box 199..239 x 199..229, centre (219, 214)
    assert crop == Crop(1.0, 159, 154)
    assert ends.tolist() == [[45, 60], [75, 60], [60, 50], [60, 70]]


@pytest.mark.parametrize("right, left", [(242, 160), (244, 162)])
def test_a_centre_between_pixels_is_rounded_to_the_even_one(right, left):
    # 0-based centres 220.5 and 221.5
    assert deep.place_patch(mark(box=(201, 200, right, 230)), 1.0, corrected=False)[0].left == left
    assert 0.5 * (200 + right - 1) - 60 - left in (0.5, -0.5)


def test_end_points_of_a_lesion_wider_than_the_patch():
    # 0-based box 100..240 x 199..229, centre (170, 214): the corner would be at -10, and is put at 0
    wide = mark(box=(101, 200, 241, 230), ends=(111, 215, 231, 215, 171, 205, 171, 225))
    crop, ends = deep.place_patch(wide, 1.0, corrected=False)
    assert crop == Crop(1.0, 110, 154)
    assert ends.tolist() == [[10, 60], [130, 60], [70, 50], [70, 70]]
    _, ends = deep.place_patch(wide, 1.0, corrected=True)  # where they are
    assert ends.tolist() == [[0, 60], [120, 60], [60, 50], [60, 70]]


@pytest.mark.parametrize("corrected", [False, True])
def test_end_points_are_scaled_with_the_slice(corrected):
    place = partial(deep.place_patch, corrected=corrected)
    # 1024 px: 0-based box 400..420 x 600..620 becomes 200..210 x 300..310, centre (205, 305)
    crop, ends = place(mark((401, 601, 421, 621), (407, 611, 415, 611, 411, 609, 411, 613)), 0.5)
    assert crop == Crop(0.5, 145, 245)
    # A pixel's centre moves by a quarter of a pixel more: that of the first two, at 0.5, becomes 0, of their one.
    assert ends.tolist() == [[57.75, 59.75], [61.75, 59.75], [59.75, 58.75], [59.75, 60.75]]
    # 768 px: 0-based box 300..360 both ways becomes 200..240, centre 220
    crop, ends = place(mark((301, 301, 361, 361), (316, 331, 346, 331, 331, 319, 331, 343)), 512 / 768)
    assert crop == Crop(512 / 768, 160, 160)
    assert ends.ravel() + 1 / 6 == pytest.approx([50, 60, 70, 60, 60, 52, 60, 68])


# The image


def test_window(tmp_path):
    hu = np.array([[-300.0, -175, 50, 275, 1000]], np.float32)
    assert deep.window_image(hu, -175, 275).tolist() == [[0, 0, 127.5, 255, 255]]


@pytest.mark.parametrize(
    "interval, channels",
    [
        (1.0, (80, 100, 160)),  # slices 8 and 12
        (2.0, (90, 100, 130)),  # slices 9 and 11
        (2.5, (92, 100, 124)),  # 0.8 x 90 + 0.2 x 100, 0.8 x 130 + 0.2 x 100
        (5.0, (96, 100, 112)),  # 0.4 x 90 + 0.6 x 100, 0.4 x 130 + 0.6 x 100
        (None, (100, 100, 100)),
    ],
)
def test_channels_are_slices_two_mm_away(tmp_path, interval, channels):
    for number, hu in {8: 80, 9: 90, 10: 100, 11: 130, 12: 160}.items():
        write_slice(tmp_path, number, flat(hu))
    lesion = lesion_of(tmp_path, mark(interval=interval))
    assert lesion.image.shape == (120, 120, 3) and lesion.image.dtype == np.float32
    assert lesion.image[7, 100] == pytest.approx(channels, abs=1e-4)
    assert np.ptp(lesion.image, axis=(0, 1)) == pytest.approx(0)


def test_borders_are_replicated(tmp_path):
    row, column = np.mgrid[:512, :512]
    write_slice(tmp_path, 10, row + 100 * column)
    # 0-based box 0..20 x 491..511, centre (10, 501): columns -50..69, rows 441..560
    lesion = lesion_of(
        tmp_path, mark((1, 492, 21, 512), (6, 502, 16, 502, 11, 498, 11, 506), window=(0, 51_711)), corrected=True
    )
    hu = lesion.image[..., 1] / 255 * 51_711
    assert hu[0, 0] == pytest.approx(441, abs=0.05)
    assert hu[70, 49] == pytest.approx(511, abs=0.05)
    assert hu[119, 0] == pytest.approx(511, abs=0.05)
    assert hu[119, 119] == pytest.approx(511 + 6900, abs=0.05)
    assert (lesion.info["left"], lesion.info["top"]) == (-50, 441)
    assert lesion.recist == pytest.approx((60, 60, 8, 10, 90))


@pytest.mark.parametrize("size, scale", [(1024, 0.5), (768, 512 / 768)])
def test_slices_that_are_not_512_wide(tmp_path, size, scale):
    column = np.mgrid[:size, :size][1]
    write_slice(tmp_path, 10, column)
    centre = size / 2 + 1  # 1-based: the middle pixel of the scaled slice
    box = (centre - 30, centre - 30, centre + 30, centre + 30)
    ends = (centre - 15, centre, centre + 15, centre, centre, centre - 12, centre, centre + 12)
    lesion = lesion_of(tmp_path, mark(box, ends, window=(0, 1024)), corrected=True)
    assert (lesion.info["scale"], lesion.info["left"], lesion.info["top"]) == (scale, 196, 196)
    middle = 60 - (1 - scale) / 2  # a pixel's centre moves towards the corner by half of what it shrinks
    assert lesion.recist == pytest.approx((middle, middle, 24 * scale, 30 * scale, 90))
    # A scaled pixel's centre j lies at (j + 1/2) / scale - 1/2 of the slice.
    expected = (np.arange(196, 316) + 0.5) / scale - 0.5
    assert lesion.image[60, :, 1] / 255 * 1024 == pytest.approx(expected, abs=0.01)


def test_ellipse_grows_under_released_only(tmp_path):
    write_slice(tmp_path, 10, flat(100))
    released, corrected = (lesion_of(tmp_path, mark(), corrected=c) for c in (False, True))
    # Axes of 20 and 30 px about (60, 60): a row through the centre has 2 x 15 + 1 px, and 2 x 17 + 1 when grown.
    assert corrected.ellipse[60].sum() == 31 and corrected.ellipse[:, 60].sum() == 21
    assert released.ellipse[60].sum() == 35 and released.ellipse[:, 60].sum() == 25
    assert released.recist == corrected.recist == pytest.approx((60, 60, 20, 30, 90))
    assert released.grabcut is None


def test_corrected_grabcut_finds_what_the_ellipse_only_surrounds(tmp_path):
    hu, inner = np.zeros((512, 512)), np.zeros((512, 512), np.uint8)
    cv2.ellipse(inner, (219, 214), (12, 7), 0, 0, 360, 1, -1)
    rng = np.random.default_rng(0)
    hu = 60 + 140 * inner + rng.normal(0, 4, hu.shape)
    write_slice(tmp_path, 10, np.rint(hu))
    corrected = lesion_of(tmp_path, mark(), corrected=True, grabcut=True)
    inside = inner[154:274, 159:279]
    assert (corrected.grabcut & inside).sum() / (corrected.grabcut | inside).sum() > 0.9
    released = lesion_of(tmp_path, mark(), grabcut=True)
    assert np.array_equal(released.grabcut, released.ellipse)


def test_lesions_that_the_patch_does_not_show_are_dropped(tmp_path):
    write_slice(tmp_path, 10, flat(0))
    outside = lesion_of(tmp_path, mark(box=(600, 200, 640, 230)))
    assert outside.reason == "the box lies outside the slice"
    crossing_far_away = mark(ends=(205, 215, 235, 215, 205, 213, 235, 213.1))
    assert lesion_of(tmp_path, crossing_far_away).reason == "the ellipse covers no pixel of the patch"


# Bad input


def test_eight_bit_slice(tmp_path):
    write_slice(tmp_path, 10, flat(0))
    path = tmp_path / IMAGES / SERIES / "010.png"
    cv2.imwrite(str(path), np.zeros((512, 512), np.uint8))
    outcome = lesion_of(tmp_path, mark())
    assert isinstance(outcome, Unreadable)
    assert re.search(r"010.png holds 8-bit px .* unpack it again", outcome.reason)


@pytest.mark.parametrize(
    ("what", "stored"),
    [
        ("HU + 1024", lambda hu: hu + 1024),
        ("HU + 1000", lambda hu: hu + 1000),
        ("HU, negative ones wrapped", lambda hu: np.where(hu < 0, hu + 65_536, hu)),
        ("HU, negative ones cut off", lambda hu: hu.clip(0)),
        ("HU + 1024 + 32768", lambda hu: hu + 1024 + 32_768),
        ("all 0", lambda hu: hu * 0),
        ("all 65535", lambda hu: hu * 0 + 65_535),
    ],
)
def test_a_slice_that_is_not_hu_plus_32768_is_told(real_slice, tmp_path, what, stored):
    path = tmp_path / "010.png"
    assert np.array_equal(np.rint(deep.read_slice(real_slice)), cv2.imread(str(real_slice), -1) - 32_768.0)
    values = stored(cv2.imread(str(real_slice), -1).astype(int) - 32_768)
    cv2.imwrite(str(path), values.clip(0, 65_535).astype(np.uint16))
    with pytest.raises(UserError, match=r"010.png holds \d+ to \d+, which as HU \+ 32768 can't be .* add 31744"):
        deep.read_slice(path)


@pytest.fixture
def real_slice(shared) -> Path:
    return next((shared / "data" / "deeplesion" / IMAGES).rglob("109.png"))


def test_every_real_slice_is_read(shared):
    slices = list((shared / "data" / "deeplesion" / IMAGES).rglob("*.png"))
    assert len(slices) == 76 and all(deep.read_slice(path).shape == (512, 512) for path in slices)


@pytest.mark.parametrize(("window", "colour"), [((300, 700), "black"), ((-700, 100), "white")])
def test_a_patch_of_one_colour_is_dropped(tmp_path, window, colour):
    write_slice(tmp_path, 10, flat(200))
    reason = lesion_of(tmp_path, mark(window=window)).reason
    assert reason == f"the patch is all {colour} in its window (are its px HU + 32768?)"


def test_preparing_says_so_where_all_patches_are_of_one_colour(tmp_path, monkeypatch):
    write_slice(tmp_path, 10, flat(0))
    write_table(tmp_path, {}, {})
    with pytest.raises(UserError, match=r"no usable DeepLesion lesion: 2 the patch is all black .*HU \+ 32768"):
        run(monkeypatch, tmp_path)


def test_unreadable_slice(tmp_path):
    write_slice(tmp_path, 10, flat(0))
    path = tmp_path / IMAGES / SERIES / "010.png"
    path.write_bytes(path.read_bytes()[:300])
    assert "010.png is cut short" in lesion_of(tmp_path, mark()).reason
    path.write_bytes(b"no image")
    assert "010.png is not a readable image" in lesion_of(tmp_path, mark()).reason


def test_neighbour_of_another_size(tmp_path):
    write_slice(tmp_path, 10, flat(0))
    write_slice(tmp_path, 12, flat(0, size=256))
    assert "012.png has another size than slice 010" in lesion_of(tmp_path, mark(interval=1.0)).reason


def test_no_image_for_any_row(tmp_path, monkeypatch):
    write_table(tmp_path, {})
    (tmp_path / "Images_png_01.zip").touch()
    with pytest.raises(
        UserError, match=r"none of the 1 key slices .*holds DL_info.csv, Images_png_01.zip.* --download"
    ):
        run(monkeypatch, tmp_path)
    assert not (tmp_path / "prepared").exists()


def test_archives_without_download(tmp_path, monkeypatch):
    with pytest.raises(UserError, match="--archives chooses what --download fetches"):
        run(monkeypatch, tmp_path, "--archives", "1-3")


@pytest.mark.parametrize("text", ["0", "57", "3-1", "1-", "a", "", "1,,2", "1-2-3", "55-57"])
def test_unknown_archives(tmp_path, monkeypatch, text):
    with pytest.raises(UserError, match="--archives"):
        run(monkeypatch, tmp_path, "--download", f"--archives={text}")


# The whole script


def test_prepare(tmp_path, monkeypatch, capsys):
    for number in (9, 10):
        write_slice(tmp_path, number, flat(10 * number))
    elsewhere = {"File_name": "000002_01_01_010.png"}
    write_table(tmp_path, {}, elsewhere, {"DICOM_windows": "1, 1"}, {"Train_Val_Test": "3"}, {"Train_Val_Test": "2"})
    run(monkeypatch, tmp_path)
    prepared = tmp_path / "prepared"
    assert np.load(prepared / "images.npy").dtype == np.float32
    assert np.load(prepared / "images.npy")[0, 0, 0].tolist() == [90, 100, 100]
    assert not (prepared / "truth.npy").exists()
    lesions = read_csv(prepared / "lesions.csv")
    assert [row["split"] for row in lesions] == ["train", "test", "val"]
    assert [row["lesion"] for row in lesions] == [f"{SERIES}_010{end}" for end in ("", "-3", "-4")]
    assert lesions[0] | {"cluster": ""} == {
        "lesion": f"{SERIES}_010",
        "split": "train",
        "group": "000001",
        "cluster": "",
        "source": f"{SERIES}_010.png",
        "series": SERIES,
        "row": "0",
        "spacing": "0.8",
        "interval": "1.0",
        "scale": "1.0",
        "left": "159",
        "top": "154",
    }
    dropped = {row["lesion"]: row["reason"] for row in read_csv(prepared / "dropped.csv")}
    assert dropped == {
        "row 2 (line 4)": "DICOM_windows is under 1 HU wide or upside down",
        "000002_01_01_010": "the key slice is missing",
    }
    assert read_json(prepared / "prepared.json")["splits"] == {"train": 1, "val": 1, "test": 1}
    run(monkeypatch, tmp_path)
    assert "already prepared" in capsys.readouterr().out
    write_slice(tmp_path, 12, flat(200))  # a neighbour that came later
    run(monkeypatch, tmp_path)
    assert "making it again" in capsys.readouterr().out
    assert np.load(prepared / "images.npy")[0, 0, 0].tolist() == [90, 100, 200]


def test_unreadable_slices_are_listed_together_or_left_out(tmp_path, monkeypatch, capsys):
    for number in range(9, 16):
        write_slice(tmp_path, number, flat(10 * number))
    folder = tmp_path / IMAGES / SERIES
    for number in (9, 15):
        (folder / f"{number:03d}.png").write_bytes(b"no image")
    keys = [{"File_name": f"{SERIES}_{number:03d}.png", "DICOM_windows": "0, 200"} for number in (9, 10, 12, 15)]
    write_table(tmp_path, *keys)  # 10's neighbour 9, 2 mm away, is bad too
    with pytest.raises(UserError, match=r"2 files can't be used, .* --skip-bad"):
        run(monkeypatch, tmp_path)
    assert not (tmp_path / "prepared").exists()
    listed = [f"{folder / name} is not a readable image; download it again" for name in ("009.png", "015.png")]
    assert capsys.readouterr().err.splitlines() == listed
    run(monkeypatch, tmp_path, "--skip-bad")
    assert [row["lesion"] for row in read_csv(tmp_path / "prepared" / "lesions.csv")] == [f"{SERIES}_012"]
    dropped = {row["lesion"]: row["reason"] for row in read_csv(tmp_path / "prepared" / "dropped.csv")}
    assert dropped == {f"{SERIES}_{number}": listed[number == "015"] for number in ("009", "010", "015")}


def test_noisy_lesions_are_kept_unless_no_noisy_is_passed(tmp_path, monkeypatch, capsys):
    write_slice(tmp_path, 10, flat(100))
    write_table(tmp_path, {NOISY: "0"}, {NOISY: "1"})
    run(monkeypatch, tmp_path)
    assert "1 of 2 lesions are possibly noisy; kept, as published (--no-noisy" in capsys.readouterr().out
    assert read_json(tmp_path / "prepared" / "prepared.json")["settings"].get("noisy") is None
    run(monkeypatch, tmp_path, "--no-noisy")
    assert "making it again" in capsys.readouterr().out
    assert read_json(tmp_path / "prepared" / "prepared.json")["settings"]["noisy"] is False
    noisy = {"lesion": f"{SERIES}_010-2", "reason": "possibly noisy"}
    assert read_csv(tmp_path / "prepared" / "dropped.csv") == [noisy]


def documented(path: Path, number: int) -> Path:
    return Path(IMAGES, path.parent.name, path.name)


LAYOUTS = {
    "nested": lambda path, number: Path(IMAGES, IMAGES, path.parent.name, path.name),
    "a folder for each archive": lambda path, number: Path(f"{IMAGES}_0{number % 3}", documented(path, number)),
    "flat": lambda path, number: Path(f"{path.parent.name}_{path.name}"),
    "flat in a folder": lambda path, number: Path("slices", f"{path.parent.name}_{path.name}"),
    "at the root": lambda path, number: Path(path.parent.name, path.name),
}


def prepare_layout(monkeypatch, shared: Path, data: Path, place, table: str) -> dict[str, bytes]:
    """Prepare links to the real data, which lie where ``place`` says; what was written, but for ``prepared.json``."""
    real = shared / "data" / "deeplesion"
    for number, path in enumerate(sorted((real / IMAGES).rglob("*.png"))):
        target = data / place(path, number)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.symlink_to(path)
        (target.parent / f"._{target.name}").write_bytes(b"\0")
    (data / table).parent.mkdir(exist_ok=True)
    shutil.copy(real / deep.INFO, data / table)
    for name in (".DS_Store", "Thumbs.db", "notes.txt"):
        (data / name).write_text("nothing")
    run(monkeypatch, data, "--no-grabcut")
    return {path.name: path.read_bytes() for path in (data / "prepared").iterdir() if path.name != "prepared.json"}


def test_end_points_in_another_order_are_told(tmp_path, monkeypatch, capsys):
    write_slice(tmp_path, 10, np.random.default_rng(0).uniform(0, 255, (512, 512)))
    write_table(tmp_path, {"Measurement_coordinates": "205, 215, 228, 207, 235, 215, 228, 221"})
    run(monkeypatch, tmp_path, "--no-grabcut")
    assert f"{SERIES}_010: its diameters do not cross; look at the order of the" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("points", "told"),
    [
        ("205, 215, 235, 215, 220, 205, 220, 225", False),
        ("200, 215, 240, 215, 220, 200, 220, 230", False),  # to the box's border
        ("215, 205, 215, 235, 205, 220, 225, 220", True),  # x and y exchanged
        ("235, 245, 265, 245, 250, 235, 250, 255", True),
    ],
)
def test_a_mark_beside_its_box_is_told(points, told, tmp_path, monkeypatch, capsys):
    write_slice(tmp_path, 10, np.random.default_rng(0).uniform(0, 255, (512, 512)))
    write_table(tmp_path, {"Measurement_coordinates": points})
    run(monkeypatch, tmp_path, "--no-grabcut")
    sentence = f"{SERIES}_010: its end points lie outside its box; look at the order of x and y"
    assert (sentence in capsys.readouterr().err) == told


def test_the_corrected_protocol_draws_the_ellipse_as_it_is(tmp_path, monkeypatch):
    write_slice(tmp_path, 10, np.random.default_rng(0).uniform(0, 255, (512, 512)))
    write_table(tmp_path, {})
    px = {}
    for protocol in ("released", "corrected"):
        run(monkeypatch, tmp_path, "--protocol", protocol)
        px[protocol] = np.load(tmp_path / "prepared" / "ellipse.npy").sum()
    assert px["corrected"] == pytest.approx(np.pi / 4 * 30 * 20, rel=0.03)
    assert px["released"] == pytest.approx(np.pi / 4 * (30 + 2 * deep.OUTLINE) * (20 + 2 * deep.OUTLINE), rel=0.03)


def test_every_layout_gives_the_arrays_of_the_documented_one(shared, tmp_path, monkeypatch, capsys):
    right = prepare_layout(monkeypatch, shared, tmp_path / "documented", documented, deep.INFO)
    assert np.load(tmp_path / "documented" / "prepared" / "images.npy").shape[0] == 32
    for layout, place in LAYOUTS.items():
        data = tmp_path / layout
        assert prepare_layout(monkeypatch, shared, data, place, f"{deep.INFO}/{deep.INFO}") == right
        output = capsys.readouterr()
        assert f"{data}: 48 slices are used, such as {data}" in output.out
        assert "22 of 32 lesions have no neighbouring slice here; their channels are all the key" in output.out
        assert set(output.err.splitlines()) == {
            "warning: there is no grabcut.npy to score against; evaluations need --truth",
        }


# Human masks


def test_human_masks_are_cut_as_the_image_is(tmp_path):
    mask = np.zeros((1024, 1024), np.uint8)
    mask[600:620, 400:430] = 255
    cv2.imwrite(str(tmp_path / "a_001.png"), mask)
    place = {"scale": "0.5", "left": "145", "top": "245"}
    lesions = [
        {"lesion": "a_001", "source": "a_001.png", **place},
        {"lesion": "b_001", "source": "b_001.png", **place},
        {"lesion": "a_001-2", "source": "a_001.png", **place},
    ]
    ellipses = np.zeros((3, 120, 120), np.uint8)
    ellipses[:, 60, 60] = 1
    truth = deep.human_truth(tmp_path, lesions, ellipses)
    assert truth.keys() == {0, 2}
    expected = np.zeros((120, 120), np.uint8)
    expected[55:65, 55:70] = 1
    assert truth[0].dtype == np.uint8 and np.array_equal(truth[0], expected)
    cv2.imwrite(str(tmp_path / "a_001-2.png"), np.zeros_like(mask))
    assert not deep.human_truth(tmp_path, lesions, ellipses)[2].any()


def test_a_slices_mask_is_shared_among_its_lesions(tmp_path, capsys):
    mask = np.zeros((512, 512), np.uint8)
    mask[20:30, 20:30] = mask[20:25, 60:70] = 255
    cv2.imwrite(str(tmp_path / "a_001.png"), mask)
    place = {"source": "a_001.png", "scale": "1.0", "left": "0", "top": "0"}
    lesions = [{"lesion": name, **place} for name in ("a_001", "a_001-2", "a_001-3")]
    ellipses = np.zeros((3, 120, 120), np.uint8)
    ellipses[0, 28:32, 28:32] = ellipses[1, 22, 50:65] = ellipses[2, 90:95, 90:95] = 1
    truth = deep.human_truth(tmp_path, lesions, ellipses)
    first, second = np.zeros((2, 120, 120), np.uint8)
    first[20:30, 20:30] = second[20:25, 60:70] = 1
    for place, expected in enumerate((first, second, np.zeros_like(first))):
        np.testing.assert_array_equal(truth[place], expected)
    assert ": 1 lesions (such as a_001.png): its mask shows nothing in the lesion's patch" in capsys.readouterr().err
    (alone,) = deep.human_truth(tmp_path, lesions[:1], ellipses[:1]).values()  # the others may have been dropped
    np.testing.assert_array_equal(alone, first)
    (whole,) = deep.human_truth(tmp_path, lesions[:1], ellipses[2:]).values()
    np.testing.assert_array_equal(whole, first | second)
    told = "1 lesions (such as a_001.png): no part of its mask touches the lesion's ellipse; all of it is taken"
    assert told in capsys.readouterr().err


ELLIPSES = np.ones((1, 120, 120), np.uint8)


def test_human_masks_that_do_not_fit(tmp_path):
    lesion = {"lesion": "a_001", "source": "a_001.png", "scale": "1.0", "left": "0", "top": "0"}
    with pytest.raises(UserError, match=r"holds no mask for any of these 1 lesions; name them by File_name"):
        deep.human_truth(tmp_path, [lesion], ELLIPSES)
    cv2.imwrite(str(tmp_path / "a_001.png"), np.zeros((120, 120), np.uint8))
    for rows, columns in ((120, 120), (512, 400), (330, 512)):
        cv2.imwrite(str(tmp_path / "a_001.png"), np.zeros((rows, columns), np.uint8))
        with pytest.raises(UserError, match=rf"a_001\.png is {columns}x{rows} px but its slice is 512x512"):
            deep.human_truth(tmp_path, [lesion], ELLIPSES)


def square(dtype=np.uint8, level=255, shape=(512, 512)) -> np.ndarray:
    """The mask of rows and columns 60..69."""
    mask = np.zeros(shape, dtype)
    mask[60:70, 60:70] = level
    return mask


BLACK, OPAQUE = np.zeros((512, 512), np.uint8), np.full((512, 512), 255, np.uint8)
JPEG = cv2.imdecode(cv2.imencode(".jpg", square(), [cv2.IMWRITE_JPEG_QUALITY, 60])[1], cv2.IMREAD_GRAYSCALE)
SOFT = cv2.GaussianBlur(square(), None, 1)


def truth_of(folder: Path, mask: np.ndarray) -> np.ndarray:
    cv2.imwrite(str(folder / "a_001.png"), mask)
    lesion = {"lesion": "a_001", "source": "a_001.png", "scale": "1.0", "left": "0", "top": "0"}
    return deep.human_truth(folder, [lesion], ELLIPSES)[0]


@pytest.mark.parametrize(
    "mask",
    [
        square(),
        square(level=1),
        square(level=2),
        square(np.uint16),
        square(np.uint16, 1),
        square(np.uint16, 65_535),
        np.dstack([square()] * 3),
        np.dstack([BLACK, BLACK, square()]),
        np.dstack([square()] * 3 + [OPAQUE]),
        np.dstack([OPAQUE] * 3 + [square()]),
        np.dstack([BLACK] * 3 + [square()]),
        np.dstack([square(np.uint16, 65_535)] * 3 + [OPAQUE.astype(np.uint16) * 257]),
    ],
    ids="0/255 0/1 0/2 16-bit:0/255 16-bit:0/1 16-bit:0/65535 RGB red RGBA alpha:white alpha:black 16-bit:RGBA".split(),
)
def test_masks_of_any_depth_and_colour(mask, tmp_path, capsys):
    np.testing.assert_array_equal(truth_of(tmp_path, mask), square(level=1)[:120, :120])
    told = ": 1 lesions (such as a_001.png): the alpha channel of its mask holds the shape"
    is_alpha = mask.ndim == 3 and mask.shape[2] == 4 and np.ptp(mask[..., 3]) > 0
    assert (told in capsys.readouterr().err) == is_alpha


@pytest.mark.parametrize("mask", [JPEG, SOFT, SOFT.astype(np.uint16) * 257], ids=["JPEG", "blurred", "16-bit blurred"])
def test_soft_masks_are_cut_at_half_and_told(mask, tmp_path, capsys):
    truth = truth_of(tmp_path, mask)
    inside = square(level=1)[:120, :120]
    assert (truth != inside).sum() <= 4  # the corners of a blurred square
    assert ((mask > 0)[:120, :120] != inside).sum() > 40  # as above 0 would have it
    error = capsys.readouterr().err
    assert ": 1 lesions (such as a_001.png): its mask has grey levels" in error and "cut at half" in error


@pytest.mark.parametrize(
    ("mask", "wrong"),
    [
        (
            np.maximum(square(level=1), 2 * np.roll(square(level=1), 90)),
            "has levels from 0 to 2, as maps of labels have; save the lesion alone",
        ),
        (255 - square(), "can't be used: the mask seems inverted"),
        (OPAQUE, "can't be used: the mask covers the whole image"),
        (np.tile(np.arange(256, dtype=np.uint8), (512, 2)), "has large grey areas between black and white"),
    ],
    ids=["labels", "inverted", "full", "picture"],
)
def test_what_is_no_mask_is_one_sentence(mask, wrong, tmp_path):
    with pytest.raises(UserError, match=f"a_001.png {wrong}"):
        truth_of(tmp_path, mask)


def test_an_empty_mask_is_told(tmp_path, capsys):
    for mask in (BLACK, square(shape=(512, 512))[::-1]):  # empty, and elsewhere than the patch
        assert not truth_of(tmp_path, mask).any()
        told = ": 1 lesions (such as a_001.png): its mask shows nothing in the lesion's patch"
        assert told in capsys.readouterr().err
