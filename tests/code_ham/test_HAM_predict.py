"""Skin images of any size get masks of their own size, through the patch that preprocessing makes."""

import cv2
import numpy as np
import pytest
from PIL import Image

import HAM_predict
import stub
from common.data.dataset import LesionDataset
from common.inference.photos import read_lesion_image
from common.inference.prompts import ENDS
from common.io.images import write_image
from common.metrics import dice
from common.model import build_network
from common.recipe import A1CLASS
from common.recist import diameters
from common.training.checkpoint import save_checkpoint
from common.utils.errors import UserError
from common.utils.files import read_csv


@pytest.fixture
def image(tmp_path):
    """A bright ellipse on a dark image of 300x700 px, and its mask."""
    mask = np.zeros((300, 700), np.uint8)
    cv2.ellipse(mask, (400, 160), (180, 90), 20, 0, 360, 1, -1)
    path = tmp_path / "meine Bilder" / "Läsion.png"
    write_image(path, np.repeat(mask[..., None] * 255, 3, axis=2))
    return path, mask


def run(*words):
    HAM_predict.main(["--checkpoint", "a.pt", *map(str, words)])


def test_a_mask_lies_where_the_lesion_is(image, tmp_path, monkeypatch):
    network = stub.use(monkeypatch)
    path, mask = image
    run(path, "--out", tmp_path / "out")
    assert network.settings["dataset"] == "HAM10000"
    predicted = cv2.imdecode(np.fromfile(tmp_path / "out" / "Läsion_mask.png", np.uint8), cv2.IMREAD_UNCHANGED)
    assert predicted.shape == mask.shape
    assert dice(predicted > 0, mask > 0) > 0.99
    (row,) = read_csv(tmp_path / "out" / "measurements.csv")
    assert (row["input"], row["lesion"], row["long_mm"]) == (str(path), "Läsion", "")
    truth = diameters(mask)
    assert float(row["long_px"]) == pytest.approx(truth.long, abs=700 / 120)  # a pixel of the patch
    assert float(row["short_px"]) == pytest.approx(truth.short, abs=700 / 120)


def test_folders_files_and_names_that_differ_by_suffix(image, tmp_path, monkeypatch):
    stub.use(monkeypatch)
    path, mask = image
    write_image(path.with_suffix(".JPG"), np.full((40, 60, 3), (255, 250, 255), np.uint8))
    (path.parent / "notes.txt").touch()
    run(path.parent, path, "--out", tmp_path / "out")  # the image that is named twice is predicted once
    rows = read_csv(tmp_path / "out" / "measurements.csv")
    assert [row["mask"] for row in rows] == ["Läsion_mask.png", "Läsion_png_mask.png"]
    assert [int(row["area_px"]) for row in rows] == [2400, pytest.approx(mask.sum(), rel=0.01)]


def test_patches_are_those_of_preprocessing(phantom_ham):
    dataset = LesionDataset.open(phantom_ham / "prepared")
    for row in (0, 25):
        (path,) = phantom_ham.glob(f"HAM10000_images_part_*/{dataset.lesions[row]['source']}")
        (patch,) = read_lesion_image(path, "a", rgb=False).patches
        np.testing.assert_array_equal(patch.image, dataset.array("images")[row])
        (patch,) = read_lesion_image(path, "a", rgb=True).patches
        np.testing.assert_array_equal(patch.image, dataset.array("images")[row][..., ::-1])


@pytest.mark.parametrize(
    ("protocol", "preprocessing", "channel"),
    [
        ("released", {}, 0),
        ("corrected", {}, 2),
        ("released", {"channels": "rgb"}, 2),
        ("corrected", {"channels": "bgr"}, 0),
    ],
)
def test_the_checkpoint_decides_the_order_of_the_channels(protocol, preprocessing, channel, tmp_path, monkeypatch):
    """By what it says of its preprocessing, else by its protocol."""
    patches = []
    network = stub.use(monkeypatch, protocol)
    network.model.settings["preprocessing"] = preprocessing
    monkeypatch.setattr(network, "probabilities", lambda batch, ends: patches.extend(batch) or np.zeros((1, 120, 120)))
    write_image(tmp_path / "blue.png", np.full((50, 50, 3), (200, 0, 0), np.uint8))  # OpenCV writes BGR
    run(tmp_path / "blue.png", "--out", tmp_path / "out")
    assert patches[0][60, 60].tolist() == [200 * (place == channel) for place in range(3)]


def test_a_protocol_that_contradicts_the_checkpoint_is_refused(tmp_path, monkeypatch):
    stub.use(monkeypatch).model.settings.update(protocol="released", preprocessing={"channels": "bgr"})
    write_image(tmp_path / "a.png", np.full((50, 50, 3), (9, 9, 99), np.uint8))
    with pytest.raises(UserError, match="trained with another protocol, released; leave --protocol out"):
        run(tmp_path / "a.png", "--protocol", "corrected", "--out", tmp_path / "out")
    run(tmp_path / "a.png", "--protocol", "released", "--out", tmp_path / "out")


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_mask_lies_over_the_image_as_viewers_show_it(orientation, image, tmp_path, monkeypatch):
    stub.use(monkeypatch)
    shown = image[1]
    exif = Image.Exif()
    exif[0x112] = orientation
    stored = {1: shown, 2: shown[:, ::-1], 3: shown[::-1, ::-1], 4: shown[::-1], 5: shown.T, 6: np.rot90(shown),
              7: shown[::-1, ::-1].T, 8: np.rot90(shown, -1)}[orientation]  # fmt: skip
    path = tmp_path / "photo.jpg"
    Image.fromarray(np.ascontiguousarray(stored) * 255).convert("RGB").save(path, exif=exif, quality=95)
    run(path, "--out", tmp_path / "out")
    with Image.open(tmp_path / "out" / "photo_mask.png") as mask:
        assert mask.getexif().get(0x112, 1) == 1
        assert dice(np.array(mask) > 0, shown > 0) > 0.99


def test_sixteen_bits_are_predicted_where_used_and_else_refused(image, tmp_path, monkeypatch):
    stub.use(monkeypatch)
    path, shown = tmp_path / "a.png", image[1]
    grain = np.random.default_rng(0).integers(0, 8192, shown.shape, dtype=np.uint16)
    write_image(path, np.repeat((shown * np.uint16(57_343) + grain)[..., None], 3, axis=2))
    run(path, "--out", tmp_path / "out")
    assert dice(cv2.imread(str(tmp_path / "out" / "a_mask.png"), 0) > 0, shown > 0) > 0.99
    write_image(path, np.repeat(shown[..., None] * np.uint16(4095), 3, axis=2))
    with pytest.raises(UserError, match=r"a\.png has uint16 levels from 0 to 4095; save it with 8 bits"):
        run(path, "--out", tmp_path / "out")


def test_transparent_pixels_are_told(tmp_path, monkeypatch, capsys):
    stub.use(monkeypatch)
    write_image(
        tmp_path / "a.png", np.dstack([np.full((9, 9, 3), (255, 0, 0), np.uint8), np.eye(9, dtype=np.uint8) * 255])
    )
    run(tmp_path / "a.png", "--out", tmp_path / "out")
    assert "a.png: it has transparent pixels" in capsys.readouterr().err


def test_what_cannot_be_predicted_is_one_sentence(image, tmp_path, monkeypatch):
    stub.use(monkeypatch)
    (tmp_path / "empty").mkdir()
    (tmp_path / "broken.jpg").write_bytes(b"no image")
    for words, wrong in (
        ([tmp_path / "empty"], "no image is in .*empty: it is empty; images end in .jpg"),
        ([tmp_path / "gone.jpg"], "does not exist"),
        ([tmp_path / "broken.jpg"], "is not a readable image"),
    ):
        with pytest.raises(UserError, match=wrong):
            run(*words, "--out", tmp_path / "out")
    assert not list((tmp_path / "out").iterdir())
    with pytest.raises(UserError, match="holds the input"):
        run(image[0], "--out", image[0].parent)


def test_a_checkpoint_from_disk_predicts(image, tmp_path):
    own = {"dataset": "HAM10000", "encoder": "resnet18", "canvas": [128, 128], "protocol": "released"}
    save_checkpoint(tmp_path / "a.pt", build_network(A1CLASS, "resnet18", 3), own)
    HAM_predict.main(["--checkpoint", str(tmp_path / "a.pt"), str(image[0]), "--out", str(tmp_path / "out")])
    assert len(read_csv(tmp_path / "out" / "measurements.csv")) == 1


def test_a_checkpoint_from_disk_that_sees_marks_predicts(image, tmp_path):
    own = {"dataset": "HAM10000", "encoder": "resnet18", "canvas": [128, 128], "protocol": "corrected"}
    network = build_network(A1CLASS, "resnet18", 3, prompt=True)
    save_checkpoint(tmp_path / "a.pt", network, own | {"prompt": "recist"})
    cells = ",".join(f"{number:.1f}" for number in diameters(image[1]).ends.ravel())
    (tmp_path / "marks.csv").write_text(f"image,{','.join(ENDS)}\nläsion,{cells}\n")
    words = ["--checkpoint", str(tmp_path / "a.pt"), str(image[0]), "--out", str(tmp_path / "out")]
    with pytest.raises(UserError, match=r"a\.pt needs the RECIST marks of the lesions"):
        HAM_predict.main(words)
    HAM_predict.main([*words, "--lesions", str(tmp_path / "marks.csv")])
    assert len(read_csv(tmp_path / "out" / "measurements.csv")) == 1
