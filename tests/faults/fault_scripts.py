"""How the fault harness runs each script: with which flags, on which files, after which other scripts."""

import shlex

from tiny import draw_deeplesion, draw_ham, draw_lits

JPEGS = "data/HAM10000_images_part_1/ISIC_0000000.jpg data/HAM10000_images_part_1/ISIC_0000001.jpg"
PREDICT = "--checkpoint a.pt --precision fp32 --out out"
USUAL = {
    "phantom": "out",
    "data": "--data data --clusters 2 --no-grabcut --workers 1",
    # The encoder with the smallest checkpoints: writing them is what takes time here.
    "train": "--data data --checkpoint a.pt --clusters 2 --precision fp32 --encoder mobilenet_v2 "
    "--encoder-weights none --canvas 128x128 --epochs 1",
    "eval": "--data data --checkpoint a.pt --results results --split all --precision fp32",
    "HAM_predict": f"{PREDICT} {JPEGS}",
    "lits_predict": f"{PREDICT} data/volume/volume-0.nii --lesions boxes.csv",
    "deeplesion_predict": f"{PREDICT} data/Images_png/000001_01_01/010.png --lesions boxes.csv",
    "common baselines": "data/prepared --results results --split all",
    "common figures": "results data/prepared a.pt --out out/a.png --rows 1",
    "common report": "results --out out",
    "common experiment": "ham --data data --out out --methods A1 --seeds 1 --no-baselines --no-upper-bound --train "
    "'--precision fp32 --clusters 2 --encoder mobilenet_v2 --encoder-weights none --canvas 128x128 --epochs 1 "
    "--batch-size 2 --limit 2'",
    "common html": "results --out out/report.html",
}
NEEDS_OF_TOOLS = {
    "common baselines": ("code_ham/HAM_data",),
    "common figures": ("code_ham/HAM_A1_train",),
    "common report": ("code_ham/HAM_A1_eval", "code_ham/HAM_A1class_eval"),
    "common html": ("code_ham/HAM_A1_eval", "code_ham/HAM_A1class_eval"),
    "common experiment": ("code_ham/HAM_A1_eval",),
}
PLACES = {
    "common html": {"data/prepared": "far/from/the/results/prepared"},  # so that no pictures are drawn, which take time
    "common experiment": {
        "a.pt": "out/checkpoints/A1_ellipse_seed0.pt",
        "a.history.csv": "out/checkpoints/A1_ellipse_seed0.history.csv",
        "results/HAM_A1_eval.json": "out/results/A1_ellipse_seed0.limit2.json",
        "results/HAM_A1_eval.csv": "out/results/A1_ellipse_seed0.limit2.csv",
    },
}
"""Where a script looks for what others have made, if not where they put it: an experiment finds its work done."""
DRAW = {"code_ham": draw_ham, "code_lits": draw_lits, "code_deeplesion": draw_deeplesion}
DATA_SCRIPT = {"code_ham": "HAM_data", "code_lits": "lits_data", "code_deeplesion": "DeepLesion_data"}


def needs(script: str) -> tuple[str, tuple[str, ...]]:
    """The dataset whose raw files a script needs, if any, and the scripts that must have run before it."""
    if script in NEEDS_OF_TOOLS:
        return "", NEEDS_OF_TOOLS[script]
    where, _, name = script.partition("/")
    kind = name.rpartition("_")[2]
    return {
        "phantom": ("", ()),
        "data": (where, ()),
        "train": ("", (f"{where}/{DATA_SCRIPT[where]}",)),
        "eval": ("", (f"{where}/{name.removesuffix('_eval')}_train",)),
        "predict": (where, (f"{where}/{name.removesuffix('_predict')}_A1_train",)),
    }[kind]


def usual(script: str) -> list[str]:
    """The flags of a script's usual command."""
    if script in NEEDS_OF_TOOLS:
        return shlex.split(USUAL[script])
    where, _, name = script.partition("/")
    kind = name if name.endswith("_predict") else name.rpartition("_")[2]
    flags = shlex.split(USUAL[kind])
    if kind == "train":
        least = "4" if "coseg" in name else "2"
        flags += ["--batch-size", least, "--limit", least]
    if script in NEEDS_OF_TOOLS["common report"]:
        flags += ["--limit", "2"]  # as many as of the experiment that finds A1 done
    if (where, kind) == ("code_deeplesion", "eval"):
        flags += ["--truth", "ellipse"]
    return flags
