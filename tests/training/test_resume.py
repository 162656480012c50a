"""Interrupted training goes on as if it had not been interrupted, to the last bit."""

import random
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import fault_processes
import pytest
import torch

import HAM_A1class_train
import HAM_Acoseg_train
from common.run.cli import parse_train
from common.training import train as module
from common.training.checkpoint import load_checkpoint
from common.training.resume import state_path
from common.training.train import train
from common.training.trainer import Trainer
from common.utils.errors import Interrupted, UserError
from common.utils.files import read_csv

ROOT = Path(__file__).resolve().parents[1]
FLAGS = "--encoder resnet18 --encoder-weights none --canvas 128x128 --clusters 4 --batch-size 8 --lr 1e-3".split()
FLAGS += "--precision fp32 --device cpu --limit 24 --epochs 2".split()


def _run(recipe, data: Path, checkpoint: Path, *flags: str):
    return parse_train(recipe, None, ["--data", str(data), "--checkpoint", str(checkpoint), *FLAGS, *flags])


def _same(first: Path, second: Path) -> bool:
    ours, theirs = load_checkpoint(first), load_checkpoint(second)
    return ours.recipe == theirs.recipe and all(torch.equal(ours.state[key], theirs.state[key]) for key in theirs.state)


@pytest.mark.parametrize("recipe", [HAM_A1class_train.RECIPE, HAM_Acoseg_train.RECIPE])
def test_stopped_after_every_step_and_resumed(recipe, phantom_ham, tmp_path, monkeypatch):
    """Optimizer, accumulated gradients, shuffling, dropout and early stopping are all part of the state."""
    whole, parts = tmp_path / "whole.pt", tmp_path / "parts.pt"
    train(_run(recipe, phantom_ham, whole))
    epoch = Trainer.epoch

    def one_batch(self, batches, standing, stop):
        epoch(self, batches, standing, lambda: True)
        request.take(signal.SIGTERM, None)

    request = None

    class Requests(module.StopRequest):
        def __enter__(self):
            nonlocal request
            request = self
            return self

        def __exit__(self, *_):
            return None

    monkeypatch.setattr(module, "catch_stop_signals", Requests)
    monkeypatch.setattr(Trainer, "epoch", one_batch)
    stops = 0
    while True:
        try:
            train(_run(recipe, phantom_ham, parts, "--resume"))
            break
        except Interrupted as interruption:
            stops += 1
            assert interruption.status == 128 + signal.SIGTERM
            assert "--resume goes on" in str(interruption)
    assert stops == 6  # three batches in each of two epochs
    assert _same(parts, whole)
    assert not state_path(parts).exists()
    ours, theirs = (read_csv(path.with_suffix(".history.csv")) for path in (parts, whole))
    for row, want in zip(ours, theirs, strict=True):
        numbers = {key: float(value) for key, value in want.items() if "second" not in key}
        assert {key: float(row[key]) for key in numbers} == pytest.approx(numbers, rel=1e-6)


def _start(checkpoint: Path, data: Path) -> subprocess.Popen:
    command = [sys.executable, str(ROOT / "code_ham" / "HAM_A1class_train.py"), "--data", str(data)]
    command += ["--checkpoint", str(checkpoint), *FLAGS, "--resume"]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_killed_at_ten_random_moments_and_resumed(phantom_ham, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def begin(name: str) -> fault_processes.Running:
        flags = ["--data", str(phantom_ham), "--checkpoint", f"{name}.pt", *FLAGS, "--resume"]
        # A step an epoch, quickly saved, and more epochs than ten kills let be done.
        flags += "--encoder mobilenet_v2 --limit 8 --epochs 24 --patience 24".split()
        return fault_processes.start("code_ham/HAM_A1class_train", flags, tmp_path / f"{name}.log")

    running = begin("whole")
    assert running.wait() == 0, running.told
    epoch = sum(float(row["seconds"]) for row in read_csv(tmp_path / "whole.history.csv")) / 24
    rng, seen = random.Random(4), set()
    for _ in range(10):
        running = begin("killed")
        epochs, until = rng.randrange(3), time.monotonic() + 60
        while running.told.count("epoch ") < epochs and time.monotonic() < until:
            time.sleep(0.01)
        time.sleep(rng.uniform(0, 2 * epoch))
        running.process.kill()
        assert running.wait() == -signal.SIGKILL, running.told
        seen.add(len(read_csv(tmp_path / "killed.history.csv")) if (tmp_path / "killed.history.csv").exists() else 0)
    assert len(seen) > 3  # the kills came at different places
    running = begin("killed")
    assert running.wait() == 0, running.told
    assert _same(tmp_path / "killed.pt", tmp_path / "whole.pt")
    assert {path.suffix for path in tmp_path.iterdir() if "killed" in path.name} <= {".pt", ".csv", ".log", ".tmp"}


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_finishes_the_step_and_says_how_to_go_on(phantom_ham, tmp_path, number, status):
    process = _start(tmp_path / "a.pt", phantom_ham)
    process.stdout.readline()  # the line that training begins with
    while not state_path(tmp_path / "a.pt").exists():
        time.sleep(0.05)
    process.send_signal(number)
    told = process.communicate()[1]
    assert process.returncode == status
    assert re.search(r"interrupted (in|after) epoch \d; the same command with --resume goes on\n$", told)
    assert state_path(tmp_path / "a.pt").exists()


def test_resuming_what_is_complete_or_was_never_begun(phantom_ham, tmp_path, capsys):
    path = tmp_path / "a.pt"
    train(_run(HAM_A1class_train.RECIPE, phantom_ham, path, "--epochs", "1", "--limit", "8", "--resume"))
    assert path.exists()
    before = path.stat().st_mtime_ns
    train(_run(HAM_A1class_train.RECIPE, phantom_ham, path, "--epochs", "1", "--limit", "8", "--resume"))
    assert path.stat().st_mtime_ns == before
    assert "is complete; there is nothing to resume" in capsys.readouterr().out


def test_another_trainings_state_is_refused(phantom_ham, tmp_path, monkeypatch):
    path = tmp_path / "a.pt"
    monkeypatch.setattr(Trainer, "epoch", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        train(_run(HAM_A1class_train.RECIPE, phantom_ham, path))
    with pytest.raises(UserError, match=r"was saved with lr 0\.001, not 0\.5; pass the same flags"):
        train(_run(HAM_A1class_train.RECIPE, phantom_ham, path, "--resume", "--lr", "0.5"))
    torch.save([1], state_path(path))
    with pytest.raises(UserError, match="is not the state of a training"):
        train(_run(HAM_A1class_train.RECIPE, phantom_ham, path, "--resume"))
