"""A script run in this process, and what it leaves in its folder."""

import contextlib
import ctypes
import json
import os
import re
import runpy
import signal
import sys
import warnings
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import numpy as np
import pytest

from common.utils.errors import UserError
from common.utils.files import read_csv

ROOT = Path(__file__).resolve().parents[2]
SECONDS = 30  # after which a run counts as hung
_TEMPORARY = re.compile(r"^\..*\.(tmp|old|probe)$|\.part$")
_TIMES = re.compile(r"second|sha256")
_NOTES = re.compile(r"left out$|^left out: |^warning: |malformed rows|^Corrupt JPEG data|^\[\d/\d\] ")
"""Lines on stderr beside the one sentence: what is left out, what libjpeg says by itself, an experiment's tasks."""


@dataclass(frozen=True)
class Outcome:
    """How a run ended."""

    status: int
    out: str
    err: str

    @property
    def told(self) -> list[str]:
        """The lines on stderr, but for notes."""
        return [line for line in self.err.splitlines() if not _NOTES.search(line)]


class HangError(BaseException):
    """Not an Exception, so that no script can swallow it."""


def run(script: str, flags: list[str], capture: pytest.CaptureFixture[str]) -> Outcome:
    """Run a script in this process, in the current folder, as an ordinary user."""
    arguments, path, before = sys.argv, sys.path.copy(), Path.cwd()
    capture.readouterr()
    status = None
    with _watchdog(), _ordinary_user(), warnings.catch_warnings():
        warnings.simplefilter("error")  # in a real run it would be a second line on stderr
        warnings.simplefilter("ignore", DeprecationWarning)  # as Python does
        warnings.simplefilter("ignore", PendingDeprecationWarning)
        try:
            run_as_main(script, flags)
        except SystemExit as stop:
            status = stop.code
        finally:
            sys.argv, sys.path[:] = arguments, path
            os.chdir(before)
    out, err = capture.readouterr()
    return Outcome(status, out, err)


def run_as_main(script: str, flags: list[str]) -> NoReturn:
    """As ``python SCRIPT.py FLAGS`` or, for a tool, ``python common TOOL FLAGS`` does."""
    name, *tool = script.split()
    path = ROOT / (name if tool else f"{name}.py")
    sys.argv = [str(path), *tool, *flags]
    runpy.run_path(str(path), run_name="__main__")
    raise AssertionError(f"{script} did not end in run_script")


def prefix(script: str) -> str:
    """How a script's one sentence begins."""
    return f"python {script}: " if " " in script else f"{script.rpartition('/')[2]}.py: "


@contextlib.contextmanager
def _watchdog() -> Iterator[None]:
    def bite(*_: object) -> None:
        raise HangError(f"still running after {SECONDS} s")

    previous = signal.signal(signal.SIGALRM, bite)
    signal.setitimer(signal.ITIMER_REAL, SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)


@contextlib.contextmanager
def _ordinary_user() -> Iterator[None]:
    """Let file permissions bind root too, by laying down the two capabilities that override them."""
    if os.geteuid() != 0:
        yield
        return
    libc = ctypes.CDLL(None, use_errno=True)
    header = (ctypes.c_uint32 * 2)(0x20080522, 0)  # _LINUX_CAPABILITY_VERSION_3, this thread
    before, after = (ctypes.c_uint32 * 6)(), (ctypes.c_uint32 * 6)()  # effective, permitted, inheritable; twice
    assert libc.capget(header, before) == 0
    after[:] = before
    after[0] &= ~(1 << 1 | 1 << 2)  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH
    assert libc.capset(header, after) == 0
    try:
        yield
    finally:
        assert libc.capset(header, before) == 0


def results(root: Path) -> dict[str, object]:
    """What lies in a world's output folders, comparable: bytes, but JSON and CSV without times."""
    found: dict[str, object] = {}
    for name in ("data/prepared", "data/other", "results", "out"):
        found |= {str(p.relative_to(root)): _content(p) for p in sorted((root / name).rglob("*")) if p.is_file()}
    # The state of a finished training holds times.
    return found | {p.name: _content(p) for p in sorted(root.glob("a.*")) if p.suffix != ".finished"}


def _content(path: Path) -> object:
    try:
        if path.suffix == ".json":
            return _without_times(json.loads(path.read_text()))
        if path.suffix == ".csv":
            return _without_times(read_csv(path))
    except (UserError, ValueError, OSError):
        pass  # a fault: compared as bytes
    try:
        return path.read_bytes()
    except OSError as error:
        return error.strerror


def _without_times(value: object) -> object:
    if isinstance(value, dict):
        return {key: _without_times(inner) for key, inner in value.items() if not _TIMES.search(key)}
    return [_without_times(inner) for inner in value] if isinstance(value, list) else value


def differences(found: dict[str, object], want: dict[str, object]) -> str:
    """Which files differ, for a failed test's message."""
    names = sorted(name for name in found.keys() | want.keys() if found.get(name) != want.get(name))
    return ", ".join(
        f"{name} {'is missing' if name not in found else 'is new' if name not in want else 'differs'}" for name in names
    )


def check_whole(root: Path) -> None:
    """Nothing in the folder is half-written."""
    for path in root.rglob("*"):
        assert not _TEMPORARY.search(path.name), f"{path} was left behind"
    for name in ("data/prepared", "data/other"):
        if (root / name).is_dir() and (root / name / "prepared.json").exists():
            content = json.loads((root / name / "prepared.json").read_text())
            for array in content["arrays"]:
                assert len(np.load(root / name / f"{array}.npy")) == content["lesions"]
    for path in (path for suffix in ("pt", "state", "finished") for path in root.glob(f"a.{suffix}")):
        with zipfile.ZipFile(path) as archive:
            assert archive.testzip() is None
