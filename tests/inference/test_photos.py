"""Photos: what is taken from folders, and one bad file among good ones."""

from types import SimpleNamespace

import cv2
import numpy as np
import pytest

import stub
from common.inference.photos import find_images, predict_photos
from common.recipe import A1, A1CLASS, DatasetInfo
from common.run.own_data import recipes
from common.utils.errors import UserError
from common.utils.files import read_csv


@pytest.fixture
def dataset(tmp_path):
    return DatasetInfo("Toy", tmp_path, "data", "toy_data.py", 4, "truth")


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


def test_an_image_that_is_named_twice_is_taken_once(photos):
    paths = find_images([photos / "c.tif", photos, photos / ".." / "photos" / "a.png"])
    assert [path.name for path in paths] == ["c.tif", "a.png", "b.BMP"]
    with pytest.raises(UserError, match="gone does not exist"):
        find_images([photos / "gone"])


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
    network = stub.use(monkeypatch)
    network.model = SimpleNamespace(protocol="corrected", settings={}, method=A1)
    words = [str(photos / "a.png"), "--out", str(tmp_path / "out")]
    predict_photos(dataset, None, words, recipes(dataset)["A1"])
    assert network.settings["checkpoint"] == tmp_path / "checkpoints" / "toy_a1.pt"
    network.model.method = A1CLASS
    with pytest.raises(UserError, match=r"toy_a1\.pt holds the network of A1\+L; say predict A1class"):
        predict_photos(dataset, None, words, recipes(dataset)["A1"])
