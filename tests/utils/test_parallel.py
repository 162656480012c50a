"""Work over processes: in order, errors passed on, few jobs waiting."""

import os
from contextlib import nullcontext

import pytest

from common.utils import parallel
from common.utils.errors import UserError
from common.utils.parallel import available_cores, parallel_map


def square(number: int) -> int:
    if number < 0:
        raise UserError(f"{number} is below 0")
    return number**2


@pytest.mark.parametrize("workers", [1, 2])
def test_results_come_in_the_order_of_the_jobs(workers):
    assert list(parallel_map(square, range(40), workers)) == [number**2 for number in range(40)]


@pytest.mark.parametrize("workers", [1, 2])
def test_a_sentence_for_the_user_crosses_processes(workers):
    with pytest.raises(UserError, match="-3 is below 0"):
        list(parallel_map(square, [1, 2, -3, 4], workers))


def test_jobs_are_taken_as_results_leave():
    class Jobs(list):
        taken = 0

        def __iter__(self):
            for job in super().__iter__():
                self.taken += 1
                yield job

    jobs = Jobs(range(100))
    results = parallel_map(square, jobs, workers=2)
    assert next(results) == 0
    assert jobs.taken <= 10
    results.close()


def test_cores_are_those_that_a_scheduler_leaves(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {3, 5, 6}, raising=False)
    assert available_cores() == 3
    monkeypatch.delattr(os, "sched_getaffinity")
    for cores in (128, None):
        monkeypatch.setattr(os, "cpu_count", lambda cores=cores: cores)
        assert available_cores() == (cores or 1)


def test_windows_has_no_more_processes_than_a_pool_can_wait_for(monkeypatch):
    counts = []
    monkeypatch.setattr(os, "name", "nt")
    monkeypatch.setattr(parallel, "ProcessPoolExecutor", lambda count, *_, **__: counts.append(count) or nullcontext())
    monkeypatch.setattr(parallel, "in_order", lambda *_: [])
    assert list(parallel_map(square, range(99), 64)) == []
    assert counts == [61]


def test_no_jobs():
    assert list(parallel_map(square, [])) == []
