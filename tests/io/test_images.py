"""Damaged images are refused, and colours are right."""

import cv2
import numpy as np
import pytest
from PIL import Image, ImageOps

from common.io.images import SUFFIXES, find_images, list_images, read_image, read_orientation, read_photo, write_image
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


@pytest.mark.parametrize("film", [b"\0\0\0\x18ftypmp42" + bytes(9000), b"\0\0MotionPhoto_Data" + bytes(9000)])
def test_a_photo_with_a_film_behind_it_is_read(tmp_path, film):
    cv2.imwrite(str(tmp_path / "a.jpg"), np.zeros((40, 60, 3), np.uint8))
    with (tmp_path / "a.jpg").open("ab") as file:
        file.write(film)
    assert read_image(tmp_path / "a.jpg").shape == (40, 60, 3)


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


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_photo_is_turned_as_viewers_turn_it(orientation, suffix, tmp_path):
    exif = Image.Exif()
    exif[0x10F], exif[0x112] = "a camera", orientation
    pixels = cv2.resize(np.random.default_rng(0).integers(0, 255, (3, 4, 3), dtype=np.uint8), (64, 48))
    Image.fromarray(pixels).save(
        tmp_path / f"a{suffix}", exif=exif, **({"lossless": True} if suffix == ".webp" else {})
    )
    photo = read_photo(tmp_path / f"a{suffix}")
    assert photo.orientation == orientation
    with Image.open(tmp_path / f"a{suffix}") as image:
        shown = np.array(ImageOps.exif_transpose(image))
    np.testing.assert_allclose(photo.pixels[..., ::-1], shown, atol=3 * (suffix == ".jpg"))


def test_folders_give_every_format_that_is_read(tmp_path, capsys):
    encoder = {".jfif": ".jpg", ".pgm": ".pnm", ".pbm": ".pnm"}  # OpenCV writes these from other arrays only
    shade = np.full((48, 64, 3), 200, np.uint8)
    shade[:8, :8] = 255
    for suffix in SUFFIXES:
        path = tmp_path / f"a{suffix.upper()}"
        path.write_bytes(cv2.imencode(encoder.get(suffix, suffix), shade)[1].tobytes())
        assert read_photo(path).pixels.mean(axis=(0, 1)) == pytest.approx([201] * 3, abs=8)  # GIFs are dithered
    assert len(list_images(tmp_path)) == len(SUFFIXES)
    assert capsys.readouterr().err == ""
    (tmp_path / "a.heic").touch()
    (tmp_path / "._a.jpg").touch()
    (tmp_path / "folder.jpg").mkdir()
    assert len(list_images(tmp_path)) == len(SUFFIXES)
    left_out = f"{tmp_path}: a.heic, folder.jpg/: folder, or not named like an image; left out\n"
    assert capsys.readouterr().err == left_out


def test_an_image_that_is_named_twice_is_taken_once(tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    for name in ("a.png", "b.BMP", "c.nii.gz", "d.NII"):
        (folder / name).touch()
    paths = find_images([folder / "b.BMP", folder, folder / ".." / "photos" / "a.png"])
    assert [path.name for path in paths] == ["b.BMP", "a.png"]
    assert [path.name for path in find_images([folder], (".nii", ".nii.gz"))] == ["c.nii.gz", "d.NII"]
    with pytest.raises(UserError, match="gone does not exist"):
        find_images([folder / "gone"])


@pytest.mark.parametrize("suffix", ["tif", "gif", "webp", "png"])
def test_a_file_of_several_images_is_refused(suffix, tmp_path):
    frames = [np.full((20, 30, 3), shade, np.uint8) for shade in (0, 100, 200)]
    path = tmp_path / f"a.{suffix}"
    if suffix == "tif":
        cv2.imwritemulti(str(path), frames)
    else:
        animation = cv2.Animation()
        animation.frames, animation.durations = frames, [100] * 3
        cv2.imwriteanimation(str(path), animation)
    with pytest.raises(UserError, match=rf"a\.{suffix} holds several images \(pages or frames\); save the right one"):
        read_photo(path)


def test_a_folder_without_images_is_one_sentence(tmp_path):
    (tmp_path / "a.txt").touch()
    with pytest.raises(UserError, match=r"no image is in .*: it holds a\.txt; images end in \.jpg, "):
        list_images(tmp_path)
    with pytest.raises(UserError, match="there is no such folder"):
        list_images(tmp_path / "gone")


def test_a_photos_patch_is_rgb_or_as_published(tmp_path):
    cv2.imwrite(str(tmp_path / "a.png"), np.full((30, 40, 3), (200, 100, 0), np.uint8))  # BGR
    photo = read_photo(tmp_path / "a.png")
    assert photo.patch(rgb=False).shape == (120, 120, 3)
    assert photo.patch(rgb=False)[60, 60].tolist() == [200, 100, 0]
    assert photo.patch(rgb=True)[60, 60].tolist() == [0, 100, 200]


@pytest.mark.parametrize("orientation", [0, 9, 274])
def test_an_orientation_that_there_is_not_turns_nothing(orientation, tmp_path):
    exif = Image.Exif()
    exif[0x112] = orientation
    Image.new("RGB", (6, 4)).save(tmp_path / "a.jpg", exif=exif)
    assert read_orientation(tmp_path / "a.jpg") == 1
    content = (tmp_path / "a.jpg").read_bytes()
    (tmp_path / "a.jpg").write_bytes(content[: content.find(b"Exif") + 12])
    assert read_orientation(tmp_path / "a.jpg") == 1


def test_a_photo_is_what_opencv_reads(shared, tmp_path):
    for path in sorted((shared / "data" / "ham10000" / "HAM10000_images_part_1").iterdir())[::40]:
        np.testing.assert_array_equal(read_photo(path).pixels, cv2.imread(str(path)))
    grey = np.random.default_rng(0).integers(0, 255, (5, 7), dtype=np.uint8)
    write_image(tmp_path / "a.png", grey)
    np.testing.assert_array_equal(read_photo(tmp_path / "a.png").pixels, cv2.imread(str(tmp_path / "a.png")))


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_sixteen_bits_are_shown_where_they_are_used_and_else_refused(channels, tmp_path):
    bright = np.random.default_rng(0).integers(0, 65_535, (9, 12, channels), dtype=np.uint16)
    bright[..., 3:] = 65_535  # opaque
    write_image(tmp_path / "a.png", bright)
    np.testing.assert_array_equal(read_photo(tmp_path / "a.png").pixels, cv2.imread(str(tmp_path / "a.png")))
    padded = np.full((9, 9), 32_768, np.uint16) + np.arange(81, dtype=np.uint16).reshape(9, 9) * 30  # CT, HU + 32768
    padded[0, 0], padded[8, 8] = 0, 45_000  # outside the scanner's circle, and metal
    write_image(tmp_path / "c.png", padded)
    with pytest.raises(UserError, match=r"c\.png has uint16 levels from 0 to 45000; save it .* CT through a window"):
        read_photo(tmp_path / "c.png")
    for bits in (8, 10, 12, 14, 15):
        dark = np.minimum(bright >> (16 - bits), (1 << bits) - 1)
        dark[..., 3:] = 65_535
        write_image(tmp_path / "b.png", dark)
        with pytest.raises(UserError, match=rf"b\.png has uint16 levels from \d+ to {dark[..., :3].max()}; save it"):
            read_photo(tmp_path / "b.png")


def test_slices_of_ct_are_no_photos(shared):
    path = shared / "data" / "deeplesion" / "Images_png" / "000001_03_01" / "089.png"
    with pytest.raises(UserError, match=r"089\.png has uint16 levels from 31744 to 34115; .* CT through a window"):
        read_photo(path)


@pytest.mark.parametrize("level", [0, 1, 255])
def test_an_image_that_shows_nothing_is_refused(level, tmp_path):
    image = np.full((4, 5, 3), level, np.uint8)
    image[0, 0] -= level > 0  # as where a mask of 0 and 1 is taken for an image
    write_image(tmp_path / "a.png", image)
    with pytest.raises(UserError, match=rf"a\.png shows nothing: all its levels are {max(level - 1, 0)} or {level} of"):
        read_photo(tmp_path / "a.png")


def test_floating_point_pixels_are_refused(tmp_path):
    write_image(tmp_path / "a.tiff", np.full((4, 5, 3), 0.5, np.float32))
    with pytest.raises(UserError, match=r"float32 levels from 0\.5 to 0\.5; save it with 8 bits"):
        read_photo(tmp_path / "a.tiff")


@pytest.mark.parametrize("kind", ["int16", "int32", "float64"])
def test_grey_of_numbers_that_no_photo_has_is_one_sentence(kind, tmp_path):
    write_image(tmp_path / "a.tiff", np.full((4, 5), 300, kind))
    with pytest.raises(UserError, match=f"{kind} levels from 300 to 300; save it with 8 bits"):
        read_photo(tmp_path / "a.tiff")


def test_transparent_pixels_are_told_and_opaque_ones_are_not(tmp_path):
    image = np.full((4, 5, 4), 255, np.uint8)
    image[..., 1] = 7
    write_image(tmp_path / "a.png", image)
    assert read_photo(tmp_path / "a.png").notes == ()
    image[0, 0, 3] = 0
    write_image(tmp_path / "a.png", image)
    photo = read_photo(tmp_path / "a.png")
    assert photo.notes == ("it has transparent pixels; the colours stored under them are used",)
    assert photo.pixels[0, 0].tolist() == [255, 7, 255]


def test_a_written_image_is_read_back(tmp_path):
    image = np.random.default_rng(0).integers(0, 65_535, (5, 7), dtype=np.uint16)
    write_image(tmp_path / "a.png", image, [cv2.IMWRITE_PNG_COMPRESSION, 1])
    np.testing.assert_array_equal(read_image(tmp_path / "a.png", cv2.IMREAD_UNCHANGED), image)
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]
