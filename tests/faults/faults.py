"""The fault harness: a script runs in a small folder with a fault in it and ends well or in one sentence.

What a case (`Case`) must show, checked by `Harness.check`:

1. the run ends in the right result, or in one sentence on stderr and exit status 2; it neither hangs nor warns;
2. whatever lies there afterwards is whole, and what was there before a refused run is still there;
3. once the fault is mended, the same command gives the right result, byte for byte but for times. Where nothing in the
   folder was touched, that is the run which has shown what the right result is, and is not done again.
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

from common.utils.files import read_csv
from fault_run import Outcome, check_whole, differences, prefix, results, run
from fault_scripts import DRAW, PLACES, needs, usual
from fault_worlds import Fault, World, copy, nothing, remove

TALLY: Counter[str] = Counter()
"""How many cases ended how; told at the end of the test run."""
FULL = "the disk is full|File too large"
"""The sentence on a full disk, and that on a limit where no small disk can be mounted."""
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


LESION_ARRAYS = ("ellipse", "quarters", "images", "recist", "ends")


def kept(lesion: str, pixels: range = range(1, 120 * 120), prepared: str = "data/prepared") -> Right:
    """The lesion is prepared, its numbers are finite, and its ellipse covers so many pixels."""

    def right(harness: Harness, case: Case, world: World, outcome: Outcome) -> None:
        names = [row["lesion"] for row in read_csv(world.path(f"{prepared}/lesions.csv"))]
        assert lesion in names, names
        row = names.index(lesion)
        arrays = {name: np.load(world.path(f"{prepared}/{name}.npy"))[row] for name in LESION_ARRAYS}
        assert np.count_nonzero(arrays["ellipse"]) in pixels
        assert arrays["quarters"].any()
        assert all(np.isfinite(array).all() for array in arrays.values())

    return right


@dataclass(frozen=True)
class Case:
    """One row of the table."""

    script: str
    """Path in the project without ".py", such as "code_ham/HAM_data", or a tool, such as "common report"."""
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
        self._finished: dict[str, Path] = {}
        self._references: dict[str, dict[str, object]] = {}
        self._worlds = 0
        self.capture: pytest.CaptureFixture[str] | None = None

    def world(self, script: str) -> World:
        """A new folder with what the script needs in it; it becomes the current one."""
        self._worlds += 1
        world = World(self._store / f"world {self._worlds}", self._base(*needs(script)))
        for old, new in PLACES.get(script, {}).items():
            world.path(new).parent.mkdir(parents=True, exist_ok=True)
            world.path(old).rename(world.path(new))
        os.chdir(world.root)
        return world

    def remove_worlds(self) -> None:
        """Make room: what worlds are copied from, and the references, are kept."""
        os.chdir(self._store)
        for path in self._store.glob("world *"):
            remove(path)

    def _base(self, raw: str, scripts: tuple[str, ...]) -> Path:
        """The folder that worlds are copied from: with a dataset's raw files, and with what these scripts make."""
        base = self._bases.get((raw, scripts))
        if base is None:
            made = [(script, self.finished(script)) for script in scripts]
            base = self._bases[raw, scripts] = self._store / f"base {len(self._bases)}"
            base.mkdir()
            if raw:
                DRAW[raw](base / "data")
                # DeepLesion's slice is an image of its own.
                column, cell = ("slice", "1") if raw == "code_lits" else ("note", "")
                (base / "boxes.csv").write_text(f"lesion,x,y,{column}\nfirst,26,30,{cell}\n")
            for script, root in made:
                keep = {name: name for name in ("data/prepared", "a.pt", "a.history.csv")}
                for path in root.glob("results/a.all*"):
                    keep[f"results/{path.name}"] = f"results/{script.partition('/')[2]}{path.suffix}"
                for old, new in keep.items():
                    if (root / old).exists() and not (base / new).exists():
                        (base / new).parent.mkdir(parents=True, exist_ok=True)
                        copy(root / old, base / new)
        return base

    def finished(self, script: str) -> Path:
        """The folder in which a script's usual command has succeeded, without any fault."""
        if script not in self._finished:
            here, world = Path.cwd(), self.world(script)
            self.succeed(script)
            os.chdir(here)
            self._finished[script] = world.root.rename(self._store / f"finished {len(self._finished)}")
        return self._finished[script]

    def reference(self, script: str) -> dict[str, object]:
        """What lies there then."""
        if script not in self._references:
            self._references[script] = results(self.finished(script))
        return self._references[script]

    def succeed(self, script: str) -> Outcome:
        """Run a script's usual command, which must succeed without a word on stderr."""
        outcome = run(script, usual(script), self.capture)
        assert (outcome.status, outcome.told) == (0, []), outcome
        return outcome

    def check(self, case: Case) -> None:
        """Run a case: with its fault, then mended."""
        self.reference(case.script)
        world = self.world(case.script)
        untouched = world.stamps()
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
        if world.stamps() != untouched:
            self.check_next(case.script, world)
        self.count(case.script, "right result" if case.sentence is None else "one sentence")

    def check_next(self, script: str, world: World) -> None:
        """The next run gives the right result, and nothing is left of the one before."""
        self.succeed(script)
        want, found = self.reference(script), results(world.root)
        assert found == want, differences(found, want)
        check_whole(world.root)

    def count(self, script: str, ending: str) -> None:
        """Note how a case has ended."""
        TALLY[ending] += 1
        TALLY[script] += 1

    def _check_sentence(self, case: Case, outcome: Outcome) -> None:
        assert outcome.status == 2, outcome
        assert len(outcome.told) == 1, outcome
        (line,) = outcome.told
        assert line.startswith(prefix(case.script)), outcome
        assert re.search(case.sentence, line), outcome


def summary() -> str:
    """One line on how the cases ended."""
    ended = {name: TALLY[name] for name in ("right result", "one sentence")}
    scripts = len(TALLY) - len(+Counter(ended))
    return (
        f"fault harness: {sum(ended.values())} cases over {scripts} scripts and tools ended as they must: "
        f"{ended['right result']} in the right result, {ended['one sentence']} in one sentence; "
        "after each of them the folder was as before or the next run succeeded"
    )
