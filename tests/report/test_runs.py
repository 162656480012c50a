"""Evaluations read back: what is one row, which rows are compared, and what of them is told."""

import json

import pytest

from common.metrics import METRICS
from common.report import runs as results
from common.utils.errors import UserError

TRAINING = {"encoder_weights": "imagenet", "epochs": 50, "lr": 1e-3, "batch_size": 10, "loss_weights": {"mask": 100.0}}


def result(label="A1", dice=0.8, seed=0, **changes) -> dict:
    """An evaluation's JSON; ``settings`` and ``training`` change what stands in them."""
    settings = {"encoder": "resnet18", "canvas": [128, 128], "protocol": "released", "precision": "fp32"}
    settings |= {"target": "ellipse", "limit": None, "seed": seed, "clusters": 45} | changes.pop("settings", {})
    training = TRAINING | changes.pop("training", {})
    figures = dict.fromkeys(METRICS, 0.5) | {"dice": dice, "avd": 10.0}
    base = {"dataset": "HAM10000", "label": label, "lesions": 40, "split": "test", "truth": "truth"}
    return base | figures | {"settings": settings, "training": training} | changes


def floor(label="ellipse itself", dice=0.9, **changes) -> dict:
    return result(label, dice, settings={"protocol": "released"}, training={}) | {
        "settings": {"protocol": "released"}, "training": {}, "method": "ellipse",
    } | changes  # fmt: skip


@pytest.mark.parametrize(
    "other",
    [{"lesions": 39}, {"truth": "ellipse"}, {"split": "val"}, {"settings": {"canvas": [384, 480]}},
     {"settings": {"encoder": "resnet50"}}, {"settings": {"protocol": "corrected"}}, {"settings": {"limit": 5}},
     {"settings": {"target": "truth"}}, {"dataset": "LiTS"}, {"training": {"lr": 1e-4}}, {"training": {"epochs": 5}},
     {"training": {"encoder_weights": "none"}}, {"training": {"batch_size": 4}},
     {"training": {"loss_weights": {"mask": 1.0}}}],
)  # fmt: skip
def test_other_settings_are_other_rows_that_say_so(other):
    rows = results.group([result(), result(seed=1), result(**other)])
    assert sorted(len(row.runs) for row in rows) == [1, 2]
    told = {(row.dataset, row.lesions, results.full_name(row, rows)) for row in rows}
    assert len(told) == 2


def test_what_all_share_is_not_told_again():
    rows = results.group([result(), result(training={"lr": 1e-4}), result("ACoseg", training={"lr": 1e-5})])
    assert [results.full_name(row, rows) for row in rows] == ["A1, lr 0.001", "A1, lr 0.0001", "ACoseg"]
    rows = results.group([result(), result(settings={"limit": 5})])
    assert [results.full_name(row, rows) for row in rows] == ["A1", "A1, limit 5"]
    assert results.common_settings(rows) == {
        "encoder": "resnet18", "encoder_weights": "encoder weights imagenet", "canvas": "128x128",
        "epochs": "epochs 50", "protocol": "released", "precision": "fp32", "truth": "against truth",
        "split": "test split",
    }  # fmt: skip


def test_k_parts_only_rows_with_a_cluster_head():
    two = [{"clusters": 45}, {"clusters": 20}]
    rows = results.group([result(label, settings=k) for label in ("A1", "A1+L") for k in two])
    assert [results.full_name(row, rows) for row in rows] == ["A1", "A1+L, K 45", "A1+L, K 20"]
    (block,) = results.blocks(rows)
    assert [results.a1_reference(row, block) for row in block] == [None, rows[0], rows[0]]


def test_the_same_run_found_twice_counts_once():
    checkpoint = {"checkpoint": {"file": "a.pt", "sha256": "ab"}}
    rows = results.group([result(**checkpoint), result(**checkpoint), floor(), floor()])
    assert [len(row.runs) for row in rows] == [1, 1]


def test_floors_and_ceiling_stand_in_the_block_of_the_networks_scored_alike():
    ceiling = result(settings={"target": "truth"})
    other = result(settings={"protocol": "corrected"})
    rows = results.group([floor(), other, floor("GrabCut itself"), ceiling, result("A1+L"), result()])
    first, second = results.blocks(rows)
    assert [row.name for row in first] == ["A1"]
    assert first[0].block["protocol"] == "corrected"
    assert [row.name for row in second] == ["A1", "A1+L", "ellipse itself", "GrabCut itself", "A1 trained on truth"]
    assert [row.competes for row in second] == [True, True, False, False, False]
    assert [results.a1_reference(row, second) for row in second] == [None, *[second[0]] * 4]


def test_floors_without_networks_are_a_block():
    (block,) = results.blocks(results.group([floor(), floor("GrabCut itself")]))
    assert [row.name for row in block] == ["ellipse itself", "GrabCut itself"]
    assert results.a1_reference(block[0], block) is None


def test_which_a1_is_the_base():
    fast, slow = {"training": {"lr": 1e-2}}, {"training": {"lr": 1e-4}}
    rows = results.group([result(**fast), result(**slow), result("A1+L", **slow), result("ACoseg")])
    (block,) = results.blocks(rows)
    by_name = {results.full_name(row, rows): row for row in block}
    assert results.a1_reference(by_name["A1+L"], block) is by_name["A1, lr 0.0001"]
    assert results.a1_reference(by_name["ACoseg"], block) is None
    assert results.a1_reference(by_name["A1, lr 0.0001"], block) is None
    grabcut = {"settings": {"target": "grabcut"}}
    (block,) = results.blocks(results.group([result(), result(**grabcut), result("A1+L", **grabcut)]))
    base = {row.name: results.a1_reference(row, block) for row in block}
    assert base["A1 trained on grabcut"].name == "A1"
    assert base["A1+L trained on grabcut"].name == "A1 trained on grabcut"


def test_a_released_checkpoint_tells_nothing_of_its_training():
    bare = result() | {"training": {}}
    bare["settings"] |= {"target": None, "seed": None}
    (row,) = results.group([bare])
    assert (row.target, row.own) == ("ellipse", {})


@pytest.mark.parametrize(
    "content",
    ['{"a": 1}', json.dumps(result() | {"settings": "x"}), json.dumps(result() | {"dice": "0.9"}),
     json.dumps({k: v for k, v in result().items() if k != "avd"}), json.dumps(result() | {"lesions": None})],
)  # fmt: skip
def test_what_is_no_evaluation_is_passed_over(content, tmp_path):
    (tmp_path / "a.json").write_text(content)
    assert results.read_evaluation(tmp_path / "a.json") is None
    with pytest.raises(UserError, match="run an eval script first"):
        results.read_results([tmp_path])


@pytest.mark.parametrize(
    "content",
    [
        '{"dataset"',
        *(json.dumps(result() | {part: "x"}) for part in ("training", "published", "checkpoint", "versions")),
        json.dumps(result(published={"dice": [80, 1]})),
        json.dumps(result(published=dict.fromkeys(METRICS, (80, "x")))),
        json.dumps(result(checkpoint={"file": "a.pt", "sha256": 5})),
        json.dumps(result(seed=[1])),
        json.dumps(result(settings={"target": {}})),
    ],
)
def test_a_damaged_file_is_named_and_the_rest_goes_on(content, tmp_path, capsys):
    (tmp_path / "a.json").write_text(json.dumps(result()))
    (tmp_path / "bad.json").write_text(content)
    (found,) = results.read_results([tmp_path])
    assert found["path"] == tmp_path / "a.json"
    assert "bad.json is damaged" in capsys.readouterr().err
    assert results.group([found])


def test_what_may_be_told_may_be_null(tmp_path):
    (tmp_path / "a.json").write_text(json.dumps(result() | {"training": None, "published": None, "checkpoint": None}))
    (row,) = results.group(results.read_results([tmp_path]))
    assert row.own == {}


def test_no_evaluation_at_all(tmp_path):
    with pytest.raises(UserError, match="nowhere is not a folder"):
        results.read_results([tmp_path / "nowhere"])
