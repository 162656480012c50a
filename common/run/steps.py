"""Work in steps, each in processes of its own: one display over the whole, interruptible, with a log for each step."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

from common.utils.errors import Interrupted, UserError


@dataclass(frozen=True)
class Step:
    """Commands that belong together."""

    name: str
    commands: Sequence[Sequence[str]]
    """Python scripts with their arguments."""
    done: bool
    """Whether it was done before."""
    kind: str
    """Steps of a kind take about as long as each other."""
    seconds: float | None = None
    """How long it took, if it was done before and that is known."""


@dataclass
class Display:
    """Which step of how many, elapsed, left: a line that redraws itself on a terminal, plain lines elsewhere."""

    total: int
    start: float = field(default_factory=time.monotonic)

    def now(self, number: int, name: str, left: float | None, doing: str = "") -> None:
        """A step under way; ``doing`` is the last line it has printed."""
        line = f"[{number}/{self.total}] {name}, {duration(time.monotonic() - self.start)} elapsed"
        line += f", about {duration(left)} left" if left else ""
        if sys.stderr.isatty():
            width = shutil.get_terminal_size().columns - 1
            print("\r\x1b[K" + (f"{line}: {doing}" if doing else line)[:width], end="", file=sys.stderr, flush=True)
        elif not doing:
            print(line, file=sys.stderr, flush=True)

    def over(self, number: int, name: str, how: str) -> None:
        """A step that is over."""
        clear = "\r\x1b[K" if sys.stderr.isatty() else ""
        print(f"{clear}[{number}/{self.total}] {name}: {how}", file=sys.stderr, flush=True)


def run_steps(steps: Sequence[Step], logs: Path) -> None:
    """Run the steps that are not done, one after the other; what they print goes to ``logs``, a file for each step.

    Raises:
        UserError: a command failed; says why in the command's own words.
        Interrupted: Ctrl-C or SIGTERM, after the command under way has saved its work.
    """
    display = Display(len(steps))
    durations = [(step.kind, step.seconds) for step in steps if step.seconds]
    for number, step in enumerate(steps, 1):
        if step.done:
            display.over(number, step.name, "done before")
            continue
        start = time.monotonic()
        waiting = [later.kind for later in steps[number - 1 :] if not later.done]
        display.now(number, step.name, time_left(waiting, durations))
        for command in step.commands:
            for line in run_command(command, logs / f"{step.name}.log", f"{number} of {len(steps)}, {step.name}"):
                spent = time.monotonic() - start
                left = time_left(waiting, durations)
                display.now(number, step.name, max(left - spent, 0) if left else None, line)
        seconds = time.monotonic() - start
        durations.append((step.kind, seconds))
        display.over(number, step.name, f"done in {duration(seconds)}")


def time_left(waiting: Sequence[str], durations: Sequence[tuple[str, float]]) -> float | None:
    """Seconds that the ``waiting`` kinds of steps will take, from (kind, seconds) of those that are over.

    Returns:
        None where none is over. A kind of which none is over takes as long as the longest kind.
    """
    if not durations:
        return None
    known = {kind: [seconds for other, seconds in durations if other == kind] for kind, _ in durations}
    means = {kind: sum(seconds) / len(seconds) for kind, seconds in known.items()}
    return sum(means.get(kind, max(means.values())) for kind in waiting)


def duration(seconds: float) -> str:
    """A time to read: "42 s", "7 min", "3 h 05 min"."""
    minutes = round(seconds / 60)
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60:02} min"


def run_command(command: Sequence[str], log: Path, where: str) -> Iterator[str]:
    """Run a Python script, pass on the lines it prints, and append them to a log.

    Ctrl-C and SIGTERM are handed to it, once each, and it is waited for.

    Args:
        command: script and arguments.
        log: file.
        where: what messages call this.

    Raises:
        UserError: it failed.
        Interrupted: it was interrupted.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    last = ""
    with log.open("a", buffering=1, encoding="utf-8") as file:  # a line at a time, for who follows it
        process = subprocess.Popen(
            [sys.executable, *command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=os.environ | {"PYTHONUNBUFFERED": "1"},
            text=True,
            encoding="utf-8",
            errors="replace",
            process_group=0,  # the terminal's Ctrl-C must not reach it a second time, past us
        )
        assert process.stdout
        with _handing_on(process) as asked:
            for line in process.stdout:
                file.write(line)
                last = line.strip() or last
                yield last
            status = process.wait()
    if asked:
        raise Interrupted(f"interrupted at {where}; the same command goes on from here", asked[0])
    if status < 0:
        last = f"killed by {signal.Signals(-status).name}" + (", perhaps out of memory" if status == -9 else "")
    if status:
        raise UserError(f"{where}, failed: {last or f'status {status}'} (all it said: {log}); "
                        "once that is mended, the same command goes on from here")  # fmt: skip


@contextmanager
def _handing_on(process: subprocess.Popen[str]) -> Iterator[list[int]]:
    """Hand SIGINT and SIGTERM to a process instead of dying of them; yields the signals that came."""
    came: list[int] = []

    def hand_on(number: int, _: FrameType | None) -> None:
        came.append(number)
        process.send_signal(number)

    previous = {number: signal.signal(number, hand_on) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield came
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
        if process.poll() is None:  # we were stopped by something else
            process.terminate()
