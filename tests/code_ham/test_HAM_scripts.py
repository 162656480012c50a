"""The scripts as a user runs them: from the root, from their folder, from anywhere."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from common.utils.files import ROOT


def run(script: str, *flags: str, cwd: Path) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, script, *flags], cwd=cwd, capture_output=True, text=True)


@pytest.mark.parametrize("folder", [ROOT, ROOT / "code_ham", Path("/")])
def test_prepare_runs_from_anywhere(folder, phantom_ham, tmp_path):
    script = "HAM_data.py" if folder.name == "code_ham" else f"{ROOT / 'code_ham' / 'HAM_data.py'}"
    done = run(script, "--data", str(phantom_ham), "--clusters", "4", cwd=folder)
    assert done.returncode == 0, done.stderr
    assert "already" in done.stdout


def test_bad_input_is_one_line_and_status_2(tmp_path):
    done = run(str(ROOT / "code_ham" / "HAM_data.py"), "--data", "nowhere", cwd=tmp_path)
    assert done.returncode == 2
    assert re.fullmatch(r"HAM_data\.py: .*there is no such folder.*\n", done.stderr)
    assert not [path for path in tmp_path.iterdir() if path.suffix != ".lock"]


def test_a_full_disk_while_preparing(phantom_ham, tmp_path):
    """On a real small file system where one can be mounted; the test needs root."""
    small = tmp_path / "small"
    small.mkdir()
    mounted = shutil.which("mount") and subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(small)], capture_output=True
    )
    if not mounted or mounted.returncode:
        pytest.skip("no small file system can be mounted here; test_preprocess.py simulates the same fault")
    try:
        flags = ["--data", str(phantom_ham), "--prepared", str(small / "prepared"), "--clusters", "4", "--workers", "1"]
        done = run(str(ROOT / "code_ham" / "HAM_data.py"), *flags, cwd=tmp_path)
        assert done.returncode == 2, done.stderr
        assert "the disk is full" in done.stderr
        assert [path.name for path in small.iterdir()] == [".prepared.lock"]
    finally:
        subprocess.run(["umount", str(small)], check=True)
