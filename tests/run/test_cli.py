"""Command lines: published defaults, and one sentence for what can't be meant."""

import argparse
from dataclasses import replace
from pathlib import Path

import pytest

import HAM_A1class_train
import HAM_data
from common.patches import parse_canvas
from common.run.cli import parse_eval, parse_train, prepare_parser
from common.utils.errors import UserError

RECIPE = HAM_A1class_train.RECIPE


def test_the_defaults_are_the_published_recipe():
    config = parse_train(RECIPE, None, [])
    assert config.recipe == RECIPE
    assert (config.encoder, config.canvas, config.clusters, config.protocol) == (
        "resnet101", (384, 480), 45, "released",
    )  # fmt: skip
    assert config.checkpoint == RECIPE.dataset.folder / "checkpoints" / "ham_a1class.pt"
    assert config.prepared == RECIPE.dataset.folder / "Data_ham" / "prepared"
    assert (config.target, config.encoder_weights, config.seed, config.limit) == ("ellipse", "imagenet", 0, None)
    assert (config.device, config.precision, config.resume, config.compile) == ("auto", "auto", False, False)


def test_the_corrected_protocol_has_a_canvas_of_its_own():
    assert parse_train(RECIPE, None, ["--protocol", "corrected"]).canvas == (128, 128)
    assert parse_train(RECIPE, None, ["--protocol", "corrected", "--canvas", "384x480"]).canvas == (384, 480)
    assert parse_train(RECIPE, None, ["--canvas", "128x128"]).canvas == (128, 128)


def test_k_and_the_checkpoints_name_follow_the_prepared_arrays(tmp_path):
    (tmp_path / "prepared.json").write_text('{"clusters": 3}')
    prepared, folder = ["--prepared", str(tmp_path)], RECIPE.dataset.folder / "checkpoints"
    trained, scored = parse_train(RECIPE, None, prepared), parse_eval(RECIPE, None, prepared)
    assert (trained.clusters, scored.clusters) == (3, None)
    assert trained.checkpoint == scored.checkpoint == folder / "ham_a1class_3.pt"
    for parse in (parse_train, parse_eval):  # which is refused later, in the same sentence
        config = parse(RECIPE, None, [*prepared, "--clusters", "7"])
        assert (config.clusters, config.checkpoint) == (7, folder / "ham_a1class_7.pt")
    assert parse_eval(RECIPE, None, [*prepared, "--checkpoint", "a.pt"]).checkpoint == Path("a.pt")
    assert parse_eval(RECIPE, None, [*prepared, "--download"]).checkpoint == folder / "ham_a1class.pt"


def test_flags_change_the_recipe():
    flags = "--epochs 3 --batch-size 4 --lr 0.5 --patience 2 --clusters 7"
    config = parse_train(RECIPE, None, flags.split())
    recipe = config.recipe
    assert (recipe.epochs, recipe.batch_size, recipe.lr, recipe.patience, config.clusters) == (3, 4, 0.5, 2, 7)


def test_evaluation_leaves_to_the_checkpoint_what_is_not_given():
    config = parse_eval(RECIPE, None, [])
    assert (config.encoder, config.canvas, config.clusters, config.protocol) == (None, None, None, None)
    assert (config.split, config.truth, config.export) == ("test", "truth", None)
    assert config.results == RECIPE.dataset.folder / "results"
    assert parse_eval(RECIPE, None, ["--batch-size", "4"]).recipe == replace(RECIPE, batch_size=4)


def test_only_what_is_released_can_be_downloaded():
    assert parse_eval(RECIPE, None, ["--download"]).download
    assert not parse_eval(RECIPE, None, []).download
    own = replace(RECIPE, released=None)
    assert not parse_eval(own, None, []).download
    with pytest.raises(UserError, match="--download"):
        parse_eval(own, None, ["--download"])


@pytest.mark.parametrize("text", ["384x480", "128x128", "128X160"])
def test_canvases(text):
    assert parse_canvas(text) == tuple(map(int, text.lower().split("x")))


@pytest.mark.parametrize(
    "text",
    ["", "384", "x480", "112x128", "130x130", "-128x128", "128x128x128", "1e3x128", "128 x 128", "٣٨٤x480"],
)
def test_impossible_canvases(text):
    with pytest.raises(argparse.ArgumentTypeError):
        parse_canvas(text)


@pytest.mark.parametrize(
    "flags",
    [
        "--canvas 100x100", "--epochs 0", "--epochs -1", "--batch-size x", "--lr nan", "--lr 0", "--seed -1",
        "--seed 4294967296", "--limit 0", "--device tpu", "--precision fp16", "--protocol mine", "--target box",
        "--nonsense",
    ],
)  # fmt: skip
def test_bad_flags_are_one_sentence(flags):
    with pytest.raises(UserError) as error:
        parse_train(RECIPE, None, flags.split())
    assert flags.split()[0] in str(error.value)
    assert "\n" not in str(error.value)


def test_prepare_flags():
    args = prepare_parser(HAM_data.DATASET, None).parse_args(["--data", "d", "--no-grabcut"])
    assert (args.prepared, args.grabcut, args.clusters, args.protocol) == (Path("d/prepared"), False, 45, "released")
    assert prepare_parser(HAM_data.DATASET, None).parse_args(["--prepared", "p"]).prepared == Path("p")
