"""Data of your own: the recipes, the verbs, and the files that tell what is known of the lesions."""

from dataclasses import replace

import pytest

import HAM_A1_train
import HAM_A1class_train
import HAM_A1recist_train
import HAM_Acoseg_train
import toy
from common.recipe import METHODS
from common.run import own_data
from common.run.own_data import recipes
from common.utils.errors import UserError

_, MAIN = own_data.own_data("Toy", "code_toy/toy_data.py", "My lesions.", clusters=2)


@pytest.mark.parametrize("module", [HAM_A1_train, HAM_A1class_train, HAM_Acoseg_train, HAM_A1recist_train])
def test_the_recipes_are_those_of_ham10000_without_the_releases_oddities(module):
    published = module.RECIPE
    mine = recipes(toy.DATASET)[published.method.name]
    assert mine.checkpoint == published.checkpoint.replace("ham", "toy")
    same = {"checkpoint": mine.checkpoint, "dataset": toy.DATASET, "published": (), "released": None}
    assert mine == replace(published, **same, out_of_patience="best", scored_multiple=1)


def test_every_method_has_a_recipe():
    assert own_data.recipes(toy.DATASET).keys() == METHODS.keys()


def test_each_verb_runs_its_work_with_its_flags(monkeypatch, tmp_path):
    calls = []
    monkeypatch.setattr(own_data, "train_main", lambda recipe, _, flags: calls.append((recipe.method.name, flags)))
    monkeypatch.setattr(own_data, "eval_main", lambda recipe, _, flags: calls.append((recipe.method.name, flags)))
    monkeypatch.setattr(
        own_data, "predict_photos", lambda info, _, flags, recipe: calls.append((recipe.method.name, info.name, flags))
    )
    monkeypatch.setattr(
        own_data,
        "preprocess",
        lambda config, folder, images, *_, force, **__: calls.append((config.protocol, folder, images, force)),
    )
    image = tmp_path / "images" / "a.png"
    image.parent.mkdir()
    image.touch()
    for line in (
        f"prepare --force --data {tmp_path}",
        "train A1class --lr 1",
        "eval Acoseg --split val",
        "predict A1 a.jpg",
    ):
        MAIN(line.split())
    assert calls == [
        ("corrected", tmp_path / "prepared", [image], True),
        ("A1class", ["--protocol", "corrected", "--lr", "1"]),
        ("Acoseg", ["--split", "val"]),  # the protocol is the checkpoint's own
        ("A1", "Toy", ["a.jpg"]),
    ]


@pytest.mark.parametrize("line", ["", "train", "train A2", "eval", "predict", "A1 train"])
def test_what_is_no_verb_and_method_is_one_sentence(line):
    with pytest.raises(
        UserError,
        match=r"usage: prepare \| train METHOD \| eval METHOD \| predict METHOD .* A1, A1class, Acoseg, A1recist",
    ):
        MAIN(line.split())


def test_help_shows_the_description_and_the_command_lines(capsys):
    MAIN(["--help"])
    out = capsys.readouterr().out
    assert out.startswith("My lesions.\n")
    assert "python toy_data.py train METHOD\n" in out
