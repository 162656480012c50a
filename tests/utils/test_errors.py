"""One sentence and the right exit status, whatever goes wrong."""

import errno
import os
import signal

import pytest

from common.utils.errors import Interrupted, UserError, explain, run_script


def _raise(error: BaseException):
    def main() -> None:
        raise error

    return main


@pytest.mark.parametrize(
    ("error", "status", "sentence"),
    [
        (UserError("put the file there"), 2, "put the file there"),
        (OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "a.npy"), 2, "the disk is full while writing a.npy"),
        (PermissionError(errno.EACCES, "Permission denied", "b"), 2, "no permission for b"),
        (IsADirectoryError(errno.EISDIR, "Is a directory", "c"), 2, "Is a directory: c"),
        (MemoryError(), 2, "out of memory; close other programs"),
        (KeyboardInterrupt(), 130, "interrupted"),
        (Interrupted("resume with --resume", signal.SIGTERM), 143, "resume with --resume"),
    ],
)
def test_errors_end_in_one_sentence(error, status, sentence, capsys):
    with pytest.raises(SystemExit) as stop:
        run_script(_raise(error))
    assert stop.value.code == status
    message = capsys.readouterr().err
    assert sentence in message
    assert message.count("\n") == 1


def test_success_is_status_0():
    with pytest.raises(SystemExit) as stop:
        run_script(lambda: None)
    assert stop.value.code == 0


def test_a_fault_of_the_program_keeps_its_traceback():
    with pytest.raises(ZeroDivisionError):
        run_script(_raise(ZeroDivisionError()))
    assert explain(ZeroDivisionError()) is None
