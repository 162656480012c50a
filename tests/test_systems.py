"""Windows, macOS and Linux: what only some of them have is neither needed nor called."""

import ast
import subprocess
import sys

import pytest

from helpers import ROOT

MODULES = sorted(
    {path for pattern in ("common/**/*.py", "code_*/*.py") for path in ROOT.glob(pattern)}
    - {ROOT / "common/__main__.py"}
)
SOME_SYSTEMS = "fcntl grp msvcrt pty pwd resource syslog termios tty winreg".split()
"""Modules of Python's library that not every system has."""
POSIX = (
    "os.chown os.fork os.getpgid os.getuid os.geteuid os.kill os.killpg os.mkfifo os.nice os.sched_getaffinity "
    "os.setsid os.sysconf os.uname signal.SIGALRM signal.SIGHUP signal.SIGKILL signal.SIGPIPE signal.SIGUSR1 "
    "signal.pause errno.EDQUOT time.tzset"
).split()
"""Names that Windows lacks, and os.kill, which ends the process there whatever the signal."""
HIDE = f"""
import errno, importlib, os, signal, sys, time
import cv2, filelock, gdown, matplotlib.pyplot, nibabel, onnxscript, pandas, psutil, scipy.stats, sklearn.cluster
import skimage.feature, torch.distributed.run, torch.onnx, segmentation_models_pytorch  # as these systems have them
for name in {SOME_SYSTEMS}:
    sys.modules[name] = None
for name in {POSIX}:
    module, _, attribute = name.partition(".")
    if name != "os.kill" and hasattr(globals()[module], attribute):
        delattr(globals()[module], attribute)
sys.platform, sys.path[:0] = "win32", {[str(ROOT), *map(str, ROOT.glob("code_*"))]}
"""


def test_every_module_is_imported_without_what_other_systems_lack(tmp_path):
    names = [
        path.stem if path.parent.name.startswith("code_") else ".".join(path.relative_to(ROOT).with_suffix("").parts)
        for path in MODULES
    ]
    use = f"""
for name in {names}:
    importlib.import_module(name)
from common.benchmark.runner import _call, resident_memory
from common.data.folder import exclusive
from common.utils.errors import explain
from common.utils.files import write_json
from pathlib import Path
with exclusive(Path("prepared")):
    write_json(Path("a.json"), {{}})
assert explain(OSError(errno.ENOSPC, "full", "a")).startswith("the disk is full")
assert _call(abs, (-3,)) == (3, 0, 0)
print("done")
"""
    done = subprocess.run([sys.executable, "-c", HIDE + use], cwd=tmp_path, capture_output=True, text=True)
    assert (done.stdout, done.returncode) == ("done\n", 0), done.stderr


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_module_needs_what_some_systems_lack(path):
    tree = ast.parse(path.read_text(encoding="utf-8"), feature_version=(3, 11))
    imported = {
        name.split(".")[0]
        for node in tree.body
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in ([alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module or ""])
    }
    named = {ast.unparse(node) for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    assert not imported & set(SOME_SYSTEMS)
    assert not named & set(POSIX)


def test_a_name_that_the_terminal_cannot_show_is_escaped(tmp_path):
    code = "from common.utils.errors import run_script; run_script(lambda: print('82.65\u00b10.12 \u8179.png'))"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, env={"PYTHONIOENCODING": "cp1252"}, check=True
    )
    assert done.stdout.decode("cp1252").strip() == r"82.65\u00b10.12 \u8179.png".replace(r"\u00b1", "\u00b1")
