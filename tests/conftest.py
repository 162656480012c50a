"""Fixtures the test modules share: the real data beside the checkout, and phantoms drawn once."""

from pathlib import Path

import pytest

SHARED = Path(__file__).resolve().parents[2] / "shared"


def pytest_report_header() -> str:
    if SHARED.is_dir():
        return f"real data and golden values: {SHARED}"
    return f"{SHARED} is absent: the tests on real data and golden values are left out"


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real data and golden values; only where it is absent are its tests left out."""
    if not SHARED.is_dir():
        pytest.skip(f"{SHARED} is absent")
    return SHARED
