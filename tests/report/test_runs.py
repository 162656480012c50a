"""What is a group of runs, which groups are compared, and which settings are named."""

import numpy as np
import pytest

from common.metrics import METRICS
from common.recipe import METHODS
from common.report import runs
from common.report.runs import group_runs
from common.utils.errors import UserError
from example_results import baseline, result


@pytest.mark.parametrize(
    "other",
    [{"lesions": 39}, {"truth": "ellipse"}, {"split": "val"}, {"settings": {"canvas": [384, 480]}},
     {"settings": {"encoder": "resnet50"}}, {"settings": {"protocol": "corrected"}}, {"settings": {"limit": 5}},
     {"settings": {"target": "truth"}}, {"dataset": "LiTS"}, {"training": {"lr": 1e-4}}, {"training": {"epochs": 5}},
     {"training": {"encoder_weights": "none"}}, {"training": {"batch_size": 4}},
     {"training": {"loss_weights": {"mask": 1.0}}}, {"settings": {"window": [50, 400]}}, {"prepared": "ab"},
     {"scored": "ab"}, {"truth_masks": "ab"},
     {"seen_in_training": 3}, {"training": {"limit": 5}}, {"training": {"precision": "bf16"}},
     {"settings": {"prompt_noise": 10.0}}, {"settings": {"tta": True}},
     {"training": {"prompt": "recist"}}, {"training": {"outlines": 15}}, {"training": {"flips": True}},
     {"training": {"jitter": 5.0}}, {"training": {"average": 0.9}}, {"training": {"falling": True}}],
)  # fmt: skip
def test_other_settings_are_another_group_with_another_name(other):
    groups = group_runs([result(), result(seed=1), result(**other)])
    assert sorted(len(group.runs) for group in groups) == [1, 2]
    names = {(group.dataset, group.lesions, runs.full_name(group, groups)) for group in groups}
    assert len(names) == 2


def test_what_all_groups_share_is_not_in_their_names():
    groups = group_runs([result(), result(training={"lr": 1e-4}), result("ACoseg", training={"lr": 1e-5})])
    assert [runs.full_name(group, groups) for group in groups] == ["A1, lr 0.001", "A1, lr 0.0001", "ACoseg"]
    groups = group_runs([result(), result(settings={"limit": 5})])
    assert [runs.full_name(group, groups) for group in groups] == ["A1", "A1, limit 5"]
    assert runs.common_settings(groups) == {
        "encoder": "resnet18", "encoder_weights": "encoder weights imagenet", "canvas": "128x128",
        "epochs": "epochs 50", "protocol": "released", "precision": "fp32", "truth": "against truth",
        "split": "test split",
    }  # fmt: skip


def test_epochs_that_follow_from_the_lesions_part_no_groups():
    few, many = ({"outlines": count, "least_steps": 800, "epochs": 4 * count} for count in (4, 9))
    groups = group_runs([result("A1+R", training=training) for training in (few, many)])
    assert len(groups) == 2
    assert [group.settings["epochs"] for group in groups] == ["epochs of the recipe, at least 800 steps"] * 2
    assert groups[0].kind == groups[1].kind


def test_a_training_that_was_not_completed_is_never_averaged():
    groups = group_runs([result(), result(seed=1, training={"complete": False})])
    assert [len(group.runs) for group in groups] == [1, 1]
    assert [group.settings["epochs"] for group in groups] == ["epochs 50", "epochs 50, not completed"]


def test_settings_as_text():
    assert runs.setting_text({"mask": 50.0, "cluster": 1}) == "50 mask + 1 cluster"
    assert [runs.setting_text(value) for value in ([384, 480], 1e-5, "none")] == ["384x480", "1e-05", "none"]


def test_mean_and_spread_by_hand():
    (group,) = group_runs([result(dice=0.80), result(dice=0.82, seed=1)])
    assert group.mean("dice") == pytest.approx(81)
    assert (group.text("dice"), group.text("avd")) == ("81.00±1.41", "10.00±0.00")  # sqrt(2); px stay px
    (group,) = group_runs([result(dice=0.80), result(dice=None, seed=1)])
    assert np.isnan(group.mean("dice"))
    assert group.text("dice") == "nan"


def test_k_parts_only_groups_with_a_cluster_head():
    two = [{"clusters": 45}, {"clusters": 20}]
    groups = group_runs([result(label, settings=k) for label in ("A1", "A1+L") for k in two])
    assert [runs.full_name(group, groups) for group in groups] == ["A1", "A1+L, K 45", "A1+L, K 20"]
    (block,) = runs.comparable_groups(groups)
    assert [runs.a1_reference(group, block) for group in block] == [None, groups[0], groups[0]]


def test_copies_of_a_run_count_once():
    checkpoint = {"checkpoint": {"file": "a.pt", "sha256": "ab"}}
    groups = group_runs([result(**checkpoint), result(**checkpoint), baseline(), baseline()])
    assert [len(group.runs) for group in groups] == [1, 1]


def test_two_checkpoints_of_one_seed_are_refused(tmp_path):
    first, second = (
        result(checkpoint={"file": f"{name}.pt", "sha256": name}) | {"path": tmp_path / f"{name}.json"} for name in "ab"
    )
    with pytest.raises(
        UserError, match=r"a\.json and .*b\.json are evaluations of different checkpoints with the same"
    ):
        group_runs([first, second])
    # Of another recipe or another dataset they are no twins.
    assert len(group_runs([first, second | {"training": {"lr": 1.0}}, second | {"dataset": "LiTS"}])) == 3


def test_checkpoints_that_say_nothing_of_their_training_are_never_averaged():
    first, second = (result(checkpoint={"file": "a.pt", "sha256": 10 * name}, seed=None, training={}) for name in "ab")
    groups = group_runs([first, second, first, result()])
    assert [(runs.full_name(group, groups), len(group.runs)) for group in groups] == [
        ("A1, checkpoint aaaaaaaa", 1), ("A1, checkpoint bbbbbbbb", 1), ("A1", 1),
    ]  # fmt: skip
    (block,) = runs.comparable_groups(groups)
    assert [group.text("dice") for group in block] == ["80.00"] * 3
    assert [runs.full_name(group, group_runs([first])) for group in group_runs([first])] == ["A1"]


def test_only_what_differs_from_the_scoring_is_said_of_the_training():
    training = {"limit": None, "canvas": [128, 128], "precision": "fp32", "prepared": "ab", "clusters": 8}
    (group,) = group_runs([result(prepared="ab", training=training)])
    assert "trained" not in group.settings
    (group,) = group_runs([result(prepared="cd", training=training, settings={"limit": 5, "precision": "bf16"})])
    assert group.settings["trained"] == "trained with no limit, fp32, data ab"


def test_baselines_and_upper_bound_stand_in_the_block_of_the_networks_scored_alike():
    upper_bound = result(settings={"target": "truth"})
    other = result(settings={"protocol": "corrected", "target": "quarters"})
    groups = group_runs([baseline(), other, baseline("GrabCut itself"), upper_bound, result("A1+L"), result()])
    first, second = runs.comparable_groups(groups)
    assert [group.name for group in first] == ["A1"]
    assert first[0].settings["protocol"] == "corrected"
    assert [group.name for group in second] == ["A1", "A1+L", "ellipse itself", "GrabCut itself", "A1 trained on truth"]
    assert [group.competes for group in second] == [True, True, False, False, False]
    assert [runs.a1_reference(group, second) for group in second] == [None, *[second[0]] * 4]


def test_baselines_without_networks_are_a_block():
    (block,) = runs.comparable_groups(group_runs([baseline(), baseline("GrabCut itself")]))
    assert [group.name for group in block] == ["ellipse itself", "GrabCut itself"]
    assert runs.a1_reference(block[0], block) is None


def test_a_baseline_stands_in_every_block_that_is_scored_like_it():
    groups = group_runs([result(), result(settings={"canvas": [384, 480]}), baseline(), baseline(dataset="LiTS")])
    blocks = runs.comparable_groups(groups)
    assert [[group.name for group in block] for block in blocks] == [["A1", "ellipse itself"]] * 2 + [
        ["ellipse itself"]
    ]


def test_which_a1_is_the_reference():
    fast, slow = {"training": {"lr": 1e-2}}, {"training": {"lr": 1e-4}}
    groups = group_runs([result(**fast), result(**slow), result("A1+L", **slow), result("ACoseg")])
    (block,) = runs.comparable_groups(groups)
    by_name = {runs.full_name(group, groups): group for group in block}
    assert runs.a1_reference(by_name["A1+L"], block) is by_name["A1, lr 0.0001"]
    assert runs.a1_reference(by_name["ACoseg"], block) is None
    assert runs.a1_reference(by_name["A1, lr 0.0001"], block) is None
    grabcut = {"settings": {"target": "grabcut"}}
    (block,) = runs.comparable_groups(group_runs([result(), result(**grabcut), result("A1+L", **grabcut)]))
    reference = {group.name: runs.a1_reference(group, block) for group in block}
    assert reference["A1 trained on grabcut"].name == "A1"
    assert reference["A1+L trained on grabcut"].name == "A1 trained on grabcut"


def test_a_protocol_has_a_target_of_its_own():
    corrected = {"protocol": "corrected"}
    quarters, ellipse = ({"settings": corrected | {"target": target}} for target in ("quarters", "ellipse"))
    itself = baseline("quarters themselves", settings=corrected)
    evaluations = [result(**quarters), result(**ellipse), result("A1+L", **quarters), result("A1+L", **ellipse), itself]
    (block,) = runs.comparable_groups(group_runs(evaluations))
    names = ["A1", "A1+L", "A1 trained on ellipse", "A1+L trained on ellipse", "quarters themselves"]
    assert [group.name for group in block] == names
    a1, _, old_a1, *_ = block
    assert [runs.a1_reference(group, block) for group in block] == [None, a1, a1, old_a1, a1]


OWN = METHODS["A1recist"].flags
NEW = {"settings": {"protocol": "corrected", "target": "quarters"}}


@pytest.mark.parametrize(
    ("label", "training", "name"),
    [
        ("A1", {"prompt": "recist"}, "A1, prompt recist"),
        ("A1+L", {"prompt": "recist", "jitter": 2.5}, "A1+L, prompt recist, jitter 2.5"),
        ("A1", {"outlines": 150, "flips": True, "average": 0.99}, "A1, 150 outlines, flips, average 0.99"),
        ("A1", {"falling": True}, "A1, falling rate"),
        ("A1", {"prompt": "none", "outlines": None, "flips": False, "jitter": 0.0, "falling": False}, "A1"),
        ("A1+R", OWN, "A1+R"),
        ("A1+R", OWN | {"outlines": 150}, "A1+R, 150 outlines"),
        ("A1+R", OWN | {"flips": False, "jitter": 0, "falling": False}, "A1+R, no flips, jitter 0, no falling rate"),
        ("A1+R", OWN | {"prompt": "none", "average": 0.9}, "A1+R, prompt none, average 0.9"),
    ],
)
def test_a_name_tells_what_a_method_does_not_do_by_itself(label, training, name):
    """Even where all runs do it: none of them may be taken for the method itself."""
    groups = group_runs([result(label, training=training, **NEW), result(label, seed=1, training=training, **NEW)])
    assert [(group.name, runs.full_name(group, groups), len(group.runs)) for group in groups] == [(name, name, 2)]


def test_outlines_by_their_number_are_groups_of_their_own():
    counts = (None, 15, 150)
    evaluations = [
        result("A1+R", seed=seed, training=OWN | {"outlines": count}, **NEW) for seed in range(2) for count in counts
    ]
    groups = group_runs(evaluations)
    names = ["A1+R", "A1+R, 15 outlines", "A1+R, 150 outlines"]
    assert [(runs.full_name(group, groups), len(group.runs)) for group in groups] == [(name, 2) for name in names]


@pytest.mark.parametrize("protocol", ["released", "corrected"])
def test_a1_r_is_compared_with_the_protocols_a1(protocol):
    """Its target is its own, whatever the protocol's."""
    usual = {"settings": {"protocol": protocol, "target": "ellipse" if protocol == "released" else "quarters"}}
    own = {"settings": {"protocol": protocol, "target": "quarters"}}
    evaluations = [
        result("A1+R", training=OWN, **own), result("A1+R", training=OWN | {"outlines": 5}, **own), result(**usual),
        result(training={"prompt": "recist"}, **usual), result("A1+L", training={"prompt": "recist"}, **usual),
    ]  # fmt: skip
    (block,) = runs.comparable_groups(group_runs(evaluations))
    assert [group.name for group in block] == [
        "A1", "A1, prompt recist", "A1+L, prompt recist", "A1+R", "A1+R, 5 outlines",
    ]  # fmt: skip
    a1, prompted, *_ = block
    assert [runs.a1_reference(group, block) for group in block] == [None, a1, prompted, a1, a1]


def test_a_released_checkpoint_says_nothing_of_its_training():
    bare = result() | {"training": {}}
    bare["settings"] |= {"target": None, "seed": None}
    (group,) = group_runs([bare])
    assert group.target == "ellipse"
    assert not group.settings.keys() & runs.METHOD_SETTINGS.keys()


def test_a_run_that_says_less_of_its_recipe_can_be_sorted_beside_the_others():
    silent = result()
    silent["training"] = {"encoder_weights": "imagenet", "epochs": 50}
    (block,) = runs.comparable_groups(group_runs([result(), silent]))
    assert len(block) == 2


def test_metrics_are_in_the_papers_units():
    (group,) = group_runs([result(dice=0.8)])
    values = {metric: group.values(metric).tolist() for metric in METRICS}
    assert values == {
        "iou": [50],
        "dice": [80],
        "vs": [50],
        "centre_error": [0.5],
        "perimeter_error": [0.5],
        "avd": [10],
    }


def test_how_all_but_a_baseline_were_scored_is_not_said_of_all():
    moved = {"prompt_noise": 10.0, "noise_seed": 0}
    networks, quarters = [result(settings=moved)], baseline("quarters themselves", settings=moved)
    assert runs.common_settings(group_runs([*networks, quarters]))["prompt_noise"] == "marks moved by 10 %"
    assert "prompt_noise" not in runs.common_settings(group_runs([*networks, quarters, baseline()]))


def test_moved_marks_are_compared_with_the_same_moved_marks_only():
    noise = {"prompt_noise": 10.0, "noise_seed": 0}
    evaluations = [
        result(),
        result(settings={"tta": True}),
        result(settings=noise),
        result(settings=noise | {"noise_seed": 1}),
        baseline(settings={"protocol": "released"}),
        baseline("quarters themselves", settings={"protocol": "released"} | noise),
    ]
    blocks = runs.comparable_groups(group_runs(evaluations))
    names = [[runs.full_name(group, group_runs(evaluations)) for group in block] for block in blocks]
    moved = "marks moved by 10 %, noise seed"
    assert sorted(names) == [
        ["A1", "ellipse itself"],
        [f"A1, {moved} 0", f"quarters themselves, {moved} 0"],
        [f"A1, {moved} 1"],
        ["A1, test-time augmentation", "ellipse itself"],
    ]
