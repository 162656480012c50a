"""Preparing under faults of the raw files: see faults.py for what each case must show."""

import pytest

import fault_cases_deeplesion
import fault_cases_ham
import fault_cases_lits
from faults import Harness


@pytest.mark.parametrize(
    "case", [*fault_cases_ham.CASES, *fault_cases_lits.CASES, *fault_cases_deeplesion.CASES], ids=str
)
def test_faults_of_raw_data(case, harness: Harness):
    harness.check(case)
