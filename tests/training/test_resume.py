"""Interrupted training goes on as if it had not been interrupted, to the last bit."""

import random
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import fault_processes
import HAM_A1class_train
import HAM_A1recist_train
import HAM_Acoseg_train
import HAM_data
from common.model import build_network
from common.recipe import A1CLASS, Recipe
from common.run.cli import parse_train
from common.training import resume
from common.training import train as module
from common.training.checkpoint import load_checkpoint, save_checkpoint
from common.training.config import TrainConfig, finished_path, history_path, state_path
from common.training.distributed import SINGLE_PROCESS
from common.training.resume import StateSaver
from common.training.train import build_trainer, train
from common.training.trainer import Trainer, TrainState
from common.training.weights import load_tensors
from common.utils.errors import Interrupted, UserError
from common.utils.files import read_csv
from helpers import NETWORK, ROOT

CPU = torch.device("cpu")
FLAGS = f"{NETWORK} --batch-size 8 --lr 1e-3 --precision fp32 --device cpu --limit 24 --epochs 2".split()


def _config(recipe: Recipe, data: Path, checkpoint: Path, *flags: str) -> TrainConfig:
    return parse_train(recipe, None, ["--data", str(data), "--checkpoint", str(checkpoint), *FLAGS, *flags])


def _same(first: Path, second: Path) -> bool:
    one, two = load_checkpoint(first), load_checkpoint(second)
    return one.settings == two.settings and all(torch.equal(one.state[key], two.state[key]) for key in two.state)


FEW = "--limit 8 --batch-size 4"  # two batches in each of two epochs


@pytest.mark.parametrize(
    ("recipe", "flags", "steps"),
    [
        (HAM_Acoseg_train.RECIPE, FEW.split(), 4),
        (HAM_A1recist_train.RECIPE, f"{FEW} --outlines 2 --average 0.5".split(), 4),
    ],
    ids=["ACoseg", "A1+R"],
)
def test_stopped_after_every_step_and_resumed(recipe, flags, steps, phantom_ham, tmp_path, monkeypatch):
    """Optimizer, accumulated gradients, shuffling, dropout and early stopping are all part of the state.

    So are the running average, the falling rate, and how lesions are varied.
    """
    uninterrupted, parts = tmp_path / "uninterrupted.pt", tmp_path / "parts.pt"
    train(_config(recipe, phantom_ham, uninterrupted, *flags))
    train_epoch, requests = Trainer.train_epoch, []

    def train_one_batch(self, batches, state, stop, rate):
        train_epoch(self, batches, state, lambda: True, rate)
        requests[-1].handle(signal.SIGTERM, None)

    def catch_stop_signals():
        requests.append(module.StopRequest())
        return nullcontext(requests[-1])

    monkeypatch.setattr(module, "catch_stop_signals", catch_stop_signals)
    monkeypatch.setattr(Trainer, "train_epoch", train_one_batch)
    stops = 0
    while True:
        try:
            train(_config(recipe, phantom_ham, parts, *flags, "--resume"))
            break
        except Interrupted as interruption:
            stops += 1
            assert interruption.status == 128 + signal.SIGTERM
            assert "--resume goes on" in str(interruption)
    assert stops == steps
    assert _same(parts, uninterrupted)
    assert not state_path(parts).exists()
    rows, expected_rows = (read_csv(history_path(path)) for path in (parts, uninterrupted))
    for row, expected in zip(rows, expected_rows, strict=True):
        numbers = {key: float(value) for key, value in expected.items() if "second" not in key}
        assert {key: float(row[key]) for key in numbers} == pytest.approx(numbers, rel=1e-6)


def test_without_its_state_an_uncompleted_training_is_not_taken_for_a_complete_one(phantom_ham, tmp_path, monkeypatch):
    path, request = tmp_path / "a.pt", module.StopRequest()
    config = _config(HAM_A1class_train.RECIPE, phantom_ham, path, *FEW.split())
    with monkeypatch.context() as patch:
        patch.setattr(module, "catch_stop_signals", lambda: nullcontext(request))
        patch.setattr(module, "_print_epoch", lambda *_: request.handle(signal.SIGTERM, None))
        with pytest.raises(Interrupted):
            train(config)
    state_path(path).unlink()
    with pytest.raises(UserError, match=r"a\.pt was not completed, and a\.state is gone; delete the checkpoint, or"):
        train(replace(config, resume=True))
    train(config)
    assert "complete" not in load_checkpoint(path).settings


def _start(checkpoint: Path, data: Path) -> subprocess.Popen:
    command = [sys.executable, str(ROOT / "code_ham" / "HAM_A1class_train.py"), "--data", str(data)]
    command += ["--checkpoint", str(checkpoint), *FLAGS, "--resume"]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.fixture
def saver(phantom_ham, tmp_path) -> Iterator[StateSaver]:
    """Of a training that has not begun."""
    trainer = build_trainer(_config(HAM_A1class_train.RECIPE, phantom_ham, tmp_path / "a.pt"), CPU, SINGLE_PROCESS)
    with StateSaver(tmp_path / "a.pt", trainer, {"lr": 1.0}) as saver:
        yield saver


def test_a_state_is_that_of_the_moment_and_written_at_most_once_a_minute(saver, tmp_path, monkeypatch):
    weight, started = saver._trainer.network.encoder.model.conv_stem.weight, threading.Event()
    before, write = weight.detach().clone(), StateSaver._write

    def wait_and_write(self, content):
        assert started.wait(60)
        write(self, content)

    monkeypatch.setattr(StateSaver, "_write", wait_and_write)
    state = TrainState(epoch=2)
    saver.save_between_epochs(state)  # and training goes on meanwhile
    weight.data.zero_()
    state.epoch = 3
    assert not state_path(tmp_path / "a.pt").exists()
    started.set()
    saver.save_between_epochs(state)  # too early
    saver._wait()
    content = load_tensors(state_path(tmp_path / "a.pt"))
    assert torch.equal(content["network"]["encoder.model.conv_stem.weight"], before)
    assert content["progress"]["epoch"] == 2
    monkeypatch.setattr(resume, "SAVE_EVERY", 0)
    saver.save_between_epochs(state)
    saver._wait()
    content = load_tensors(state_path(tmp_path / "a.pt"))
    assert not content["network"]["encoder.model.conv_stem.weight"].any()
    assert content["progress"]["epoch"] == 3


def test_a_tensor_of_two_names_is_saved_once(phantom_ham, tmp_path):
    trainer = build_trainer(_config(HAM_Acoseg_train.RECIPE, phantom_ham, tmp_path / "a.pt"), CPU, SINGLE_PROCESS)
    with StateSaver(tmp_path / "a.pt", trainer, {}) as saver:
        saver.save(TrainState())
    weights = sum(weight.numel() for weight in trainer.network.parameters()) * 4
    assert state_path(tmp_path / "a.pt").stat().st_size == pytest.approx(weights, rel=0.02)  # no gradients yet, no Adam


def test_what_goes_wrong_in_the_background_is_raised(saver, monkeypatch):
    def full(self, content):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(StateSaver, "_write", full)
    saver.save_between_epochs(TrainState())
    with pytest.raises(OSError, match="No space left"):
        saver.save(TrainState())


def test_killed_at_random_moments_and_resumed(phantom_ham, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def begin(name: str) -> fault_processes.Running:
        flags = ["--data", str(phantom_ham), "--checkpoint", f"{name}.pt", *FLAGS, "--resume"]
        # A step an epoch, quickly saved, and more epochs than the kills let be done.
        flags += "--limit 8 --epochs 8 --patience 8".split()
        log, change = tmp_path / f"{name}.log", fault_processes.save_after_every_epoch
        return fault_processes.start("code_ham/HAM_A1class_train", flags, log, change=change)

    running = begin("uninterrupted")
    assert running.wait() == 0, running.told
    epoch = sum(float(row["seconds"]) for row in read_csv(tmp_path / "uninterrupted.history.csv")) / 8
    rng, seen, resumed_at = random.Random(4), set(), []
    for _ in range(4):
        running = begin("killed")
        epochs, until = rng.randrange(3), time.monotonic() + 60
        while running.told.count("epoch ") < epochs and time.monotonic() < until:
            time.sleep(0.01)
        time.sleep(rng.uniform(0, 2 * epoch))
        running.process.kill()
        assert running.wait() == -signal.SIGKILL, running.told
        seen.add(len(read_csv(tmp_path / "killed.history.csv")) if (tmp_path / "killed.history.csv").exists() else 0)
        state = state_path(tmp_path / "killed.pt")
        resumed_at.append(load_tensors(state)["progress"]["epoch"] if state.exists() else 1)
    assert len(seen) > 1  # the kills came at different places
    assert max(resumed_at) > 1  # and not all was done anew
    running = begin("killed")
    assert running.wait() == 0, running.told
    assert _same(tmp_path / "killed.pt", tmp_path / "uninterrupted.pt")
    assert {path.suffix for path in tmp_path.iterdir() if "killed" in path.name} <= {
        ".pt", ".csv", ".finished", ".log", ".tmp",
    }  # fmt: skip


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_finishes_the_step_and_says_how_to_go_on(phantom_ham, tmp_path, number, status):
    process = _start(tmp_path / "a.pt", phantom_ham)
    process.stdout.readline()  # the line that training begins with
    while not state_path(tmp_path / "a.pt").exists() and process.poll() is None:
        time.sleep(0.05)
    process.send_signal(number)
    err = process.communicate()[1]
    assert process.returncode == status
    assert re.search(r"interrupted (in|after) epoch \d; the same command with --resume goes on\n$", err)
    assert state_path(tmp_path / "a.pt").exists()


def test_resuming_what_is_complete_or_was_never_begun(phantom_ham, tmp_path, capsys):
    path = tmp_path / "a.pt"
    train(_config(HAM_A1class_train.RECIPE, phantom_ham, path, "--epochs", "1", "--limit", "8", "--resume"))
    assert path.exists()
    before = path.stat().st_mtime_ns
    train(_config(HAM_A1class_train.RECIPE, phantom_ham, path, "--epochs", "1", "--limit", "8", "--resume"))
    assert path.stat().st_mtime_ns == before
    assert "is complete; there is nothing to resume" in capsys.readouterr().out
    more = "--epochs 1 --limit 8 --patience 99 --resume".split()  # all its epochs are done: more patience gives no more
    train(_config(HAM_A1class_train.RECIPE, phantom_ham, path, *more))
    assert "is complete; there is nothing to resume" in capsys.readouterr().out
    other = {"--seed 1": "seed 0, not 1", "--lr 0.5": r"lr 0\.001, not 0\.5", "--limit 7": "limit 8, not 7"}
    for flags, name in other.items():
        with pytest.raises(UserError, match=rf"a\.pt was made with {name}; pass the same flags and"):
            train(_config(HAM_A1class_train.RECIPE, phantom_ham, path, *more, *flags.split()))
    save_checkpoint(path, build_network(A1CLASS, "resnet18", 4), {})
    with pytest.raises(UserError, match=r"a\.pt doesn't say how it was trained"):
        train(_config(HAM_A1class_train.RECIPE, phantom_ham, path, *more))


def test_fewer_epochs_than_there_were_are_refused(phantom_ham, tmp_path, monkeypatch):
    path, means = tmp_path / "a.pt", iter([3, 2, KeyboardInterrupt])

    def validate(*_):
        if (mean := next(means)) is KeyboardInterrupt:
            raise mean
        return {"mask": mean, "dice": 0.5}

    monkeypatch.setattr(resume, "SAVE_EVERY", 0)
    monkeypatch.setattr(Trainer, "validate", validate)
    flags = "--limit 8".split()
    with pytest.raises(KeyboardInterrupt):
        train(_config(HAM_A1class_train.RECIPE, phantom_ham, path, *flags, "--epochs", "5"))
    with pytest.raises(UserError, match=r"a\.state has 2 epochs behind it; pass --epochs 2 or more"):
        train(_config(HAM_A1class_train.RECIPE, phantom_ham, path, *flags, "--epochs", "1", "--resume"))


@pytest.mark.parametrize(
    ("recipe", "losses"),
    [
        (HAM_A1class_train.RECIPE, [3, 2, 1]),
        (HAM_Acoseg_train.RECIPE, [3, 2, 1]),
        (HAM_A1class_train.RECIPE, [1, 2, 3]),
    ],
    ids=["better", "better, ACoseg", "worse"],
)
def test_more_epochs_for_a_finished_training(recipe, losses, phantom_ham, tmp_path, monkeypatch):
    """As if they had been asked for at once, whether the best weights are of the first or the last of them."""

    def fit(name: str, validation: list[int], *flags: str) -> Path:
        means = iter(validation)
        monkeypatch.setattr(Trainer, "validate", lambda *_: {"mask": next(means), "dice": 0.5})
        train(_config(recipe, phantom_ham, tmp_path / name, "--limit", "8", *flags))
        return tmp_path / name

    at_once = fit("once.pt", losses, "--epochs", "3")
    path = fit("later.pt", losses[:2], "--epochs", "2")
    assert fit("later.pt", losses[2:], "--epochs", "3", "--resume") == path
    assert _same(path, at_once)
    assert len(read_csv(history_path(path))) == 3
    assert finished_path(path).is_file()
    assert not state_path(path).exists()
    finished_path(path).unlink()
    with pytest.raises(UserError, match=r"later\.finished is gone; train anew, without --resume"):
        fit("later.pt", [], "--epochs", "4", "--resume")


def test_no_more_epochs_where_the_rate_has_fallen(phantom_ham, tmp_path):
    """It falls over all epochs: more of them would have been other epochs from the first step on."""
    flags = "--limit 8 --epochs 1 --falling".split()
    train(_config(HAM_A1class_train.RECIPE, phantom_ham, tmp_path / "a.pt", *flags))
    assert not finished_path(tmp_path / "a.pt").exists() and not state_path(tmp_path / "a.pt").exists()
    with pytest.raises(
        UserError, match="can't go on: its learning rate fell to 0 in its 1 epochs; train anew, without"
    ):
        train(_config(HAM_A1class_train.RECIPE, phantom_ham, tmp_path / "a.pt", *flags, "--epochs", "2", "--resume"))


def test_no_more_epochs_where_patience_ended(phantom_ham, tmp_path, monkeypatch, capsys):
    path, means = tmp_path / "a.pt", iter([1, 2])
    monkeypatch.setattr(Trainer, "validate", lambda *_: {"mask": next(means), "dice": 0.5})
    flags = "--limit 8 --epochs 9 --patience 1".split()
    train(_config(HAM_A1class_train.RECIPE, phantom_ham, path, *flags))
    assert not finished_path(path).exists()
    train(_config(HAM_A1class_train.RECIPE, phantom_ham, path, *flags, "--resume"))
    assert "is complete; there is nothing to resume" in capsys.readouterr().out
    for more in (["--epochs", "12"], ["--patience", "3"]):
        with pytest.raises(UserError, match=r"go on: it ran out of patience \(1 epochs\) after epoch 2; train anew"):
            train(_config(HAM_A1class_train.RECIPE, phantom_ham, path, *flags, *more, "--resume"))


def test_another_trainings_state_is_refused(phantom_ham, tmp_path, monkeypatch):
    path = tmp_path / "a.pt"
    monkeypatch.setattr(Trainer, "train_epoch", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        train(_config(HAM_A1class_train.RECIPE, phantom_ham, path))
    with pytest.raises(UserError, match=r"was made with lr 0\.001, not 0\.5; pass the same flags"):
        train(_config(HAM_A1class_train.RECIPE, phantom_ham, path, "--resume", "--lr", "0.5"))
    HAM_data.main(
        ["--data", str(phantom_ham), "--prepared", str(tmp_path / "prepared"), *"--clusters 4 --no-grabcut".split()]
    )
    with pytest.raises(UserError, match="from other lesions or masks than those prepared now; pass the same"):
        other = ["--resume", "--prepared", str(tmp_path / "prepared")]  # without the GrabCut masks
        train(_config(HAM_A1class_train.RECIPE, phantom_ham, path, *other))
    torch.save([1], state_path(path))
    with pytest.raises(UserError, match="is not the state of a training"):
        train(_config(HAM_A1class_train.RECIPE, phantom_ham, path, "--resume"))


def test_a_running_average_of_an_earlier_version_is_told(phantom_ham, tmp_path):
    config = _config(HAM_A1class_train.RECIPE, phantom_ham, tmp_path / "a.pt", "--average", "0.5")
    trainer = build_trainer(config, CPU, SINGLE_PROCESS)
    with StateSaver(tmp_path / "a.pt", trainer, {"falling": False}) as saver:
        saver.save(TrainState())
    assert resume.load_state(tmp_path / "a.pt", trainer, {"falling": False}) == TrainState()
    content = load_tensors(state_path(tmp_path / "a.pt"))
    torch.save(content | {"average": {"n_averaged": torch.tensor(1)}}, state_path(tmp_path / "a.pt"))
    with pytest.raises(UserError, match=r"a\.state is not the state of a training"):
        resume.load_state(tmp_path / "a.pt", trainer, {"falling": False})
