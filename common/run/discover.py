"""Finding a dataset's scripts: `common/` lists no datasets, it looks at what is there."""

import importlib
import sys
from dataclasses import dataclass
from pathlib import Path

from common.recipe import DatasetInfo, Recipe
from common.utils.errors import UserError
from common.utils.files import ROOT

OWN_FLAGS = ("--protocol", "corrected")
"""As `own_data.own_data_main` trains."""


@dataclass(frozen=True)
class Scripts:
    """How a method is trained and scored on a dataset."""

    name: str
    """The middle of the scripts' names; for data of one's own the method's."""
    train: list[str]
    """Script, and words that come before all flags."""
    evaluate: list[str]
    recipe: Recipe
    flags: tuple[str, ...] = ()
    """What the training assumes unless a flag says otherwise."""


def find_folder(dataset: str) -> Path:
    """The folder of a dataset's scripts: `code_<dataset>` beside `common`, or a path.

    Raises:
        UserError: there is no such folder.
    """
    for folder in (ROOT / f"code_{dataset}", Path(dataset).resolve()):
        if any(folder.glob("*_data.py")):
            return folder
    known = ", ".join(path.name.removeprefix("code_") for path in sorted(ROOT.glob("code_*")))
    raise UserError(f"{dataset} is no dataset: there are {known}, or name a folder with a *_data.py script")


def find_methods(folder: Path) -> dict[str, Scripts]:
    """The methods of a folder of scripts, by name.

    They are `<prefix>_<method>_train.py` and `_eval.py`; where there are none, the one script of `own_data`.

    Raises:
        UserError: a script lacks its other half, or does not hold what it should.
    """
    sys.path.insert(0, str(folder))
    methods = {}
    for train in sorted(folder.glob("*_train.py")):
        evaluate = train.with_name(train.name.replace("_train.py", "_eval.py"))
        if not evaluate.is_file():
            raise UserError(f"{train} has no {evaluate.name} beside it")
        recipe = getattr(importlib.import_module(train.stem), "RECIPE", None)
        if not isinstance(recipe, Recipe):
            raise UserError(f"{train} holds no RECIPE")
        name = train.stem.removesuffix("_train").rpartition("_")[2]
        methods[name] = Scripts(name, [str(train)], [str(evaluate)], recipe)
    return methods or _own_methods(next(iter(sorted(folder.glob("*_data.py")))))


def _own_methods(script: Path) -> dict[str, Scripts]:
    from common.run.own_data import recipes

    dataset = getattr(importlib.import_module(script.stem), "DATASET", None)
    if not isinstance(dataset, DatasetInfo):
        raise UserError(f"{script} holds no DATASET, and there are no *_train.py scripts beside it")
    return {
        name: Scripts(name, [str(script), "train", name], [str(script), "eval", name], recipe, OWN_FLAGS)
        for name, recipe in recipes(dataset).items()
    }
