"""Processes that are killed, race, or run while the clock goes backwards: see faults.py for what must hold then."""

import os
import random
import time
from itertools import count

import pytest
from filelock import FileLock

import fault_processes
from fault_run import differences, results
from faults import Harness, usual

KILLED = {
    "code_ham/HAM_data": 4,
    "code_lits/lits_data": 3,
    "code_deeplesion/DeepLesion_data": 3,
    "code_ham/HAM_A1class_train": 4,
    "code_ham/HAM_A1_eval": 3,
    "code_lits/lits_predict": 3,
    "common baselines": 3,
    "common report": 3,
    "common html": 2,
}
"""How often each is killed."""


def _steps(harness: Harness, script: str) -> int:
    """How many steps a script takes on disk."""
    world = harness.world(script)
    running = fault_processes.start(script, usual(script), world.root.with_suffix(".log"))
    assert running.wait() == 0, running.told
    return running.told.count("step\n")


@pytest.mark.parametrize("script", KILLED)
def test_killed_before_any_of_its_steps_on_disk(script, harness: Harness):
    harness.reference(script)
    steps = _steps(harness, script)
    for step in random.Random(script).sample(range(steps), min(KILLED[script], steps)):
        world = harness.world(script)
        running = fault_processes.start(script, usual(script), world.root.with_suffix(".log"), kill_at=step)
        assert running.wait() == -9, running.told
        harness.check_next(script, world)
        harness.count(script, "right result")


def test_two_prepare_the_same_folder_at_once(harness: Harness):
    """The test holds the lock until both wait for it, so that they surely meet."""
    script = "code_ham/HAM_data"
    want, world = harness.reference(script), harness.world(script)
    with FileLock(world.path("data/.prepared.lock")):
        both = [fault_processes.start(script, usual(script), world.root.with_suffix(f".{name}")) for name in "ab"]
        until = time.monotonic() + 60
        while not all("another process is preparing" in it.told for it in both):
            assert time.monotonic() < until
            time.sleep(0.02)
    assert [it.wait() for it in both] == [0, 0]
    assert sorted("is already prepared" in it.told for it in both) == [False, True]
    found = results(world.root)
    assert found == want, differences(found, want)
    harness.count(script, "right result")


def test_two_evaluate_into_the_same_files_at_once(harness: Harness):
    script = "code_ham/HAM_A1_eval"
    want, world = harness.reference(script), harness.world(script)
    both = [fault_processes.start(script, usual(script), world.root.with_suffix(f".{name}")) for name in "ab"]
    assert [it.wait() for it in both] == [0, 0]
    found = results(world.root)
    assert found == want, differences(found, want)
    harness.count(script, "right result")


@pytest.mark.parametrize(
    "script", ["code_ham/HAM_data", "code_ham/HAM_A1_train", "code_ham/HAM_A1_eval", "code_ham/HAM_predict"]
)
def test_the_clock_goes_backwards(script, harness: Harness, monkeypatch):
    """A minute at every look, and to before the files were made."""
    want, world = harness.reference(script), harness.world(script)
    looks = count()
    monkeypatch.setattr(time, "time", lambda: 1e9 - 60 * next(looks))
    harness.succeed(script)
    found = results(world.root)
    assert found == want, differences(found, want)
    harness.count(script, "right result")


def test_input_from_the_future_and_from_before_1970(harness: Harness):
    """Times of files are only compared for being the same."""
    script = "code_ham/HAM_data"
    want, world = harness.reference(script), harness.world(script)
    for number, path in enumerate(sorted(world.path("data").rglob("*.jpg"))):
        os.utime(path, (5e9, 5e9) if number % 2 else (-5e8, -5e8))
    harness.succeed(script)
    found = {name: content for name, content in results(world.root).items() if not name.endswith("prepared.json")}
    assert found == {name: content for name, content in want.items() if name in found}
    assert len(found) == len(want) - 1
    harness.count(script, "right result")
