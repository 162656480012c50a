"""The paper's experiment on one dataset: its methods over several seeds, baselines and upper bound, then the table.

    python common experiment ham --seeds 3
    python common experiment ham --train "--encoder resnet50 --lr 3e-4" --for Acoseg "--lr 1e-4"

The dataset is the end of a folder's name (ham for code_ham/), or the path of a folder with such scripts. Checkpoints,
results, logs, the table and report.html go to --out. The same command again skips what is done and resumes what was
interrupted. A task that fails stops the experiment with its own message; nothing is lost.
"""

import argparse
import signal
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from itertools import product
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple, NoReturn

from common.data.dataset import read_metadata
from common.evaluation.baselines import BASELINES, baseline_stem
from common.evaluation.baselines import main as baselines_main
from common.evaluation.results import read_evaluation, result_stem
from common.recipe import A1, A1RECIST
from common.run.cli import parse_train
from common.run.discover import MethodScripts, find_folder, find_methods, import_name
from common.run.scripts import eval_main, train_main
from common.run.tasks import Command, Task, run_tasks
from common.training.config import TrainConfig, check_settings, history_path, state_path
from common.utils.arguments import Parser, split_flags
from common.utils.errors import Interrupted, UserError
from common.utils.files import ROOT, check_writable, read_csv
from common.utils.provenance import sha256

UPPER_BOUND = "truth"  # the target of the A1 that shows how good the network itself can be


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Parse the command line."""
    parser = Parser(description=__doc__, allow_abbrev=False)
    add = parser.add_argument
    add("dataset", help="ham, lits, deeplesion, ..., or a folder of scripts")
    add("--seeds", type=seeds, default="3", metavar="N|LIST", help="3 means 0,1,2 (default); a list is 4,7 or 5,")
    add("--methods", metavar="LIST", help="such as A1,A1recist (default the paper's)")
    add("--data", type=Path, metavar="DIR", help="data folder (default the dataset's)")
    add("--prepared", type=Path, metavar="DIR", help="prepared arrays, used as they are (default DATA/prepared)")
    add("--out", type=Path, metavar="DIR", help="default experiments/DATASET/ in the project's root")
    add("--prepare", type=split_flags, default=[], metavar="FLAGS", help="for the data script, in quotes")
    add("--train", type=split_flags, default=[], metavar="FLAGS", help="for all training scripts, in quotes")
    add("--for", dest="special", nargs=2, action="append", default=[], metavar=("METHOD", "FLAGS"),
        help="for one method's training; can be repeated")  # fmt: skip
    add("--no-upper-bound", dest="upper_bound", action="store_false", help="leave out A1 trained on the true masks")
    add("--no-baselines", dest="baselines", action="store_false", help="leave out the weak masks themselves")
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


_OWN_FLAGS = ("--data", "--prepared", "--checkpoint", "--results", "--seed", "--resume")
"""Flags of training scripts that the experiment sets itself."""


class Training(NamedTuple):
    """The training of one method on one target with one seed."""

    method: MethodScripts
    flags: list[str]  # of the training script, without --resume
    config: TrainConfig  # what the flags mean


def find_trainings(args: argparse.Namespace, folder: Path) -> list[Training]:
    """List all trainings, seed by seed, so that the first seed alone makes a complete table.

    Raises:
        UserError: there is no such method, or a flag is not understood.
    """
    methods = find_methods(folder)
    papers = [name for name, method in methods.items() if method.recipe.method is not A1RECIST]
    names = args.methods.split(",") if args.methods else papers or list(methods)
    for word in [*args.train, *(word for _, flags in args.special for word in split_flags(flags))]:
        if (flag := word.partition("=")[0]) in _OWN_FLAGS:
            raise UserError(f"--train and --for can't hold {flag}; pass --data, --prepared or --seeds directly")
    for name in [*names, *(name for name, _ in args.special)]:
        if name not in methods:
            raise UserError(f"{folder.name} has no method {name}; there are {', '.join(methods)}")
    trainings = []
    for seed, name in product(args.seeds, names):
        trainings.append(_training(args, methods[name], seed))
        recipe, config = methods[name].recipe, trainings[-1].config
        has_bound = recipe.method is A1 and recipe.dataset.truth == UPPER_BOUND != config.target
        if args.upper_bound and has_bound and not config.outlines:
            trainings.append(_training(args, methods[name], seed, "--target", UPPER_BOUND))
    return trainings


def _training(args: argparse.Namespace, method: MethodScripts, seed: int, *more: str) -> Training:
    special = [word for name, flags in args.special if name == method.name for word in split_flags(flags)]
    flags = [*method.flags, *args.train, *special, *more, "--seed", str(seed), *_data_flags(args)]
    config = parse_train(method.recipe, None, flags)
    checkpoint = args.out / "checkpoints" / f"{method.name}_{config.target}_seed{seed}.pt"
    return Training(method, [*flags, "--checkpoint", str(checkpoint)], replace(config, checkpoint=checkpoint))


def _data_flags(args: argparse.Namespace) -> list[str]:
    paths = {"--data": args.data, "--prepared": args.prepared}
    return [word for flag, path in paths.items() if path for word in (flag, str(path))]


def _prepare_task(args: argparse.Namespace, folder: Path, configs: Sequence[TrainConfig]) -> Task:
    """Make the prepared arrays, again where the data have changed.

    Those named by --prepared, or without any data beside them, are used as they are.
    """
    config = next((config for config in configs if config.recipe.method.cluster_head), configs[0])
    name, *verb = config.recipe.dataset.prepare
    main = import_name(folder / name, "main")
    if not callable(main):
        raise UserError(f"{folder / name} holds no main(arguments)")
    flags = ["--protocol", config.protocol, "--clusters", str(config.clusters), *args.prepare]
    flags += [] if args.prepare else ["--refresh"]
    command = Command([str(folder / name)], main, [*verb, *_data_flags(args), *flags])
    data = args.data or config.recipe.dataset.folder / config.recipe.dataset.data
    has_data = data.is_dir() and any(path != config.prepared and path.name[0] != "." for path in data.iterdir())
    done = not args.prepare and (args.prepared or not has_data) and read_metadata(config.prepared) is not None
    return Task("prepare", "prepare", [command], bool(done))


def _baseline_task(results: Path, config: TrainConfig) -> Task:
    """Score the weak masks themselves; again where they, the truth or what is scored have changed."""
    truth, metadata = config.recipe.dataset.truth, read_metadata(config.prepared) or {}
    names = [name for name in BASELINES if name != truth and name in metadata.get("arrays", BASELINES)]
    made = [_read_result(results / f"{baseline_stem(name, truth, limit=config.limit)}.json") for name in names]
    expected = (truth, config.limit, metadata.get("identity"))
    done = all(
        result and (result["truth"], result["settings"].get("limit"), result.get("prepared")) == expected
        for result in made
    )
    flags = [str(config.prepared), "--results", str(results), "--truth", truth]
    flags += ["--limit", str(config.limit)] if config.limit else []
    return Task("baselines", "baselines", [Command([str(ROOT / "common"), "baselines"], baselines_main, flags)], done)


def _training_task(args: argparse.Namespace, training: Training) -> Task:
    """Train a network and score it; refused where a checkpoint or a result of other settings is in the way."""
    method, config = training.method, training.config
    results, checkpoint = args.out / "results", config.checkpoint
    flags = [*_data_flags(args), "--checkpoint", str(checkpoint), "--results", str(results)]
    flags += ["--batch-size", str(config.recipe.batch_size), "--device", config.device]
    flags += ["--precision", config.precision, *(["--limit", str(config.limit)] if config.limit else [])]
    commands = [
        Command(method.train, partial(train_main, method.recipe, None), [*training.flags, "--resume"]),
        Command(method.evaluate, partial(eval_main, method.recipe, None), flags),
    ]
    interrupted = state_path(checkpoint).is_file()
    result = _read_result(results / f"{result_stem(checkpoint.stem, limit=config.limit)}.json")
    if result:
        _check_training(result["path"], result.get("training", {}), config)
    elif checkpoint.is_file() and not interrupted:
        from common.training.checkpoint import load_checkpoint  # imports torch

        _check_training(checkpoint, load_checkpoint(checkpoint).settings, config)
    expected = config.recipe.dataset.truth, config.limit
    scored = result is not None and (result["truth"], result["settings"].get("limit")) == expected
    scored = scored and _is_of(result, checkpoint)
    done, history = scored and not interrupted, history_path(checkpoint)
    seconds = None
    if done and history.is_file():
        with suppress(KeyError, TypeError, ValueError, UserError):  # a damaged one matters to the estimate only
            seconds = sum(float(row["seconds"]) for row in read_csv(history))
    return Task(checkpoint.stem, method.name, commands, done, seconds)


def _is_of(result: Mapping[str, Any] | None, checkpoint: Path) -> bool:
    """Whether a result is that of a completed training and, where its checkpoint is still there, of that very file."""
    if result is None or not result.get("training", {}).get("complete", True):
        return False
    return not checkpoint.is_file() or result.get("checkpoint", {}).get("sha256") == sha256(checkpoint)


def _read_result(path: Path) -> dict[str, Any] | None:
    """Read an evaluation; None where there is none, or a damaged one, which is made again."""
    try:
        return read_evaluation(path) if path.is_file() else None
    except UserError:
        return None


def _check_training(path: Path, recorded: Mapping[str, Any], config: TrainConfig) -> None:
    """Refuse to skip or to overwrite a training with other settings or on other lesions."""
    metadata = read_metadata(config.prepared)
    settings = {"prepared": metadata["identity"]} if metadata else {}
    settings |= config.describe() | ({"precision": config.precision} if config.precision != "auto" else {})
    if not config.recipe.method.cluster_head:
        del settings["clusters"]  # K makes no difference
    if "least_steps" in settings.keys() & recorded.keys():
        del settings["epochs"]  # as many as the lesions need, which are the same
    elif "least_steps" in settings:
        settings["epochs"] = "the recipe's"  # which --epochs may have made fewer
    check_settings(path, recorded, settings, "pass the same flags, another --out, or delete it with its checkpoint")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line; see --help."""
    args = parse(arguments)
    folder = find_folder(args.dataset)
    args.out = args.out or ROOT / "experiments" / folder.name.removeprefix("code_")
    configs, results = [training.config for training in find_trainings(args, folder)], args.out / "results"

    def plan() -> list[Task]:
        baselines = [_baseline_task(results, configs[0])] if args.baselines else []
        # K is that of the prepared arrays, which may be others now.
        return [*baselines, *(_training_task(args, training) for training in find_trainings(args, folder))]

    prepare, tasks = _prepare_task(args, folder, configs), plan()
    if args.dry_run:
        lines = [
            f"{command}{'   # done' if task.done else ''}" for task in (prepare, *tasks) for command in task.commands
        ]
        print(*lines, sep="\n")
        return
    check_writable(args.out, "pass another --out")
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _interrupt)
    run_tasks([prepare, *tasks], args.out / "logs", stop=1)
    run_tasks([replace(prepare, done=True), *plan()], args.out / "logs", start=1)  # the data may be others now
    from common.report.html_report import write_page
    from common.report.tables import write_report

    print(write_report([results], args.out))
    write_page([results], [configs[0].prepared], [args.out / "checkpoints"], args.out / "report.html")
    print(f"{args.out / 'report.html'}, table.md, table.csv and table.tex written")


def _interrupt(number: int, _: FrameType | None) -> NoReturn:
    """End any task at Ctrl-C or SIGTERM; a training under way handles the signals itself."""
    raise Interrupted("interrupted", number)
