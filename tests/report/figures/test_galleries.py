"""Galleries show the lesions they should, each with its own outline, whatever the datasets have and lack."""

from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from common.data.dataset import LesionDataset
from common.report.figures.galleries import (
    Predictions,
    draw_clusters,
    draw_results,
    evenly_spaced,
    fitting_size,
    largest_clusters,
    lesion_image,
    rows_by_size,
)
from common.report.figures.page import DPI, WIDTH
from common.utils.drawing import BLUE, GREEN, ORANGE


def count(path, colour) -> int:
    picture = cv2.imread(str(path))[..., ::-1].astype(int)
    assert picture.shape[1] == WIDTH * DPI
    return int((np.abs(picture - np.array(colour)).max(axis=-1) < 12).sum())


def test_places_spread_by_hand():
    assert evenly_spaced(10, 2).tolist() == [2, 7]
    assert evenly_spaced(3, 5).tolist() == [0, 1, 2]
    assert evenly_spaced(0, 3).tolist() == []


def test_lesions_go_from_small_to_large(phantom_ham):
    dataset = LesionDataset.open(phantom_ham / "prepared")
    rows = rows_by_size(dataset, "train", 5)
    area = dataset.array("ellipse").sum(axis=(1, 2))
    assert len(set(rows)) == 5 and (np.diff(area[rows]) >= 0).all()
    assert all(dataset.lesions[row]["split"] == "train" for row in rows)
    rows = rows_by_size(dataset, "test", 100)
    assert sorted(rows) == dataset.rows("test").tolist()


def test_the_most_populous_clusters(phantom_ham):
    dataset = LesionDataset.open(phantom_ham / "prepared")
    clusters = largest_clusters(dataset, 2)
    sizes = np.bincount(dataset.clusters())
    assert sorted(len(rows) for _, rows in clusters) == sorted(sizes)[-2:]
    assert all((dataset.clusters()[rows] == cluster).all() for cluster, rows in clusters)
    areas = [dataset.array("recist")[rows, 2:4].prod(axis=1).mean() for _, rows in clusters]
    assert areas == sorted(areas)
    assert len(largest_clusters(dataset, 99)) == np.count_nonzero(sizes)


def test_clusters_of_two_folders(phantom_ham, folder, tmp_path):
    dataset = LesionDataset.open(phantom_ham / "prepared")
    draw_clusters(tmp_path / "one.png", [dataset], 2, 3)
    draw_clusters(tmp_path / "two.png", [dataset, LesionDataset.open(folder)], 3, 40)  # more than there are
    assert count(tmp_path / "one.png", ORANGE) > 1000
    assert count(tmp_path / "two.png", ORANGE) > 300


def test_results_with_and_without_truth(phantom_ham, phantom_deeplesion, tmp_path):
    skin, scans = LesionDataset.open(phantom_ham / "prepared"), LesionDataset.open(phantom_deeplesion / "prepared")
    rows = skin.rows("test")[:2]
    full = np.ones((2, 120, 120), np.uint8)
    predicted = Predictions(skin, rows, {"A1": skin.array("truth")[rows], "A1+L": full})
    bare = Predictions(scans, scans.rows("test")[:1])
    assert (predicted.reference, bare.reference) == ("truth", "grabcut")
    draw_results(tmp_path / "none.png", [Predictions(skin, rows)])
    draw_results(tmp_path / "two.png", [predicted, bare])
    assert count(tmp_path / "none.png", BLUE) == 0
    for colour in (GREEN, ORANGE, BLUE):
        assert count(tmp_path / "two.png", colour) > 500


def test_headings_of_many_lines_have_room(phantom_ham, tmp_path):
    dataset = LesionDataset.open(phantom_ham / "prepared")
    rows = dataset.rows("test")[:1]
    heights = []
    for heading in ("A1", "A1\ntrained on truth\nfolder/full"):
        draw_results(tmp_path / "a.png", [Predictions(dataset, rows, {heading: dataset.array("truth")[rows]})])
        picture = cv2.imread(str(tmp_path / "a.png"))
        heights.append(len(picture))
        assert picture[0].min() == 255 and picture[: DPI // 4].min() < 90
    assert heights[1] - heights[0] == pytest.approx(0.15 * DPI, abs=1)


def test_an_ellipse_stands_in_where_there_is_nothing_else(folder):
    dataset = LesionDataset.open(folder)
    lacking = LesionDataset(folder, {**dataset.metadata, "arrays": ["ellipse", "images", "recist"]}, dataset.lesions)
    assert Predictions(lacking, np.array([0])).reference == "ellipse"


def test_words_shrink_until_they_fit():
    assert fitting_size("A1", 1.4) == 9
    assert fitting_size("A1\n" + "x" * 20, 1) == pytest.approx(72 / (0.62 * 20))


@pytest.mark.parametrize(("channels", "shown"), [("bgr", [0, 0, 200]), ("rgb", [200, 0, 0]), ("slices", [0, 0, 0])])
def test_images_are_shown_as_they_look(channels, shown):
    images = np.zeros((1, 120, 120, 3), np.float32)
    images[..., 0] = 200
    dataset = SimpleNamespace(array=lambda _: images, metadata={"preprocessing": {"channels": channels}})
    assert lesion_image(dataset, 0)[0, 0].tolist() == shown
