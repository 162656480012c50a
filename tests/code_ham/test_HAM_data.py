"""HAM10000: the published arrays, splits and dropped lesions, and the messages about bad input."""

import shutil

import cv2
import numpy as np
import pytest
from PIL import Image

import HAM_data
from common.data.dataset import LesionDataset
from common.io import masks
from common.utils.errors import UserError
from common.utils.files import read_csv
from HAM_phantom import IMAGE_FOLDERS, MASK_FOLDER
from helpers import golden_masks, iou


def test_arrays_are_the_published_codes(shared, ham_prepared):
    with np.load(shared / "golden" / "ham10000.npz") as golden:
        names = [row["lesion"] for row in ham_prepared.lesions]
        assert names == golden["names"].tolist()
        np.testing.assert_allclose(ham_prepared.array("recist"), golden["recist"], atol=0.05)
        for split in ("train", "val", "test"):
            assert ham_prepared.rows(split).tolist() == sorted(golden[split])
    assert (ham_prepared.array("truth") == golden_masks(shared, "ham10000", "truth")).all()
    for name, least, mean in (("ellipse", 0.985, 0.999), ("grabcut", 0.93, 0.99)):
        overlaps = iou(ham_prepared.array(name), golden_masks(shared, "ham10000", name))
        assert overlaps.min() >= least, name
        assert overlaps.mean() >= mean, name


def test_corrected_is_rgb_and_keeps_a_lesions_images_together(shared, ham_prepared, tmp_path):
    data = shared / "data" / "ham10000"
    arguments = ["--data", str(data), "--prepared", str(tmp_path / "p"), "--protocol", "corrected", "--no-grabcut"]
    HAM_data.main([*arguments, "--clusters", "20"])
    corrected = LesionDataset.open_for(tmp_path / "p", HAM_data.DATASET, "corrected", 20)
    assert (corrected.array("images")[:20] == ham_prepared.array("images")[:20, ..., ::-1]).all()
    splits = {}
    for row in corrected.lesions:
        splits.setdefault(row["lesion_id"], set()).add(row["split"])
    assert all(len(names) == 1 for names in splits.values())
    assert len(splits) < len(corrected.lesions)
    assert "grabcut" not in corrected.metadata["arrays"]
    for name in ("truth", "ellipse"):
        centres = [
            np.mean([np.argwhere(mask).mean(axis=0) for mask in prepared.array(name)[:20]], axis=0)
            for prepared in (ham_prepared, corrected)
        ]
        np.testing.assert_allclose(centres[0] - centres[1], 0.4, atol=0.1)  # px; FACTS.md 4.10


def test_the_full_split_has_the_published_sizes():
    names = HAM_data.split_by_image([{}] * 10_012)
    assert [names.count(split) for split in ("train", "val", "test")] == [7008, 2002, 1002]


@pytest.fixture
def data(phantom_ham, tmp_path):
    """A copy of six phantoms that a test may damage."""
    for folder in (*IMAGE_FOLDERS, MASK_FOLDER):
        (tmp_path / folder).mkdir()
    for number in range(9_000_000, 9_000_006):
        name = f"ISIC_{number}"
        shutil.copy(phantom_ham / IMAGE_FOLDERS[0] / f"{name}.jpg", tmp_path / IMAGE_FOLDERS[1])
        shutil.copy(phantom_ham / MASK_FOLDER / f"{name}_segmentation.png", tmp_path / MASK_FOLDER)
    return tmp_path


def _prepare(data, *flags):
    HAM_data.main(["--data", str(data), "--clusters", "2", "--workers", "1", *flags])


def _image(data, number=0):
    return data / IMAGE_FOLDERS[1] / f"ISIC_{9_000_000 + number}.jpg"


def _mask(data, number=0):
    return data / MASK_FOLDER / f"ISIC_{9_000_000 + number}_segmentation.png"


def test_unpaired_files_are_listed_and_the_rest_goes_on(data, capsys):
    _image(data, 0).unlink()
    _mask(data, 1).unlink()
    _prepare(data)
    output = capsys.readouterr()
    assert "ISIC_9000000: mask without image, left out" in output.err
    assert "ISIC_9000001: image without mask, left out" in output.err
    assert "4 lesions" in output.out
    assert "1 (image without mask)" in output.out
    assert {row["reason"] for row in read_csv(data / "prepared" / "dropped.csv")} == {
        "mask without image", "image without mask"
    }  # fmt: skip


@pytest.mark.parametrize(
    ("draw", "reason"),
    [
        (lambda mask: mask[:] * 0, "the mask is empty"),
        (lambda mask: mask * 0 + 255, "the mask covers the whole image"),
        (lambda mask: 255 - mask, masks.INVERTED),
        (lambda mask: mask.astype(np.uint16) * 0, "the mask is empty"),
        (lambda mask: cv2.rectangle(mask * 0, (50, 50), (99, 80), 255, -1), "the mask's hull has under 5 points"),
        (lambda mask: cv2.circle(mask * 0, (300, 225), 5, 255, -1), "the mask's hull has under 5 points at 120x120"),
    ],
)
def test_unusable_masks_are_dropped_by_rule(data, draw, reason):
    cv2.imwrite(str(_mask(data)), draw(cv2.imread(str(_mask(data)), 0)))
    _prepare(data)
    assert read_csv(data / "prepared" / "dropped.csv") == [{"lesion": "ISIC_9000000", "reason": reason}]
    assert len(read_csv(data / "prepared" / "lesions.csv")) == 5


def test_the_diameters_of_the_mask_are_marked_on_the_patch(data):
    mask = cv2.imread(str(_mask(data)), 0) * 0
    rows, columns = mask.shape
    cv2.imwrite(str(_mask(data)), cv2.ellipse(mask, (columns // 2, rows // 2), (40, 20), 0, 0, 360, 255, -1))
    _prepare(data)
    ends = np.load(data / "prepared" / "ends.npy")[0]
    left, right = sorted(ends[:2, 0])
    top, bottom = sorted(ends[2:, 1])
    middle = (columns // 2 + 0.5) * 120 / columns - 0.5, (rows // 2 + 0.5) * 120 / rows - 0.5
    half = 40.5 * 120 / columns, 20.5 * 120 / rows  # to the outer border of the pixels 40 and 20 px away
    expected = (middle[0] - half[0], middle[0] + half[0], middle[1] - half[1], middle[1] + half[1])
    assert (left, right, top, bottom) == pytest.approx(expected, abs=0.02)


def test_palette_masks_are_read_by_colour_not_by_index(data, shared, ham_prepared):
    # The shared data hold palette PNGs whose raw index is inverted; their truth is compared with golden above.
    grey = cv2.imread(str(_mask(data)), 0)
    palette = Image.fromarray((grey == 0).astype(np.uint8), mode="P")
    palette.putpalette([255, 255, 255, 0, 0, 0])  # index 0 is white: the lesion
    palette.save(_mask(data))
    pair = HAM_data.find_pairs(data)[0][0]
    assert (HAM_data.read_mask(pair.mask)[0] == (grey > 0)).all()


@pytest.fixture
def untouched(data):
    """Arrays of the six phantoms as they are."""
    _prepare(data)
    arrays = {path.stem: np.load(path) for path in (data / "prepared").glob("*.npy")}
    shutil.rmtree(data / "prepared")
    return arrays


def _same(data, arrays):
    assert arrays
    for name, array in arrays.items():
        np.testing.assert_array_equal(np.load(data / "prepared" / f"{name}.npy"), array, err_msg=name)


@pytest.mark.parametrize(("depth", "white"), [(np.uint16, 1), (np.uint16, 255), (np.uint16, 65_535), (np.uint8, 1)])
def test_masks_of_any_depth_are_masks(data, untouched, depth, white):
    for number in range(6):
        mask = cv2.imread(str(_mask(data, number)), 0)
        cv2.imwrite(str(_mask(data, number)), (mask > 0).astype(depth) * depth(white))
    _prepare(data)
    _same(data, untouched)


def test_soft_masks_are_cut_at_half_and_told_in_one_line(data, untouched, capsys):
    for number in range(4):
        mask = Image.open(_mask(data, number))
        mask.save(_mask(data, number).with_suffix(".jpg"), quality=80)
        _mask(data, number).with_suffix(".jpg").rename(_mask(data, number))  # known by its content
    _prepare(data)
    told = [line for line in capsys.readouterr().err.splitlines() if "grey levels" in line]
    assert told == [f"ISIC_9000000, ISIC_9000001, ISIC_9000002 and 1 more: {masks.SOFT}"]
    # Not a pixel of the masks is lost or won, where "above 0" grew them by 2 to 4 %.
    truth = np.load(data / "prepared" / "truth.npy")
    np.testing.assert_array_equal(truth, untouched["truth"])


@pytest.mark.parametrize("drawn_on", ["stored", "displayed"])
def test_a_photo_on_its_side_and_its_mask_are_seen_alike(data, untouched, drawn_on, capsys):
    # Stored on its side with the orientation that turns it back, so that viewers show the original.
    exif = Image.Exif()
    exif[0x112] = 6
    image = np.array(Image.open(_image(data)))
    Image.fromarray(np.rot90(image).copy()).save(_image(data), exif=exif, quality=95)
    if drawn_on == "stored":
        cv2.imwrite(str(_mask(data)), np.rot90(cv2.imread(str(_mask(data)), 0)))
    _prepare(data)
    np.testing.assert_array_equal(np.load(data / "prepared" / "truth.npy"), untouched["truth"])
    np.testing.assert_array_equal(np.load(data / "prepared" / "recist.npy"), untouched["recist"])
    images = np.load(data / "prepared" / "images.npy")
    assert np.abs(images[0].astype(float) - untouched["images"][0]).mean() < 3
    assert (f"ISIC_9000000: {masks.TURNED}" in capsys.readouterr().err) == (drawn_on == "stored")


def test_a_photo_upside_down_is_told(data, capsys):
    exif = Image.Exif()
    exif[0x112] = 3
    Image.open(_image(data, 2)).save(_image(data, 2), exif=exif)
    _prepare(data)
    assert f"ISIC_9000002: {masks.EITHER_WAY}" in capsys.readouterr().err


def test_original_data_are_prepared_without_a_word(data, capsys):
    _prepare(data)
    assert capsys.readouterr().err == ""


def _truncate(path):
    path.write_bytes(path.read_bytes()[:3000])


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        (lambda data: _truncate(_image(data)), r"ISIC_9000000\.jpg is cut short"),
        (lambda data: _mask(data).write_bytes(b""), r"ISIC_9000000_segmentation\.png is not a readable image"),
        (
            lambda data: cv2.imwrite(str(_mask(data)), np.ones((30, 40), np.uint8)),
            "is 40x30 px but its image is 600x450",
        ),
        (
            lambda data: cv2.imwrite(str(_mask(data)), np.tile(np.repeat([0, 100, 255], 200), (450, 1))),
            r"ISIC_9000000_segmentation\.png has large grey areas",
        ),
        (
            lambda data: Image.fromarray(np.full((450, 600), 4095, np.uint16)).save(_image(data), "png"),
            r"ISIC_9000000\.jpg has uint16 levels from 4095 to 4095; save it with 8 bits",
        ),
        (
            lambda data: shutil.rmtree(data / MASK_FOLDER),
            r"holds 6 \.jpg and 0 masks, but no ISIC_\*\.jpg with its .*; it holds HAM10000_images_part_1/, HAM",
        ),
        (
            lambda data: [shutil.rmtree(data / name) for name in (*IMAGE_FOLDERS, MASK_FOLDER)],
            r"holds 0 \.jpg and 0 masks, .*; it is empty; unpack HAM10000 there",
        ),
        (lambda data: (data / "HAM10000_metadata.tab").write_text("a\tb\n1\t2\n"), r"\.tab lacks the column image_id"),
    ],
)
def test_bad_input_ends_in_one_sentence_and_nothing_is_written(data, damage, sentence):
    damage(data)
    with pytest.raises(UserError, match=sentence):
        _prepare(data)
    assert not (data / "prepared").exists()


def test_fewer_lesions_than_clusters(data):
    with pytest.raises(UserError, match="45 shape clusters can't be fitted on 6 lesions"):
        _prepare(data, "--clusters", "45")


def test_corrected_needs_the_metadata(data):
    with pytest.raises(UserError, match=r"needs HAM10000_metadata\.csv"):
        _prepare(data, "--protocol", "corrected")
