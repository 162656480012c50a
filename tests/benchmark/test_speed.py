"""The tables of the benchmark."""

import json
import pickle
import sys

import pytest

import HAM_A1class_train
from common.benchmark import ours, published, speed
from common.benchmark.runner import BenchmarkConfig, Measurement, TimedRun, make_config, run_in_subprocess
from common.benchmark.speed import FLOPS, GPU_MEMORY, MEMORY, RATE, TIME, WALL_TIME, Comparison, comparisons, table
from common.data.dataset import LesionDataset
from common.utils.errors import UserError

TRAINING = Comparison("training", "training", published.train, ours.train)


def _runs(*seconds: float, gpu_memory: int = 0) -> list[TimedRun]:
    return [TimedRun(Measurement(each, 10), each + 1, 2**30, gpu_memory) for each in seconds]


def test_a_table_by_hand():
    runs = {published.train: _runs(20, 40, 20), ours.train: _runs(5, 5, 4)}
    rows = (TRAINING, TRAINING._replace(label="memory", metric=MEMORY))
    # 10 images in 20 s against 10 in 5 s; round by round 4, 8 and 5 times.
    assert table([(row, row.ratio(runs)) for row in rows], "published way").splitlines() == [
        "|  | published way | this project | ratio | over the rounds |",
        "| --- | --- | --- | --- | --- |",
        "| training | 0.5 images/s | 2 images/s | 4 | 4 to 8 |",
        "| memory | 1024 MiB | 1024 MiB | 1 | 1 to 1 |",
    ]


def test_what_was_not_measured_has_no_ratio():
    comparison = TRAINING._replace(metric=GPU_MEMORY)
    assert comparison.ratio({published.train: _runs(1.0), ours.train: _runs(1.0)}) is None
    assert table([], "published way") == ""
    runs = {work: _runs(1.0, gpu_memory=2**20) for work in (published.train, ours.train)}
    assert comparison.ratio(runs) == {"peer": 1, "ours": 1, "ratio": 1, "lowest": 1, "highest": 1}
    assert "| 1 MiB | 1 MiB |" in table([(comparison, comparison.ratio(runs))], "published way")


def test_medians_are_compared_round_by_round():
    # Medians 20 and 5 s for 10 lesions; round by round 4, 6 and 1.
    runs = {published.train: _runs(20, 30, 10), ours.train: _runs(5, 5, 10)}
    times = {"peer": 2000, "ours": 500, "ratio": 4, "lowest": 1, "highest": 6}
    assert TRAINING._replace(metric=TIME).ratio(runs) == times
    # Of rates, where more is better, the ratio is the same: 10 images in 20 s against 10 in 5 s.
    assert TRAINING.ratio(runs) == pytest.approx(times | {"peer": 0.5, "ours": 2})
    # Where the project is slower, both are below 1.
    swapped = {published.train: runs[ours.train], ours.train: runs[published.train]}
    slower = {"peer": 2, "ours": 0.5, "ratio": 1 / 4, "lowest": 1 / 6, "highest": 1}
    assert TRAINING.ratio(swapped) == pytest.approx(slower)
    assert TRAINING._replace(metric=TIME._replace(higher_is_better=True)).ratio(runs)["ratio"] == 1 / 4


def test_metrics_are_shown_in_their_units():
    run = TimedRun(Measurement(2.0, 10, flops=3e12), 3.0, 5 * 2**29, 0)
    shown = [metric.show(metric.value(run)) for metric in (RATE, TIME, FLOPS, WALL_TIME, MEMORY)]
    assert shown == ["5 images/s", "200 ms a lesion", "1.5 TFLOP/s", "300 ms a lesion", "2560 MiB"]


def test_every_function_can_be_given_to_another_process():
    for comparison in comparisons((384, 480)):
        for work in (comparison.peer, comparison.ours):
            assert pickle.loads(pickle.dumps(work)) is work


def imports_torch(config: BenchmarkConfig) -> bool:
    for work in (published.prepare, ours.prepare, published.score, ours.score):
        work(config)
    return "torch" in sys.modules


def test_preparing_and_scoring_run_without_torch(phantom_ham, tmp_path):
    dataset = LesionDataset.open(phantom_ham / "prepared")
    config = make_config(HAM_A1class_train.RECIPE, dataset, data=phantom_ham, scratch=tmp_path, steps=1, lesions=6)
    assert run_in_subprocess(imports_torch, config).measurement is False


def test_the_command(phantom_ham, tmp_path, capsys):
    speed.main(f"ham --data {phantom_ham} --out {tmp_path} --only metrics --rounds 2 --lesions 10".split())
    text = (tmp_path / "table.md").read_text()
    assert text in capsys.readouterr().out
    assert [line.split("|")[1].strip() for line in text.splitlines()] == ["", "---", "metrics, one core"]
    measured = json.loads((tmp_path / "bench.json").read_text())
    assert measured["command"].startswith("python common benchmark ham --data ")
    (line,) = measured["lines"]
    assert line["ratio"] == pytest.approx(line["peer"] / line["ours"])
    assert line["lowest"] <= line["highest"]
    assert [run["measurement"]["items"] for run in measured["rounds"]["ours.score"]] == [10, 10]
    assert measured["machine"]["versions"]["torch"] and measured["settings"]["encoder"] == "resnet101"


def test_bad_input_is_one_sentence(phantom_ham, tmp_path):
    with pytest.raises(UserError, match="no dataset"):
        speed.main(["nothing"])
    with pytest.raises(UserError, match=r"missing or unfinished; run python code_ham/HAM_data\.py --data"):
        speed.main(["ham", "--data", str(tmp_path)])
