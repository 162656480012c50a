"""Evaluation: what is scored, against what, and what is written."""

import json
import re
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

import HAM_A1_train
import HAM_A1class_train
import HAM_Acoseg_train
import HAM_data
import HAM_phantom
from common.data.dataset import LesionDataset
from common.data.loader import LesionLoader
from common.evaluation import baselines
from common.evaluation import evaluate as module
from common.evaluation.evaluate import (
    check_preprocessing,
    describe_evaluation,
    evaluate,
    read_truth,
    rows_to_score,
    score,
    seen_in_training,
)
from common.evaluation.results import read_results
from common.inference.predictor import Predictor
from common.metrics import EXTRA_METRICS, METRICS, dice
from common.model import build_network
from common.recipe import A1, ACOSEG, Recipe
from common.report.runs import comparable_groups, group_runs
from common.run.cli import parse_eval, parse_train
from common.training.checkpoint import load_model_for, save_checkpoint
from common.training.config import EvalConfig, state_path
from common.training.train import train
from common.utils.errors import UserError
from common.utils.files import read_csv, read_json
from common.utils.provenance import sha256
from common.weak_masks import quarters_mask
from helpers import NETWORK

CPU = torch.device("cpu")
RECIPE, COSEG = HAM_A1_train.RECIPE, HAM_Acoseg_train.RECIPE


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory) -> Path:
    """Untrained networks: what they predict does not matter here, only how it is scored."""
    folder = tmp_path_factory.mktemp("checkpoints")
    torch.manual_seed(3)
    for method in (A1, ACOSEG):
        settings = {"encoder": "resnet18", "canvas": [128, 128], "seed": 3, "target": "ellipse"}
        save_checkpoint(folder / f"{method.name}.pt", build_network(method, "resnet18", 4), settings)
    return folder


@pytest.fixture
def dataset(phantom_ham) -> LesionDataset:
    return LesionDataset.open_for(phantom_ham / "prepared", HAM_data.DATASET, "released")


def make_config(recipe: Recipe, checkpoint: Path, data: Path, results: Path, *flags: str) -> EvalConfig:
    where = ["--checkpoint", str(checkpoint), "--data", str(data), "--results", str(results)]
    return parse_eval(recipe, None, [*where, "--precision", "fp32", *flags])


def test_what_is_written(checkpoints, phantom_ham, tmp_path, capsys):
    evaluate(make_config(RECIPE, checkpoints / "A1.pt", phantom_ham, tmp_path))
    summary, rows = read_json(tmp_path / "A1.json"), read_csv(tmp_path / "A1.csv")
    names = {*METRICS, *EXTRA_METRICS, "lesions", "dice_interval", "iou_interval", "settings", "versions"}
    assert names <= summary.keys()
    assert summary["lesions"] == len(rows) == 4
    assert list(rows[0]) == ["lesion", "split", "group", *METRICS, *EXTRA_METRICS]
    assert summary["dice"] == pytest.approx(np.mean([float(row["dice"]) for row in rows]))
    assert 0 <= summary["dice_interval"][0] <= summary["dice"] <= summary["dice_interval"][1] <= 1
    assert summary["checkpoint"]["sha256"] == sha256(checkpoints / "A1.pt")
    assert summary["settings"]["canvas"] == [128, 128]
    assert (summary["settings"]["seed"], summary["truth"], summary["settings"]["protocol"]) == (3, "truth", "released")
    out = capsys.readouterr().out
    assert re.search(rf"dice +{summary['dice'] * 100:.2f} %", out)
    assert re.search(rf"avd +{summary['avd']:.2f} px", out)


def test_what_is_replaced_and_what_was_not_completed_is_told(checkpoints, phantom_ham, tmp_path, capsys):
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    replaced = "A1.limit2.json was the result of another checkpoint or of other lesions, and is replaced"
    for name, other in (("one", False), ("one", False), ("two", True)):
        path = save_with(
            {"complete": name == "one", "seed": int(other)}, checkpoints / "A1.pt", tmp_path / name / "A1.pt"
        )
        evaluate(make_config(RECIPE, path, phantom_ham, tmp_path, "--limit", "2"))
        out, err = capsys.readouterr()
        assert (replaced in out) == other
        assert (f"the training of {path} was not completed" in err) == (name == "two")


def test_a_perfect_network_scores_perfectly(checkpoints, phantom_ham, dataset, tmp_path, monkeypatch):
    class Oracle(torch.nn.Module):
        """Returns the masks of the rows in turn."""

        def __init__(self, masks):
            super().__init__()
            self.masks = iter(masks)

        def forward(self, images, decode=None):
            masks = [torch.from_numpy(next(self.masks)).float() for _ in images]
            return {"mask": torch.stack(masks)[:, None] - 0.5}

    masks = dataset.array("truth")[dataset.rows("test")].copy()
    monkeypatch.setattr(module, "load_model_for", lambda config: replace(load_model_for(config), network=Oracle(masks)))
    evaluate(make_config(RECIPE, checkpoints / "A1.pt", phantom_ham, tmp_path, "--batch-size", "3"))
    summary = read_json(tmp_path / "A1.json")
    assert (summary["iou"], summary["dice"], summary["vs"]) == (1, 1, 1)
    assert (summary["avd"], summary["centre_error"], summary["perimeter_error"]) == (0, 0, 0)


def test_a_score_stands_beside_its_lesion(checkpoints, dataset):
    """The network misses the second lesion only."""
    rows, masks = dataset.rows("test"), dataset.array("truth")
    predicted = [(row, masks[row] * (number != 1)) for number, row in enumerate(rows)]
    predictor = SimpleNamespace(masks=lambda *_: ((np.array([row]), mask[None]) for row, mask in predicted))
    scores = score(predictor, LesionLoader(dataset, rows, "ellipse", (128, 128), CPU), masks, 1)
    assert [(row, values["dice"]) for row, values in scores] == [(row, float(row != rows[1])) for row in rows]


def test_released_coseg_scores_a_multiple_of_8_and_corrected_all(checkpoints, phantom_ham, tmp_path, capsys):
    checkpoint = checkpoints / "Acoseg.pt"
    evaluate(make_config(COSEG, checkpoint, phantom_ham, tmp_path, "--split", "train"))
    assert read_json(tmp_path / "Acoseg.train.json")["lesions"] == 24
    assert "leaves out the last 4 of 28" in capsys.readouterr().out
    with pytest.raises(UserError, match="scores a multiple of 8 lesions, and the split test has 4"):
        evaluate(make_config(COSEG, checkpoint, phantom_ham, tmp_path))

    corrected = tmp_path / "prepared"
    arguments = ["--data", str(phantom_ham), "--prepared", str(corrected), "--clusters", "4", "--no-grabcut"]
    HAM_data.main([*arguments, "--protocol", "corrected"])
    flags = ["--prepared", str(corrected), "--protocol", "corrected", "--split", "train"]
    evaluate(make_config(COSEG, checkpoint, phantom_ham, tmp_path, *flags))
    assert read_json(tmp_path / "Acoseg.train.json")["lesions"] % 8 != 0


@pytest.mark.parametrize(
    ("recipe", "protocol", "split", "count"),
    [(COSEG, "released", "train", 24), (COSEG, "corrected", "train", 28), (COSEG, "released", "val", 8),
     (RECIPE, "released", "train", 28)],
)  # fmt: skip
def test_rows_to_score(recipe, protocol, split, count, dataset, phantom_ham, tmp_path):
    config = make_config(recipe, tmp_path / "a.pt", phantom_ham, tmp_path, "--split", split)
    published = sorted(dataset.rows(split).tolist(), key=lambda row: int(dataset.lesions[row]["order"]))
    assert rows_to_score(dataset, config, protocol).tolist() == sorted(published[:count])


@pytest.mark.parametrize("name", ["ellipse", "grabcut"])
def test_a_truth_other_than_human_masks_is_named(checkpoints, phantom_ham, tmp_path, capsys, name):
    evaluate(make_config(RECIPE, checkpoints / "A1.pt", phantom_ham, tmp_path, "--truth", name, "--limit", "2"))
    assert read_json(tmp_path / f"A1.limit2.against_{name}.json")["truth"] == name
    assert f"scored against {name}, not against human masks" in capsys.readouterr().out


def test_a_truth_that_is_none_is_refused(checkpoints, phantom_ham, tmp_path):
    with pytest.raises(UserError, match=r"--truth nowhere is none of ellipse, .*, the masks that HAM10000 has"):
        evaluate(make_config(RECIPE, checkpoints / "A1.pt", phantom_ham, tmp_path, "--truth", "nowhere"))
    assert not list(tmp_path.iterdir())


def test_a_folder_of_masks_is_read_for_the_lesions_it_has(dataset, phantom_ham, tmp_path):
    rows, mask = dataset.rows("test"), np.ones((120, 120), np.uint8)
    masks = {int(rows[1]): mask}
    with_masks = replace(RECIPE, dataset=replace(RECIPE.dataset, read_truth=lambda *_: masks))
    config = make_config(with_masks, tmp_path / "a.pt", phantom_ham, tmp_path, "--truth", str(tmp_path))
    scored, truth = read_truth(dataset, config, rows)
    assert scored.tolist() == list(truth) == list(masks) and all(truth[row] is masks[row] for row in masks)
    masks[int(rows[2])] = np.zeros_like(mask)  # no outline: Dice would be undefined wherever nothing is predicted
    scored, truth = read_truth(dataset, config, rows)
    assert scored.tolist() == list(truth) == [rows[1]]
    del masks[int(rows[1])]
    with pytest.raises(UserError, match="has a mask for none of the lesions of the split test"):
        read_truth(dataset, config, rows)
    scored, array = read_truth(dataset, replace(config, truth="grabcut"), rows)
    assert scored is rows and array[rows[0]].tolist() == dataset.array("grabcut")[rows[0]].tolist()


def test_only_metrics_are_kept(checkpoints, dataset):
    predictor = Predictor.load(checkpoints / "A1.pt", device="cpu")
    loader = LesionLoader(dataset, dataset.rows("test"), "ellipse", (128, 128), CPU)
    scores = score(predictor, loader, dataset.array("truth"), 3)
    assert [row for row, _ in scores] == list(loader.rows)
    assert len(json.dumps(scores[0])) < 400


def test_an_evaluation_describes_its_checkpoint_and_settings(checkpoints, phantom_ham, dataset, tmp_path):
    checkpoint = checkpoints / "A1.pt"
    config = make_config(RECIPE, checkpoint, phantom_ham, tmp_path, "--truth", str(tmp_path), "--limit", "2")
    about = describe_evaluation(config, Predictor.load(checkpoint, device="cpu"), dataset)
    assert about.pop("published") is None  # the paper has other masks
    assert about == {
        "dataset": "HAM10000", "method": "A1", "label": "A1", "split": "test", "truth": "folder",
        "settings": {
            "encoder": "resnet18", "canvas": [128, 128], "clusters": None, "protocol": "released",
            "precision": "fp32", "limit": 2, "window": None, "target": "ellipse", "seed": 3,
        },
        "prepared": dataset.identity,
        "training": {"encoder": "resnet18", "canvas": [128, 128], "seed": 3, "target": "ellipse"},
        "checkpoint": {"file": "A1.pt", "sha256": sha256(checkpoint)},
    }  # fmt: skip


@pytest.mark.parametrize(
    ("flags", "prompt", "as_published"),
    [("", "none", True), ("--split val", "none", False), ("--truth ellipse", "none", False), ("", "recist", False)],
)
def test_the_papers_row_is_beside_what_the_paper_scored(
    flags, prompt, as_published, checkpoints, phantom_ham, dataset, tmp_path
):
    checkpoint = checkpoints / "A1.pt"
    config = make_config(RECIPE, checkpoint, phantom_ham, tmp_path, *flags.split())
    predictor = Predictor.load(checkpoint, device="cpu")
    predictor.model.settings["prompt"] = prompt
    published = describe_evaluation(config, predictor, dataset)["published"]
    assert published == (dict(zip(METRICS, RECIPE.published, strict=True)) if as_published else None)


def test_the_released_subset_follows_the_published_order_of_the_split(tmp_path):
    """FACTS.md 4.4: of 120 lesions the release's test list is this, and ACoseg leaves out its last four."""
    lesions = [{"lesion": f"ISIC_{number:07d}"} for number in range(120)]
    for row, split in zip(lesions, HAM_data.split_by_image(lesions), strict=True):
        row |= {"split": split, "order": str(row["order"])}
    dataset = LesionDataset(tmp_path, {}, lesions)
    published = [60, 57, 115, 63, 15, 32, 8, 97, 102, 108, 72, 17]
    assert sorted(published, key=lambda row: int(lesions[row]["order"])) == published
    config = make_config(COSEG, tmp_path / "a.pt", tmp_path, tmp_path)
    assert rows_to_score(dataset, config, "released").tolist() == sorted(published[:8])
    assert rows_to_score(dataset, config, "corrected").tolist() == sorted(published)


def save_with(settings: dict, source: Path, path: Path) -> Path:
    """A checkpoint with these settings besides its own."""
    content = torch.load(source, weights_only=True)
    torch.save({**content, "recipe": content["recipe"] | settings}, path)
    return path


def test_lesions_seen_in_training_are_no_test_data(checkpoints, phantom_ham, dataset, tmp_path, capsys):
    rows = dataset.rows("test")
    groups = {"train": dataset.groups(rows[:2]), "val": dataset.groups(rows[2:3])}
    seen = save_with({"groups": groups}, checkpoints / "A1.pt", tmp_path / "a.pt")
    with pytest.raises(UserError, match=r"3 of 4 test lesions, like ISIC_9\d+, were seen in .*or pass --allow-seen"):
        evaluate(make_config(RECIPE, seen, phantom_ham, tmp_path))
    assert not (tmp_path / "a.json").exists()
    # Known by their own names: since then their patients have become known, and are their groups.
    names = {"train": [dataset.lesions[row]["lesion"] for row in rows[:2]], "val": []}
    moved = replace(dataset, lesions=[row | {"group": "patient"} for row in dataset.lesions])
    with pytest.raises(UserError, match="2 of 4 test lesions"):
        seen_in_training(moved, make_config(RECIPE, seen, phantom_ham, tmp_path), {"groups": names}, rows)
    capsys.readouterr()
    evaluate(make_config(RECIPE, seen, phantom_ham, tmp_path, "--allow-seen"))
    assert "3 of these lesions were seen in training" in capsys.readouterr().out
    summary = read_json(tmp_path / "a.json")
    assert summary["seen_in_training"] == 3
    assert "groups" not in summary["training"]  # thousands of names belong into the checkpoint only
    evaluate(make_config(RECIPE, checkpoints / "A1.pt", phantom_ham, tmp_path))
    assert read_json(tmp_path / "A1.json")["seen_in_training"] is None  # the checkpoint does not say
    told = "A1.pt doesn't say which lesions it was trained on, and the splits of"
    assert told in capsys.readouterr().err
    published = replace(RECIPE, dataset=replace(RECIPE.dataset, splits=(28, 8, 4)))
    evaluate(make_config(published, checkpoints / "A1.pt", phantom_ham, tmp_path))
    assert told not in capsys.readouterr().err


def test_data_that_grew_after_training_are_told(tmp_path):
    """Prepare half of the images, train, add the others, prepare again: lesions have moved from train to test."""
    data, away = tmp_path / "data", tmp_path / "away"
    HAM_phantom.write_ham(data, lesions=40)
    away.mkdir()
    masks = sorted((data / HAM_phantom.MASK_FOLDER).iterdir())
    for mask in masks[1::2]:
        mask.rename(away / mask.name)
    prepare = ["--data", str(data), "--clusters", "2", "--no-grabcut", "--workers", "1"]
    where = ["--data", str(data), "--checkpoint", str(tmp_path / "a.pt"), "--clusters", "2"]
    flags = [*f"{NETWORK} --epochs 1 --precision fp32".split(), *where]
    HAM_data.main(prepare)
    train(parse_train(RECIPE, None, flags))
    evaluate(make_config(RECIPE, tmp_path / "a.pt", data, tmp_path))
    before = read_json(tmp_path / "a.json")
    assert before["seen_in_training"] == 0
    for mask in masks[1::2]:
        (away / mask.name).rename(mask)
    HAM_data.main(prepare)
    with pytest.raises(UserError, match="were seen in the training of"):
        evaluate(make_config(RECIPE, tmp_path / "a.pt", data, tmp_path))
    state_path(tmp_path / "a.pt").write_bytes(b"")
    with pytest.raises(UserError, match="is not complete, and the file may be older"):
        evaluate(make_config(RECIPE, tmp_path / "a.pt", data, tmp_path))


def test_a_k_of_ones_own_needs_no_flag_and_another_is_refused_as_in_training(phantom_ham, tmp_path):
    """The arrays have K = 4, HAM10000's published K is 45."""
    recipe = replace(HAM_A1class_train.RECIPE, dataset=replace(RECIPE.dataset, folder=tmp_path))
    where = ["--data", str(phantom_ham), "--precision", "fp32"]
    small = "--encoder mobilenet_v2 --encoder-weights none --canvas 128x128 --epochs 1 --limit 8".split()
    train(parse_train(recipe, None, [*where, *small]))
    evaluate(parse_eval(recipe, None, where))
    assert sorted(path.name for path in (tmp_path / "checkpoints").glob("*.pt")) == ["ham_a1class_4.pt"]
    assert read_json(tmp_path / "results" / "ham_a1class_4.json")["settings"]["clusters"] == 4
    sentences = []
    for work in (lambda: train(parse_train(recipe, None, [*where, *small, "--clusters", "5"])),
                 lambda: evaluate(parse_eval(recipe, None, [*where, "--clusters", "5"]))):  # fmt: skip
        with pytest.raises(UserError, match=r"clusters 4, but 5 .* --clusters 5, or leave --clusters out") as error:
            work()
        sentences.append(str(error.value))
    assert sentences[0] == sentences[1]


def test_results_that_cannot_be_written_are_told_before_the_work(checkpoints, phantom_ham, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setattr(module, "Predictor", None)
    with pytest.raises(UserError, match=r"file can't be written to .*; pass another --results"):
        evaluate(make_config(RECIPE, checkpoints / "A1.pt", phantom_ham, tmp_path / "file"))


def test_a_released_network_saw_whole_windows(dataset, tmp_path):
    windowed = replace(
        dataset, metadata={**dataset.metadata, "preprocessing": {"channels": "bgr", "window": [50, 400]}}
    )
    with pytest.raises(UserError, match=r"a\.pt was trained with window None, but .* was made with \[50, 400\]"):
        check_preprocessing(windowed, tmp_path / "a.pt", {})
    check_preprocessing(dataset, tmp_path / "a.pt", {})
    check_preprocessing(windowed, tmp_path / "a.pt", {"preprocessing": {"channels": "bgr", "window": [50, 400]}})


def test_other_preprocessing_is_refused(checkpoints, phantom_ham, tmp_path):
    settings = {"preprocessing": {"channels": "bgr", "window": [50.0, 400.0]}}
    checkpoint = save_with(settings, checkpoints / "A1.pt", tmp_path / "a.pt")
    with pytest.raises(UserError, match=r"was trained with window \[50\.0, 400\.0\], but .* was made with None"):
        evaluate(make_config(RECIPE, checkpoint, phantom_ham, tmp_path))


def test_checking_32735_lesions_is_quick_and_small(tmp_path):
    lesions = [
        {"lesion": f"{row // 7:06d}_01_01_{row % 500:03d}", "group": f"{row // 7:06d}", "split": "test"}
        for row in range(32_735)
    ]
    dataset = LesionDataset(tmp_path, {}, lesions)
    config = make_config(RECIPE, tmp_path / "a.pt", tmp_path, tmp_path, "--allow-seen")
    start = time.monotonic()
    groups = {"train": dataset.groups(np.arange(20_000)), "val": dataset.groups(np.arange(20_000, 25_000))}
    assert seen_in_training(dataset, config, {"groups": groups}, np.arange(32_735)) == 25_004  # 3571 whole groups and 4
    assert time.monotonic() - start < 1
    torch.save(groups, tmp_path / "groups.pt")
    assert (tmp_path / "groups.pt").stat().st_size < 1e6


@pytest.fixture(scope="module")
def prompted(tmp_path_factory) -> Path:
    """An untrained network that sees marks."""
    path = tmp_path_factory.mktemp("prompted") / "A1.pt"
    torch.manual_seed(3)
    settings = {"encoder": "resnet18", "canvas": [128, 128], "seed": 3, "prompt": "recist"}
    save_checkpoint(path, build_network(A1, "resnet18", 4, prompt=True), settings)
    return path


def test_moved_marks_are_results_of_their_own(prompted, phantom_ham, tmp_path, capsys):
    evaluate(make_config(RECIPE, prompted, phantom_ham, tmp_path))
    for name, flags in (("a", []), ("b", []), ("c", ["--seed", "1"])):
        evaluate(make_config(RECIPE, prompted, phantom_ham, tmp_path / name, "--prompt-noise", "12.5", *flags))
    assert "4 test lesions, marks moved by 12.5 %, released" in capsys.readouterr().out
    assert [path.name for path in sorted((tmp_path / "a").iterdir())] == ["A1.noise12.5.csv", "A1.noise12.5.json"]
    clean = read_json(tmp_path / "A1.json")
    same, again = (read_json(tmp_path / name / "A1.noise12.5.json") for name in "ab")
    other = read_json(tmp_path / "c" / "A1.noise12.5s1.json")
    assert same["settings"] == clean["settings"] | {"prompt_noise": 12.5, "noise_seed": 0}
    assert same["dice"] == again["dice"]
    assert len({clean["dice"], same["dice"], other["dice"]}) == 3
    groups = group_runs([clean | {"path": tmp_path}, *read_results([tmp_path / "a", tmp_path / "c"])])
    assert sorted(group.settings.get("prompt_noise", "") for group in groups) == ["", *["marks moved by 12.5 %"] * 2]
    evaluate(make_config(RECIPE, prompted, phantom_ham, tmp_path / "d", "--prompt-noise", "5", "--split", "val"))
    assert (tmp_path / "d" / "A1.val.noise5.json").is_file()


def test_test_time_augmentation_is_a_result_of_its_own(prompted, phantom_ham, tmp_path, capsys, monkeypatch):
    used = []

    class Spy(Predictor):
        def __init__(self, *args):
            super().__init__(*args)
            used.append(self.tta)

    monkeypatch.setattr(module, "Predictor", Spy)
    for flags in ([], ["--tta"], ["--tta", "--prompt-noise", "5"]):
        evaluate(make_config(RECIPE, prompted, phantom_ham, tmp_path, *flags))
    assert "4 test lesions, marks moved by 5 %, test-time augmentation, released" in capsys.readouterr().out
    plain, augmented = (read_json(tmp_path / name) for name in ("A1.json", "A1.tta.json"))
    assert augmented["settings"] == plain["settings"] | {"tta": True}
    assert used == [False, True, True]
    assert (tmp_path / "A1.noise5.tta.json").is_file()


def test_network_and_quarters_see_the_same_moved_marks(prompted, phantom_ham, dataset, tmp_path, monkeypatch):
    seen = []

    class Spy(Predictor):
        def logits(self, patches, ends=None, batch_size=None):
            seen.extend(ends.tolist())
            return super().logits(patches, ends, batch_size)

    monkeypatch.setattr(module, "Predictor", Spy)
    evaluate(make_config(RECIPE, prompted, phantom_ham, tmp_path, "--prompt-noise", "20", "--seed", "7"))
    flags = ["--results", str(tmp_path), "--prompt-noise", "20", "--seed", "7"]
    baselines.main([str(phantom_ham / "prepared"), *flags])
    masks = [quarters_mask(np.array(ends, np.float32), (120, 120)) for ends in seen]
    truth = dataset.array("truth")[dataset.rows("test")]
    expected = [dice(mask, reference) for mask, reference in zip(masks, truth, strict=True)]
    scored = [float(row["dice"]) for row in read_csv(tmp_path / "baseline_quarters.noise20s7.csv")]
    np.testing.assert_allclose(scored, expected, rtol=1e-5)  # six digits are kept
    (block,) = comparable_groups(group_runs(read_results([tmp_path])))
    assert [group.label for group in block] == ["A1", "quarters themselves"]


def test_marks_that_a_network_does_not_see_cannot_be_moved(checkpoints, phantom_ham, tmp_path):
    with pytest.raises(UserError, match=r"A1\.pt sees no marks that --prompt-noise could move; leave it out"):
        evaluate(make_config(RECIPE, checkpoints / "A1.pt", phantom_ham, tmp_path, "--prompt-noise", "5"))
    with pytest.raises(UserError, match="--prompt-noise: '100' is not a number from 0 to below 100"):
        make_config(RECIPE, checkpoints / "A1.pt", phantom_ham, tmp_path, "--prompt-noise", "100")
    assert not list(tmp_path.iterdir())
