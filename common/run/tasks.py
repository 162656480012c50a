"""Tasks in turn, in this process: one display for all, a log for each, one sentence where one fails or is stopped."""

import gc
import io
import shlex
import shutil
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path
from statistics import mean
from typing import NamedTuple, TextIO

from common.utils.errors import Interrupted, UserError, explain


class Command(NamedTuple):
    """A ``main`` and its arguments; as text, the command line that one would type."""

    script: Sequence[str]  # what is typed between "python" and the arguments
    main: Callable[[Sequence[str]], None]
    arguments: Sequence[str]

    def __str__(self) -> str:
        return f"python {shlex.join([*self.script, *self.arguments])}"


@dataclass(frozen=True)
class Task:
    """Commands that belong together."""

    name: str
    kind: str  # tasks of a kind take about as long as each other
    commands: Sequence[Command]
    done: bool  # by an earlier run
    seconds: float | None = None  # how long that took, where it is known


@dataclass
class Display:
    """The task under way: a line that redraws itself on a terminal, plain lines elsewhere."""

    stream: TextIO
    task: str = ""  # its number of how many, and its name
    end: float | None = None  # when all tasks are expected to be over
    start: float = field(default_factory=time.monotonic)

    def update(self, output: str = "") -> None:
        """Show the task, the time elapsed and left and, on a terminal, the last line that the task has printed."""
        now = time.monotonic()
        line = f"{self.task}, {duration(now - self.start)} elapsed"
        line += f", about {duration(self.end - now)} left" if self.end and self.end > now else ""
        if self.stream.isatty():
            line += f": {output}" if output else ""
            print("\r\x1b[K" + line[: shutil.get_terminal_size().columns - 1], end="", file=self.stream, flush=True)
        elif not output:
            print(line, file=self.stream, flush=True)

    def finish(self, how: str) -> None:
        """Show that the task is over."""
        clear = "\r\x1b[K" if self.stream.isatty() else ""
        print(f"{clear}{self.task}: {how}", file=self.stream, flush=True)


class _Log(io.TextIOBase):
    """A stream that appends to a file and shows each line.

    It holds no open file and so is never closed: a library's logger may keep it for longer than the task.
    """

    def __init__(self, path: Path, display: Display) -> None:
        self._path, self._display = path, display

    def write(self, text: str, /) -> int:
        with self._path.open("a", encoding="utf-8", errors="replace") as file:
            file.write(text)
        if text.strip():
            self._display.update(text.strip().splitlines()[-1])
        return len(text)


def run_tasks(tasks: Sequence[Task], logs: Path, start: int = 0, stop: int | None = None) -> None:
    """Run those of ``tasks[start:stop]`` that are not done; what each prints is appended to `<name>.log` in ``logs``.

    Raises:
        UserError: a task failed; holds the task's own sentence.
        Interrupted: by a signal; a training has saved its state.
    """
    display, durations = Display(sys.stderr), [(task.kind, task.seconds) for task in tasks if task.seconds]
    for number, task in list(enumerate(tasks, 1))[start:stop]:
        display.task = f"[{number}/{len(tasks)}] {task.name}"
        if task.done:
            display.finish("done before")
            continue
        began = time.monotonic()
        left = time_left([other.kind for other in tasks[number - 1 :] if not other.done], durations)
        display.end = began + left if left else None
        display.update()
        _run_task(task, f"{number} of {len(tasks)}, {task.name}", logs / f"{task.name}.log", display)
        durations.append((task.kind, time.monotonic() - began))
        display.finish(f"done in {duration(durations[-1][1])}")
        _free_memory()


def _run_task(task: Task, where: str, path: Path, display: Display) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    log, remedy = _Log(path, display), "the same command goes on from here"
    with redirect_stdout(log), redirect_stderr(log):
        try:
            for command in task.commands:
                command.main(command.arguments)
        except (Interrupted, KeyboardInterrupt) as stop:
            print(str(stop) or "interrupted")
            display.finish("interrupted")
            signal_number = stop.status - 128 if isinstance(stop, Interrupted) else None
            raise Interrupted(f"interrupted at {where}; {remedy}", signal_number) from stop
        except Exception as error:
            sentence = explain(error)
            print(sentence or traceback.format_exc())
            display.finish("failed")
            if sentence is None:
                raise
            raise UserError(f"{where}, failed: {sentence} (log: {path}); once that is mended, {remedy}") from error


def _free_memory() -> None:
    if "torch._dynamo" in sys.modules:  # compiled code keeps its network, and there is a limit to how much is kept
        sys.modules["torch"].compiler.reset()
    gc.collect()


def time_left(waiting: Sequence[str], durations: Sequence[tuple[str, float]]) -> float | None:
    """Estimate the seconds that tasks of the kinds ``waiting`` take from (kind, seconds) of those that are over.

    Returns:
        None where none is over. A kind of which none is over counts as the longest kind.
    """
    means = {kind: mean(seconds for other, seconds in durations if other == kind) for kind, _ in durations}
    return sum(means.get(kind, max(means.values())) for kind in waiting) if means else None


def duration(seconds: float) -> str:
    """Format a time to read: "42 s", "7 min", "3 h 05 min"."""
    minutes = round(seconds / 60)
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60:02} min"
