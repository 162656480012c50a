"""Errors for people: one sentence that names the file and the remedy, exit status 2, no traceback."""

import errno
import io
import json
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NoReturn


class UserError(Exception):
    """An error that the user can fix; its text is the whole message."""


class Interrupted(Exception):  # noqa: N818 - no error
    """Work was stopped by a signal and can go on; the text says how."""

    def __init__(self, message: str, number: int | None = signal.SIGINT) -> None:
        super().__init__(message)
        self.status = 128 + (number or signal.SIGINT)


def join_names(names: Sequence[str], most: int = 3) -> str:
    """The first names, ``most`` of them, and how many more there are."""
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if names[most:] else "")


def run_script(main: Callable[[], None]) -> NoReturn:
    """Run a script's ``main`` and exit: 0, 2 with one sentence for bad input, 130 when interrupted."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a file's name may hold what the terminal's encoding lacks
    try:
        main()
        sys.stdout.flush()
    except Interrupted as interruption:
        _stop(str(interruption), interruption.status)
    except KeyboardInterrupt:
        _stop("interrupted", status=128 + signal.SIGINT)
    except BrokenPipeError:
        # The reader of our output (head, less) went away; there is nobody left to tell.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except Exception as error:
        sentence = explain(error)
        if sentence is None:
            raise
        _stop(sentence)
    sys.exit(0)


def _stop(message: str, status: int = 2) -> NoReturn:
    # File names may hold line breaks and terminal escape sequences.
    message = "".join(sign if sign.isprintable() else ascii(sign)[1:-1] for sign in message)
    sentence = f"{Path(sys.argv[0]).name}: {message}"
    if _is_first_to_fail(sentence):
        print(sentence, file=sys.stderr)
    sys.exit(status)


def _is_first_to_fail(sentence: str) -> bool:
    """Whether no other of torchrun's processes on this machine has failed; its report of them shows the sentence."""
    if "TORCHELASTIC_ERROR_FILE" not in os.environ:
        return True
    report = Path(os.environ["TORCHELASTIC_ERROR_FILE"])  # RUN/ATTEMPT/RANK/error.json
    about = {"message": sentence, "extraInfo": {"timestamp": str(int(time.time()))}}
    try:
        report.write_text(json.dumps({"message": about}))
        (report.parents[1] / "failed").touch(exist_ok=False)
    except OSError as error:
        return not isinstance(error, FileExistsError)
    return True


def explain(error: Exception) -> str | None:
    """One sentence on an error that the user can fix; None for a bug in the program."""
    if isinstance(error, UserError):
        return str(error)
    if isinstance(error, MemoryError):
        return (
            "out of memory; close other programs, or take smaller files, fewer --workers or a smaller "
            "--batch-size (where the script has these flags)"
        )
    if not isinstance(error, OSError) or error.errno is None:
        return None
    where = f" {error.filename}" if error.filename else ""
    if error.errno in (errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC)):  # quotas are not known everywhere
        return f"the disk is full while writing{where}; free some space and run the same command again"
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return f"no permission for{where}; choose another folder or change its permissions"
    return f"{error.strerror}:{where}" if where else error.strerror
