"""Finding a dataset's scripts: `common/` lists no datasets, it looks at what is there."""

import importlib
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common.recipe import DatasetInfo, Recipe
from common.run.own_data import FLAGS, recipes
from common.utils.errors import UserError, join_names
from common.utils.files import ROOT


@dataclass(frozen=True)
class MethodScripts:
    """How a method is trained and scored on a dataset."""

    name: str  # the middle of the scripts' names, such as A1class; for data of your own the method's
    train: tuple[str, ...]  # the script, and the words that come before all flags
    evaluate: tuple[str, ...]
    recipe: Recipe
    flags: tuple[str, ...] = ()  # what the training assumes unless a flag says otherwise


def find_folder(dataset: str) -> Path:
    """Find the folder of a dataset's scripts: `code_<dataset>` beside `common`, or a path.

    Raises:
        UserError: there is no such folder.
    """
    for folder in (ROOT / f"code_{dataset}", Path(dataset).resolve()):
        if any(folder.glob("*_data.py")):
            return folder
    known = ", ".join(path.name.removeprefix("code_") for path in sorted(ROOT.glob("code_*")))
    raise UserError(f"{dataset} is no dataset: there are {known}, or name a folder with a *_data.py script")


def find_methods(folder: Path) -> dict[str, MethodScripts]:
    """Find the methods of a folder of scripts, by name.

    They are `<prefix>_<method>_train.py` and `_eval.py`; where there are none, those of the one script of `own_data`.

    Raises:
        UserError: a script lacks its other half, or does not hold what it should.
    """
    methods = {}
    for train in sorted(folder.glob("*_train.py")):
        evaluate = train.with_name(train.name.replace("_train.py", "_eval.py"))
        if not evaluate.is_file():
            raise UserError(f"{train} has no {evaluate.name} beside it")
        recipe = import_name(train, "RECIPE")
        if not isinstance(recipe, Recipe):
            raise UserError(f"{train} holds no RECIPE")
        name = train.stem.removesuffix("_train").rpartition("_")[2]
        methods[name] = MethodScripts(name, (str(train),), (str(evaluate),), recipe)
    if methods:
        return methods
    first, *others = sorted(folder.glob("*_data.py"))
    if others:
        names = join_names([script.name for script in (first, *others)])
        raise UserError(f"{folder} holds {names}; keep one script that prepares its data")
    return _own_methods(first)


def _own_methods(script: Path) -> dict[str, MethodScripts]:
    dataset = import_name(script, "DATASET")
    if not isinstance(dataset, DatasetInfo):
        raise UserError(f"{script} holds no DATASET, and there are no *_train.py scripts beside it")
    return {
        name: MethodScripts(name, (str(script), "train", name), (str(script), "eval", name), recipe, FLAGS)
        for name, recipe in recipes(dataset).items()
    }


def import_name(script: Path, name: str) -> Any:
    """Import a script, which can import those beside it, and return what it calls ``name``, or None."""
    if str(script.parent) not in sys.path:
        sys.path.insert(0, str(script.parent))
    return getattr(importlib.import_module(script.stem), name, None)
