"""The fault harness: a script runs in a small folder with a fault in it and ends well or in one sentence.

What a case (`Case`) must show, checked by `Harness.check`:

1. the run ends in the right result, or in one sentence on stderr and exit status 2; it neither hangs nor warns;
2. whatever lies there afterwards is whole, and what was there before a refused run is still there;
3. once the fault is mended, the same command gives the right result, byte for byte but for times.
"""

import os
import re
import shlex
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from fault_run import Outcome, check_whole, differences, results, run
from fault_worlds import Fault, World, nothing
from tiny import draw_deeplesion, draw_ham, draw_lits

from common.files import read_csv

TALLY: Counter[str] = Counter()
"""How many cases ended how; told at the end of the test run."""
PREDICT = "--checkpoint a.pt --precision fp32 --out out"
USUAL = {
    "phantom": "out",
    "data": "--data data --clusters 2 --no-grabcut --workers 1",
    # The encoder with the smallest checkpoints: writing them is what takes time here.
    "train": "--data data --checkpoint a.pt --clusters 2 --precision fp32 --encoder mobilenet_v2 --encoder-weights none "
    "--canvas 128x128 --epochs 1",
    "eval": "--data data --checkpoint a.pt --results results --split all --limit 4 --precision fp32",
    "HAM_predict": f"{PREDICT} data/HAM10000_images_part_1/ISIC_0000000.jpg data/HAM10000_images_part_1/ISIC_0000001.jpg",
    "lits_predict": f"{PREDICT} data/volume/volume-0.nii --lesions boxes.csv",
    "deeplesion_predict": f"{PREDICT} data/Images_png/000001_01_01/010.png --lesions boxes.csv",
    "floors": "data/prepared --results results --split all",
    "figures": "results data/prepared a.pt --out out/a.png --rows 1",
    "report": "results --out out",
    "html_report": "results --out out/report.html",
}
NEEDS_OF_TOOLS = {
    "floors": ("code_ham/HAM_data",),
    "figures": ("code_ham/HAM_A1_train",),
    "report": ("code_ham/HAM_A1_eval", "code_ham/HAM_A1class_eval"),
    "html_report": ("code_ham/HAM_A1_eval", "code_ham/HAM_A1class_eval"),
}
DRAW = {"code_ham": draw_ham, "code_lits": draw_lits, "code_deeplesion": draw_deeplesion}
DATA_SCRIPT = {"code_ham": "HAM_data", "code_lits": "lits_data", "code_deeplesion": "DeepLesion_data"}
FULL = "the disk is full|File too large"
"""The sentence on a full disk, and that on a limit where no small disk can be mounted."""
NOTES = re.compile("left out$|^left out: |malformed rows|^Corrupt JPEG data")
"""Lines on stderr beside the one sentence: what is left out, and what libjpeg says by itself."""
Right = Callable[["Harness", "Case", World, Outcome], None]


def ends_as_usual(harness: "Harness", case: "Case", world: World, outcome: Outcome) -> None:
    """The result is that of a run without a fault."""
    want, found = harness.reference(case.script), results(world.root)
    assert found == want, differences(found, want)


def same_arrays(harness: "Harness", case: "Case", world: World, outcome: Outcome) -> None:
    """Arrays and tables as without the fault; `prepared.json` tells of other input files."""
    found, want = (
        {name: content for name, content in all.items() if not name.endswith("prepared.json")}
        for all in (results(world.root), harness.reference(case.script))
    )
    assert found == want, differences(found, want)


def dropped(lesion: str, reason: str) -> Right:
    """The lesion has its line in `dropped.csv`, and others are there."""

    def right(harness: Harness, case: Case, world: World, outcome: Outcome) -> None:
        rows = read_csv(world.path("data/prepared/dropped.csv"))
        assert {"lesion": lesion, "reason": reason} in rows, rows
        names = [row["lesion"] for row in read_csv(world.path("data/prepared/lesions.csv"))]
        assert names
        assert lesion not in names

    return right


def kept(lesion: str, pixels: range = range(1, 120 * 120), prepared: str = "data/prepared") -> Right:
    """The lesion is prepared, its numbers are finite, and its ellipse covers so many pixels."""

    def right(harness: Harness, case: Case, world: World, outcome: Outcome) -> None:
        names = [row["lesion"] for row in read_csv(world.path(f"{prepared}/lesions.csv"))]
        assert lesion in names, names
        row = names.index(lesion)
        arrays = {name: np.load(world.path(f"{prepared}/{name}.npy"))[row] for name in ("ellipse", "images", "recist")}
        assert np.count_nonzero(arrays["ellipse"]) in pixels
        assert np.isfinite(arrays["images"]).all()
        assert np.isfinite(arrays["recist"]).all()

    return right


@dataclass(frozen=True)
class Case:
    """One row of the table."""

    script: str
    """Path in the project without ".py", e.g. "code_ham/HAM_data"."""
    what: str
    """The fault, in words."""
    fault: Fault = nothing
    sentence: str | None = None
    """What the one sentence must match; None where the right result is expected."""
    flags: str = ""
    """Added to the usual ones while the fault is there."""
    right: Right = field(default=ends_as_usual, repr=False)
    """Checks the right result."""

    def __str__(self) -> str:
        return f"{self.script.rpartition('/')[2]}: {self.what}"


class Harness:
    """Makes worlds, runs cases in them, and knows what each script's right result is."""

    def __init__(self, store: Path) -> None:
        self._store = store
        self._bases: dict[tuple[str, tuple[str, ...]], Path] = {}
        self._references: dict[str, dict[str, object]] = {}
        self._worlds = 0
        self.capture: pytest.CaptureFixture[str] | None = None

    def world(self, script: str) -> World:
        """A new folder with what the script needs in it; it becomes the current one."""
        self._worlds += 1
        world = World(self._store / f"world {self._worlds}", self._base(*needs(script)))
        os.chdir(world.root)
        return world

    def _base(self, raw: str, scripts: tuple[str, ...]) -> Path:
        """The folder that worlds are copied from: with a dataset's raw files, and with what these scripts make."""
        base = self._bases.get((raw, scripts))
        if base is None:
            base = self._bases[raw, scripts] = self._store / f"base {len(self._bases)}"
            base.mkdir()
            if raw:
                DRAW[raw](base / "data")
                (base / "boxes.csv").write_text("lesion,x,y,slice\nfirst,26,30,1\n")
            for script in scripts:
                self._add(script, base)
        return base

    def _add(self, script: str, base: Path) -> None:
        """Run a script and keep what later ones need: arrays, checkpoint, results under the script's own name."""
        made = self.world(script).root
        self.succeed(script)
        self._references.setdefault(script, results(made))
        name = script.partition("/")[2]
        keep = {"data/prepared": "data/prepared", "a.pt": "a.pt"}
        keep |= {f"results/a.all{suffix}": f"results/{name}{suffix}" for suffix in (".json", ".csv")}
        for old, new in keep.items():
            if (made / old).exists() and not (base / new).exists():
                (base / new).parent.mkdir(parents=True, exist_ok=True)
                (made / old).rename(base / new)

    def succeed(self, script: str) -> Outcome:
        """Run a script's usual command, which must succeed without a word on stderr."""
        outcome = run(script, usual(script), self.capture)
        assert (outcome.status, outcome.err) == (0, ""), outcome
        return outcome

    def reference(self, script: str) -> dict[str, object]:
        """What lies there after the script's usual command."""
        if script not in self._references:
            here, world = Path.cwd(), self.world(script)
            self.succeed(script)
            self._references[script] = results(world.root)
            os.chdir(here)
        return self._references[script]

    def check(self, case: Case) -> None:
        """Run a case: with its fault, then mended."""
        want = self.reference(case.script)
        world = self.world(case.script)
        try:
            case.fault(world)
            before = results(world.root) if case.sentence else {}
            outcome = run(case.script, [*usual(case.script), *shlex.split(case.flags)], self.capture)
            if case.sentence is None:
                assert outcome.status == 0, outcome
                case.right(self, case, world, outcome)
            else:
                self._check_sentence(case, outcome)
                left = results(world.root)
                assert {n: left.get(n) for n in before} == before, differences(left, before)
        finally:
            world.mend()
        check_whole(world.root)
        self.succeed(case.script)
        found = results(world.root)
        assert found == want, differences(found, want)
        TALLY["right result" if case.sentence is None else "one sentence"] += 1
        TALLY[case.script] += 1

    def _check_sentence(self, case: Case, outcome: Outcome) -> None:
        lines = [line for line in outcome.err.splitlines() if not NOTES.search(line)]
        assert outcome.status == 2, outcome
        assert len(lines) == 1, outcome
        assert lines[0].startswith(f"{case.script.rpartition('/')[2]}.py: "), outcome
        assert re.search(case.sentence, lines[0]), outcome


def needs(script: str) -> tuple[str, tuple[str, ...]]:
    """The dataset whose raw files a script needs, if any, and the scripts that must have run before it."""
    where, _, name = script.partition("/")
    kind = name.rpartition("_")[2]
    if where == "common":
        return "", NEEDS_OF_TOOLS[name]
    return {
        "phantom": ("", ()),
        "data": (where, ()),
        "train": ("", (f"{where}/{DATA_SCRIPT[where]}",)),
        "eval": ("", (f"{where}/{name.removesuffix('_eval')}_train",)),
        "predict": (where, (f"{where}/{name.removesuffix('_predict')}_A1_train",)),
    }[kind]


def usual(script: str) -> list[str]:
    """The flags of a script's usual command."""
    where, _, name = script.partition("/")
    kind = name if where == "common" or name.endswith("_predict") else name.rpartition("_")[2]
    flags = USUAL[kind].split()
    if kind == "train":
        least = "4" if "coseg" in name else "2"
        flags += ["--batch-size", least, "--limit", least]
    if (where, kind) == ("code_deeplesion", "eval"):
        flags += ["--truth", "ellipse"]
    return flags


def summary() -> str:
    """One line on how the cases ended."""
    ended = {name: TALLY[name] for name in ("right result", "one sentence")}
    scripts = len(TALLY) - len(+Counter(ended))
    return (
        f"fault harness: {sum(ended.values())} cases over {scripts} scripts and tools ended as they must: "
        f"{ended['right result']} in the right result, {ended['one sentence']} in one sentence; "
        "after each of them the next run succeeded"
    )
