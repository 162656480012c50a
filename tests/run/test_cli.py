"""Command lines: published defaults, and one sentence for what can't be meant."""

import argparse
from dataclasses import replace
from pathlib import Path

import pytest

import HAM_A1_train
import HAM_A1class_train
import HAM_A1recist_train
import HAM_Acoseg_train
import HAM_data
from common.data.preprocess import PreprocessConfig
from common.patches import parse_canvas
from common.run.cli import parse_eval, parse_train, prepare_parser
from common.utils.errors import UserError
from common.weak_masks import QUARTERS_SCALE

RECIPE, A1RECIST = HAM_A1class_train.RECIPE, HAM_A1recist_train.RECIPE


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


def test_the_target_is_the_protocols_unless_a_flag_says_otherwise():
    assert parse_train(RECIPE, None, []).target == "ellipse"
    assert parse_train(RECIPE, None, ["--protocol", "corrected"]).target == "quarters"
    assert parse_train(RECIPE, None, ["--protocol", "corrected", "--target", "ellipse"]).target == "ellipse"
    assert parse_train(RECIPE, None, ["--target", "quarters"]).target == "quarters"


PLAIN = {"prompt": "none", "outlines": None, "flips": False, "jitter": 0, "average": 0, "falling": False}


def test_only_a1_r_is_trained_other_than_the_paper_does():
    config = vars(parse_train(RECIPE, None, []))
    assert {name: config[name] for name in PLAIN} == PLAIN
    for flags in ([], ["--protocol", "corrected"]):
        config = vars(parse_train(A1RECIST, None, flags))
        own = {"prompt": "recist", "flips": True, "jitter": 10, "average": 0.99, "falling": True}
        assert {name: config[name] for name in PLAIN} == PLAIN | own
        assert config["target"] == "quarters"
        assert (config["recipe"].lr, config["recipe"].epochs, config["recipe"].patience) == (3e-4, 2, 2)
    flags = "--prompt none --no-flips --jitter 0 --average 0.5 --no-falling --target ellipse"
    config = vars(parse_train(A1RECIST, None, flags.split()))
    assert {name: config[name] for name in PLAIN} == PLAIN | {"average": 0.5}
    assert config["target"] == "ellipse"


@pytest.mark.parametrize(
    ("recipe", "defaults"), [(RECIPE, ["none", "False", "0"]), (A1RECIST, ["recist", "True", "10"])]
)
def test_help_tells_a_methods_own_defaults(recipe, defaults, capsys):
    with pytest.raises(SystemExit):
        parse_train(recipe, None, ["--help"])
    out = " ".join(capsys.readouterr().out.split())
    for flag, default in zip(
        ("RECIST mark is an input, too", "lesions at random", "long diameter at random"), defaults, strict=True
    ):
        assert f"{flag} (default {default})" in out
    assert ("(default 2; more for few lesions, to reach 800 steps; one more with --outlines)" in out) == (
        recipe is A1RECIST
    )


@pytest.mark.parametrize(
    ("recipe", "flags", "sentence"),
    [
        (HAM_Acoseg_train.RECIPE, "--prompt recist", "--prompt recist is for A1, A1+L and A1+R; ACoseg can't"),
        (RECIPE, "--jitter 2.5", "--jitter 2.5 moves a prompt's end points; pass --prompt recist, or --jitter 0"),
        (A1RECIST, "--prompt none", "--jitter 10 moves a prompt's end points; pass --prompt recist, or --jitter 0"),
        (RECIPE, "--flips", "leave the shape cluster of a mirrored lesion as it was; A1+L trains"),
        (RECIPE, "--target truth --outlines 5", "trains on every outline; leave --outlines out, or pass another"),
        (A1RECIST, "--outlines 5 --epochs 1", "after others on the marks; pass --epochs 2 or more"),
        (RECIPE, "--outlines 5", "the last epoch, which a training that keeps its best by the marks would leave out; "),
    ],
)  # fmt: skip
def test_flags_that_have_no_effect_together_are_refused(recipe, flags, sentence):
    with pytest.raises(UserError) as error:
        parse_train(recipe, None, flags.split())
    assert sentence in str(error.value)


@pytest.mark.parametrize("name", ["lr0.001", "a.pth", "a"])
def test_a_checkpoint_must_end_in_pt(name):
    with pytest.raises(UserError, match=f"--checkpoint runs/{name} must end in .pt"):
        parse_train(HAM_A1_train.RECIPE, None, ["--checkpoint", f"runs/{name}"])


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
    assert (config.epochs, parse_train(RECIPE, None, []).epochs) == (3, None)


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
        "--nonsense", "--prompt box", "--outlines 0", "--outlines 1.5", "--jitter 100", "--jitter -1", "--jitter nan",
        "--average 1", "--average x",
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
    assert args.quarters_scale == QUARTERS_SCALE
    config = PreprocessConfig.from_args(HAM_data.DATASET, args, [], {})
    assert config.settings == {"grabcut": False, "quarters_scale": QUARTERS_SCALE}


@pytest.mark.parametrize("text", ["0", "-1", "1.51", "nan", "x", "1,1", ""])
def test_a_scale_of_quarters_that_makes_no_sense(text):
    parser = prepare_parser(HAM_data.DATASET, None)
    with pytest.raises(UserError, match=r"--quarters-scale: .* is not a number above 0, at most 1\.5"):
        parser.parse_args([f"--quarters-scale={text}"])
    assert parser.parse_args(["--quarters-scale", "1.5"]).quarters_scale == 1.5


def test_the_noise_of_marks_in_an_evaluation():
    config = parse_eval(RECIPE, None, [])
    assert (config.prompt_noise, config.seed) == (0, 0)
    config = parse_eval(RECIPE, None, ["--prompt-noise", "2.5", "--seed", "3"])
    assert (config.prompt_noise, config.seed) == (2.5, 3)
