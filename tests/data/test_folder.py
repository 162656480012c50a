"""A prepared folder is made anew when it must be, loses nothing of the user's, and is made by one process at a time."""

import json
import subprocess
import sys
from functools import partial

import pytest
from filelock import FileLock

from common.data.folder import check_replaceable, describe_counts
from common.data.preprocess import preprocess
from common.utils.errors import UserError
from helpers import ROOT
from toy import make_config, make_lesions, split_in_thirds


def test_a_second_run_does_nothing_unless_forced_or_changed(folder, capsys):
    again = partial(
        preprocess, folder=folder, jobs=range(12), make_lesions=make_lesions, assign_splits=split_in_thirds, workers=1
    )
    before = (folder / "prepared.json").stat().st_mtime_ns
    again(make_config())
    assert "already" in capsys.readouterr().out
    assert (folder / "prepared.json").stat().st_mtime_ns == before
    again(make_config(), force=True)
    again(make_config(inputs="other"))
    assert "made from other inputs" in capsys.readouterr().out
    assert json.loads((folder / "prepared.json").read_text())["inputs"] == "other"


def test_a_refresh_makes_again_only_what_has_other_inputs(folder, capsys):
    again = partial(
        preprocess, folder=folder, jobs=range(12), make_lesions=make_lesions, assign_splits=split_in_thirds, workers=1
    )
    before = (folder / "prepared.json").stat().st_mtime_ns
    again(make_config(seed=5), refresh=True)  # the settings of what is there are kept
    assert "already prepared with these inputs, but another seed (" in capsys.readouterr().out
    assert (folder / "prepared.json").stat().st_mtime_ns == before
    with pytest.raises(UserError, match="have changed, and it was made with another seed"):
        again(make_config(inputs="other", seed=5), refresh=True)
    again(make_config(inputs="other"), refresh=True)
    assert json.loads((folder / "prepared.json").read_text())["inputs"] == "other"


def test_a_second_process_waits_its_turn(tmp_path):
    with FileLock(tmp_path / ".prepared.lock"):
        code = (
            "import sys; from pathlib import Path; from common.data.folder import exclusive\n"
            "with exclusive(Path(sys.argv[1])): print('mine')"
        )
        waiting = subprocess.Popen(
            [sys.executable, "-c", code, str(tmp_path / "prepared")],
            cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert "another process is preparing" in waiting.stderr.readline()
        assert waiting.poll() is None
    assert waiting.communicate(timeout=60)[0] == "mine\n"


def test_what_would_be_lost_is_named(folder, tmp_path):
    check_replaceable(folder)
    check_replaceable(tmp_path / "new")
    (folder / ".DS_Store").touch()  # of the system, not of the user
    check_replaceable(folder)
    (folder / "notes.txt").touch()
    with pytest.raises(UserError, match=r"holds notes\.txt, which would be lost; move it away, or pass another"):
        check_replaceable(folder)
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="file is not a folder; move it away, or pass another --prepared"):
        check_replaceable(tmp_path / "file")


def test_counts_in_words():
    metadata = {"lesions": 5, "splits": {"train": 3, "val": 1, "test": 1}, "dropped": {}}
    assert describe_counts(metadata) == "5 lesions: 3 train, 1 val, 1 test"
    dropped = metadata | {"dropped": {"no mask": 2, "empty": 1}}
    assert describe_counts(dropped) == "5 lesions: 3 train, 1 val, 1 test; dropped 2 (no mask), 1 (empty)"
