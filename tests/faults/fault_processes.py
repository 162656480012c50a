"""Scripts in processes of their own, which can be killed, at any of the steps they take on disk, and can race."""

import multiprocessing
import os
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path

from fault_run import run_as_main

# Processes are forked from one that has imported what is slow to import, and has no threads.
_FORKS = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload(
    "pytest torch segmentation_models_pytorch cv2 skimage.feature sklearn.cluster matplotlib.figure nibabel".split()
)
_STEPS = {"os.rename", "os.remove", "os.mkdir", "os.rmdir"}


@dataclass
class Running:
    """A script that was started."""

    process: BaseProcess
    log: Path

    def wait(self, seconds: float = 60) -> int:
        """The exit status; that of a killed process is below 0."""
        self.process.join(seconds)
        assert self.process.exitcode is not None, "it hangs"
        return self.process.exitcode

    @property
    def told(self) -> str:
        """What it has printed, and "step" for each of its steps on disk."""
        return self.log.read_text()


def start(
    script: str,
    flags: list[str],
    log: Path,
    kill_at: int | None = None,
    change: Callable[[], None] | None = None,
) -> Running:
    """Start a script in the current folder.

    Args:
        script: as in `faults.Case`.
        flags: its command line.
        log: gets both of its streams.
        kill_at: SIGKILL comes before this step on disk, counted from 0.
        change: called in the process first; a function of a module, as it is pickled.
    """
    log.write_text("")
    process = _FORKS.Process(target=_child, args=(script, flags, Path.cwd(), log, kill_at, change))
    process.start()
    return Running(process, log)


def save_after_every_epoch() -> None:
    """Let a training save its state after each epoch, not once a minute."""
    from common.training import resume

    resume.SAVE_EVERY = 0


def _child(
    script: str, flags: list[str], folder: Path, log: Path, kill_at: int | None, change: Callable[[], None] | None
) -> None:
    if change:
        change()
    os.chdir(folder)
    written = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(written, 1)
    os.dup2(written, 2)
    sys.stdout, sys.stderr = open(1, "w", closefd=False), open(2, "w", closefd=False)  # noqa: SIM115
    steps = 0

    def count(event: str, arguments: tuple[object, ...]) -> None:
        nonlocal steps
        if not _is_step(event, arguments, folder):
            return
        if steps == kill_at:
            os.kill(os.getpid(), signal.SIGKILL)
        steps += 1
        os.write(2, b"step\n")

    sys.addaudithook(count)
    run_as_main(script, flags)


def _is_step(event: str, arguments: tuple[object, ...], folder: Path) -> bool:
    """Whether something in the folder is about to be made, renamed or removed."""
    if event == "open":
        name, _, mode = arguments
        if not isinstance(mode, int) or not mode & (os.O_WRONLY | os.O_RDWR) or not isinstance(name, str | bytes):
            return False
    elif event in _STEPS:
        name = arguments[0]
    else:
        return False
    path = os.path.abspath(os.fsdecode(name))  # noqa: PTH100
    return path.startswith(f"{folder}{os.sep}")
