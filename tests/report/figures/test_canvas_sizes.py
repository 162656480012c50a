"""What canvases give and cost, read from experiments that differ in nothing else."""

import json
from pathlib import Path

import cv2
import pytest

from common.report.figures.canvas_sizes import HEADER, canvas_table, draw_canvas_sizes, read_canvas_sizes
from common.utils.errors import UserError
from common.utils.files import write_csv
from example_results import baseline, result, scored


def experiment(folder: Path, rows: int, columns: int, dice: float) -> Path:
    """As `python common experiment` leaves it: two seeds, and a baseline."""
    results = folder / "results"
    results.mkdir(parents=True)
    for seed in (0, 1):
        run = result("A1+L", dice + seed / 100, seed, settings={"canvas": [rows, columns]}, method="A1class")
        values = tuple(dice + seed / 100 + add for add in (0.03, 0.01, -0.01, -0.03))
        path = scored(results, f"run{seed}", values, run)["path"]
        path.write_text(json.dumps(run | {"lesions": len(values)}))
        history = [{"epoch": 1, "images_per_second": 100 / columns}, {"epoch": 2, "images_per_second": 200 / columns}]
        write_csv(folder / "checkpoints" / f"run{seed}.history.csv", history, list(history[0]))
    (results / "baseline_ellipse.json").write_text(json.dumps(baseline()))
    return folder


def test_by_hand(tmp_path):
    large, small = experiment(tmp_path / "b", 384, 480, 0.8), experiment(tmp_path / "a", 128, 128, 0.79)
    canvases = read_canvas_sizes([large, small])
    assert [runs.canvas for runs in canvases] == [(128, 128), (384, 480)]
    assert canvases[1].seconds == pytest.approx(3.6)  # the median of 4.8 and 2.4, twice
    assert canvases[1].flops / canvases[0].flops == pytest.approx(384 * 480 / 128**2, rel=0.01)
    lines = [dict(zip(HEADER, line, strict=True)) for line in canvas_table(canvases)]
    assert lines[0]["Dice %"] == "79.50±0.71"
    assert lines[1]["Dice %"] == "80.50±0.71"
    assert lines[0]["minus the largest"] == "-1.00"
    assert lines[0]["95 % over lesions"] == lines[0]["95 % over seeds"] == "-1.00 to -1.00"
    assert (lines[1]["minus the largest"], lines[1]["ms an image"], lines[1]["runs"]) == ("", "3600", "2")
    for name in ("a.png", "b.png"):
        draw_canvas_sizes(tmp_path / name, canvases)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    assert cv2.imread(str(tmp_path / "a.png")).std() > 10


def test_what_can_not_be_compared(tmp_path):
    one = experiment(tmp_path / "a", 128, 128, 0.8)
    same = experiment(tmp_path / "b", 128, 128, 0.8)
    with pytest.raises(UserError, match="two folders hold runs on 128x128"):
        read_canvas_sizes([one, same])
    for name, value in (("epochs", 3), ("encoder", "resnet34")):
        other = experiment(tmp_path / name, 384, 480, 0.8)
        for path in (other / "results").glob("run*.json"):
            run = json.loads(path.read_text())
            run["settings" if name == "encoder" else "training"][name] = value
            path.write_text(json.dumps(run))
        with pytest.raises(UserError, match=f"the runs on two of the canvases differ in {name} too; train them alike"):
            read_canvas_sizes([one, other])
    (one / "results" / "other.json").write_text(json.dumps(result()))
    with pytest.raises(UserError, match=r"runs of one method .* holds A1, A1\+L|holds A1\+L, A1"):
        read_canvas_sizes([one])
    (same / "checkpoints" / "run0.history.csv").write_text("epoch\n1\n")
    with pytest.raises(UserError, match=r"a \*\.history\.csv in .* is not the history of a training; remove it"):
        read_canvas_sizes([same])
    for path in (same / "checkpoints").iterdir():
        path.unlink()
    with pytest.raises(UserError, match=r"holds no \*\.history\.csv"):
        read_canvas_sizes([same])
