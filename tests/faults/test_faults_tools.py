"""The tools under faults: see faults.py for what each case must show."""

import pytest

import fault_cases_tools
from common.data import phantom
from faults import Harness


@pytest.fixture
def few(monkeypatch):
    """Phantoms of few lesions."""
    script = phantom.phantom_script
    monkeypatch.setattr(phantom, "phantom_script", lambda write: script(lambda folder: write(folder, 3)))


@pytest.mark.parametrize("case", fault_cases_tools.CASES, ids=str)
@pytest.mark.usefixtures("few")
def test_faults_of_tools(case, harness: Harness):
    harness.check(case)
