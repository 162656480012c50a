"""Several processes do what one does: torchrun over gloo, on the CPU."""

import os
import re
import signal
import subprocess
import sys
import time
from contextlib import nullcontext
from pathlib import Path

import pytest
import torch

import together
from common.run.cli import parse_train
from common.run.scripts import eval_main
from common.training import train as module
from common.training.checkpoint import load_checkpoint
from common.training.distributed import SINGLE_PROCESS, SyncBatchNorm, World
from common.training.train import train
from common.utils.errors import UserError
from common.utils.files import read_csv, read_json
from helpers import NETWORK, ROOT

SCRIPT = str(ROOT / "code_ham" / "HAM_A1class_train.py")
SMALL = f"{NETWORK} --batch-size 8 --precision fp32"
SECONDS = 300
"""After which a run counts as hung, on a busy machine too."""


def torchrun(*command: str, count: int = 2, **options) -> subprocess.Popen:
    """Start a script in several processes, as a user does."""
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={count}"]
    paths = os.pathsep.join(map(str, [ROOT, ROOT / "code_ham", ROOT / "tests"]))
    return subprocess.Popen(
        [*launcher, *command], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": paths}, **options,
    )  # fmt: skip


@pytest.fixture(scope="module")
def two(phantom_ham, tmp_path_factory) -> Path:
    """The file of the losses that two processes report; beside it what the second one normalised."""
    out = tmp_path_factory.mktemp("two") / "losses.json"
    process = torchrun(together.__file__, str(phantom_ham), str(out))
    err = process.communicate(timeout=SECONDS)[1]
    assert process.returncode == 0, err
    assert "Warning" not in err
    return out


@pytest.mark.parametrize(("method", "dtype"), together.COMPARED)
def test_losses_of_two_processes_are_those_of_one(method, dtype, two, phantom_ham):
    config = together.make_config(together.RECIPES[method], phantom_ham)
    one, of_two = together.first_losses(config, SINGLE_PROCESS, dtype), read_json(two)[f"{method} {dtype}"]
    assert len(one) == len(of_two) == together.STEPS[dtype]
    for losses, expected in zip(of_two, one, strict=True):
        if dtype == "float32":
            expected.pop("gradient_norm", None)  # too ill-conditioned to be compared in float32
            losses.pop("gradient_norm", None)
        assert losses == pytest.approx(expected, rel=1e-4 if dtype == "float32" else 1e-6)  # losses are float32


@pytest.mark.parametrize("dtype", together.TOLERANCES)
def test_a_batch_is_normalised_as_one_however_it_is_divided(dtype, two):
    one = together.uneven_batch(SINGLE_PROCESS, dtype)
    tolerance = together.TOLERANCES[dtype]
    for ours, expected in zip(torch.load(two.with_suffix(".pt"), weights_only=True)[dtype], one, strict=True):
        torch.testing.assert_close(ours, expected, rtol=tolerance, atol=tolerance)


def test_a_layer_that_takes_no_part_stops_nothing(two):
    assert read_json(two)["spared"] == [0.5] * 3  # the mean of 0 and 1


def test_a_layer_that_several_processes_cannot_share_is_named():
    with pytest.raises(UserError, match=r"torch\.nn\.modules\.batchnorm\.BatchNorm1d; start the .* without torchrun"):
        World(0, 2).distribute(torch.nn.BatchNorm1d(1), together.CPU)


@pytest.fixture(scope="module")
def trained(phantom_ham, tmp_path_factory) -> Path:
    """The folder of a checkpoint that two processes trained and scored."""
    folder = tmp_path_factory.mktemp("trained")
    where = ["--data", str(phantom_ham), "--checkpoint", str(folder / "a.pt")]
    for kind, flags in (
        ("train", [*SMALL.split(), "--epochs", "2"]),
        ("eval", ["--results", str(folder / "two"), "--split", "all", "--precision", "fp32"]),
    ):
        process = torchrun(str(ROOT / "code_ham" / f"HAM_A1class_{kind}.py"), *where, *flags)
        out, err = process.communicate(timeout=SECONDS)
        assert process.returncode == 0, err
        assert "Warning" not in err
        (folder / f"{kind}.out").write_text(out)
    return folder


def test_a_training_prints_and_writes_once(trained):
    out = (trained / "train.out").read_text()
    assert out.count("epoch 1: loss") == out.count("epoch 2: loss") == 1
    assert "28 training and 8 validation lesions" in out and "2 processes" in out
    assert len(read_csv(trained / "a.history.csv")) == 2
    checkpoint = load_checkpoint(trained / "a.pt")
    assert checkpoint.settings["processes"] == 2
    assert not any(name.startswith("module.") for name in checkpoint.state)
    assert {path.name for path in trained.iterdir()} == {
        "a.pt", "a.history.csv", "a.finished", "train.out", "eval.out", "two",
    }  # fmt: skip


def test_an_evaluation_is_divided_and_merged(trained, phantom_ham, tmp_path):
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
    flags = [*SMALL.split(), "--data", str(phantom_ham), "--epochs", "2", "--checkpoint", str(tmp_path / "a.pt")]
    process = torchrun(SCRIPT, *flags, start_new_session=True)
    while not (tmp_path / "a.state").exists() and process.poll() is None:
        time.sleep(0.02)
    os.kill(_children(process.pid)[-1], signal.SIGINT)
    err = process.communicate(timeout=SECONDS)[1]
    assert "the same command with --resume goes on" in err
    process = torchrun(SCRIPT, *flags, "--resume")
    err = process.communicate(timeout=SECONDS)[1]
    assert process.returncode == 0, err
    resumed, uninterrupted = (load_checkpoint(folder / "a.pt").state for folder in (tmp_path, trained))
    assert all(torch.equal(resumed[name], value) for name, value in uninterrupted.items())


def _children(process: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{process}/task/{process}/children").read_text().split()]


def test_when_one_dies_all_stop(phantom_ham, tmp_path):
    flags = [*SMALL.split(), "--data", str(phantom_ham), "--checkpoint", str(tmp_path / "a.pt"), "--epochs", "50"]
    process = torchrun(SCRIPT, *flags, start_new_session=True)
    while not (tmp_path / "a.state").exists() and process.poll() is None:
        time.sleep(0.02)
    first, second = _children(process.pid)[-2:]
    os.kill(second, signal.SIGKILL)
    err = process.communicate(timeout=SECONDS)[1]
    assert process.returncode != 0
    assert not Path(f"/proc/{first}").exists()
    assert re.search(r"SIGKILL|Signal 9", err)  # torchrun says which one and how


FAILING = """\
import os
import HAM_A1class_train
from common.run.scripts import train_script
from common.training.trainer import Trainer
from common.utils.errors import UserError

step = Trainer.step

def fail(self, groups):
    if os.environ["RANK"] == "1":
        raise UserError("the second has had enough")
    return step(self, groups)

Trainer.step = fail
train_script(HAM_A1class_train.RECIPE, None)
"""


def test_the_process_that_fails_gives_the_cause(phantom_ham, tmp_path):
    (tmp_path / "fail.py").write_text(FAILING)
    flags = [*SMALL.split(), "--data", str(phantom_ham), "--checkpoint", str(tmp_path / "a.pt"), "--epochs", "50"]
    process = torchrun(str(tmp_path / "fail.py"), *flags)
    err = process.communicate(timeout=SECONDS)[1]
    assert process.returncode != 0
    check_failure(err, "fail.py: the second has had enough")


def check_failure(err: str, sentence: str) -> None:
    """One process tells what happened, and torchrun's report gives it as the cause."""
    assert [line for line in err.splitlines() if re.match(r"\w+\.py: ", line)] == [sentence]
    assert f"traceback : {sentence}\n" in err.rpartition("Root Cause")[2]


@pytest.mark.parametrize(("method", "size", "most"), [("A1class", 9, 8), ("Acoseg", 5, 4)])
def test_more_processes_than_lesions_in_a_batch(method, size, most, phantom_ham, monkeypatch):
    monkeypatch.setattr(module, "process_group", lambda device: nullcontext(World(0, size)))
    sentence = rf"--batch-size 8 can't be divided among {size} processes.*start at most {most},"
    with pytest.raises(UserError, match=sentence):
        train(together.make_config(together.RECIPES[method], phantom_ham))


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        ("--limit 2", "3 processes can't share 2 training lesions; start at most 2"),
        ("--compile", "--compile works in one process only; leave it out, or start the script without torchrun"),
    ],
)
def test_what_several_processes_cannot_do_is_refused(flags, sentence, phantom_ham, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "process_group", lambda device: nullcontext(World(0, 3)))
    flags = [*SMALL.split(), *flags.split(), "--data", str(phantom_ham), "--checkpoint", str(tmp_path / "a.pt")]
    with pytest.raises(UserError, match=sentence):
        train(parse_train(together.RECIPES["A1class"], None, flags))


def test_a_single_process():
    assert SINGLE_PROCESS.any(True) and not SINGLE_PROCESS.any(False)
    assert SINGLE_PROCESS.all_reduce_sum({"a": torch.tensor(2.5)}) == {"a": 2.5}
    assert SINGLE_PROCESS.gather([1, 2]) == [1, 2]
    network = torch.nn.BatchNorm2d(1)
    assert SINGLE_PROCESS.distribute(network, together.CPU) is network
    assert not isinstance(network, SyncBatchNorm)
