"""How training grows with the number of lesions."""

import json
from typing import Any

import numpy as np
import pytest

from common.benchmark import scaling as growth
from common.benchmark.runner import TimedRun
from common.data.dataset import LesionDataset


def test_lesions_are_repeated(phantom_ham, tmp_path):
    few = LesionDataset.open(phantom_ham / "prepared")
    many = growth.repeat_lesions(few, tmp_path / "many", 600)
    assert len(many.lesions) == 600
    assert many.lesions[599]["split"] == few.lesions[39]["split"]
    for name in ("images", "recist", "truth"):
        assert many.array(name).shape[0] == 600
        for row in (0, 39, 40, 300, 599):
            assert np.array_equal(many.array(name)[row], few.array(name)[row % 40])


def test_the_command(phantom_ham, tmp_path, capsys, monkeypatch):
    def run(name: str, *arguments: Any) -> TimedRun:  # another process would only take longer
        return TimedRun(getattr(growth, name.removeprefix("growth:"))(*arguments), 0.0, 0)

    monkeypatch.setattr(growth, "run_alone", run)
    flags = f"ham --prepared {phantom_ham}/prepared --epochs 20 --starts 30 --out {tmp_path}".split()
    growth.main(flags)
    measured = json.loads((tmp_path / "growth.json").read_text())
    (epoch,), (start,) = measured["epochs"], measured["starts"]
    assert (epoch["lesions"], start["lesions"]) == (20, 30)
    assert epoch["milliseconds_a_lesion"] == pytest.approx(1e3 * epoch["seconds"] / 20)
    assert 0 < start["seconds"] < 60 and start["own_GiB"] > 0.1
    assert capsys.readouterr().out.count("| lesions | seconds |") == 2
