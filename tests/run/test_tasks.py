"""Tasks in turn: what is shown, what is logged, how they fail and are interrupted."""

import io
import logging
import re
import signal
import subprocess
import sys
import time

import pytest

from common.run.tasks import Command, Task, duration, run_tasks, time_left
from common.utils.errors import Interrupted, UserError
from common.utils.progress import progress
from helpers import ROOT


def task(name, *mains, done=False, kind="kind", seconds=None):
    return Task(name, kind, [Command([f"{name}.py"], main, ["--a b"]) for main in mains], done, seconds)


def say(*words, error=False):
    return lambda arguments: print(*words, *arguments, file=sys.stderr if error else sys.stdout)


def fail(error):
    def main(arguments):
        raise error

    return main


def test_tasks_run_in_turn_and_what_is_done_is_left_alone(tmp_path, capsys):
    never = fail(AssertionError("it was done before"))
    tasks = [
        task("a", never, done=True, seconds=60.0),
        task("b", say("one"), say("two", error=True)),
        task("c", lambda arguments: print(*progress("xyz", "reading", 3)), kind="another"),
    ]
    run_tasks(tasks, tmp_path / "logs")
    assert (tmp_path / "logs" / "b.log").read_text() == "one --a b\ntwo --a b\n"
    assert (tmp_path / "logs" / "c.log").read_text() == "x y z\n"
    assert not (tmp_path / "logs" / "a.log").exists()
    out, err = capsys.readouterr()
    assert out == ""
    assert re.sub(r"\b[1-9] s", "0 s", err).splitlines() == [
        "[1/3] a: done before",
        "[2/3] b, 0 s elapsed, about 2 min left", "[2/3] b: done in 0 s",
        "[3/3] c, 0 s elapsed, about 30 s left", "[3/3] c: done in 0 s",
    ]  # fmt: skip


def test_a_log_is_added_to_line_by_line(tmp_path):
    log = tmp_path / "a.log"

    def main(arguments):
        print("first")
        assert log.read_text() == "earlier\nfirst\n"
        assert not sys.stderr.isatty()

    log.write_text("earlier\n")
    run_tasks([task("a", main)], tmp_path)


def test_a_library_may_keep_the_stream_that_it_finds(tmp_path):
    handlers = []
    run_tasks([task("a", lambda arguments: handlers.append(logging.StreamHandler()))], tmp_path)
    handlers[0].emit(logging.makeLogRecord({"msg": "much later"}))
    assert (tmp_path / "a.log").read_text() == "much later\n"


def test_a_command_is_told_as_one_would_type_it():
    assert str(Command(["x.py", "train"], say(), ["--out", "a b"])) == "python x.py train --out 'a b'"


def test_on_a_terminal_one_line_is_redrawn_with_what_the_task_says(tmp_path, monkeypatch):
    terminal = io.StringIO()
    terminal.isatty = lambda: True
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("COLUMNS", "60")
    monkeypatch.setenv("LINES", "20")
    run_tasks([task("b", say("epoch 1: loss 0.5, and more than fits into one line of a terminal"))], tmp_path)
    shown = terminal.getvalue()
    assert shown.count("\n") == 1
    last = [line for line in shown.split("\r\x1b[K") if "epoch 1" in line]
    assert last == ["[1/1] b, 0 s elapsed: epoch 1: loss 0.5, and more than fits"[:59]]
    assert shown.endswith("\r\x1b[K[1/1] b: done in 0 s\n")


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (UserError("the split test has 4"), "the split test has 4"),
        (MemoryError(), "out of memory; close other programs, "),
        (OSError(28, "No space left on device", "x.pt"), "the disk is full while writing x.pt; "),
        (FileNotFoundError(2, "No such file or directory", "x"), "No such file or directory: x"),
    ],
)
def test_a_task_that_fails_stops_with_its_own_sentence(error, sentence, tmp_path, capsys):
    log = tmp_path / "logs" / "a.log"
    with pytest.raises(UserError) as stop:
        run_tasks([task("a", fail(error), say("ran")), task("b", say("ran"))], tmp_path / "logs")
    assert str(stop.value).startswith(f"1 of 2, a, failed: {sentence}")
    assert str(stop.value).endswith(f" (log: {log}); once that is mended, the same command goes on from here")
    assert not (tmp_path / "logs" / "b.log").exists()
    assert log.read_text().startswith(sentence)
    assert "ran" not in log.read_text()
    assert capsys.readouterr().err.endswith("[1/2] a: failed\n")


def test_a_fault_of_ours_keeps_its_traceback_in_the_log_too(tmp_path):
    with pytest.raises(ZeroDivisionError):
        run_tasks([task("a", lambda arguments: 1 / 0)], tmp_path)
    log = (tmp_path / "a.log").read_text()
    assert log.startswith("Traceback (most recent call last)")
    assert "ZeroDivisionError: division by zero" in log


@pytest.mark.parametrize(
    ("error", "log", "status"),
    [
        (Interrupted("saved in epoch 2", signal.SIGTERM), "saved in epoch 2\n", 143),
        (KeyboardInterrupt(), "interrupted\n", 130),
    ],
)
def test_an_interrupted_task_goes_on_with_the_same_command(error, log, status, tmp_path, capsys):
    with pytest.raises(Interrupted, match=r"^interrupted at 1 of 2, a; the same command goes on from here$") as stop:
        run_tasks([task("a", fail(error)), task("b", say("ran"))], tmp_path)
    assert stop.value.status == status
    assert (tmp_path / "a.log").read_text() == log
    assert not (tmp_path / "b.log").exists()
    assert capsys.readouterr().err.endswith("[1/2] a: interrupted\n")


def test_time_left_by_hand():
    assert time_left(["a", "b"], []) is None
    # a takes (10 + 30) / 2 = 20; c was never seen and is taken for the longest kind, 50.
    assert time_left(["a", "a", "c"], [("a", 10.0), ("b", 50.0), ("a", 30.0)]) == 20 + 20 + 50


@pytest.mark.parametrize(("seconds", "text"), [(0.4, "0 s"), (89, "89 s"), (420, "7 min"), (11100, "3 h 05 min")])
def test_durations(seconds, text):
    assert duration(seconds) == text


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_a_task_that_is_no_training(number, tmp_path):
    """While the arrays are prepared, both signals end the experiment; the training's own handling is in test_resume."""
    folder = tmp_path / "code_slow"
    folder.mkdir()
    (folder / "slow_data.py").write_text(
        "import time\nfrom pathlib import Path\nfrom common.recipe import DatasetInfo\n"
        "DATASET = DatasetInfo('Slow', Path(__file__).parent, 'data', ('slow_data.py', 'prepare'), 4, 'truth')\n"
        "def main(arguments):\n    print('ready', flush=True)\n    time.sleep(60)\n"
    )
    command = [sys.executable, str(ROOT / "common"), "experiment", str(folder), "--out", str(tmp_path / "out")]
    log = tmp_path / "out" / "logs" / "prepare.log"
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        deadline = time.monotonic() + 60
        while not (log.is_file() and "ready" in log.read_text()):
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.05)
        process.send_signal(number)
        _, err = process.communicate(timeout=30)
    assert process.returncode == 128 + number
    assert err.splitlines()[-1].startswith("python common experiment: interrupted at 1 of ")
    assert err.splitlines()[-1].endswith(", prepare; the same command goes on from here")
    assert log.read_text() == "ready\ninterrupted\n"
