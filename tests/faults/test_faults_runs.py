"""Training and evaluating under faults: see faults.py for what each case must show."""

import pytest

import fault_cases_runs
from faults import Harness


@pytest.mark.parametrize("case", fault_cases_runs.TRAIN, ids=str)
def test_faults_of_training(case, harness: Harness):
    harness.check(case)


@pytest.mark.parametrize("case", fault_cases_runs.EVAL, ids=str)
def test_faults_of_evaluation(case, harness: Harness):
    harness.check(case)
