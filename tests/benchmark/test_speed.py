"""The tables of the benchmark."""

import json

import pytest

from common.benchmark import speed as bench
from common.benchmark.runner import Measurement, TimedRun
from common.benchmark.speed import FLOPS, GPU_MEMORY, MEMORY, RATE, TIME, Line, against_published, report
from common.utils.errors import UserError


def _outcomes(*seconds: float, **more: float) -> list[TimedRun]:
    return [TimedRun(Measurement(each, 10, **more), each + 1, 2**30) for each in seconds]


def test_a_line_by_hand():
    line = Line("training", "training", "p:t", "o:t")
    outcomes = {"p:t": _outcomes(20, 40, 20), "o:t": _outcomes(5, 5, 4)}
    # 10 images in 20 s against 10 in 5 s; round by round 4, 8 and 5 times.
    assert line.cells(line.compare(outcomes)) == ["training", "0.5 images/s", "2 images/s", "4", "4 to 8"]
    text = report([line, line._replace(what="memory", cost=MEMORY)], outcomes, "published way")
    assert text.splitlines() == [
        "|  | published way | this project | ratio | over the rounds |",
        "| --- | --- | --- | --- | --- |",
        "| training | 0.5 images/s | 2 images/s | 4 | 4 to 8 |",
        "| memory | 1024 MiB | 1024 MiB | 1 | 1 to 1 |",
    ]


def test_what_was_not_measured_has_no_line():
    line = Line("training", "GPU memory", "p:t", "o:t", GPU_MEMORY)
    outcomes = {"p:t": _outcomes(1.0), "o:t": _outcomes(1.0)}
    assert line.compare(outcomes) is None
    assert report([line], outcomes, "published way") == ""
    outcomes = {name: _outcomes(1.0, device_memory=2**20) for name in outcomes}
    assert line.cells(line.compare(outcomes))[1] == "1 MiB"


def test_costs_are_shown_in_their_units():
    (outcome,) = _outcomes(2.0, flops=3e12)
    shown = [cost.show(cost.of(outcome)) for cost in (RATE, TIME, FLOPS, bench.WHOLE)]
    assert shown == ["5 images/s", "200 ms a lesion", "1.5 TFLOP/s", "300 ms a lesion"]


def test_every_piece_of_work_is_there():
    from common.benchmark import bench_published
    from common.benchmark import ours as bench_ours

    modules = {"bench_ours": bench_ours, "bench_published": bench_published}
    for line in (*against_published((384, 480)), *bench.against_hardware((384, 480))):
        for name in (line.peer, line.ours):
            module, function = name.split(":")
            assert callable(getattr(modules[module], function))


def test_the_command(phantom_ham, tmp_path, capsys):
    flags = "--only metrics --rounds 2 --lesions 10"
    bench.main(["ham", "--data", str(phantom_ham), "--out", str(tmp_path), *flags.split()])
    table = (tmp_path / "table.md").read_text()
    assert table in capsys.readouterr().out
    assert [line.split("|")[1].strip() for line in table.splitlines()] == ["", "---", "metrics, one core"]
    found = json.loads((tmp_path / "bench.json").read_text())
    (line,) = found["lines"]
    assert line["ratio"] == pytest.approx(line["peer"] / line["ours"])
    assert line["lowest"] <= line["highest"]
    assert [one["work"]["items"] for one in found["rounds"]["bench_ours:score"]] == [10, 10]
    assert found["machine"]["versions"]["torch"] and found["settings"]["encoder"] == "resnet101"


def test_bad_input_is_told_in_one_sentence(phantom_ham, tmp_path):
    with pytest.raises(UserError, match="no dataset"):
        bench.main(["nothing"])
    with pytest.raises(UserError, match="--method Acoseg can't be measured; there are A1, A1class"):
        bench.main(["ham", "--data", str(phantom_ham), "--method", "Acoseg"])
    with pytest.raises(UserError, match=r"missing or unfinished; run python code_ham/HAM_data\.py --data"):
        bench.main(["ham", "--data", str(tmp_path)])
