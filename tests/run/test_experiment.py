"""The whole experiment: what is planned, what counts as done, and a real small one, interrupted and resumed."""

import json
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest

import HAM_A1recist_train
from common.recipe import PLAIN
from common.run import experiment
from common.run.cli import parse_train
from common.training.config import TrainConfig
from common.utils.errors import UserError
from common.utils.files import read_csv, read_json
from helpers import NETWORK, ROOT

BRIEF = f"{NETWORK} --limit 8 --batch-size 8"


def plan(capsys, *arguments: str) -> list[str]:
    experiment.main([*arguments, "--dry-run"])
    return capsys.readouterr().out.splitlines()


def test_the_plan_seed_by_seed_with_baselines_and_upper_bound(tmp_path, capsys):
    lines = plan(capsys, "ham", "--seeds", "2", "--out", str(tmp_path / "out"), "--data", str(tmp_path))
    commands = [shlex.split(line) for line in lines]
    assert {words[0] for words in commands} == {"python"}
    assert Path(commands[0][1]).name == "HAM_data.py"
    assert commands[1][1:3] == [str(ROOT / "common"), "baselines"]
    trainings = [words for words in commands if words[1].endswith("_train.py")]
    stems = [Path(words[words.index("--checkpoint") + 1]).stem for words in trainings]
    of_seed = ["A1_ellipse_seed{}", "A1_truth_seed{}", "A1class_ellipse_seed{}", "Acoseg_ellipse_seed{}"]
    assert stems == [stem.format(seed) for seed in (0, 1) for stem in of_seed]
    assert all(words[-1] == "--resume" for words in trainings)
    assert len(commands) == 2 + 2 * len(trainings)
    assert not list(tmp_path.iterdir())


def test_what_is_not_of_the_paper_is_trained_where_it_is_named(tmp_path, capsys):
    flags = ["--out", str(tmp_path), "--data", str(tmp_path), "--seeds", "1", "--for", "A1recist", "--outlines 9"]
    assert not [line for line in plan(capsys, "ham", *flags) if "A1recist" in line]
    lines = plan(capsys, "ham", *flags, "--methods", "A1,A1recist")
    trainings = [shlex.split(line) for line in lines if "_train.py" in line]
    stems = [Path(words[words.index("--checkpoint") + 1]).stem for words in trainings]
    assert stems == ["A1_ellipse_seed0", "A1_truth_seed0", "A1recist_quarters_seed0"]
    assert [("--outlines" in words) for words in trainings] == [False, False, True]
    lines = plan(capsys, "ham", *flags[:-3], "--methods", "A1", "--train", "--outlines 9 --falling")  # no bound
    assert not [line for line in lines if "--target truth" in line]


def test_epochs_that_follow_from_the_lesions_are_no_other_setting(tmp_path):
    """Of few lesions A1+R makes more epochs than its recipe says; what a flag asks for is another thing."""
    recorded = TrainConfig.describe(_marked(tmp_path)) | {"epochs": 40}  # "least_steps" says why
    experiment._check_training(tmp_path / "a.pt", recorded, _marked(tmp_path))
    with pytest.raises(UserError, match="was made with epochs 40, not 9"):
        experiment._check_training(tmp_path / "a.pt", recorded, _marked(tmp_path, "--epochs", "9"))
    asked_for = TrainConfig.describe(_marked(tmp_path, "--epochs", "1"))
    with pytest.raises(UserError, match="was made with epochs 1, not the recipe's"):
        experiment._check_training(tmp_path / "a.pt", asked_for, _marked(tmp_path))
    asked_for["epochs"] = HAM_A1recist_train.RECIPE.epochs  # which of few lesions is less than the recipe makes
    with pytest.raises(UserError, match="was made with epochs 2, not the recipe's"):
        experiment._check_training(tmp_path / "a.pt", asked_for, _marked(tmp_path))


def _marked(folder: Path, *flags: str) -> TrainConfig:
    return parse_train(HAM_A1recist_train.RECIPE, None, ["--prepared", str(folder), *flags])


def test_k_is_that_of_prepared_arrays(tmp_path, capsys):
    (tmp_path / "prepared").mkdir()
    (tmp_path / "prepared" / "prepared.json").write_text('{"clusters": 3}')
    prepare, *_ = plan(capsys, "ham", "--out", str(tmp_path / "out"), "--data", str(tmp_path))
    assert "--clusters 3 --refresh" in prepare


def test_deeplesion_has_no_upper_bound_and_its_baseline_is_scored_against_what_stands_for_truth(capsys):
    lines = plan(capsys, "deeplesion", "--seeds", "4,")
    assert not [line for line in lines if "--target truth" in line]
    assert "--truth grabcut" in lines[1]
    assert str(ROOT / "experiments" / "deeplesion" / "checkpoints" / "A1coseg_ellipse_seed4.pt") in lines[-1]


def test_flags_for_all_and_for_one_reach_the_scripts(tmp_path, capsys):
    flags = ["--train", "--lr 1e-3 --protocol corrected --limit 9", "--for", "Acoseg", "--lr 1e-4 --batch-size 4"]
    lines = plan(
        capsys, "lits", "--seeds", "1", "--no-baselines", "--no-upper-bound", "--methods", "A1class,Acoseg", *flags,
        "--out", str(tmp_path), "--prepare", "--split-file a.csv",
    )  # fmt: skip
    prepare, train, evaluate, other, scored = lines
    assert "--protocol corrected --clusters 40 --split-file a.csv" in prepare
    assert "--lr 1e-3 --protocol corrected --limit 9 --seed 0" in train
    assert "--batch-size 10 --device auto --precision auto --limit 9" in evaluate
    assert "--limit 9 --lr 1e-4 --batch-size 4 --seed 0" in other
    assert "--batch-size 4" in scored


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["nowhere"], "there are deeplesion, ham, lits"),
        (["ham", "--methods", "A2"], "code_ham has no method A2; there are A1, A1class, A1recist, Acoseg"),
        (["ham", "--for", "A2", "--lr 1"], "has no method A2"),
        (["ham", "--train", "--lr x"], "'x' is not a number above 0"),
        (["ham", "--train", "--colour red"], "unrecognized arguments: --colour red"),
        (["ham", "--train", "--prepared a"], "--train and --for can't hold --prepared; pass --data, --prepared or"),
        (["ham", "--for", "A1", "--seed 3"], "--train and --for can't hold --seed; "),
    ],
)
def test_bad_input_ends_before_anything_runs(arguments, sentence, tmp_path):
    with pytest.raises(UserError, match=sentence):
        experiment.main([*arguments, "--out", str(tmp_path / "out")])
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("text", ["0", "a", "", "1,,2", "-1"])
def test_what_is_no_number_and_no_list_of_seeds(text):
    with pytest.raises(UserError, match="neither a number of seeds above 0 nor a list"):
        experiment.parse(["ham", f"--seeds={text}"])


def test_seeds():
    assert [experiment.seeds(text) for text in ("3", "5,", "4,7")] == [[0, 1, 2], [5], [4, 7]]


@pytest.fixture(scope="module")
def done(phantom_ham, tmp_path_factory) -> tuple[Path, list[str]]:
    """A real experiment of one method and seed, interrupted in its training, then finished: its folder and flags."""
    out = tmp_path_factory.mktemp("experiment") / "out"
    flags = ["ham", "--data", str(phantom_ham), "--out", str(out), "--methods", "A1class", "--seeds", "1"]
    flags += ["--train", f"{BRIEF} --epochs 4"]
    command = [sys.executable, str(ROOT / "common"), "experiment", *flags]
    log = out / "logs" / "A1class_ellipse_seed0.log"
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        deadline = time.monotonic() + 90
        while not (log.is_file() and "epoch 1: loss" in log.read_text()):
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.02)
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGTERM
    assert "3 of 3, A1class_ellipse_seed0; the same command goes on" in err
    assert (out / "checkpoints" / "A1class_ellipse_seed0.state").is_file()
    experiment.main(flags)
    return out, flags


def test_an_interrupted_experiment_goes_on_and_ends_with_table_and_page(done):
    out, _ = done
    log = (out / "logs" / "A1class_ellipse_seed0.log").read_text()
    assert "interrupted" in log
    assert log.count("epoch 1: loss") == 1
    assert log.count("epoch 4: loss") == 1
    assert [row["model"] for row in read_csv(out / "table.csv")] == [
        "A1+L", "A1+L (paper)", "ellipse itself", "GrabCut itself", "quarters themselves",
    ]  # fmt: skip
    page = (out / "report.html").read_text()
    assert page.count('<img src="data:image/png;base64,') == 4  # two worst and two best of four lesions


def test_what_is_done_is_not_done_again(done, capsys):
    out, flags = done
    made = [*(out / "checkpoints").iterdir(), *(out / "results").iterdir()]
    before = {path: path.stat().st_mtime_ns for path in made}
    prepare, *others = plan(capsys, *flags)
    assert prepare.endswith("--refresh")  # the data may have changed since
    assert all(line.endswith("# done") for line in others)
    history = out / "checkpoints" / "A1class_ellipse_seed0.history.csv"
    text = history.read_text()
    history.write_text("epoch\n1\n")  # by which the time left would be estimated
    assert all(line.endswith("# done") for line in plan(capsys, *flags)[1:])
    history.write_text(text)
    before[history] = history.stat().st_mtime_ns
    experiment.main(flags)
    assert capsys.readouterr().err.count("done before") == 2
    assert {path: path.stat().st_mtime_ns for path in made} == before


def test_a_damaged_result_is_made_again_from_the_checkpoint(done, capsys):
    out, flags = done
    result = out / "results" / "A1class_ellipse_seed0.limit8.json"
    text = result.read_text()
    try:
        result.write_text(text[:100])
        assert len([line for line in plan(capsys, *flags)[1:] if "done" not in line]) == 2
        with pytest.raises(UserError, match=r"A1class_ellipse_seed0\.pt was made with epochs 4, not 5"):
            experiment.main([*flags, "--train", f"{BRIEF} --epochs 5"])
    finally:
        result.write_text(text)


def test_a_result_is_made_again_where_its_training_was(done, capsys):
    """By hand, or completed since: a result must be that of the checkpoint beside it."""
    out, flags = done
    result, checkpoint = out / "results" / "A1class_ellipse_seed0.limit8.json", out / "checkpoints"
    checkpoint /= "A1class_ellipse_seed0.pt"
    text, content = result.read_text(), checkpoint.read_bytes()
    for run in (
        {"checkpoint": {"sha256": "another"}},
        {"training": read_json(result)["training"] | {"complete": False}},
    ):
        try:
            result.write_text(json.dumps(read_json(result) | run))
            assert len([line for line in plan(capsys, *flags)[1:] if "done" not in line]) == 2
        finally:
            result.write_text(text)
    try:
        checkpoint.unlink()  # who keeps results alone keeps what they say
        assert all(line.endswith("# done") for line in plan(capsys, *flags)[1:])
    finally:
        checkpoint.write_bytes(content)


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [("--lr 0.01", "lr 0.001, not 0.01"), ("--encoder resnet34", "encoder tu-tf_mobilenet.*, not resnet34"),
     ("--clusters 5", "clusters 4, not 5"), ("--precision bf16", "precision fp32, not bf16"),
     ("--canvas 144x128", "canvas .128, 128., not .144, 128."), ("--prompt recist", "prompt none, not recist"),
     ("--outlines 3 --falling", "outlines None, not 3"), ("--average 0.5", "average 0.0, not 0.5")],
)  # fmt: skip
def test_results_of_other_settings_are_neither_taken_nor_overwritten(flags, sentence, done):
    out, usual = done
    precision = read_json(out / "results" / "A1class_ellipse_seed0.limit8.json")["training"]["precision"]
    sentence = sentence.replace("fp32", precision)
    if sentence == "precision bf16, not bf16":
        flags, sentence = "--precision fp32", "precision bf16, not fp32"
    with pytest.raises(UserError, match=rf"A1class_ellipse_seed0\.limit8\.json was made with {sentence}"):
        experiment.main([*usual, "--train", f"{BRIEF} --epochs 4 {flags}"])


def test_results_of_earlier_versions_are_of_plain_trainings(done, tmp_path, capsys):
    """They say nothing of prompts, outlines and the like, and are not taken for what was trained with them."""
    out, flags = done
    result = read_json(out / "results" / "A1class_ellipse_seed0.limit8.json")
    result["training"] = {name: value for name, value in result["training"].items() if name not in PLAIN}
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "A1class_ellipse_seed0.limit8.json").write_text(json.dumps(result))
    flags = [*flags, "--no-baselines", "--out", str(tmp_path)]
    assert all(line.endswith("# done") for line in plan(capsys, *flags)[1:])
    with pytest.raises(UserError, match="was made with prompt none, not recist"):
        plan(capsys, *flags, "--train", f"{BRIEF} --epochs 4 --prompt recist")


def test_k_is_no_matter_without_a_cluster_head(done, tmp_path, capsys):
    out, flags = done
    result = read_json(out / "results" / "A1class_ellipse_seed0.limit8.json")
    result["training"] |= {"method": "A1", "clusters": 45, "loss_weights": {"mask": 100.0}}
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "A1_ellipse_seed0.limit8.json").write_text(json.dumps(result))
    more = ["--methods", "A1", "--no-upper-bound", "--no-baselines", "--out", str(tmp_path)]
    assert all(line.endswith("# done") for line in plan(capsys, *flags, *more)[1:])


def test_redrawn_masks_are_prepared_and_scored_again_and_old_trainings_refused(done, tmp_path):
    """Nothing that was made from the old masks is taken for done, or averaged with what is made from the new."""
    _, flags = done
    data, out = tmp_path / "data", tmp_path / "out"
    shutil.copytree(flags[flags.index("--data") + 1], data)
    shutil.copytree(done[0], out)
    flags = [*flags, "--data", str(data), "--out", str(out)]
    experiment.main(flags)  # a copy of the data: the same arrays, and all is done
    before = read_json(out / "results" / "baseline_ellipse.limit8.json")
    for mask in data.rglob("*_segmentation.png"):
        cv2.imwrite(str(mask), cv2.erode(cv2.imread(str(mask), 0), np.ones((25, 25), np.uint8)))
    with pytest.raises(UserError, match=r"A1class_ellipse_seed0\.limit8\.json was made from other lesions or masks"):
        experiment.main(flags)
    experiment.main([*flags, "--out", str(tmp_path / "new")])
    after = read_json(tmp_path / "new" / "results" / "baseline_ellipse.limit8.json")
    assert after["prepared"] != before["prepared"]
    assert after["dice"] != before["dice"]
