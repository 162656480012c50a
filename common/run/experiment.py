"""The paper's experiment on one dataset: every method over several seeds, the floors and the ceiling, then the table.

    python common/experiment.py ham --seeds 3
    python common/experiment.py ham --train "--encoder resnet50 --lr 3e-4" --for Acoseg "--lr 1e-4"

The dataset is the end of a folder's name (ham for code_ham/), or the path of a folder with such scripts. Checkpoints,
results, logs, the table and report.html go to --out. What is done is not done again, and what was interrupted goes on:
give the same command. A step that fails stops the experiment with the step's own sentence; nothing is lost.
"""

import argparse
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common.data.dataset import read_metadata
from common.evaluation.baselines import BASELINES
from common.evaluation.results import read_evaluation
from common.recipe import A1, TrainConfig
from common.run.cli import parse_train
from common.run.discover import Scripts, find_folder, find_methods
from common.run.steps import Step, run_steps
from common.utils.arguments import Parser
from common.utils.errors import UserError
from common.utils.files import ROOT, read_csv

UPPER_BOUND = "truth"
"""What A1 is trained on to see how far the network itself could go."""


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = Parser(description=__doc__, allow_abbrev=False)
    add = parser.add_argument
    add("dataset", help="ham, lits, deeplesion, ..., or a folder of scripts")
    add("--seeds", type=seeds, default="3", metavar="N|LIST", help="3 means 0,1,2 (default); a list is 4,7 or 5,")
    add("--methods", metavar="LIST", help="such as A1,A1class (default all)")
    add("--data", type=Path, metavar="DIR", help="data folder (default the dataset's)")
    add(
        "--prepared",
        type=Path,
        metavar="DIR",
        help="prepared arrays (default DATA/prepared); used as they are if there",
    )
    add("--out", type=Path, metavar="DIR", help="default experiments/DATASET/ in the project's root")
    add("--prepare", type=shlex.split, default=[], metavar="FLAGS", help="for the data script, in quotes")
    add("--train", type=shlex.split, default=[], metavar="FLAGS", help="for all training scripts, in quotes")
    add("--for", dest="special", nargs=2, action="append", default=[], metavar=("METHOD", "FLAGS"),
        help="for one method's training; can be repeated")  # fmt: skip
    add("--no-ceiling", dest="ceiling", action="store_false", help="leave out A1 trained on the truth")
    add("--no-floors", dest="floors", action="store_false", help="leave out the ellipse and GrabCut themselves")
    add("--dry-run", action="store_true", help="only list the commands")
    return parser.parse_args(arguments)


def seeds(text: str) -> list[int]:
    """Parse a number of seeds, or a list of them with commas.

    Raises:
        argparse.ArgumentTypeError: neither.
    """
    parts = text.rstrip(",").split(",")
    if not all(part.isascii() and part.isdigit() for part in parts) or text == "0":
        raise argparse.ArgumentTypeError(f"{text!r} is neither a number of seeds above 0 nor a list such as 4,7")
    return [int(part) for part in parts] if "," in text else list(range(int(text)))


@dataclass(frozen=True)
class Experiment:
    """What is to be run, from the command line."""

    args: argparse.Namespace
    folder: Path
    methods: Mapping[str, Scripts]
    """Those asked for."""
    out: Path

    @classmethod
    def of(cls, args: argparse.Namespace) -> "Experiment":
        """The experiment of a command line.

        Raises:
            UserError: an unknown dataset or method.
        """
        folder = find_folder(args.dataset)
        methods = find_methods(folder)
        wanted = args.methods.split(",") if args.methods else list(methods)
        for name in [*wanted, *(name for name, _ in args.special)]:
            if name not in methods:
                raise UserError(f"{folder.name} has no method {name}; there are {', '.join(methods)}")
        out = args.out or ROOT / "experiments" / folder.name.removeprefix("code_")
        return cls(args, folder, {name: methods[name] for name in wanted}, out)

    def trainings(self) -> Iterator[tuple[Scripts, TrainConfig, list[str]]]:
        """Each method, its run and its training flags: seed by seed, so that after the first there is a whole table."""
        for seed in self.args.seeds:
            for method in self.methods.values():
                _, run, _ = usual = self._training(method, seed)
                yield usual
                has_ceiling = method.recipe.method is A1 and method.recipe.dataset.truth == UPPER_BOUND != run.target
                if has_ceiling and self.args.ceiling:
                    yield self._training(method, seed, "--target", UPPER_BOUND)

    def _training(self, method: Scripts, seed: int, *more: str) -> tuple[Scripts, TrainConfig, list[str]]:
        special = [word for name, flags in self.args.special if name == method.name for word in shlex.split(flags)]
        flags = [*method.flags, *self.args.train, *special, *more, "--seed", str(seed), *self.where()]
        target = parse_train(method.recipe, None, flags).target
        checkpoint = self.out / "checkpoints" / f"{method.name}_{target}_seed{seed}.pt"
        flags += ["--checkpoint", str(checkpoint), "--results", str(self.out / "results")]
        return method, parse_train(method.recipe, None, flags), flags

    @property
    def prepared(self) -> Path:
        """The folder of prepared arrays."""
        return next(self.trainings())[1].prepared

    def where(self) -> list[str]:
        """The flags that tell where data and prepared arrays are."""
        given = {"--data": self.args.data, "--prepared": self.args.prepared}
        return [word for flag, path in given.items() if path for word in (flag, str(path))]

    def steps(self) -> list[Step]:
        """Everything to do, done or not.

        Raises:
            UserError: something that is there was made with other settings.
        """
        trainings = list(self.trainings())
        runs = [run for _, run, _ in trainings]
        floors = [self._floor_step(runs[0])] if self.args.floors else []
        return [self._prepare_step(runs), *floors, *(self._training_step(*training) for training in trainings)]

    def _prepare_step(self, runs: Sequence[TrainConfig]) -> Step:
        script, *verb = shlex.split(runs[0].recipe.dataset.prepare_script)
        clusters = next((run.clusters for run in runs if run.recipe.method.cluster_head), runs[0].clusters)
        settings = ["--protocol", str(runs[0].protocol), "--clusters", str(clusters)]
        done = not self.args.prepare and read_metadata(runs[0].prepared) is not None
        return Step(
            "prepare",
            [[str(self.folder / script), *verb, *self.where(), *settings, *self.args.prepare]],
            done,
            "prepare",
        )

    def _floor_step(self, run: TrainConfig) -> Step:
        results, truth = self.out / "results", run.recipe.dataset.truth
        command = [str(ROOT / "common" / "floors.py"), str(run.prepared), "--results", str(results), "--truth", truth]
        content = read_metadata(run.prepared) or {"arrays": BASELINES, "splits": {}}
        asked = truth, run.protocol, content["splits"].get("test")
        found = {name: _evaluation(results / f"floor_{name}.json") for name in BASELINES}
        made = {
            name: (result["truth"], result["settings"].get("protocol"), result["lesions"])
            for name, result in found.items()
            if result
        }
        wanted = [name for name in BASELINES if name in content["arrays"] and name != truth]
        return Step("floors", [command], all(made.get(name) == asked for name in wanted), "floors")

    def _training_step(self, method: Scripts, run: TrainConfig, flags: list[str]) -> Step:
        train = [*method.train, *flags, "--resume"]
        evaluate = [*method.evaluate, *self.where(), "--checkpoint", str(run.checkpoint)]
        evaluate += ["--results", str(run.results), "--batch-size", str(run.recipe.batch_size)]
        evaluate += ["--device", run.device, "--precision", run.precision]
        evaluate += ["--limit", str(run.limit)] if run.limit else []
        interrupted = run.checkpoint.with_suffix(".state").is_file()
        result = _evaluation(run.results / f"{run.checkpoint.stem}.json")
        if result:
            _check_made_alike(result["path"], result.get("training", {}), run)
        elif run.checkpoint.is_file() and not interrupted:
            from common.training.checkpoint import (
                load_checkpoint,  # torch is imported only where a checkpoint must be read
            )

            _check_made_alike(run.checkpoint, load_checkpoint(run.checkpoint).settings, run)
        done = result is not None and not interrupted
        seconds = _seconds(run.checkpoint) if done else None
        return Step(run.checkpoint.stem, [train, evaluate], done, method.name, seconds)


def _evaluation(path: Path) -> dict[str, Any] | None:
    """A result that is there and whole; a damaged one is made again."""
    try:
        return read_evaluation(path) if path.is_file() else None
    except UserError:
        return None


def _check_made_alike(path: Path, made: Mapping[str, Any], run: TrainConfig) -> None:
    """Refuse to take for done, or to overwrite, what was trained with other settings.

    ``made`` is what `train.describe` said of the training.
    """
    asked = {**vars(run), **vars(run.recipe), "dataset": run.recipe.dataset.name, "method": run.recipe.method.name}
    asked["canvas"] = list(run.canvas or ())
    asked["encoder_weights"] = run.encoder_weights if run.encoder_weights in ("imagenet", "none") else "file"
    unimportant = {"precision"} if run.precision == "auto" else set()
    unimportant |= set() if run.recipe.method.cluster_head else {"clusters"}
    for name, value in made.items():
        if name in asked and name not in unimportant and asked[name] != value:
            raise UserError(
                f"{path} was made with {name} {value}, not {asked[name]}; pass the same flags, another --out, "
                "or delete it with its checkpoint"
            )


def _seconds(checkpoint: Path) -> float | None:
    """How long the training of a checkpoint took, from its history."""
    history = checkpoint.with_suffix(".history.csv")
    return sum(float(row["seconds"]) for row in read_csv(history)) if history.is_file() else None


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line: see --help."""
    args = parse(arguments)
    experiment = Experiment.of(args)
    steps = experiment.steps()
    if args.dry_run:
        for step in steps:
            for command in step.commands:
                print(f"python {shlex.join(command)}" + ("   # done" if step.done else ""))
        return
    run_steps(steps, experiment.out / "logs")
    from common.report.html_report import write_page
    from common.report.tables import write_report

    out, results = experiment.out, [experiment.out / "results"]
    print(write_report(results, out))
    write_page(results, [experiment.prepared], [out / "checkpoints"], out / "report.html")
    print(f"{out / 'report.html'}, table.md, table.csv and table.tex written")
