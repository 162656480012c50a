"""Several processes do what one does: torchrun over gloo, on the CPU."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import together
import torch

from common.run.scripts import eval_main
from common.training.checkpoint import load_checkpoint
from common.training.distributed import SINGLE_PROCESS, CpuSyncBatchNorm, World
from common.training.train import train
from common.utils.errors import UserError
from common.utils.files import read_csv, read_json

ROOT = Path(__file__).resolve().parents[1]
SMALL = "--encoder resnet18 --encoder-weights none --canvas 128x128 --clusters 4 --batch-size 8 --precision fp32"


def torchrun(*command: str, count: int = 2, **options) -> subprocess.Popen:
    """Start a script in several processes, as a user does."""
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={count}"]
    paths = os.pathsep.join(map(str, [ROOT, ROOT / "code_ham", ROOT / "tests"]))
    return subprocess.Popen(
        [*launcher, *command], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": paths}, **options,
    )  # fmt: skip


@pytest.fixture(scope="module")
def two(phantom_ham, tmp_path_factory) -> dict[str, list[dict[str, float]]]:
    """The losses that two processes tell."""
    out = tmp_path_factory.mktemp("two") / "losses.json"
    running = torchrun(str(ROOT / "tests" / "together.py"), str(phantom_ham), str(out))
    told = running.communicate(timeout=120)
    assert running.returncode == 0, told[1]
    return json.loads(out.read_text())


@pytest.mark.parametrize("numbers", together.RATES)
@pytest.mark.parametrize("method", together.RECIPES)
def test_losses_of_two_processes_are_those_of_one(method, numbers, two, phantom_ham):
    one = together.first_steps(together.settings(together.RECIPES[method], phantom_ham), SINGLE_PROCESS, numbers)
    told = two[f"{method} {numbers}"]
    assert len(one) == len(told) == together.STEPS[numbers]
    for ours, theirs in zip(told, one, strict=True):
        if numbers == "float32":
            theirs.pop("gradient_norm", None)  # too ill-conditioned to be compared in float32
            ours.pop("gradient_norm", None)
        assert ours == pytest.approx(theirs, rel=1e-4 if numbers == "float32" else 1e-6)  # losses are float32


@pytest.fixture(scope="module")
def trained(phantom_ham, tmp_path_factory) -> Path:
    """A checkpoint that two processes trained and scored."""
    folder = tmp_path_factory.mktemp("trained")
    where = ["--data", str(phantom_ham), "--checkpoint", str(folder / "a.pt")]
    for script, flags in (
        ("train", [*SMALL.split(), "--epochs", "2"]),
        ("eval", ["--results", str(folder / "two"), "--split", "all", "--precision", "fp32"]),
    ):
        running = torchrun(str(ROOT / "code_ham" / f"HAM_A1class_{script}.py"), *where, *flags)
        out, err = running.communicate(timeout=120)
        assert running.returncode == 0, err
        (folder / f"{script}.out").write_text(out)
    return folder


def test_a_training_is_told_and_written_once(trained):
    told = (trained / "train.out").read_text()
    assert told.count("epoch 1: loss") == told.count("epoch 2: loss") == 1
    assert "28 training and 8 validation lesions" in told and "2 processes" in told
    assert len(read_csv(trained / "a.history.csv")) == 2
    checkpoint = load_checkpoint(trained / "a.pt")
    assert checkpoint.recipe["processes"] == 2
    assert not any(name.startswith("module.") for name in checkpoint.state)
    assert {path.name for path in trained.iterdir()} == {"a.pt", "a.history.csv", "train.out", "eval.out", "two"}


def test_an_evaluation_is_shared_out_and_merged(trained, phantom_ham, tmp_path):
    where = ["--data", str(phantom_ham), "--checkpoint", str(trained / "a.pt"), "--results", str(tmp_path)]
    eval_main(together.RECIPES["A1class"], None, [*where, "--split", "all", "--precision", "fp32"])
    assert read_csv(tmp_path / "a.all.csv") == read_csv(trained / "two" / "a.all.csv")
    one, two = (read_json(folder / "a.all.json") for folder in (tmp_path, trained / "two"))
    assert {name: value for name, value in one.items() if "second" not in name} == {
        name: value for name, value in two.items() if "second" not in name
    }
    assert (trained / "eval.out").read_text().count("dice") == 1


def test_interrupted_and_resumed_by_two(phantom_ham, tmp_path, trained):
    """Ctrl-C at one process stops both after the same step; the second run goes on, and the end is the same."""
    script = str(ROOT / "code_ham" / "HAM_A1class_train.py")
    flags = [*SMALL.split(), "--data", str(phantom_ham), "--epochs", "2"]
    state = tmp_path / "a.state"
    running = torchrun(script, *flags, "--checkpoint", str(tmp_path / "a.pt"), start_new_session=True)
    while not state.exists() and running.poll() is None:
        time.sleep(0.02)
    os.kill(_children(running.pid)[-1], signal.SIGINT)
    err = running.communicate(timeout=120)[1]
    assert "the same command with --resume goes on" in err
    running = torchrun(script, *flags, "--checkpoint", str(tmp_path / "a.pt"), "--resume")
    assert running.communicate(timeout=120) and running.returncode == 0
    resumed, whole = (load_checkpoint(folder / "a.pt").state for folder in (tmp_path, trained))
    assert all(torch.equal(resumed[name], whole[name]) for name in whole)


def _children(process: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{process}/task/{process}/children").read_text().split()]


def test_when_one_dies_all_stop(phantom_ham, tmp_path):
    flags = [*SMALL.split(), "--data", str(phantom_ham), "--checkpoint", str(tmp_path / "a.pt"), "--epochs", "50"]
    running = torchrun(str(ROOT / "code_ham" / "HAM_A1class_train.py"), *flags, start_new_session=True)
    while not (tmp_path / "a.state").exists() and running.poll() is None:
        time.sleep(0.02)
    first, second = _children(running.pid)[-2:]
    start = time.monotonic()
    os.kill(second, signal.SIGKILL)
    err = running.communicate(timeout=60)[1]
    assert running.returncode != 0
    assert time.monotonic() - start < 60
    assert not Path(f"/proc/{first}").exists()
    assert re.search(r"SIGKILL|Signal 9", err)  # torchrun tells which one and how


def test_a_process_that_fails_is_the_cause_that_is_told(phantom_ham, tmp_path):
    code = (
        "import os, sys\n"
        "import common.trainer as trainer\n"
        "from common.errors import UserError\n"
        "step = trainer.Trainer.step\n"
        "def fail(self, groups):\n"
        "    if os.environ['RANK'] == '1':\n"
        "        raise UserError('the second has had enough')\n"
        "    return step(self, groups)\n"
        "trainer.Trainer.step = fail\n"
        "import HAM_A1class_train as script\n"
        "from common.scripts import train_script\n"
        "train_script(script.RECIPE, None)\n"
    )
    (tmp_path / "fail.py").write_text(code)
    flags = [*SMALL.split(), "--data", str(phantom_ham), "--checkpoint", str(tmp_path / "a.pt"), "--epochs", "50"]
    running = torchrun(str(tmp_path / "fail.py"), *flags)
    err = running.communicate(timeout=60)[1]
    assert running.returncode != 0
    assert "fail.py: the second has had enough" in err


def test_more_processes_than_lesions_in_a_batch(phantom_ham, tmp_path, monkeypatch):
    from common.training import train as module

    monkeypatch.setattr(module, "processes", lambda device: _Fixed(World(0, 9)))
    run = together.settings(together.RECIPES["A1"], phantom_ham)
    with pytest.raises(UserError, match=r"--batch-size 8 can't be shared by 9 processes.*start at most 8"):
        train(run)
    paired = together.settings(together.RECIPES["Acoseg"], phantom_ham)
    monkeypatch.setattr(module, "processes", lambda device: _Fixed(World(0, 5)))
    with pytest.raises(UserError, match="start at most 4"):
        train(paired)


class _Fixed:
    """A context that gives this share."""

    def __init__(self, world: World) -> None:
        self._share = world

    def __enter__(self) -> World:
        return self._share

    def __exit__(self, *_: object) -> None:
        return None


def test_shares_take_every_row_once():
    rows = np.arange(11)
    parts = [World(rank, 3).of(rows) for rank in range(3)]
    assert [part.tolist() for part in parts] == [[0, 3, 6, 9], [1, 4, 7, 10], [2, 5, 8]]
    assert [world.first for world in (World(0, 3), World(1, 3))] == [True, False]


def test_one_process_alone():
    assert SINGLE_PROCESS.any(True) and not SINGLE_PROCESS.any(False)
    assert SINGLE_PROCESS.sums({"a": torch.tensor(2.5)}) == {"a": 2.5}
    assert SINGLE_PROCESS.gather([1, 2]) == [1, 2]
    network = torch.nn.BatchNorm2d(1)
    assert SINGLE_PROCESS.spread(network, together.CPU) is network
    assert not isinstance(network, CpuSyncBatchNorm)
