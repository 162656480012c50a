"""The overview's example is the lesion and the prediction it says, and its page is drawn whatever the lesion."""

from itertools import pairwise

import cv2
import numpy as np
import pytest
import torch

from common.data.dataset import LesionDataset
from common.data.loader import LesionLoader
from common.inference.predictor import Predictor
from common.model import build_network, centre_crop
from common.recipe import A1, A1CLASS
from common.report.figures.overview import DOWN, HEIGHT, OTHERS, PANEL, SKIP, draw_overview, predict_example
from common.report.figures.page import DPI
from common.training.checkpoint import save_checkpoint
from common.utils.drawing import BLUE, ORANGE
from common.utils.errors import UserError

SETTINGS = {"encoder": "resnet18", "canvas": [128, 128], "loss_weights": {"mask": 50.0, "cluster": 1.0}}


@pytest.fixture(scope="module")
def checkpoint(phantom_ham, tmp_path_factory):
    torch.manual_seed(0)
    path, dataset = tmp_path_factory.mktemp("overview") / "a.pt", LesionDataset.open(phantom_ham / "prepared")
    network = build_network(A1CLASS, "resnet18", 4).eval()
    lesions = LesionLoader(dataset, np.array([3]), "ellipse", (128, 128), torch.device("cpu"))
    with torch.no_grad():  # untrained, it would find nothing or everything; so, half of lesion 3's patch
        logits = network(next(iter(lesions.batches(1))).images)["mask"]
        network.segmentation_head[0].bias -= centre_crop(logits).median()
    save_checkpoint(path, network, SETTINGS)
    return path


@pytest.fixture
def dataset(phantom_ham) -> LesionDataset:
    return LesionDataset.open(phantom_ham / "prepared")


def test_the_example_is_predicted_as_an_evaluation_does(dataset, checkpoint):
    name = dataset.lesions[3]["lesion"]
    example = predict_example(dataset, checkpoint, name)
    assert (example.row, example.weights) == (3, SETTINGS["loss_weights"])
    assert example.cluster == dataset.clusters()[3]
    evaluated = Predictor.load(checkpoint).mask_rows(dataset, np.array([3]))[0]
    assert (example.mask != evaluated).mean() < 0.005  # half of the logits lie about 0, where rounding decides
    assert 0.4 < example.mask.mean() < 0.6
    assert example.probabilities.shape == (4,) and example.probabilities.sum() == pytest.approx(1)


def test_the_median_lesion_of_the_test_split_unless_one_is_named(dataset, checkpoint):
    row = predict_example(dataset, checkpoint, None).row
    areas = dataset.array("ellipse").sum(axis=(1, 2))
    test = dataset.rows("test")
    assert row in test and np.argsort(areas[test]).tolist().index(test.tolist().index(row)) == len(test) // 2


def test_the_page(dataset, checkpoint, tmp_path):
    example = predict_example(dataset, checkpoint, None)
    for name in ("a.png", "b.png"):
        draw_overview(tmp_path / name, example)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    picture = cv2.imread(str(tmp_path / "a.png"))[..., ::-1]
    for colour in (ORANGE, BLUE, PANEL):
        assert (picture == colour).all(axis=-1).sum() > 1000
    for arrow in (SKIP, DOWN):
        for (x, y), (next_x, next_y) in pairwise(arrow[:-1]):
            row, column = round((HEIGHT - (y + next_y) / 2) * DPI), round((x + next_x) / 2 * DPI)
            assert picture[row - 1 : row + 2, column - 1 : column + 2].max(axis=-1).min() < 90


def test_a_lesion_of_a_rare_cluster_is_shown_all_the_same(dataset, checkpoint, tmp_path):
    lesions = [dict(lesion, cluster=str(max(row - 30, 0))) for row, lesion in enumerate(dataset.lesions)]
    rare = LesionDataset(dataset.folder, {**dataset.metadata, "clusters": 4}, lesions)
    example = predict_example(rare, checkpoint, rare.lesions[39]["lesion"])
    assert example.cluster == 9 and len(np.unique(rare.clusters())) > 1 + len(OTHERS)
    draw_overview(tmp_path / "a.png", example)
    assert (cv2.imread(str(tmp_path / "a.png"))[..., ::-1] == ORANGE).all(axis=-1).sum() > 1000


def test_bad_input(dataset, checkpoint, tmp_path):
    with pytest.raises(UserError, match=r"lesions\.csv has no lesion ISIC_1"):
        predict_example(dataset, checkpoint, "ISIC_1")
    save_checkpoint(tmp_path / "a1.pt", build_network(A1, "resnet18", 4), SETTINGS)
    with pytest.raises(UserError, match=r"a1\.pt has no cluster head"):
        predict_example(dataset, tmp_path / "a1.pt", None)
    other = LesionDataset(dataset.folder, {**dataset.metadata, "clusters": 8}, dataset.lesions)
    with pytest.raises(UserError, match=r"a\.pt has 4 clusters, and .* 8 clusters"):
        predict_example(other, checkpoint, None)
    for settings, sentence in (
        ({"prepared": "other"}, "was trained on other shape clusters than those in .*; pass its own"),
        ({"dataset": "LiTS"}, "was trained on LiTS, not on HAM10000"),
    ):
        save_checkpoint(tmp_path / "other.pt", build_network(A1CLASS, "resnet18", 4), SETTINGS | settings)
        with pytest.raises(UserError, match=sentence):
            predict_example(dataset, tmp_path / "other.pt", None)


def test_a_network_that_sees_marks_is_shown_the_lesions_own(dataset, tmp_path):
    torch.manual_seed(0)
    network = build_network(A1CLASS, "resnet18", 4, prompt=True)
    save_checkpoint(tmp_path / "a.pt", network, SETTINGS | {"prompt": "recist"})
    example = predict_example(dataset, tmp_path / "a.pt", dataset.lesions[3]["lesion"])
    image, own, other = (
        torch.from_numpy(dataset.array(name)[[row]]) for name, row in (("images", 3), ("ends", 3), ("ends", 4))
    )
    predictor = Predictor.load(tmp_path / "a.pt", device="cpu")
    right, wrong = (predictor.logits(image, ends)["cluster"][0].softmax(0).numpy() for ends in (own, other))
    np.testing.assert_allclose(example.probabilities, right, atol=1e-6)
    assert np.abs(right - wrong).max() > 1e-4
