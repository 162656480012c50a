"""Processes that are killed, race, or run while the clock goes backwards: see faults.py for what must hold then."""

import random

import fault_processes
import pytest
from fault_run import check_whole, differences, results
from faults import Harness, usual

KILLED = [
    "code_ham/HAM_data",
    "code_lits/lits_data",
    "code_ham/HAM_A1class_train",
    "code_ham/HAM_A1_eval",
    "common/report",
]
TIMES = 4


def _steps(harness: Harness, script: str) -> int:
    """How many steps a script takes on disk."""
    world = harness.world(script)
    running = fault_processes.start(script, usual(script), world.root.with_suffix(".log"))
    assert running.wait() == 0, running.told
    return running.told.count("step\n")


@pytest.mark.parametrize("script", KILLED)
def test_killed_before_any_of_its_steps_on_disk(script, harness: Harness):
    want = harness.reference(script)
    steps = _steps(harness, script)
    assert steps > 3
    for step in random.Random(script).sample(range(steps), min(TIMES, steps)):
        world = harness.world(script)
        running = fault_processes.start(script, usual(script), world.root.with_suffix(".log"), kill_at=step)
        assert running.wait() == -9, running.told
        harness.succeed(script)
        check_whole(world.root)
        found = results(world.root)
        assert found == want, f"killed before step {step}: {differences(found, want)}"
        harness.count(script, "right result")
