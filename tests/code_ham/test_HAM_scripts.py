"""The scripts as a user runs them: from the root, from their folder, from anywhere."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import HAM_A1_train
import HAM_A1recist_train
import HAM_Acoseg_train
from common.utils.files import ROOT, read_json
from helpers import SMALL, train_and_score


def run(script: str, *flags: str, cwd: Path) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, script, *flags], cwd=cwd, capture_output=True, text=True)


def test_train_then_evaluate(phantom_ham, tmp_path):
    where = ["--data", str(phantom_ham), "--checkpoint", str(tmp_path / "ham.pt"), "--results", str(tmp_path)]
    trained = run("HAM_A1class_train.py", *where, *SMALL, cwd=ROOT / "code_ham")
    assert trained.returncode == 0, trained.stderr
    assert "epoch 1: loss" in trained.stdout
    assert (tmp_path / "ham.history.csv").is_file()
    scored = run("HAM_A1class_eval.py", *where, "--split", "val", cwd=ROOT / "code_ham")
    assert scored.returncode == 0, scored.stderr
    assert read_json(tmp_path / "ham.val.json")["lesions"] == 8


@pytest.mark.parametrize("script", [HAM_A1_train, HAM_Acoseg_train, HAM_A1recist_train])
def test_training_and_scoring(script, phantom_ham, tmp_path):
    summary = train_and_score(script.RECIPE, phantom_ham, tmp_path)
    assert (summary["dataset"], summary["truth"], summary["lesions"]) == ("HAM10000", "truth", 8)
    assert 0 <= summary["dice"] <= 1


@pytest.mark.parametrize("folder", [ROOT, ROOT / "code_ham", Path("/")])
def test_prepare_runs_from_anywhere(folder, phantom_ham, tmp_path):
    script = "HAM_data.py" if folder.name == "code_ham" else f"{ROOT / 'code_ham' / 'HAM_data.py'}"
    done = run(script, "--data", str(phantom_ham), "--clusters", "4", cwd=folder)
    assert done.returncode == 0, done.stderr
    assert "already" in done.stdout


@pytest.mark.parametrize(
    ("script", "flags", "sentence"),
    [
        ("HAM_data.py", ["--data", "nowhere"], "there is no such folder"),
        ("HAM_A1_train.py", ["--data", "nowhere"], "run python code_ham/HAM_data.py --data nowhere first"),
        ("HAM_A1_train.py", ["--canvas", "100x100"], "multiples of 16, from 128x128"),
        ("HAM_A1_eval.py", ["--data", "nowhere"], "or pass --prepared DIR if it is elsewhere"),
    ],
)
def test_bad_input_is_one_line_and_status_2(script, flags, sentence, tmp_path):
    done = run(str(ROOT / "code_ham" / script), *flags, cwd=tmp_path)
    assert done.returncode == 2
    assert sentence in done.stderr
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith(f"{script}: ")
    assert not [path for path in tmp_path.iterdir() if path.suffix != ".lock"]


def test_a_full_disk_while_preparing(phantom_ham, tmp_path):
    """On a real small file system where one can be mounted; the test needs root."""
    small = tmp_path / "small"
    small.mkdir()
    mounted = shutil.which("mount") and subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(small)], capture_output=True
    )
    if not mounted or mounted.returncode:
        pytest.skip("no small file system can be mounted here; test_preprocess.py simulates the same fault")
    try:
        flags = ["--data", str(phantom_ham), "--prepared", str(small / "prepared"), "--clusters", "4", "--workers", "1"]
        done = run(str(ROOT / "code_ham" / "HAM_data.py"), *flags, cwd=tmp_path)
        assert done.returncode == 2, done.stderr
        assert "the disk is full" in done.stderr
        assert [path.name for path in small.iterdir()] == [".prepared.lock"]
    finally:
        subprocess.run(["umount", str(small)], check=True)
