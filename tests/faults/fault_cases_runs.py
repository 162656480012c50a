"""Faults of prepared arrays, checkpoints and results: the nine training and the nine evaluation scripts."""

from collections.abc import Callable, Iterable
from itertools import chain, cycle
from typing import Any

import numpy as np
import torch

from common.utils.files import read_json
from fault_worlds import (
    Fault,
    World,
    array,
    closed,
    cut,
    edit,
    folder,
    gone,
    json_cell,
    loop,
    put,
    read_only,
    several,
    small_disk,
)
from faults import FULL, Case, Harness, Outcome, Right

FOLDERS = {
    "code_ham": ("HAM_A1", "HAM_A1class", "HAM_Acoseg", "HAM_A1recist"),
    "code_lits": ("lits_A1", "lits_A1class", "lits_Acoseg", "lits_A1recist"),
    "code_deeplesion": ("deeplesion_A1", "deeplesion_A1class", "deeplesion_A1coseg", "deeplesion_A1recist"),
}
SCRIPTS = [f"{folder}/{name}" for folder, names in FOLDERS.items() for name in names]
PREPARED = "data/prepared"


def finite(harness: Harness, case: Case, world: World, outcome: Outcome) -> None:
    """The checkpoint's weights are numbers."""
    state = torch.load(world.path("a.pt"), weights_only=True)["model_dict"]
    assert all(torch.isfinite(value).all() for value in state.values() if value.is_floating_point())


def made(pattern: str) -> Right:
    def right(harness: Harness, case: Case, world: World, outcome: Outcome) -> None:
        assert any(path.is_file() for path in world.root.glob(pattern))

    return right


def filled(value: float) -> Callable[[np.ndarray], None]:
    return lambda values: values.fill(value)


def npy(header: str) -> bytes:
    """A .npy file of 64 bytes of data with a header of one's own."""
    text = header.ljust(117).encode() + b"\n"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text + bytes(64)


# What every script that opens a prepared folder must tell: (what, fault, sentence).
DAMAGED = [
    ("no prepared folder", gone(PREPARED), "is missing or unfinished; run python code_"),
    ("unfinished folder", gone(f"{PREPARED}/prepared.json"), "is missing or unfinished"),
    ("truncated prepared.json", cut(f"{PREPARED}/prepared.json"), r"prepared\.json is damaged"),
    ("prepared.json holds a list", put(f"{PREPARED}/prepared.json", "[]"), "does not hold a JSON object"),
    ("prepared.json is of a later version", json_cell(f"{PREPARED}/prepared.json", "format", value=9), "has format 9"),
    ("prepared.json without clusters", json_cell(f"{PREPARED}/prepared.json", "clusters", value=None), "not tell clus"),
    ("folder in place of prepared.json", folder(f"{PREPARED}/prepared.json"), "is missing or unfinished"),
    ("link to itself in place of the folder", loop(PREPARED), "is missing or unfinished"),
    ("unreadable prepared.json", closed(f"{PREPARED}/prepared.json"), "no permission for .*prepared.json"),
    ("truncated images", cut(f"{PREPARED}/images.npy"), r"images\.npy is damaged"),
    ("empty images", put(f"{PREPARED}/images.npy", b""), r"images\.npy is damaged"),
    ("no images", gone(f"{PREPARED}/images.npy"), r"images\.npy does not exist"),
    ("masks in place of images", array(f"{PREPARED}/images.npy", lambda a: a[..., 0]), r"images\.npy holds .* shape"),
    ("images that claim 10^15 bytes",
     put(f"{PREPARED}/images.npy", npy("{'descr': '|u1', 'fortran_order': False, 'shape': (10**6, 10**9), }")),
     r"images\.npy is damaged"),
    ("images that are pickled objects", array(f"{PREPARED}/images.npy", lambda a: np.array([{}] * len(a))),
     r"images\.npy is damaged"),
    ("unreadable images", closed(f"{PREPARED}/images.npy"), r"no permission for .*images\.npy"),
    ("truncated lesions.csv", cut(f"{PREPARED}/lesions.csv"), r"lesions\.csv has \d+ rows"),
    ("lesions.csv without clusters", edit(f"{PREPARED}/lesions.csv", "cluster", "kind"), "without name, group"),
    ("binary lesions.csv", put(f"{PREPARED}/lesions.csv", b"\xff\xfe\x00"), r"lesions\.csv is not a readable CSV"),
    ("unreadable lesions.csv", closed(f"{PREPARED}/lesions.csv"), r"no permission for .*lesions\.csv"),
]  # fmt: skip


def deal(kind: str, faults: Iterable[tuple[Any, ...]]) -> list[Case]:
    """The faults dealt out among the twelve scripts: one to each, the rest to the nine that are fast."""
    scripts = chain(SCRIPTS, cycle(script for script in SCRIPTS if "coseg" not in script))
    return [Case(f"{script}_{kind}", *fault) for script, fault in zip(scripts, faults, strict=False)]


TRAIN = [
    *deal("train", [
        *DAMAGED[::2],
        ("folder in place of the checkpoint", folder("a.pt"), r"--checkpoint a\.pt is a folder"),
        ("folder in place of the history", folder("a.history.csv"), r"a\.history\.csv"),
        ("folder in place of the state", folder("a.state"), r"a\.state"),
        ("file in place of the checkpoint's folder", put("there", "x"), "can't be written to",
         "--checkpoint there/a.pt"),
        ("read-only folder for the checkpoint", read_only("shut"), "shut can't be written to",
         "--checkpoint shut/a.pt"),
        ("link to itself in place of the checkpoint", loop("a.pt"), None),
        ("spaces and letters of other scripts", lambda world: None, None, "--checkpoint 'neue Läsion 皮膚/a b.pt'",
         made("neue Läsion 皮膚/a b.pt")),
        ("no encoder weights", lambda world: None, r"nowhere\.pth does not exist", "--encoder-weights nowhere.pth"),
        ("folder of encoder weights", folder("w.pth"), r"w\.pth does not exist", "--encoder-weights w.pth"),
        ("encoder weights of text", put("w.pth", "weights"), r"w\.pth", "--encoder-weights w.pth"),
        ("empty encoder weights", put("w.pth", b""), r"w\.pth is truncated", "--encoder-weights w.pth"),
        ("unreadable encoder weights", several(put("w.pth", b"x"), closed("w.pth")), r"no permission for w\.pth",
         "--encoder-weights w.pth"),
        ("unknown encoder", lambda world: None, "is not an encoder", "--encoder ../../x"),
        ("resumed from a damaged state", put("a.state", b"PK\x03\x04"), r"a\.state is truncated", "--resume"),
        ("resumed from the state of something else", lambda world: world.make("a.state", lambda p: torch.save([1], p)),
         r"a\.state is not the state of a training", "--resume"),
        ("a rate at which it diverges", lambda world: None, "diverged", "--lr 9e5"),
        ("a batch of one", lambda world: None, "is too small", "--batch-size 1"),
        ("another protocol than was prepared", lambda world: None, "was made with protocol", "--protocol corrected"),
        ("disk full", small_disk("full", 1_000_000), FULL, "--checkpoint full/a.pt"),
    ]),
    Case("code_ham/HAM_A1_train", "images all zero", array(f"{PREPARED}/images.npy", filled(0)), right=finite),
    Case("code_ham/HAM_A1class_train", "images all one", array(f"{PREPARED}/images.npy", filled(1)), right=finite),
    Case("code_ham/HAM_A1class_train", "another K than was prepared", sentence="clusters 2, but 3",
         flags="--clusters 3"),
    Case("code_lits/lits_A1_train", "masks all zero", array(f"{PREPARED}/ellipse.npy", filled(0)), right=finite),
    Case("code_lits/lits_A1class_train", "masks all one", array(f"{PREPARED}/ellipse.npy", filled(1)), right=finite),
    Case("code_ham/HAM_A1recist_train", "no marks", gone(f"{PREPARED}/ends.npy"), r"ends\.npy .* again with --force"),
    Case("code_ham/HAM_A1recist_train", "marks all NaN", array(f"{PREPARED}/ends.npy", filled(np.nan)), right=finite),
    Case("code_lits/lits_A1recist_train", "marks of no length", array(f"{PREPARED}/ends.npy", filled(60)),
         right=finite),
    Case("code_lits/lits_A1recist_train", "marks without the short diameter",
         array(f"{PREPARED}/ends.npy", lambda a: a[:, :2]), r"ends\.npy holds .* shape"),
    Case("code_deeplesion/deeplesion_A1recist_train", "no outlines", lambda world: None,
         r"truth\.npy does not exist", "--outlines 1 --epochs 2"),
    Case("code_deeplesion/deeplesion_A1_train", "images all NaN",
         array(f"{PREPARED}/images.npy", filled(np.nan)), "diverged"),
    Case("code_deeplesion/deeplesion_A1_train", "no human masks", gone("nothing"), "was prepared without it",
         "--target truth"),
]  # fmt: skip


def checkpoint(change: Callable[[dict[str, Any]], object]) -> Fault:
    """The checkpoint changed by a function, which works in place."""

    def fault(world: World) -> None:
        content = torch.load(world.path("a.pt"), weights_only=True)
        change(content)
        world.make("a.pt", lambda path: torch.save(content, path))

    return fault


def recipe(**values: object) -> Fault:
    return checkpoint(lambda content: content["recipe"].update(values))


def stretch(content: dict[str, Any]) -> None:
    """One number that claims to be 10^12."""
    name = next(name for name in content["model_dict"] if name.endswith("weight"))
    content["model_dict"][name] = torch.zeros(1).expand(10**6, 10**6)


def spoil(content: dict[str, Any]) -> None:
    for value in content["model_dict"].values():
        if value.is_floating_point():
            value.fill_(torch.nan)


def scores(low: float, high: float) -> Right:
    """The mean Dice lies in this range."""

    def right(harness: Harness, case: Case, world: World, outcome: Outcome) -> None:
        (path,) = world.path("results").glob("a.all*.json")
        assert low <= read_json(path)["dice"] <= high

    return right


def in_place_of_results(suffix: str) -> Fault:
    """A folder for each name that a script's usual command gives its results."""
    stems = ("a.all", "a.all.limit2", "a.all.against_ellipse")
    return several(*(folder(f"results/{stem}{suffix}") for stem in stems))


EVAL = [
    *deal("eval", [
        *DAMAGED[1::2],
        ("no checkpoint", gone("a.pt"), r"a\.pt does not exist; train it first"),
        ("empty checkpoint", put("a.pt", b""), r"a\.pt is truncated"),
        ("truncated checkpoint", cut("a.pt"), r"a\.pt is truncated"),
        ("folder in place of the checkpoint", folder("a.pt"), r"a\.pt does not exist"),
        ("link to itself in place of the checkpoint", loop("a.pt"), r"a\.pt does not exist"),
        ("unreadable checkpoint", closed("a.pt"), r"no permission for .*a\.pt"),
        ("text in place of the checkpoint", put("a.pt", "weights"), r"a\.pt"),
        ("a list in place of the checkpoint", lambda world: world.make("a.pt", lambda path: torch.save([1], path)),
         "it has no dict of tensors"),
        ("one number that claims to be 10^12", checkpoint(stretch), "claims tensors of 4000000000000"),
        ("the recipe's encoder is a path", recipe(encoder="../../x"), r"encoder \.\./\.\./x|not an encoder"),
        ("the recipe's canvas is 10^9 px wide", recipe(canvas=[10**9, 10**9]), "canvas"),
        ("the recipe's canvas is smaller than the patch", recipe(canvas=[16, 16]), "canvas"),
        ("the recipe's canvas is a word", recipe(canvas="large"), "canvas"),
        ("the recipe's protocol is unknown", recipe(protocol="x"), "protocol"),
        ("the recipe's K is below 0", recipe(clusters=-1), None, "", scores(0, 1)),
        ("the recipe is a list", checkpoint(lambda content: content.update(recipe=[1])), "pass --encoder"),
        ("weights that are not numbers", checkpoint(spoil), "NaN"),
        ("folder in place of the results' JSON", in_place_of_results(".json"), r"results/a\.all[\w.]*\.json"),
        ("folder in place of the results' CSV", in_place_of_results(".csv"), r"results/a\.all[\w.]*\.csv"),
        ("file in place of the results' folder", put("results", "x"), "results"),
        ("read-only folder for the results", read_only("shut"), r"shut/r can't be .*; pass another --results",
         "--results shut/r"),
        ("spaces and letters of other scripts", lambda world: None, None, "--results 'neue Läsion 皮膚'",
         made("neue Läsion 皮膚/a.all*.json")),
        ("another encoder", lambda world: None, "not those of the encoder resnet18", "--encoder resnet18"),
        ("a truth that is none", lambda world: None, "nowhere is (neither|none of)", "--truth nowhere"),
        ("truth cut short", cut(f"{PREPARED}/ellipse.npy"), r"ellipse\.npy is damaged", "--truth ellipse"),
        ("disk full", small_disk("full", 4096), FULL, "--results full"),
    ]),
    Case("code_deeplesion/deeplesion_A1_eval", "truth all zero", array(f"{PREPARED}/ellipse.npy", filled(0)),
         right=scores(0, 0)),
    Case("code_deeplesion/deeplesion_A1recist_eval", "truth all one", array(f"{PREPARED}/ellipse.npy", filled(1)),
         right=scores(0, 1)),
]  # fmt: skip
