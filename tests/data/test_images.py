"""Damaged images are refused, colours are right, and an outline is where the mask ends."""

import cv2
import numpy as np
import pytest

from common.data.images import BLUE, display_image, outline, read_image, write_image
from common.utils.errors import UserError


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


def test_a_folder_in_place_of_an_image_is_refused(tmp_path):
    with pytest.raises(UserError, match="can't be read"):
        read_image(tmp_path)


def test_a_png_named_jpg_is_read(tmp_path):
    cv2.imwrite(str(tmp_path / "a.png"), np.full((4, 4), 7, np.uint8))
    (tmp_path / "a.png").rename(tmp_path / "a.jpg")
    assert read_image(tmp_path / "a.jpg", cv2.IMREAD_GRAYSCALE)[0, 0] == 7


def test_a_written_image_is_read_back(tmp_path):
    image = np.random.default_rng(0).integers(0, 65_535, (5, 7), dtype=np.uint16)
    write_image(tmp_path / "a.png", image, [cv2.IMWRITE_PNG_COMPRESSION, 1])
    np.testing.assert_array_equal(read_image(tmp_path / "a.png", cv2.IMREAD_UNCHANGED), image)
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]


def test_images_are_shown_as_they_look():
    image = np.zeros((120, 120, 3), np.uint8)
    image[..., 0] = 200
    assert display_image(image, "bgr")[0, 0].tolist() == [0, 0, 200]
    assert display_image(image, "rgb")[0, 0].tolist() == [200, 0, 0]
    assert display_image(image.astype(np.float32), "slices")[0, 0].tolist() == [0, 0, 0]


def test_an_outline_surrounds_its_mask_and_leaves_its_inside():
    mask = np.zeros((120, 120), np.uint8)
    mask[40:80, 40:80] = 1
    drawn = outline(np.full((120, 120, 3), 9, np.uint8), mask, BLUE)
    assert drawn.shape == (240, 240, 3)
    assert tuple(drawn[120, 80]) == BLUE
    assert drawn[120, 120].tolist() == drawn[10, 10].tolist() == [9, 9, 9]
