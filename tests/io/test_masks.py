"""Masks come out as drawn, whatever tool wrote them, or are refused in one sentence."""

import cv2
import numpy as np
import pytest
from PIL import Image

from common.io import masks
from common.io.images import Photo, turn
from common.io.masks import mask_fault, read_mask
from common.utils.errors import UserError

SHAPE = np.zeros((40, 60), np.uint8)
SHAPE[8:28, 12:44] = 1  # 640 px, off the middle, so that no turn leaves it where it is


def write(path, pixels, **settings):
    """Write with Pillow; EXIF orientation by ``turned``."""
    image = Image.fromarray(pixels) if isinstance(pixels, np.ndarray) else pixels
    exif = Image.Exif()
    exif[0x112] = settings.pop("turned", 1)
    image.save(path, exif=exif, **settings)
    return path


def palette(colours):
    image = Image.fromarray(1 - SHAPE, mode="P")  # the raw index is inverted, as in fourteen of HAM10000's masks
    image.putpalette(colours)
    return image


@pytest.mark.parametrize(
    "pixels",
    [
        SHAPE,
        SHAPE * np.uint8(255),
        SHAPE * np.uint8(76),
        SHAPE.astype(np.uint16),
        SHAPE * np.uint16(255),
        SHAPE * np.uint16(4095),
        SHAPE * np.uint16(65_535),
        SHAPE.astype(bool),
        np.stack([SHAPE * 255, SHAPE * 0, SHAPE * 0], 2),  # red
        np.stack([SHAPE * 255] * 4, 2),  # white on transparent black
        np.stack([SHAPE * 255] * 3 + [SHAPE * 0 + 255], 2),
        np.stack([SHAPE * 255] * 3 + [SHAPE * 0], 2),  # alpha says nothing
        np.stack([SHAPE * 255, SHAPE * 0 + 255], 2),  # grey with alpha
        palette([255, 255, 255, 0, 0, 0]),
        palette([255, 0, 0, 0, 0, 0]),
    ],
)
def test_two_levels_are_the_mask_whatever_they_are(pixels, tmp_path):
    mask, notes = read_mask(write(tmp_path / "a.png", pixels))
    assert mask.dtype == np.uint8
    np.testing.assert_array_equal(mask, SHAPE)
    assert not notes


@pytest.mark.parametrize("colour", [0, 255, 90])
def test_a_shape_in_the_alpha_channel_is_used_and_told(colour, tmp_path):
    pixels = np.stack([SHAPE * 0 + colour] * 3 + [SHAPE * 255], 2).astype(np.uint8)
    mask, notes = read_mask(write(tmp_path / "a.png", pixels))
    np.testing.assert_array_equal(mask, SHAPE)
    assert notes == [masks.ALPHA]


def test_a_dark_lesion_on_transparent_white_is_where_it_can_be_seen(tmp_path):
    pixels = np.stack([255 - SHAPE * 235] * 3 + [SHAPE * 255], 2)
    assert read_mask(write(tmp_path / "a.png", pixels))[0].sum() == 640


def test_two_shapes_in_one_file_are_refused(tmp_path):
    pixels = np.stack([SHAPE * 255] * 3 + [np.roll(SHAPE, 9, 0) * 255], 2)
    with pytest.raises(UserError, match="one shape in its colours and another in its alpha channel"):
        read_mask(write(tmp_path / "a.png", pixels))


@pytest.mark.parametrize("quality", [40, 75, 95])
def test_a_jpeg_mask_is_what_was_compressed(quality, tmp_path):
    mask, notes = read_mask(write(tmp_path / "a.jpg", SHAPE * 255, quality=quality))
    np.testing.assert_array_equal(mask, SHAPE)
    assert notes == [masks.SOFT]


def test_a_smooth_border_is_cut_at_half(tmp_path):
    # Columns 10 to 14 rise as 51, 102, 153, 204, 255: the lesion begins at 153.
    levels = np.zeros((40, 60), np.uint8)
    levels[5:35, 10:40] = np.minimum(np.arange(1, 31) * 51, 255)
    mask, notes = read_mask(write(tmp_path / "a.png", levels))
    assert mask[20].nonzero()[0].tolist() == list(range(12, 40))
    assert notes == [masks.SOFT]
    assert read_mask(write(tmp_path / "b.png", levels.astype(np.uint16) * 257))[0].sum() == mask.sum()


@pytest.mark.parametrize("size", [1, 8])  # a label may be a rim of one pixel
@pytest.mark.parametrize(("high", "fault"), [(2, "levels from 0 to 2"), (255, "large grey areas")])
def test_labels_of_several_things_are_refused(size, high, fault, tmp_path):
    if (size, high) == (1, 255):
        return  # what smoothing leaves
    levels = SHAPE * np.uint8(high)
    levels[12 : 12 + size, 14:24] = high / 2
    with pytest.raises(UserError, match=rf"a\.png has {fault}"):
        read_mask(write(tmp_path / "a.png", levels))


@pytest.mark.parametrize("label", [1, 20])
def test_a_faint_label_beside_a_bright_one_is_refused(label, tmp_path):
    levels = SHAPE * np.uint8(label)
    levels[cv2.erode(SHAPE, np.ones((3, 3), np.uint8)) < SHAPE] = 255  # the border, as in PASCAL VOC
    with pytest.raises(UserError, match=r"a\.png has large grey areas"):
        read_mask(write(tmp_path / "a.png", levels))


@pytest.mark.parametrize("kind", [np.int8, np.int16, np.int32, np.uint32, np.int64, np.float32, np.float64])
@pytest.mark.parametrize("colours", [False, True])
def test_any_kind_of_number_is_read(kind, colours, monkeypatch, tmp_path):
    pixels = (SHAPE * 100).astype(kind)
    monkeypatch.setattr(masks, "read_image", lambda *_: np.stack([pixels] * 3, 2) if colours else pixels)
    np.testing.assert_array_equal(read_mask(write(tmp_path / "a.png", SHAPE))[0], SHAPE)


def test_a_photograph_in_place_of_a_mask_is_refused(tmp_path):
    noise = np.random.default_rng(0).integers(60, 200, (40, 60, 3), dtype=np.uint8)
    with pytest.raises(UserError, match="large grey areas"):
        read_mask(write(tmp_path / "a.png", noise))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("drawn_on", ["stored", "displayed"])
def test_a_mask_lies_over_its_turned_image_by_size(orientation, drawn_on, tmp_path):
    shown = turn(SHAPE, orientation)
    photo = Photo(np.zeros((*shown.shape, 3), np.uint8), orientation)
    path = write(tmp_path / "a.png", (SHAPE if drawn_on == "stored" else np.ascontiguousarray(shown)) * 255)
    mask, notes = read_mask(path, photo)
    if orientation in (2, 3, 4):  # the sizes are equal: nobody can tell
        np.testing.assert_array_equal(mask, SHAPE if drawn_on == "stored" else shown)
        assert notes == [masks.EITHER_WAY]
    else:
        np.testing.assert_array_equal(mask, shown)
        assert notes == ([masks.TURNED] if drawn_on == "stored" and orientation > 4 else [])


def test_a_turned_square_is_told_unless_the_mask_looks_the_same(tmp_path):
    square = np.zeros((40, 40), np.uint8)
    square[10:30, 10:30] = 1
    photo = Photo(np.zeros((40, 40, 3), np.uint8), 6)
    assert read_mask(write(tmp_path / "a.png", square * 255), photo)[1] == []
    square[5:10, 15] = 1
    assert read_mask(write(tmp_path / "a.png", square * 255), photo)[1] == [masks.EITHER_WAY]


@pytest.mark.parametrize("orientation", [3, 6])
def test_a_mask_with_an_orientation_of_its_own_is_turned_by_it(orientation, tmp_path):
    shown = turn(SHAPE, orientation)
    path = write(tmp_path / "a.png", SHAPE * 255, turned=orientation)
    mask, notes = read_mask(path, Photo(np.zeros((*shown.shape, 3), np.uint8), orientation))
    np.testing.assert_array_equal(mask, shown)
    assert not notes


def test_a_mask_of_another_size_is_refused(tmp_path):
    path = write(tmp_path / "a.png", SHAPE * 255)
    for photo in (Photo(np.zeros((40, 50, 3), np.uint8)), Photo(np.zeros((60, 40, 3), np.uint8))):
        with pytest.raises(UserError, match=r"a\.png is 60x40 px but its image is (50x40|40x60)"):
            read_mask(path, photo)


def test_each_useless_mask_has_its_own_sentence():
    assert mask_fault(SHAPE) is None
    assert mask_fault(SHAPE * 0) == "the mask is empty"
    assert mask_fault(SHAPE * 0 + 1) == "the mask covers the whole image"
    assert mask_fault(1 - SHAPE) == masks.INVERTED
    large = np.ones((40, 60), np.uint8)
    large[:6, :6] = 0  # one of four corners: a lesion larger than the picture
    assert mask_fault(large) is None


def test_inverted_masks_of_real_lesions_are_known_and_no_real_mask_is(shared):
    folder = shared / "data" / "ham10000" / "HAM10000_segmentations_lesion_tschandl"
    inverted = 0
    for path in sorted(folder.iterdir())[::8]:
        mask = read_mask(path)[0]
        assert mask_fault(mask) is None
        inverted += mask_fault(1 - mask) == masks.INVERTED
    assert inverted >= 40  # of 50; the others reach far along the border


def test_the_original_masks_stay_as_they_are(shared):
    folder = shared / "data" / "ham10000" / "HAM10000_segmentations_lesion_tschandl"
    paths = sorted(folder.iterdir())
    indexed = [path for path in paths if path.read_bytes()[25] == 3]  # PNG's colour type: a palette
    assert len(indexed) == 14
    for path in [*indexed, *paths[::20]]:
        mask, notes = read_mask(path)
        np.testing.assert_array_equal(mask, cv2.imread(str(path), cv2.IMREAD_GRAYSCALE) > 0)
        assert not notes
