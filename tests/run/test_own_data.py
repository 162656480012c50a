"""Data of your own: the three recipes, the verbs, and the files that tell what is known of the lesions."""

from dataclasses import replace

import cv2
import numpy as np
import pytest

import HAM_A1_train
import HAM_A1class_train
import HAM_Acoseg_train
import toy
from common.run import own_data
from common.run.own_data import own_data_main, read_ends, read_outline, recipes
from common.utils.errors import UserError

HEADER = "image,x1,y1,x2,y2,x3,y3,x4,y4\n"


@pytest.mark.parametrize("module", [HAM_A1_train, HAM_A1class_train, HAM_Acoseg_train])
def test_the_recipes_are_those_of_ham10000_without_the_releases_oddities(module):
    published = module.RECIPE
    mine = recipes(toy.DATASET)[published.method.name]
    assert mine.checkpoint == published.checkpoint.replace("ham", "toy")
    same = {"checkpoint": mine.checkpoint, "dataset": toy.DATASET, "published": ()}
    assert mine == replace(published, **same, out_of_patience="best", scored_multiple=1)


def test_each_verb_runs_its_work_with_its_flags(monkeypatch, tmp_path):
    calls = []
    monkeypatch.setattr(own_data, "train_main", lambda recipe, _, flags: calls.append((recipe.method.name, flags)))
    monkeypatch.setattr(own_data, "eval_main", lambda recipe, _, flags: calls.append((recipe.method.name, flags)))
    monkeypatch.setattr(
        own_data,
        "preprocess",
        lambda config, folder, images, *_, force, workers: calls.append((config.protocol, folder, images, force)),
    )
    image = tmp_path / "images" / "a.png"
    image.parent.mkdir()
    image.touch()
    for line in (f"prepare --force --data {tmp_path}", "train A1class --lr 1", "eval Acoseg --split val"):
        own_data_main(toy.DATASET, None, line.split())
    assert calls == [
        ("corrected", tmp_path / "prepared", [image], True),
        ("A1class", ["--protocol", "corrected", "--lr", "1"]),
        ("Acoseg", ["--split", "val"]),  # the protocol is the checkpoint's own
    ]


@pytest.mark.parametrize("line", ["", "train", "train A2", "eval", "predict A1", "A1 train"])
def test_what_is_no_verb_and_method_is_one_sentence(line):
    with pytest.raises(UserError, match=r"say prepare, train METHOD or eval METHOD, METHOD .* A1, A1class, Acoseg"):
        own_data_main(toy.DATASET, None, line.split())


def test_help_shows_the_description_and_the_command_lines(capsys):
    own_data_main(toy.DATASET, "My lesions.", ["--help"])
    out = capsys.readouterr().out
    assert out.startswith("My lesions.\n")
    assert "python toy_data.py train METHOD\n" in out


def test_end_points_by_image(tmp_path):
    path = tmp_path / "recist.csv"
    path.write_text(HEADER + "a b.png,1,2,3,4,5,6,7,8.5\n")
    ends = read_ends(path)
    assert list(ends) == ["a b.png"]
    assert ends["a b.png"].tolist() == [[1, 2], [3, 4], [5, 6], [7, 8.5]]
    assert read_ends(tmp_path / "none.csv") == {}


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("image,x1\na,1\n", "lacks the column y1; its first line must be image,x1,y1"),
        (HEADER + "a,1,2,3,4,5,6,7\n", "line 2 must have a number"),
        (HEADER + "a,1,2,3,4,5,6,7,8\nb,1,2,3,4,5,6,7,x\n", "line 3 must have a number"),
        (HEADER + "a,1,2,3,4,5,6,7,inf\n", "line 2 must have a number"),
        (HEADER + "a,1,2,3,4,5,6,7,8\na,1,2,3,4,5,6,7,8\n", "line 3 names a again"),
    ],
)
def test_bad_end_points_are_one_sentence(text, sentence, tmp_path):
    (tmp_path / "recist.csv").write_text(text)
    with pytest.raises(UserError, match=sentence):
        read_ends(tmp_path / "recist.csv")


def test_outlines(tmp_path):
    image, mask = tmp_path / "images" / "a.b.jpg", np.zeros((20, 30), np.uint8)
    assert read_outline(image, (20, 30, 3)) is None
    (tmp_path / "masks").mkdir()
    with pytest.raises(UserError, match=r"a\.b\.png can't be read"):
        read_outline(image, (20, 30, 3))
    mask[5:9, 4:20] = 255
    cv2.imwrite(str(tmp_path / "masks" / "a.b.png"), mask)
    np.testing.assert_array_equal(read_outline(image, (20, 30, 3)), mask)
    with pytest.raises(UserError, match="its image's size, 40x20 px, not 30x20"):
        read_outline(image, (20, 40, 3))
