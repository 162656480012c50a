"""A dataset's scripts are found, not listed."""

import shutil
from pathlib import Path

import pytest

from common.run import discover
from common.utils.errors import UserError


@pytest.mark.parametrize(
    ("dataset", "methods"),
    [("ham", ["A1", "A1class", "A1recist", "Acoseg"]), ("lits", ["A1", "A1class", "A1recist", "Acoseg"]),
     ("deeplesion", ["A1", "A1class", "A1coseg", "A1recist"])],
)  # fmt: skip
def test_the_three_datasets(dataset, methods):
    scripts = discover.find_methods(discover.find_folder(dataset))
    assert list(scripts) == methods
    for method in scripts.values():
        assert Path(*method.evaluate).is_file()
        assert method.recipe.dataset.folder == Path(*method.train).parent


def test_a_folder_anywhere(tmp_path):
    shutil.copy(discover.ROOT / "code_ham" / "HAM_A1_train.py", tmp_path / "mine_first_train.py")
    (tmp_path / "mine_first_eval.py").touch()
    (tmp_path / "mine_data.py").touch()
    assert discover.find_folder(str(tmp_path)) == tmp_path
    assert list(discover.find_methods(tmp_path)) == ["first"]


def test_the_one_script_of_ones_own_data(tmp_path):
    script = tmp_path / "discovered_data.py"
    script.write_text(
        "from pathlib import Path\nfrom common.recipe import DatasetInfo\n"
        "DATASET = DatasetInfo('Mine', Path(__file__).parent, 'data', ('discovered_data.py', 'prepare'), 4, 'truth')\n"
    )
    methods = discover.find_methods(discover.find_folder(str(tmp_path)))
    assert list(methods) == ["A1", "A1class", "Acoseg", "A1recist"]
    assert methods["A1class"].train == (str(script), "train", "A1class")
    assert methods["A1class"].evaluate == (str(script), "eval", "A1class")
    assert methods["A1class"].recipe.dataset.name == "Mine"
    assert methods["A1class"].flags == ("--protocol", "corrected")
    (tmp_path / "a_copy_data.py").touch()
    with pytest.raises(UserError, match=r"holds a_copy_data\.py, discovered_data\.py; keep one script that prepares"):
        discover.find_methods(tmp_path)


def test_what_is_no_dataset(tmp_path):
    with pytest.raises(UserError, match="there are deeplesion, ham, lits"):
        discover.find_folder(str(tmp_path))


@pytest.mark.parametrize(
    ("name", "evaluation", "sentence"),
    [("x_b1_train.py", False, "has no x_b1_eval.py"), ("x_b2_train.py", True, "no RECIPE")],
)
def test_half_a_method(name, evaluation, sentence, tmp_path):
    (tmp_path / name).touch()
    if evaluation:
        (tmp_path / name.replace("train", "eval")).touch()
    with pytest.raises(UserError, match=sentence):
        discover.find_methods(tmp_path)


def test_a_data_script_without_a_dataset(tmp_path):
    (tmp_path / "nothing_data.py").touch()
    with pytest.raises(UserError, match="holds no DATASET, and there are no"):
        discover.find_methods(tmp_path)
