"""The same command gives the same files, whatever the number of processes that prepare."""

import pytest
import torch

import DeepLesion_data
import HAM_A1class_train
import HAM_Acoseg_train
import HAM_data
import lits_data
from common.run.scripts import eval_main, train_main
from common.training.checkpoint import load_checkpoint
from fault_run import differences, results
from helpers import NETWORK

SMALL = f"{NETWORK} --epochs 2 --limit 8 --batch-size 8"


@pytest.mark.parametrize("dataset", ["ham", "lits", "deeplesion"])
def test_arrays_do_not_depend_on_the_number_of_processes(dataset, request, tmp_path):
    data = request.getfixturevalue(f"phantom_{dataset}")  # was prepared by two
    main = {"ham": HAM_data, "lits": lits_data, "deeplesion": DeepLesion_data}[dataset].main
    prepared = tmp_path / "one" / "data" / "prepared"
    main(["--data", str(data), "--prepared", str(prepared), "--clusters", "4", "--workers", "1"])
    (tmp_path / "two" / "data").mkdir(parents=True)
    (tmp_path / "two" / "data" / "prepared").symlink_to(data / "prepared")
    one, two = (results(tmp_path / name) for name in ("one", "two"))
    assert {f"data/prepared/{name}" for name in ("images.npy", "lesions.csv", "prepared.json")} <= one.keys()
    assert one == two, differences(two, one)


@pytest.mark.parametrize("recipe", [HAM_A1class_train.RECIPE, HAM_Acoseg_train.RECIPE])
def test_trained_and_scored_twice(recipe, phantom_ham, tmp_path):
    """Weights, history, metrics and settings; times and files' digests are left out."""
    runs = []
    for folder in (tmp_path / "a", tmp_path / "b"):
        where = ["--data", str(phantom_ham), "--checkpoint", str(folder / "a.pt"), "--results", str(folder / "results")]
        train_main(recipe, None, [*where, *SMALL.split()])
        eval_main(recipe, None, [*where, "--split", "val"])
        runs.append((load_checkpoint(folder / "a.pt"), results(folder)))
    (first, files), (second, other_files) = runs
    assert first.settings == second.settings
    assert all(torch.equal(first.state[name], second.state[name]) for name in first.state)
    assert (tmp_path / "a" / "a.pt").read_bytes() == (tmp_path / "b" / "a.pt").read_bytes()
    assert files == other_files, differences(other_files, files)
    assert {"a.pt", "a.history.csv", "results/a.val.csv", "results/a.val.json"} <= files.keys()
