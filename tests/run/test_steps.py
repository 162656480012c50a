"""Steps in processes of their own: what is shown, what is logged, how they fail and are interrupted."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from common.run.steps import Step, duration, run_command, run_steps, time_left
from common.utils.errors import Interrupted, UserError

ROOT = Path(__file__).resolve().parents[1]


def script(folder: Path, name: str, text: str) -> list[str]:
    (folder / f"{name}.py").write_text(text)
    return [str(folder / f"{name}.py")]


def test_steps_run_in_turn_and_what_is_done_is_left_alone(tmp_path, capsys):
    first = script(tmp_path, "first", "import sys; print('one'); print('two', file=sys.stderr)")
    second = script(tmp_path, "second", "print('three', *__import__('sys').argv[1:])")
    never = script(tmp_path, "never", "raise SystemExit(9)")
    steps = [Step("a", [never], True, "kind", 60.0), Step("b", [first, [*second, "4"]], False, "kind")]
    run_steps(steps, tmp_path / "logs")
    assert (tmp_path / "logs" / "b.log").read_text() == "one\ntwo\nthree 4\n"
    assert not (tmp_path / "logs" / "a.log").exists()
    assert capsys.readouterr().err.splitlines() == [
        "[1/2] a: done before", "[2/2] b, 0 s elapsed, about 60 s left", "[2/2] b: done in 0 s",
    ]  # fmt: skip


def test_on_a_terminal_one_line_is_redrawn_with_what_the_step_says(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    monkeypatch.setenv("COLUMNS", "60")
    talk = script(tmp_path, "talk", "print('epoch 1: loss 0.5, and more than fits into one line of a terminal')")
    run_steps([Step("b", [talk], False, "kind")], tmp_path)
    shown = capsys.readouterr().err
    assert shown.count("\n") == 1
    last = [line for line in shown.split("\r\x1b[K") if "epoch 1" in line]
    assert last == ["[1/1] b, 0 s elapsed: epoch 1: loss 0.5, and more than fits"[:59]]
    assert shown.endswith("\r\x1b[K[1/1] b: done in 0 s\n")


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (
            "import sys; print('x_train.py: the disk is full', file=sys.stderr); sys.exit(2)",
            "x_train.py: the disk is full",
        ),
        ("1 / 0", "ZeroDivisionError: division by zero"),
        ("import os; os.kill(os.getpid(), 9)", "killed by SIGKILL, perhaps out of memory"),
        ("raise SystemExit(3)", "status 3"),
    ],
)
def test_a_step_that_fails_stops_with_its_own_sentence(text, sentence, tmp_path):
    bad, after = script(tmp_path, "bad", text), script(tmp_path, "after", "print('ran')")
    with pytest.raises(UserError) as stop:
        run_steps([Step("a", [bad, after], False, "a"), Step("b", [after], False, "b")], tmp_path / "logs")
    assert str(stop.value) == (
        f"1 of 2, a, failed: {sentence} (all it said: {tmp_path / 'logs' / 'a.log'}); "
        "once that is mended, the same command goes on from here"
    )
    assert not (tmp_path / "logs" / "b.log").exists()
    assert "ran" not in (tmp_path / "logs" / "a.log").read_text()


SAVES = """
import signal, sys, time
def save(*_):
    print("saved", flush=True)
    sys.exit(130)
signal.signal(signal.SIGINT, save)
signal.signal(signal.SIGTERM, save)
print("ready", flush=True)
time.sleep(60)
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interruption_is_handed_on_once_and_waited_for(number, tmp_path):
    slow = script(tmp_path, "slow", SAVES)
    parent = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from pathlib import Path\n"
        "from common.errors import run_script\n"
        "from common.steps import Step, run_steps\n"
        "run_script(lambda: run_steps([Step('a', [sys.argv[2:3]], False, 'a')], Path(sys.argv[3])))\n"
    )
    command = [sys.executable, "-c", parent, str(ROOT), *slow, str(tmp_path)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        deadline = time.monotonic() + 30
        while "ready" not in (Path(tmp_path, "a.log").read_text() if Path(tmp_path, "a.log").exists() else ""):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        process.send_signal(number)
        _, told = process.communicate(timeout=30)
    assert process.returncode == 128 + number
    assert "interrupted at 1 of 1, a; the same command goes on from here" in told
    assert (tmp_path / "a.log").read_text() == "ready\nsaved\n"


def test_signals_are_as_before_afterwards(tmp_path):
    before = signal.getsignal(signal.SIGINT)
    assert list(run_command(script(tmp_path, "a", "print(1)"), tmp_path / "a.log", "a")) == ["1"]
    assert signal.getsignal(signal.SIGINT) is before
    with pytest.raises(Interrupted):  # it ended well just as the signal came
        for _ in run_command(script(tmp_path, "b", "print(1, flush=True); input()"), tmp_path / "a.log", "b"):
            signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is before


def test_time_left_by_hand():
    assert time_left(["a", "b"], []) is None
    # a takes (10 + 30) / 2 = 20; c was never seen and is taken for the longest kind, 50.
    assert time_left(["a", "a", "c"], [("a", 10.0), ("b", 50.0), ("a", 30.0)]) == 20 + 20 + 50


@pytest.mark.parametrize(("seconds", "text"), [(0.4, "0 s"), (89, "89 s"), (420, "7 min"), (11100, "3 h 05 min")])
def test_durations(seconds, text):
    assert duration(seconds) == text
