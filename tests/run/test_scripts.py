"""All 30 scripts start from the root, from their own folder and from anywhere, at once and without torch."""

import subprocess
import sys
from itertools import cycle

import pytest

from helpers import ROOT

SCRIPTS = sorted(
    path.relative_to(ROOT)
    for folder in ("code_ham", "code_lits", "code_deeplesion")
    for kind in ("data", "train", "eval", "predict")
    for path in (ROOT / folder).glob(f"*_{kind}.py")
)
SHARED = "--data --checkpoint --results --encoder --canvas --clusters --batch-size --seed --device --precision"
SHARED += " --protocol --limit"
FLAGS = {
    "data": "--data --prepared --protocol --clusters --force --no-grabcut --workers",
    "train": f"{SHARED} --encoder-weights --target --epochs --lr --patience --resume --compile --prompt --outlines "
    "--flips --no-flips --jitter --average --falling --no-falling",
    "eval": f"{SHARED} --split --truth --export --tta",
    "predict": "--checkpoint --out --encoder --canvas --protocol --device --precision --tta",
}


def test_the_card_is_complete():
    assert [str(path) for path in SCRIPTS] == sorted(
        ["code_ham/HAM_data.py", "code_lits/lits_data.py", "code_deeplesion/DeepLesion_data.py"]
        + [
            f"{prefix}_{method}_{kind}.py"
            for prefix in ("code_ham/HAM", "code_lits/lits", "code_deeplesion/deeplesion")
            for method in ("A1", "A1class", "A1coseg" if prefix.endswith("deeplesion") else "Acoseg", "A1recist")
            for kind in ("train", "eval")
        ]
        + ["code_ham/HAM_predict.py", "code_lits/lits_predict.py", "code_deeplesion/deeplesion_predict.py"]
    )


@pytest.mark.parametrize(("script", "where"), zip(SCRIPTS, cycle(["root", "own folder", "elsewhere"])), ids=str)
def test_help_from_anywhere(script, where, tmp_path):
    folder = {"root": ROOT, "own folder": (ROOT / script).parent, "elsewhere": tmp_path}[where]
    path = {"root": str(script), "own folder": script.name, "elsewhere": str(ROOT / script)}[where]
    # -X importtime lists every module that is imported.
    command = [sys.executable, "-X", "importtime", path, "--help"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert all(flag in done.stdout for flag in FLAGS[script.stem.rpartition("_")[2]].split())
    if script.stem.endswith("_eval"):  # A1+R is not of the paper, and nothing of it is released
        assert ("--download" in done.stdout) == ("A1recist" not in script.stem)
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert not imported & {"torch", "sklearn", "matplotlib", "pandas", "skimage"}
