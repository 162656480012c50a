"""One sentence and the right exit status, whatever goes wrong."""

import errno
import os
import signal

import pytest
from torch.distributed.elastic.multiprocessing.errors import ProcessFailure

from common.utils.errors import Interrupted, UserError, explain, join_names, run_script


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


def test_of_many_names_the_first_three_are_told():
    assert join_names(["a", "b", "c"]) == "a, b, c"
    assert join_names(list("abcde")) == "a, b, c and 2 more"


def test_the_first_to_fail_of_torchruns_processes_speaks_and_all_leave_a_report(monkeypatch, tmp_path, capsys):
    for rank, err in enumerate(["train.py: what\n", ""]):
        report = tmp_path / "attempt_0" / str(rank) / "error.json"
        report.parent.mkdir(parents=True)
        monkeypatch.setenv("TORCHELASTIC_ERROR_FILE", str(report))
        monkeypatch.setattr("sys.argv", ["code/train.py"])
        with pytest.raises(SystemExit):
            run_script(_raise(UserError("what")))
        assert capsys.readouterr().err == err
        assert ProcessFailure(rank, 1, 2, str(report)).message["message"] == "train.py: what"


def test_where_there_is_no_room_for_a_report_all_speak(monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("TORCHELASTIC_ERROR_FILE", str(tmp_path / "gone" / "0" / "error.json"))
    with pytest.raises(SystemExit):
        run_script(_raise(UserError("what")))
    assert capsys.readouterr().err.endswith("what\n")
