"""Faults for the tools: predictions on other images, table, page, baselines, pictures, phantoms, experiment."""

import numpy as np

from fault_cases_runs import DAMAGED, made
from fault_worlds import (
    Fault,
    World,
    closed,
    cut,
    folder,
    gone,
    image,
    json_cell,
    loop,
    put,
    read_only,
    several,
    small_disk,
)
from faults import FULL, Case, Harness, Outcome

REPORT, PAGE, BASELINES, FIGURES = "common report", "common html", "common baselines", "common figures"
EXPERIMENT, DONE = "common experiment", "out/results/A1_ellipse_seed0.limit2"
HAM, LITS, DEEP = "code_ham/HAM_predict", "code_lits/lits_predict", "code_deeplesion/deeplesion_predict"
JSON, CSV = "results/HAM_A1_eval.json", "results/HAM_A1_eval.csv"
JPG = "data/HAM10000_images_part_1/ISIC_0000000.jpg"
NII, SLICE = "data/volume/volume-0.nii", "data/Images_png/000001_01_01/010.png"


def others_remain(harness: Harness, case: Case, world: World, outcome: Outcome) -> None:
    """The run without a fault is told."""
    written = world.path("out/table.md" if case.script == REPORT else "out/report.html").read_text()
    assert "A1+L" in written


def of_both(what: str, fault: Fault, sentence: str | None = None) -> list[Case]:
    """A fault of the results, for the table and for the page."""
    return [Case(script, what, fault, sentence, right=others_remain) for script in (REPORT, PAGE)]


RESULTS = [
    *of_both("truncated JSON", cut(JSON)),
    *of_both("no evaluation at all", gone("results"), "results is not a folder of results"),
    *of_both("nothing but damaged JSON", several(cut(JSON), cut(JSON.replace("A1", "A1class"))),
             "no evaluation results found"),
    *of_both("a figure is a word", json_cell(JSON, "dice", value="good")),
    *of_both("a figure is missing", json_cell(JSON, "dice", value=None)),
    *of_both("the settings are a list", json_cell(JSON, "settings", value=[1])),
    *of_both("the training's settings are a list", json_cell(JSON, "training", value=[1])),
    *of_both("the loss weights are words", json_cell(JSON, "training", "loss_weights", value={"mask": "x"})),
    *of_both("the published figures are a word", json_cell(JSON, "published", value="x")),
    *of_both("the checkpoint is a word", json_cell(JSON, "checkpoint", value="x")),
    *of_both("truncated CSV", cut(CSV), r"HAM_A1_eval\.csv is damaged"),
    *of_both("binary CSV", put(CSV, b"\xff\xfe\x00"), r"HAM_A1_eval\.csv is not a readable CSV"),
    *of_both("a CSV's figure is a word", put(CSV, "lesion,dice,iou\na,x,y\n"), r"HAM_A1_eval\.csv is damaged"),
    *of_both("the same lesion twice in a CSV",
             lambda world: put(CSV, world.path(CSV).read_bytes() + b"ISIC_0000003,test,1,1,1,1,1,1,1,1\n")(world),
             r"HAM_A1_eval\.csv is damaged"),
    *of_both("unreadable JSON", closed(JSON), r"no permission for .*HAM_A1_eval\.json"),
    *of_both("JSON a hundred thousand brackets deep", put("results/x.json", "[" * 100_000)),
    *of_both("a number of 5000 digits", put("results/x.json", f'{{"dice": {"9" * 5000}}}')),
    *of_both("a figure of 400 digits", json_cell(JSON, "dice", value=10**400)),
    *of_both("the seed is a list", json_cell(JSON, "settings", "seed", value=[1])),
    *of_both("folder named like a result", folder("results/x.json")),
    *of_both("link to itself named like a result", loop("results/x.json")),
    Case(REPORT, "file in place of the folder to write to", put("out", "x"), "out"),
    Case(REPORT, "read-only folder to write to", read_only("out"), r"written to .*; pass another --out"),
    Case(REPORT, "disk full", small_disk("full", 4096), FULL, "--out full"),
    Case(PAGE, "folder in place of the page", folder("out/report.html"), r"out/report\.html"),
    Case(PAGE, "read-only folder to write to", read_only("out"), r"written to .*; pass another --out"),
]  # fmt: skip

BASELINE = [Case(BASELINES, *fault) for fault in DAMAGED[1:9:3]] + [
    Case(BASELINES, "truncated truth", cut("data/prepared/truth.npy"), r"truth\.npy is damaged"),
    Case(BASELINES, "no truth", json_cell("data/prepared/prepared.json", "arrays", value=["images", "ellipse"]),
         "has no human masks"),
    Case(BASELINES, "file in place of the results' folder", put("results", "x"), "results"),
    Case(BASELINES, "read-only folder of results", read_only("results"), r"written to .*; pass another --results"),
    Case(BASELINES, "disk full", small_disk("full", 4096), FULL, "--results full"),
]  # fmt: skip

PICTURES = [
    Case(FIGURES, *DAMAGED[2]),
    Case(FIGURES, "truncated checkpoint", cut("a.pt"), r"a\.pt is truncated"),
    Case(FIGURES, "folder in place of the picture", folder("out/a.png"), r"out/a\.png"),
    Case(FIGURES, "no rows", sentence="'0' is not a whole number above 0", flags="--rows 0"),
    Case(FIGURES, "disk full", small_disk("full", 4096), FULL, "--out full/a.png"),
]  # fmt: skip

PREDICTIONS = [
    Case(HAM, "truncated image", cut(JPG), r"ISIC_0000000\.jpg is cut short"),
    Case(HAM, "image all zero", image(JPG, np.zeros((64, 96, 3), np.uint8)), r"ISIC_0000000\.jpg shows nothing"),
    Case(HAM, "one pixel", image(JPG, np.full((1, 1, 3), (0, 9, 0), np.uint8)), None, "", made("out/measurements.csv")),
    Case(HAM, "100,000 px wide", image(JPG, np.full((20, 100_000, 3), (0, 9, 0), np.uint8)), None, "",
         made("out/measurements.csv")),
    Case(HAM, "file in place of the results' folder", put("out", "x"), "out is a file"),
    Case(HAM, "read-only folder of results", read_only("out"), r"written to .*; pass another --out"),
    Case(HAM, "truncated checkpoint", cut("a.pt"), r"a\.pt is truncated"),
    Case(HAM, "disk full", small_disk("full", 8192), FULL, "--out full"),
    Case(LITS, "truncated volume", cut(NII), r"volume-0\.nii is cut short"),
    Case(LITS, "empty volume", put(NII, b""), r"volume-0\.nii is not a readable NIfTI"),
    Case(LITS, "no lesions", put("boxes.csv", "lesion,x,y,slice\n"), "names no lesion"),
    Case(LITS, "a lesion outside the volume", put("boxes.csv", "x,y,slice\n9,9,99\n"), "slice 99 is not one of"),
    Case(LITS, "binary table of lesions", put("boxes.csv", b"\xff\xfe\x00"), r"boxes\.csv is not a readable CSV"),
    Case(LITS, "lesions at the border", put("boxes.csv", "x,y,slice\n0,0,1\n95,95,1\n"), None, "",
         made("out/volume-0_mask.nii.gz")),
    Case(LITS, "disk full", small_disk("full", 8192), FULL, "--out full"),
    Case(DEEP, "truncated slice", cut(SLICE), r"010\.png is cut short"),
    Case(DEEP, "slice of 8 bits", image(SLICE, np.zeros((512, 512), np.uint8)), "holds 8-bit px"),
    Case(DEEP, "NaN in the table of lesions", put("boxes.csv", "x,y\nnan,9\n"), "x is 'nan', not a number"),
    Case(DEEP, "folder in place of the table of lesions", folder("boxes.csv"), r"boxes\.csv"),
    Case(DEEP, "lesions at the border", put("boxes.csv", "x,y\n0,0\n511,511\n"), None, "", made("out/010_mask.png")),
    Case(DEEP, "disk full", small_disk("full", 8192), FULL, "--out full"),
]  # fmt: skip

PHANTOMS = [
    Case(script, *fault)
    for script in ("code_ham/HAM_phantom", "code_lits/lits_phantom", "code_deeplesion/DeepLesion_phantom")
    for fault in (
        ("file in place of the folder", put("out", "x"), "out"),
        ("read-only folder", read_only("out"), "no permission for out"),
        ("disk full", small_disk("out", 100_000), FULL),
    )
]
EXPERIMENTS = [
    Case(EXPERIMENT, *DAMAGED[2]),
    Case(EXPERIMENT, "no such method", sentence="code_ham has no method A2", flags="--methods A2"),
    Case(EXPERIMENT, "a flag for the training that is none", sentence="'nan' is not a number above 0",
         flags="--train '--lr nan'"),
    Case(EXPERIMENT, "other settings than what is there", sentence="was made with .*, not", flags="--train ''"),
    Case(EXPERIMENT, "truncated checkpoint that was not scored",
         several(cut("out/checkpoints/A1_ellipse_seed0.pt"), gone(f"{DONE}.json")), r"seed0\.pt is truncated"),
    Case(EXPERIMENT, "truncated CSV of results", cut(f"{DONE}.csv"), r"seed0\.limit2\.csv is damaged"),
    Case(EXPERIMENT, "file in place of the results' folder", put("file", "x"), "file", "--out file"),
    Case(EXPERIMENT, "read-only folder of results", read_only("out"), r"written to .*; pass another --out"),
    Case(EXPERIMENT, "folder in place of the page", folder("out/report.html"), r"out/report\.html"),
]  # fmt: skip
CASES = [*RESULTS, *BASELINE, *PICTURES, *PREDICTIONS, *PHANTOMS, *EXPERIMENTS]
