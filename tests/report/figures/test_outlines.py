"""What outlines give, read from results of A1+R and of the quarters of the same marks."""

import json
from pathlib import Path

import cv2
import pytest

from common.report.figures.outlines import HEADER, draw_outlines, outline_table, read_outlines
from common.utils.errors import UserError
from example_results import baseline, result, scored

OWN = {"prompt": "recist", "flips": True, "jitter": 10.0, "average": 0.99, "falling": True}


@pytest.fixture
def results(tmp_path) -> Path:
    """Two seeds of none and of 15 outlines on marks as they are and moved by 10 %, and the quarters of both."""
    for noise, start in ((0.0, 0.9), (10.0, 0.8)):
        moved = {"prompt_noise": noise, "noise_seed": 0} if noise else {}
        quarters = baseline("quarters themselves", start, settings={"protocol": "released", **moved})
        _write(tmp_path, f"baseline_quarters.{noise}", start, quarters)
        for outlines, gain in ((None, 0.01), (15, 0.03)):
            for seed in (0, 1):
                dice = start + gain + seed / 100
                settings, training = {"target": "quarters", **moved}, {**OWN, "outlines": outlines}
                run = result("A1+R", dice, seed, settings=settings, training=training, method="A1recist")
                _write(tmp_path, f"run{noise}.{outlines}.{seed}", dice, run)
    return tmp_path


def _marked(**training) -> dict:
    """A result of A1+R with another training."""
    return result("A1+R", settings={"target": "quarters"}, training=OWN | training, method="A1recist")


def _write(folder: Path, name: str, dice: float, evaluation: dict) -> None:
    values = [dice + add for add in (0.03, 0.01, -0.01, -0.03)]
    path = scored(folder, name, values, evaluation)["path"]
    path.write_text(json.dumps(evaluation | {"lesions": len(values)}))


def test_by_hand(results, tmp_path):
    runs = read_outlines([results])
    assert [(run.noise, run.outlines) for run in runs] == [(0, 0), (0, 15), (10, 0), (10, 15)]
    lines = [dict(zip(HEADER, line, strict=True)) for line in outline_table(runs)]
    assert [line["Dice %"] for line in lines] == ["91.50±0.71", "93.50±0.71", "81.50±0.71", "83.50±0.71"]
    assert [line["minus quarters"] for line in lines] == ["+1.50", "+3.50", "+1.50", "+3.50"]
    assert lines[3]["95 % over lesions"] == "+3.50 to +3.50"  # the same for each lesion
    assert lines[3]["95 % over seeds"] == "-2.85 to +9.85"  # 3.5 ± 12.71 (Student's t) x 0.5
    assert (lines[3]["marks moved by, %"], lines[3]["runs"], lines[3]["lesions"]) == ("10", "2", "4")
    for name in ("a.png", "b.png"):
        draw_outlines(tmp_path / name, runs)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    assert cv2.imread(str(tmp_path / "a.png")).std() > 10


def test_what_can_not_be_compared(results, tmp_path):
    (results / "baseline_quarters.10.0.json").unlink()
    with pytest.raises(UserError, match=r"lacks the quarters of marks moved by 10 %; run .* --prompt-noise 10 "):
        read_outlines([results])
    _write(results, "longer", 0.9, _marked(epochs=9, jitter=5.0))
    with pytest.raises(UserError, match="holds results of A1\\+R that differ in epochs, jitter"):
        read_outlines([results])
    (tmp_path / "other").mkdir()
    _write(tmp_path / "other", "a", 0.9, result())
    with pytest.raises(UserError, match="holds no results of A1\\+R"):
        read_outlines([tmp_path / "other"])


def test_quarters_of_other_marks_are_no_quarters(results):
    """Both were moved by 10 %, but by other noise."""
    for name, evaluation in (
        ("baseline_quarters.s1", baseline("quarters themselves", 0.8)),
        ("run.s1", _marked()),
    ):
        evaluation["settings"] |= {"prompt_noise": 10.0, "noise_seed": 1}
        _write(results, name, 0.8, evaluation)
        if name == "run.s1":
            with pytest.raises(UserError, match="holds results of two seeds of noise"):
                read_outlines([results])
            (results / "baseline_quarters.s1.json").unlink()
            with pytest.raises(UserError, match="lacks the quarters of marks moved by 10 %"):
                read_outlines([results])
