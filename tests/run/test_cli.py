"""Command lines: published defaults, and one sentence for what can't be meant."""

import argparse
from pathlib import Path

import pytest

import HAM_A1class_train
import HAM_data
from common.patches import parse_canvas
from common.run.cli import parse_eval, parse_train, prepare_parser
from common.utils.errors import UserError

RECIPE = HAM_A1class_train.RECIPE


def test_the_defaults_are_the_published_recipe():
    run = parse_train(RECIPE, None, [])
    assert run.recipe == RECIPE
    assert (run.encoder, run.canvas, run.clusters, run.protocol) == ("resnet101", (384, 480), 45, "released")
    assert run.checkpoint == RECIPE.dataset.folder / "checkpoints" / "ham_a1class.pt"
    assert run.results == RECIPE.dataset.folder / "results"
    assert run.prepared == RECIPE.dataset.folder / "Data_ham" / "prepared"
    assert (run.target, run.encoder_weights, run.seed, run.limit) == ("ellipse", "imagenet", 0, None)


def test_the_corrected_protocol_has_a_canvas_of_its_own():
    assert parse_train(RECIPE, None, ["--protocol", "corrected"]).canvas == (128, 128)
    assert parse_train(RECIPE, None, ["--protocol", "corrected", "--canvas", "384x480"]).canvas == (384, 480)
    assert parse_train(RECIPE, None, ["--canvas", "128x128"]).canvas == (128, 128)


def test_flags_change_the_recipe():
    run = parse_train(
        RECIPE, None, ["--epochs", "3", "--batch-size", "4", "--lr", "0.5", "--patience", "2", "--clusters", "7"]
    )
    recipe = run.recipe
    assert (recipe.epochs, recipe.batch_size, recipe.lr, recipe.patience, run.clusters) == (3, 4, 0.5, 2, 7)


def test_evaluation_leaves_to_the_checkpoint_what_is_not_given():
    run = parse_eval(RECIPE, None, [])
    assert (run.encoder, run.canvas, run.clusters, run.protocol) == (None, None, None, None)
    assert (run.split, run.truth) == ("test", "truth")


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
    with pytest.raises(UserError) as told:
        parse_train(RECIPE, None, flags.split())
    assert flags.split()[0] in str(told.value)
    assert "\n" not in str(told.value)


def test_prepare_flags():
    args = prepare_parser(HAM_data.DATASET, None).parse_args(["--data", "d", "--no-grabcut"])
    assert (args.prepared, args.grabcut, args.clusters, args.protocol) == (Path("d/prepared"), False, 45, "released")
