"""How training scales with the number of lesions."""

import json
from typing import Any

import numpy as np
import pytest

from common.benchmark import scaling
from common.benchmark.runner import TimedRun
from common.data.dataset import LesionDataset
from common.utils.errors import UserError


def test_lesions_are_repeated(phantom_ham, tmp_path):
    dataset = LesionDataset.open(phantom_ham / "prepared")
    repeated = scaling.repeat_lesions(dataset, tmp_path / "repeated", 600)
    assert len(repeated.lesions) == 600
    assert repeated.lesions[599]["split"] == dataset.lesions[39]["split"]
    for name in ("images", "recist", "truth"):
        assert repeated.array(name).shape[0] == 600
        for row in (0, 39, 40, 300, 599):
            assert np.array_equal(repeated.array(name)[row], dataset.array(name)[row % 40])


@pytest.mark.parametrize("flag", ["--epochs", "--starts"])
def test_one_lesion_is_too_few(flag, phantom_ham):
    with pytest.raises(UserError, match="'1' is not a whole number above 1"):
        scaling.main(["ham", "--prepared", f"{phantom_ham}/prepared", flag, "1"])


def test_the_command(phantom_ham, tmp_path, capsys, monkeypatch):
    def run(function, *arguments: Any) -> TimedRun:  # another process would only take longer
        return TimedRun(function(*arguments), 0.0, 0, 0)

    monkeypatch.setattr(scaling, "run_in_subprocess", run)
    scaling.main(f"ham --prepared {phantom_ham}/prepared --epochs 20 --starts 30 --out {tmp_path}".split())
    measured = json.loads((tmp_path / "scaling.json").read_text())
    (epoch,), (start,) = measured["epochs"], measured["starts"]
    assert (epoch["lesions"], start["lesions"]) == (20, 30)
    assert epoch["milliseconds_a_lesion"] == pytest.approx(1e3 * epoch["seconds"] / 20)
    assert 0 < start["seconds"] < 60 and start["own_GiB"] > 0.1
    assert measured["machine"]["cores"] >= 1
    assert capsys.readouterr().out.count("| lesions | seconds |") == 2
