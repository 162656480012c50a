"""Training: what is kept, and what is said of bad input."""

import math
import re
import shutil
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

import HAM_A1_train
import HAM_A1class_train
import HAM_A1recist_train
import HAM_Acoseg_train
import HAM_data
from common.data.augment import Augmentation
from common.data.dataset import LesionDataset
from common.model import centre_crop
from common.recipe import Recipe
from common.run.cli import parse_train
from common.training import train as module
from common.training.checkpoint import load_checkpoint
from common.training.config import history_path
from common.training.distributed import SINGLE_PROCESS
from common.training.resume import StopRequest
from common.training.train import Phase, build_trainer, falling_rate, train
from common.training.trainer import Trainer, TrainState
from common.utils.errors import UserError
from common.utils.files import read_csv
from helpers import NETWORK

A1, A1CLASS, ACOSEG = HAM_A1_train.RECIPE, HAM_A1class_train.RECIPE, HAM_Acoseg_train.RECIPE
A1RECIST = HAM_A1recist_train.RECIPE
SMALL = f"{NETWORK} --epochs 1 --batch-size 8 --lr 1e-3"


def _train(
    data: Path, recipe: Recipe, checkpoint: Path, flags: str = "", prepared: Path | None = None
) -> list[dict[str, str]]:
    """A short training of a small network; the rows of its history."""
    where = ["--data", str(data), "--checkpoint", str(checkpoint), "--prepared", str(prepared or data / "prepared")]
    train(parse_train(recipe, None, [*where, *SMALL.split(), *flags.split()]))
    return read_csv(history_path(checkpoint))


def _epoch(recipe: Recipe, flags: str = "", number: int = 1, jitter: float = 0) -> SimpleNamespace:
    """What one of two epochs of 28 lesions asks of its loader and its trainer."""
    given = {}

    def batches(size, order, remainder, skip, augmentation):
        given.update(order=order.tolist(), augmentation=augmentation)
        return iter(())

    loader = SimpleNamespace(positions=lambda: np.arange(28), batch_count=lambda *_: 3, batches=batches)
    trainer = SimpleNamespace(world=SINGLE_PROCESS, train_epoch=lambda *arguments: given.update(rate=arguments[3]))
    config, state = parse_train(recipe, None, flags.split()), TrainState(epoch=number)
    module._train_epoch(config, trainer, Phase(range(1, 3), loader, jitter), state, StopRequest())
    return SimpleNamespace(**given)


def test_an_epoch_is_shuffled_varied_and_paced_as_the_flags_say():
    orders = [_epoch(A1RECIST, f"--seed {seed}", number).order for seed, number in ((0, 1), (0, 2), (1, 1))]
    assert all(sorted(order) == list(range(28)) != order for order in orders)
    assert len(set(map(tuple, orders))) == 3
    assert _epoch(A1RECIST, "--seed 3", 2, 0.1).augmentation == Augmentation(3, 2, flips=True, jitter=0.1)
    assert _epoch(A1RECIST, "--lr 0.5").rate(TrainState(epoch=2, batches=2)) < 0.05
    plain = _epoch(A1)
    assert plain.augmentation is None and plain.rate is None


def test_weights_follow_the_seed_and_gradients_the_protocol():
    def build(flags: str = "") -> Trainer:
        config = parse_train(ACOSEG, None, f"{NETWORK} --device cpu --precision fp32 {flags}".split())
        return build_trainer(config, torch.device("cpu"), SINGLE_PROCESS)

    first, again, other = (next(build(f"--seed {seed}").network.parameters()) for seed in (0, 0, 1))
    assert torch.equal(first, again) and not torch.equal(first, other)
    assert not build().zero_grad and build("--protocol corrected").zero_grad


@pytest.mark.parametrize(
    ("epochs", "outlines", "size", "samples"),
    [(3, 2, 8, 50), (2, 5, 8, 28), (2, 1, 28, 28)],
    ids=["25 times each", "no more samples than all other epochs have", "a batch at least"],
)
def test_the_last_epoch_is_on_outlines_alone(epochs, outlines, size, samples, phantom_ham, tmp_path, monkeypatch):
    seen, rates, jitters = [], [], []
    train_epoch, vary = Trainer.train_epoch, module.Augmentation

    def record(self, batches, state, stop, rate):
        batches = list(batches)
        seen.append([(row, mask) for batch in batches for row, mask in zip(batch.rows, batch.masks, strict=True)])
        rates.append(rate(TrainState(epoch=state.epoch, batches=3)))
        train_epoch(self, batches, state, stop, rate)

    monkeypatch.setattr(Trainer, "train_epoch", record)
    monkeypatch.setattr(module, "Augmentation", lambda *args: jitters.append(args[-1]) or vary(*args))
    flags = "--falling --target ellipse --prompt recist --jitter 10"
    _train(phantom_ham, A1, tmp_path / "a.pt", f"{flags} --outlines {outlines} --epochs {epochs} --batch-size {size}")
    marks = epochs - 1
    assert jitters == pytest.approx([0.1] * marks + [0.03])
    assert [len({row for row, _ in epoch}) for epoch in seen] == [28] * marks + [outlines]
    assert [len(epoch) for epoch in seen] == [28] * marks + [samples]
    assert epochs < 3 or rates[0] > rates[1] < rates[2]  # one fall over two epochs, another over the last
    dataset = LesionDataset.open_for(phantom_ham / "prepared", A1.dataset)
    for number, epoch in enumerate(seen):
        masks = dataset.array("ellipse" if number < marks else "truth")
        assert all(np.array_equal(centre_crop(mask[None])[0, 0], masks[row]) for row, mask in epoch)
    groups = load_checkpoint(tmp_path / "a.pt").settings["groups"]
    assert groups["train"] == dataset.groups(dataset.rows("train"))


def test_outlines_are_chosen_by_the_seed(phantom_ham, tmp_path, monkeypatch):
    chosen = []
    choose = LesionDataset.choose_rows
    monkeypatch.setattr(
        LesionDataset, "choose_rows", lambda *arguments: chosen.append(choose(*arguments).tolist()) or exit(9)
    )
    for seed in (0, 0, 1):
        with pytest.raises(SystemExit):
            _train(phantom_ham, A1, tmp_path / "a.pt", f"--outlines 5 --falling --epochs 2 --seed {seed}")
    assert chosen[0] == chosen[1] != chosen[2]


def test_loss_falls_and_the_best_weights_are_kept(phantom_ham, tmp_path, capsys):
    history = _train(phantom_ham, A1CLASS, tmp_path / "c.pt", "--epochs 3")
    losses = [float(row["train_total"]) for row in history]
    assert losses[-1] < losses[0]
    best = min(history, key=lambda row: float(row["val_mask"]))
    assert load_checkpoint(tmp_path / "c.pt").settings["epoch"] == int(best["epoch"])
    assert capsys.readouterr().out.count(" images/s)  best\n") == sum(row["best"] == "1" for row in history)


@pytest.mark.parametrize(("protocol", "kept_epoch"), [("released", 2), ("corrected", 1)])
def test_out_of_patience_keeps_the_last_weights_only_as_released(
    phantom_ham, tmp_path, protocol, kept_epoch, monkeypatch, capsys
):
    # Scripted validation: the first epoch is the best, then patience runs out in the second.
    means = iter([{"mask": 1.0, "dice": 0.5}, {"mask": 2.0, "dice": 0.4}])
    monkeypatch.setattr(Trainer, "validate", lambda *_: next(means))
    prepared = phantom_ham / "prepared"
    if protocol == "corrected":
        prepared = tmp_path / "prepared"
        flags = "--clusters 4 --protocol corrected --no-grabcut"
        HAM_data.main(["--data", str(phantom_ham), "--prepared", str(prepared), *flags.split()])
    flags = f"--epochs 9 --patience 1 --limit 8 --protocol {protocol}"
    _train(phantom_ham, A1CLASS, tmp_path / "c.pt", flags, prepared)
    assert load_checkpoint(tmp_path / "c.pt").settings["epoch"] == kept_epoch
    told = "2.0000, 2 epochs (the last one's weights, as published)" if protocol == "released" else "1.0000, 2 epochs"
    assert capsys.readouterr().out.endswith(f"c.pt: mask loss on validation {told}\n")


def test_images_that_a_pair_lacks_are_not_counted(phantom_ham, tmp_path):
    (row,) = _train(phantom_ham, ACOSEG, tmp_path / "c.pt", "--limit 15")  # one batch of 8
    assert float(row["images_per_second"]) * float(row["seconds"]) == pytest.approx(8, rel=0.1)


def test_a_compiled_network_trains_the_same_weights(phantom_ham, tmp_path, monkeypatch):
    """Traced as a whole, once, for batches of the full size; but run as it stands: generating code takes minutes."""
    traced = []

    def backend(graph, inputs):
        traced.extend(value.shape[0] for value in inputs if value.shape[1:] == (3, 128, 128))
        return graph.forward

    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend=backend, fullgraph=True))
    for name, flags in (("a.pt", ""), ("b.pt", "--compile")):
        _train(phantom_ham, A1CLASS, tmp_path / name, f"--limit 10 --precision fp32 {flags}")
    assert traced == [8]
    first, second = (load_checkpoint(tmp_path / name).state for name in ("a.pt", "b.pt"))
    assert first.keys() == second.keys()
    for name, value in first.items():
        torch.testing.assert_close(second[name], value, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("total", "epoch", "batches", "share"),
    [
        (400, 1, 0, 0.01), (400, 1, 9, 0.1 * (1 + math.cos(math.pi * 9 / 400)) / 2), (400, 1, 100, (1 + 0.5**0.5) / 2),
        (400, 2, 0, 0.5), (400, 2, 100, (1 - 0.5**0.5) / 2), (400, 2, 199, (1 + math.cos(math.pi * 399 / 400)) / 2),
        # A short training's warm-up is a quarter of it, so that the rate is nearly reached.
        (20, 1, 0, 0.2), (20, 1, 5, (1 + 0.5**0.5) / 2), (2, 1, 0, 1), (2, 2, 0, 0.5),
    ],
)  # fmt: skip
def test_the_falling_rate_by_hand(total, epoch, batches, share):
    """Two epochs, the first and the second or, where others come before them, the third and the fourth."""
    for before in (0, 2):
        rate = falling_rate(0.5, range(1 + before, 3 + before), total // 2)
        assert rate(TrainState(epoch=epoch + before, batches=batches)) == pytest.approx(0.5 * share)


@pytest.mark.parametrize(
    ("recipe", "flags"), [(A1, "--falling"), (replace(A1CLASS, patience=1), "")], ids=["falling", "keeps the last"]
)
def test_a_training_whose_last_epoch_counts_must_not_diverge_in_it(recipe, flags, phantom_ham, tmp_path, monkeypatch):
    _diverge_in_the_second_epoch(monkeypatch)
    with pytest.raises(UserError, match=r"loss of epoch 2 is not a number, and .*a\.pt holds an earlier epoch; "):
        _train(phantom_ham, recipe, tmp_path / "a.pt", f"--limit 8 --epochs 2 --patience {recipe.patience} {flags}")
    assert load_checkpoint(tmp_path / "a.pt").settings["epoch"] == 1


def test_a_training_that_keeps_its_best_epoch_says_that_it_diverged_later(phantom_ham, tmp_path, monkeypatch, capsys):
    _diverge_in_the_second_epoch(monkeypatch)
    _train(phantom_ham, A1, tmp_path / "a.pt", "--limit 8 --epochs 2")
    assert "the validation loss of epoch 2 is not a number, and" in capsys.readouterr().out
    assert load_checkpoint(tmp_path / "a.pt").settings["epoch"] == 1


def _diverge_in_the_second_epoch(monkeypatch: pytest.MonkeyPatch) -> None:
    losses = iter([0.5, math.nan])
    monkeypatch.setattr(Trainer, "validate", lambda *_: {"mask": next(losses), "dice": 0.5})


def test_the_running_average_is_what_is_saved(phantom_ham, tmp_path, monkeypatch):
    trainers = []
    monkeypatch.setattr(module, "build_trainer", lambda *given: trainers.append(build_trainer(*given)) or trainers[-1])
    _train(phantom_ham, A1, tmp_path / "a.pt", "--limit 24 --average 0.5")
    state, (trainer,) = load_checkpoint(tmp_path / "a.pt").state, trainers
    for name, value in trainer.average.network.state_dict().items():
        assert torch.equal(state[name], value)
    last = trainer.network.state_dict()
    for name in ("conv_stem.weight", "bn1.running_mean"):
        assert not torch.equal(state[f"encoder.model.{name}"], last[f"encoder.model.{name}"])


def test_few_lesions_are_seen_in_more_epochs_unless_the_flag_says_how_many(phantom_ham, tmp_path):
    """8 lesions in batches of 4, until 5 steps are made."""
    recipe = replace(A1RECIST, method=replace(A1RECIST.method, least_steps=5))
    small = [*SMALL.replace("--epochs 1 ", "").split(), "--limit", "8", "--batch-size", "4"]
    where = ["--data", str(phantom_ham), "--checkpoint", str(tmp_path / "r.pt")]
    train(parse_train(recipe, None, [*where, *small]))
    assert len(read_csv(history_path(tmp_path / "r.pt"))) == 3
    assert load_checkpoint(tmp_path / "r.pt").settings["epochs"] == 3
    assert len(_train(phantom_ham, recipe, tmp_path / "one.pt", "--limit 8")) == 1


def test_a_prompt_is_learned_from_and_what_is_asked_for_is_recorded(phantom_ham, tmp_path, capsys):
    history = _train(phantom_ham, A1RECIST, tmp_path / "r.pt", "--outlines 9 --epochs 4")
    assert float(history[1]["train_total"]) < float(history[0]["train_total"])
    out = capsys.readouterr().out
    assert re.search(
        r"A1\+R: 28 training and 8 validation lesions, .*, released, target quarters, [5-9] outlines\n", out
    )
    assert out.count(" images/s)  kept\n") == 4
    checkpoint = load_checkpoint(tmp_path / "r.pt")
    assert checkpoint.state["encoder.model.conv_stem.weight"].shape == (16, 4, 3, 3)
    own = {"method": "A1recist", "target": "quarters", "prompt": "recist", "outlines": 9, "flips": True}
    own |= {"jitter": 10.0, "average": 0.99, "falling": True}
    assert own.items() <= checkpoint.settings.items()


@pytest.mark.parametrize(
    ("missing", "recipe", "flags", "remedy"),
    [
        ("ends", A1RECIST, "", "; prepare it again with --force"),
        ("quarters", A1RECIST, "", "; prepare it again with --force"),
        ("truth", A1, "--outlines 9 --falling --epochs 2", "; add true masks and prepare it again"),
        ("grabcut", A1, "--target grabcut", ""),
    ],
)
def test_an_array_that_is_missing_is_said_before_anything_is_written(
    phantom_ham, tmp_path, missing, recipe, flags, remedy
):
    shutil.copytree(phantom_ham / "prepared", tmp_path / "prepared", ignore=shutil.ignore_patterns(f"{missing}.npy"))
    sentence = rf"{missing}\.npy does not exist: this folder was prepared without it{remedy}$"
    with pytest.raises(UserError, match=sentence):
        _train(phantom_ham, recipe, tmp_path / "c.pt", flags, tmp_path / "prepared")
    assert [path.name for path in tmp_path.iterdir()] == ["prepared"]


@pytest.mark.parametrize(
    ("recipe", "flags", "sentence"),
    [
        (A1, "--batch-size 1", "--batch-size 1 is too small"),
        (ACOSEG, "--batch-size 7", "in two halves"),
        (ACOSEG, "--limit 5", "at least 8 lesions"),
        (A1CLASS, "--clusters 5", "was made with clusters 4, but 5"),
        (A1, "--protocol corrected", "--protocol corrected"),
        (A1, "--prepared nowhere", "run python code_ham/HAM_data.py --prepared nowhere first"),
        (A1, "--encoder resnet17", "not an encoder"),
        (A1, "--encoder vgg11 --prepared nowhere", "--encoder vgg11 can't be used"),
        (A1, "--encoder-weights nowhere.pth", "does not exist"),
        (A1, "--outlines 29 --falling --epochs 2", "make 28, not 29; pass 28"),
    ],
)
def test_bad_input_ends_in_one_sentence(phantom_ham, tmp_path, recipe, flags, sentence):
    with pytest.raises(UserError, match=re.escape(sentence)):
        _train(phantom_ham, recipe, tmp_path / "c.pt", flags)
    assert not (tmp_path / "c.pt").exists()


def test_a_checkpoint_folder_that_cannot_be_written_is_an_error_before_the_first_epoch(phantom_ham, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="can't be written to"):
        _train(phantom_ham, A1, tmp_path / "file" / "c.pt")
    (tmp_path / "folder.pt").mkdir()
    with pytest.raises(UserError, match="is a folder; pass the path of a file"):
        _train(phantom_ham, A1, tmp_path / "folder.pt")
