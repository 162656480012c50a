"""The overview's example is the lesion and the prediction it says, and its page is drawn whatever the lesion."""

import cv2
import numpy as np
import pytest
import torch

from common.data.dataset import LesionDataset
from common.data.images import BLUE, ORANGE
from common.data.loader import LesionLoader
from common.inference.predictor import predict_rows
from common.model import build_network, centre_crop
from common.recipe import A1, A1CLASS
from common.report.figures.overview import SHOWN, draw_overview, find_example
from common.training.checkpoint import save_checkpoint
from common.utils.errors import UserError

RECIPE = {"encoder": "resnet18", "canvas": [128, 128], "loss_weights": {"mask": 50.0, "cluster": 1.0}}


@pytest.fixture(scope="module")
def checkpoint(phantom_ham, tmp_path_factory):
    torch.manual_seed(0)
    path, prepared = tmp_path_factory.mktemp("overview") / "a.pt", LesionDataset.open(phantom_ham / "prepared")
    network = build_network(A1CLASS, "resnet18", 4).eval()
    lesions = LesionLoader(prepared, np.array([3]), "ellipse", (128, 128), torch.device("cpu"))
    with torch.no_grad():  # untrained, it would find nothing or everything; so, half of lesion 3's patch
        logits = network(next(iter(lesions.batches(1))).images)["mask"]
        network.segmentation_head[0].bias -= centre_crop(logits).median()
    save_checkpoint(path, network, RECIPE)
    return path


@pytest.fixture
def prepared(phantom_ham) -> LesionDataset:
    return LesionDataset.open(phantom_ham / "prepared")


def test_the_example_is_predicted_as_an_evaluation_does(prepared, checkpoint):
    name = prepared.lesions[3]["lesion"]
    example = find_example(prepared, checkpoint, name)
    assert (example.row, example.weights) == (3, RECIPE["loss_weights"])
    assert example.cluster == prepared.clusters()[3]
    assert np.array_equal(example.recist, prepared.array("recist")[3])
    evaluated = predict_rows(checkpoint, prepared, np.array([3]))[1][0]
    assert (example.mask != evaluated).mean() < 0.005  # half of the logits lie about 0, where rounding decides
    assert 0.4 < example.mask.mean() < 0.6
    assert example.probabilities.shape == (4,) and example.probabilities.sum() == pytest.approx(1)


def test_the_median_lesion_of_the_test_split_unless_one_is_named(prepared, checkpoint):
    row = find_example(prepared, checkpoint, None).row
    areas = prepared.array("ellipse").sum(axis=(1, 2))
    test = prepared.rows("test")
    assert row in test and np.argsort(areas[test]).tolist().index(test.tolist().index(row)) == len(test) // 2


def test_the_page(prepared, checkpoint, tmp_path):
    example = find_example(prepared, checkpoint, None)
    for name in ("a.png", "b.png"):
        draw_overview(tmp_path / name, example)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    picture = cv2.imread(str(tmp_path / "a.png"))[..., ::-1]
    for colour in (ORANGE, BLUE):
        assert (picture == colour).all(axis=-1).sum() > 1000


def test_a_lesion_of_a_rare_cluster_is_shown_all_the_same(prepared, checkpoint, tmp_path):
    lesions = [dict(lesion, cluster=str(max(row - 30, 0))) for row, lesion in enumerate(prepared.lesions)]
    rare = LesionDataset(prepared.folder, {**prepared.metadata, "clusters": 4}, lesions)
    example = find_example(rare, checkpoint, rare.lesions[39]["lesion"])
    assert example.cluster == 9 and len(np.unique(rare.clusters())) > SHOWN
    draw_overview(tmp_path / "a.png", example)
    assert (cv2.imread(str(tmp_path / "a.png"))[..., ::-1] == ORANGE).all(axis=-1).sum() > 1000


def test_bad_input(prepared, checkpoint, tmp_path):
    with pytest.raises(UserError, match=r"lesions\.csv has no lesion ISIC_1"):
        find_example(prepared, checkpoint, "ISIC_1")
    save_checkpoint(tmp_path / "a1.pt", build_network(A1, "resnet18", 4), RECIPE)
    with pytest.raises(UserError, match=r"a1\.pt has no cluster head"):
        find_example(prepared, tmp_path / "a1.pt", None)
    other = LesionDataset(prepared.folder, {**prepared.metadata, "clusters": 8}, prepared.lesions)
    with pytest.raises(UserError, match=r"a\.pt has 4 clusters, and .* 8 clusters"):
        find_example(other, checkpoint, None)
