"""Fixtures the test modules share: the real data beside the checkout, and phantoms drawn once."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from threadpoolctl import threadpool_limits

import DeepLesion_data
import DeepLesion_phantom
import faults
import HAM_data
import HAM_phantom
import lits_data
import lits_phantom
import toy
from common.data.dataset import LesionDataset
from common.data.preprocess import preprocess
from helpers import ROOT

SHARED = ROOT.parent / "shared"


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Servers of tests are on localhost."""
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


def pytest_report_header() -> str:
    if SHARED.is_dir():
        return f"real data and golden values: {SHARED}"
    return f"{SHARED} is absent: the tests on real data and golden values are left out"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The files that take longest first, so that of two processes none ends long after the other."""
    items.sort(key=lambda item: item.path.parent.name != "training")


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Collect how the fault harness's cases ended in a process of pytest-xdist."""
    faults.TALLY.update(getattr(node, "workeroutput", {}).get("faults", {}))


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Send the same from such a process."""
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["faults"] = dict(faults.TALLY)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """How the fault harness's cases ended."""
    if faults.TALLY:
        terminalreporter.write_line(faults.summary())


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real data and golden values; only where it is absent are its tests left out."""
    if not SHARED.is_dir():
        pytest.skip(f"{SHARED} is absent")
    return SHARED


@pytest.fixture(scope="session")
def ham_prepared(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> LesionDataset:
    """The 400 real HAM10000 lesions, prepared with the golden files' K=20."""
    folder = tmp_path_factory.mktemp("ham") / "prepared"
    HAM_data.main(["--data", str(shared / "data" / "ham10000"), "--prepared", str(folder), "--clusters", "20"])
    return LesionDataset.open_for(folder, HAM_data.DATASET, "released", 20)


@pytest.fixture(scope="session")
def phantom_ham(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data folder of a small synthetic HAM10000, prepared with K=4: 28 train, 8 val, 4 test lesions."""
    folder = tmp_path_factory.mktemp("phantom_ham")
    HAM_phantom.write_ham(folder, lesions=40)
    HAM_data.main(["--data", str(folder), "--clusters", "4", "--workers", "2"])
    return folder


@pytest.fixture(scope="session")
def phantom_lits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data folder of a small synthetic LiTS, prepared with K=4."""
    folder = tmp_path_factory.mktemp("phantom_lits")
    lits_phantom.write_lits(folder, volumes=3)
    lits_data.main(["--data", str(folder), "--clusters", "4", "--workers", "2"])
    return folder


@pytest.fixture(scope="session")
def phantom_deeplesion(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data folder of a small synthetic DeepLesion, prepared with K=4."""
    folder = tmp_path_factory.mktemp("phantom_deeplesion")
    DeepLesion_phantom.write_deeplesion(folder, lesions=60)
    DeepLesion_data.main(["--data", str(folder), "--clusters", "4", "--workers", "2"])
    return folder


@pytest.fixture(scope="session")
def _fault_worlds(tmp_path_factory: pytest.TempPathFactory) -> faults.Harness:
    return faults.Harness(tmp_path_factory.mktemp("faults"))


@pytest.fixture
def harness(
    _fault_worlds: faults.Harness, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Iterator[faults.Harness]:
    """The fault harness, which keeps what is slow to make for all its cases."""
    monkeypatch.chdir(ROOT)  # comes back here after the case
    _fault_worlds.capture = capfd
    with threadpool_limits(1):  # on work this small, threads only wait for each other
        yield _fault_worlds
    _fault_worlds.remove_worlds()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A prepared folder of the toy dataset: 12 lesions, 4 in each split, 4 jobs dropped."""
    preprocess(toy.make_config(), tmp_path / "prepared", range(12), toy.make_lesions, toy.split_in_thirds, workers=1)
    return tmp_path / "prepared"
