"""The plan of `common/`: one folder a stage, imports that run down only, and no word about a particular dataset.

Modules are read, not imported, so imports inside functions and of type checking count too. Each check returns what
breaks it, and is tried on syntax trees in which something does.
"""

import ast
import re
from collections import Counter
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

from helpers import ROOT

FLOORS = (
    ("__init__", "utils"),
    ("recipe", "patches", "recist", "weak_masks", "model", "losses", "metrics"),
    ("io",),
    ("data",),
    ("training",),
    ("inference",),
    ("evaluation",),
    ("report",),
    ("run",),
    ("benchmark",),
    ("__main__",),
)
"""Modules and folders of `common/`, each line above those that it may use."""
MOST_MODULES = 10
"""In a folder that can be grasped at a glance."""
TOUCH_SYS_PATH = {"common.__main__", "common.run.discover"}
"""The tools' one door, and the reader of a dataset's scripts."""
DATASET_NAME = re.compile(r"HAM10000|LiTS|DeepLesion|code_(ham|lits|deeplesion)|^(ham|lits|deeplesion)$")
UNTESTED = {"common.__init__": "holds nothing but its docstring"}
TEST_NAMES = {
    "common.__main__": "test_main",  # named for what it is
    "common.report.figures.cli": "test_figures_cli",  # pytest needs unique names, and run/cli.py has a test too
}
"""Modules whose test has another name than test_<module>."""

Modules = dict[str, ast.Module]


def read_modules(root: Path) -> Modules:
    """The syntax trees of `common/`, by dotted name."""
    paths = sorted((root / "common").rglob("*.py"))
    return {".".join(path.relative_to(root).with_suffix("").parts): ast.parse(path.read_text()) for path in paths}


def imported_names(module: str, tree: ast.Module) -> Iterator[str]:
    """Dotted names of what a module imports from anywhere."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = module.split(".")[: -node.level] if node.level else []
            source = ".".join([*above, *filter(None, [node.module])])
            yield from (f"{source}.{alias.name}" for alias in node.names)
    yield from (text for _, text in words(tree) if re.fullmatch(r"common(\.\w+)+", text))  # import_module("common.a")


def words(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Line and text of every name and every string but docstrings."""
    docstrings = {node.value for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node not in docstrings:
            yield node.lineno, node.value
        for field in ("id", "attr", "name", "arg", "asname"):
            if isinstance(text := getattr(node, field, None), str):
                yield node.lineno, text


def import_graph(modules: Modules) -> dict[str, set[str]]:
    """Which modules of `common/` each of them imports."""
    graph: dict[str, set[str]] = {}
    for module, tree in modules.items():
        names = set(imported_names(module, tree))
        names |= {name.rpartition(".")[0] for name in names}  # of what a module defines
        graph[module] = names & modules.keys()
    return graph


def find_imports_up(modules: Modules) -> list[str]:
    floors = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}
    return [
        f"{module} imports {imported}"
        for module, imports in import_graph(modules).items()
        for imported in sorted(imports)
        if floors[imported.split(".")[1]] > floors[module.split(".")[1]]
    ]


def find_circle(modules: Modules) -> list[str]:
    try:
        TopologicalSorter(import_graph(modules)).prepare()
    except CycleError as error:
        return error.args[1]
    return []


def find_private_imports(modules: Modules) -> list[str]:
    return [
        f"{module} imports {name}"
        for module, tree in modules.items()
        for name in imported_names(module, tree)
        if name.startswith("common.") and re.search(r"\._(?!_)", name)
    ]


def find_datasets(modules: Modules) -> list[str]:
    """Imports of modules in dataset folders, and mentions of datasets outside of docstrings and comments."""
    scripts = {path.stem for path in ROOT.glob("code_*/*.py")}
    assert scripts
    imports = [
        f"{module} imports {name}"
        for module, tree in modules.items()
        for name in imported_names(module, tree)
        if name.split(".")[0] in scripts
    ]
    mentions = [
        f"{module}:{line} says {text:.60}"
        for module, tree in modules.items()
        for line, text in words(tree)
        if DATASET_NAME.search(text) or text in scripts
    ]
    return imports + mentions


def find_crowded_folders(modules: Modules) -> list[str]:
    counts = Counter(module.rpartition(".")[0] for module in modules)
    return [f"{folder} holds {count} modules" for folder, count in counts.items() if count > MOST_MODULES]


def find_sys_path(modules: Modules) -> list[str]:
    return [
        module
        for module, tree in modules.items()
        if module not in TOUCH_SYS_PATH
        and (
            "sys.path" in imported_names(module, tree)
            or any(isinstance(node, ast.Attribute) and ast.unparse(node) == "sys.path" for node in ast.walk(tree))
        )
    ]


def find_untested(modules: Modules) -> list[str]:
    paths = {}
    for module in modules.keys() - UNTESTED.keys():
        _, *rooms, name = module.split(".")
        paths[module] = ROOT.joinpath("tests", *rooms, f"{TEST_NAMES.get(module, f'test_{name}')}.py")
    return [f"{module} lacks {path.relative_to(ROOT)}" for module, path in paths.items() if not path.is_file()]


CHECKS = {
    check.__name__.removeprefix("find_"): check
    for check in (
        find_imports_up,
        find_circle,
        find_private_imports,
        find_datasets,
        find_crowded_folders,
        find_sys_path,
        find_untested,
    )
}


@pytest.fixture(scope="module")
def modules() -> Modules:
    return read_modules(ROOT)


@pytest.mark.parametrize("name", CHECKS)
def test_the_package_keeps_to_its_plan(name, modules):
    assert CHECKS[name](modules) == []


def test_every_room_is_on_one_floor_and_there_is_no_other(modules):
    rooms = [room for floor in FLOORS for room in floor]
    assert sorted(rooms) == sorted({module.split(".")[1] for module in modules})


def test_the_exceptions_are_still_needed(modules):
    assert {*UNTESTED, *TEST_NAMES, *TOUCH_SYS_PATH} <= modules.keys()
    assert len(modules["common.__init__"].body) == 1


def test_no_two_tests_have_the_same_file_name():
    names = Counter(path.name for path in (ROOT / "tests").rglob("test_*.py"))
    assert [name for name, count in names.items() if count > 1] == []


@pytest.mark.parametrize(
    ("check", "module", "code"),
    [
        ("imports_up", "data/loader", "from common.training.device import pick_device"),
        ("imports_up", "losses", "import common.data.loader"),
        ("imports_up", "utils/files", "def read():\n    from common import recipe"),
        ("imports_up", "recist", "if TYPE_CHECKING:\n    from common.data.dataset import Lesion"),
        ("imports_up", "inference/predict", "from ..evaluation.results import write_results"),
        ("imports_up", "report/runs", "module = importlib.import_module('common.run.cli')"),
        ("circle", "recist", "from common.weak_masks import ellipse_mask"),
        ("circle", "utils/errors", "def read():\n    from common.utils.files import read_json"),
        ("private_imports", "evaluation/results", "from common.metrics import _border as border"),
        ("datasets", "data/dataset", "import HAM_data"),
        ("datasets", "data/dataset", "def read():\n    from lits_data import make_lesion"),
        ("datasets", "run/discover", "importlib.import_module('DeepLesion_data')"),
        ("datasets", "data/preprocess", "LARGE = config.dataset.name == 'LiTS'"),
        ("datasets", "metrics", "def of_deeplesion(masks):\n    return f'DeepLesion {masks}'"),
        ("datasets", "model", "class HAM10000Net:\n    pass"),
        ("sys_path", "report/tables", "sys.path.insert(0, '.')"),
        ("sys_path", "report/tables", "from sys import path"),
        ("untested", "data/mirror", "FLIP = True"),
    ],
)
def test_a_planted_violation_is_found(check, module, code, modules):
    name = f"common.{module.replace('/', '.')}"
    body = modules[name].body if name in modules else []
    planted = ast.Module([*body, *ast.parse(code).body], [])
    assert name in " ".join(CHECKS[check](modules | {name: planted}))


def test_a_crowded_folder_is_found():
    modules = {f"common.utils.module{number}": ast.parse("") for number in range(MOST_MODULES + 1)}
    assert find_crowded_folders(modules) == ["common.utils holds 11 modules"]
