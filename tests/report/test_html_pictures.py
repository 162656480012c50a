"""What the HTML report draws: the right lesions, the right checkpoint, masks where they belong."""

import base64
import shutil

import cv2
import numpy as np
import pytest
import torch

from common.data.dataset import LesionDataset
from common.inference.predictor import Predictor
from common.model import build_network
from common.recipe import A1
from common.report import html_pictures
from common.report.runs import group_runs
from common.training.checkpoint import save_checkpoint
from common.utils.drawing import BLUE, GREEN, ORANGE, SCALE
from common.utils.files import write_csv
from common.utils.provenance import sha256
from example_results import baseline, result


@pytest.fixture(scope="module")
def dataset(phantom_ham) -> LesionDataset:
    return LesionDataset.open(phantom_ham / "prepared")


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    path = tmp_path_factory.mktemp("checkpoints") / "a.pt"
    torch.manual_seed(0)
    save_checkpoint(path, build_network(A1, "resnet18", 4), {"encoder": "resnet18", "canvas": [128, 128]})
    return path


def decode(uri: str) -> np.ndarray:
    head, _, content = uri.partition(",")
    assert head == "data:image/png;base64"
    return cv2.imdecode(np.frombuffer(base64.b64decode(content), np.uint8), cv2.IMREAD_COLOR)[..., ::-1]


def scored(folder, dataset, values):
    """A run that scored the test lesions, and a lesion that the dataset does not have; the lesions' names and rows."""
    rows = dataset.rows("test")
    names = [dataset.lesions[row]["lesion"] for row in rows]
    scores = [{"lesion": name, "dice": value} for name, value in zip(names, values, strict=True)]
    write_csv(folder / "a.csv", [*scores, {"lesion": "gone", "dice": 0.0}], ["lesion", "dice"])
    dice = sum(values) / (len(scores) + 1)
    return result(dice=dice, lesions=len(scores) + 1) | {"path": folder / "a.json"}, names, rows


def test_worst_and_best_in_turn_each_with_its_panels(dataset, checkpoint, tmp_path):
    run, names, rows = scored(tmp_path, dataset, (0.7, 0.2, 0.9, 0.5))
    strips = html_pictures.lesion_strips(run, checkpoint, dataset, 3)
    # Of four lesions two are the worst and two the best; "gone" is not among the prepared ones.
    expected = [f"worst: {names[1]}", f"best: {names[2]}", f"worst: {names[3]}", f"best: {names[0]}"]
    assert [caption.partition(",")[0] for caption, _ in strips] == expected
    assert "Dice 0.200" in strips[0][0]
    picture = decode(strips[0][1])
    side = 120 * SCALE
    assert picture.shape == (side, 4 * side + 3 * html_pictures.GAP, 3)
    panels = [picture[:, place * (side + html_pictures.GAP) :][:, :side] for place in range(4)]
    for place, colour in ((1, GREEN), (2, ORANGE)):
        drawn = np.argwhere((panels[place] == colour).all(2)) // SCALE
        mask = dataset.array("truth" if place == 1 else "ellipse")[rows[1]]
        edge = cv2.morphologyEx(mask, cv2.MORPH_GRADIENT, np.ones((5, 5), np.uint8))
        assert len(drawn) > 50
        assert edge[drawn[:, 0], drawn[:, 1]].all()
    assert not any((panels[0] == colour).all(2).any() for colour in (GREEN, ORANGE, BLUE))


def test_an_empty_prediction_is_named(dataset, checkpoint, tmp_path, monkeypatch):
    run, *_ = scored(tmp_path, dataset, (0.7, 0.2, 0.9, 0.5))
    monkeypatch.setattr(Predictor, "mask_rows", lambda *_: np.zeros((2, 120, 120), np.uint8))
    assert all("(nothing found)" in caption for caption, _ in html_pictures.lesion_strips(run, checkpoint, dataset, 1))


def test_a_single_lesion_is_neither_worst_nor_best(dataset, checkpoint, tmp_path):
    run, names, _ = scored(tmp_path, dataset, (0.7, 0.2, 0.9, 0.5))
    write_csv(tmp_path / "a.csv", [{"lesion": names[0], "dice": 0.7}], ["lesion", "dice"])
    assert html_pictures.lesion_strips(run | {"lesions": 1, "dice": 0.7}, checkpoint, dataset, 3) == []


def test_sizes_by_hand(dataset):
    sizes = html_pictures.lesion_sizes(dataset, "truth")
    lesion = sizes.loc[dataset.lesions[3]["lesion"]]
    assert lesion["row"] == 3
    assert np.pi / 4 * lesion["diameter"] ** 2 == pytest.approx(int(dataset.array("truth")[3].sum()))


def test_where_the_truth_is_not_at_hand_the_ellipse_gives_the_size(dataset):
    sizes = html_pictures.lesion_sizes(dataset, "folder")
    assert np.pi / 4 * sizes["diameter"].iloc[3] ** 2 == pytest.approx(int(dataset.array("ellipse")[3].sum()))


def test_only_the_checkpoint_that_was_scored_is_used(checkpoint, tmp_path):
    run = {"checkpoint": {"file": "a.pt", "sha256": sha256(checkpoint)}}
    assert html_pictures.find_checkpoint(run, [tmp_path, checkpoint.parent]) == checkpoint
    (tmp_path / "a.pt").write_bytes(b"trained again")
    assert html_pictures.find_checkpoint(run, [tmp_path]) is None
    assert html_pictures.find_checkpoint({}, [tmp_path]) is None


def test_learning_curves_of_the_checkpoints_that_were_scored(checkpoint, tmp_path):
    run = result(checkpoint={"file": "a.pt", "sha256": sha256(checkpoint)})
    groups = group_runs([run, baseline()])
    assert html_pictures.learning_curves(groups, [checkpoint.parent]) is None
    shutil.copy(checkpoint, tmp_path / "a.pt")
    history = [{"epoch": e, "train_total": 1 / e, "val_mask": 1 / e, "val_dice": 0.5, "best": 1} for e in (1, 2)]
    write_csv(tmp_path / "a.history.csv", history, list(history[0]))
    assert decode(html_pictures.learning_curves(groups, [tmp_path])).std() > 5


def test_dice_against_size_shows_every_lesion_of_every_network(dataset, tmp_path, monkeypatch):
    from matplotlib.axes import Axes

    run, names, _ = scored(tmp_path, dataset, (0.7, 0.2, 0.9, 0.5))
    scatters = []
    monkeypatch.setattr(Axes, "scatter", lambda _, x, y, **style: scatters.append((sorted(x), sorted(y), style)))
    ellipse = baseline(dice=run["dice"], lesions=run["lesions"]) | {"path": run["path"]}
    block = group_runs([run, result("A1+L") | {"path": tmp_path / "none.json"}, ellipse])
    assert decode(html_pictures.size_plot(block, dataset)).shape[1] > 1000
    sizes = sorted(html_pictures.lesion_sizes(dataset, "truth")["diameter"][names])
    # The ellipse behind A1, A1; the ellipse behind A1+L, and A1+L without a CSV.
    assert [points[:2] for points in scatters] == [(sizes, [0.2, 0.5, 0.7, 0.9])] * 3 + [([], [])]
    assert [style.get("facecolor") for *_, style in scatters] == ["none", None] * 2


def test_strips_show_what_was_predicted_from_moved_marks(dataset, tmp_path, monkeypatch):
    run, _, _ = scored(tmp_path, dataset, (0.7, 0.2, 0.9, 0.5))
    torch.manual_seed(0)
    settings = {"encoder": "resnet18", "canvas": [128, 128], "prompt": "recist"}
    save_checkpoint(tmp_path / "a.pt", build_network(A1, "resnet18", 4, prompt=True), settings)
    seen, augmented, mask_rows = [], [], Predictor.mask_rows

    def spy(self, dataset, rows, ends=None):
        seen.append(ends)
        augmented.append(self.tta)
        return mask_rows(self, dataset, rows, ends)

    monkeypatch.setattr(Predictor, "mask_rows", spy)
    html_pictures.lesion_strips(run, tmp_path / "a.pt", dataset, 1)
    run["settings"] |= {"prompt_noise": 10.0, "noise_seed": 3}
    html_pictures.lesion_strips(run, tmp_path / "a.pt", dataset, 1)
    run["settings"]["tta"] = True
    html_pictures.lesion_strips(run, tmp_path / "a.pt", dataset, 1)
    assert augmented == [False, False, True]
    assert seen[0] is None
    np.testing.assert_array_equal(seen[1], dataset.noisy_ends(10, seed=3))
