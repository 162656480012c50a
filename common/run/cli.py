"""The command lines of the data, training and evaluation scripts."""

import argparse
from collections.abc import Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, TypeVar

from common.data.dataset import prepared_clusters
from common.patches import CANVAS, SMALL_CANVAS
from common.recipe import ENCODER, PLAIN, PROMPTS, PROTOCOLS, TARGETS, DatasetInfo, Recipe, default_target
from common.training.config import EvalConfig, TrainConfig, add_network_flags
from common.utils.arguments import TTA_HELP, Parser, number_below, numbers, positive, seed_number
from common.utils.errors import UserError
from common.weak_masks import QUARTERS_SCALE

Config = TypeVar("Config", TrainConfig, EvalConfig)


class _DatasetParser(Parser):
    """A parser with --data and --prepared; the latter's default follows the former."""

    def __init__(self, dataset: DatasetInfo, description: str | None) -> None:
        super().__init__(description=description)
        data = dataset.folder / dataset.data
        self.add_argument("--data", type=Path, default=data, metavar="DIR", help=f"data folder (default {data})")
        self.add_argument("--prepared", type=Path, metavar="DIR", help="prepared arrays (default DATA/prepared)")

    def parse_args(self, *args: Any, **kwargs: Any) -> Any:
        parsed = super().parse_args(*args, **kwargs)
        parsed.prepared = parsed.prepared or parsed.data / "prepared"
        return parsed


def prepare_parser(dataset: DatasetInfo, description: str | None) -> argparse.ArgumentParser:
    """The parser with the flags that all data scripts share; a script adds its own."""
    parser = _DatasetParser(dataset, description)
    add = parser.add_argument
    add("--protocol", choices=PROTOCOLS, default="released", help="default released")
    add("--clusters", type=positive, default=dataset.clusters, metavar="K", help=f"default {dataset.clusters}")
    add("--seed", type=seed_number, default=0, help="of k-means (default 0, as published)")
    add("--no-grabcut", dest="grabcut", action="store_false", help="skip the GrabCut masks: faster")
    note = f"default {QUARTERS_SCALE}; 1 draws them through the marks' end points"
    scale = numbers("a number above 0, at most 1.5", lambda scale: 0 < scale <= 1.5)
    add(
        "--quarters-scale",
        type=scale,
        default=QUARTERS_SCALE,
        metavar="FACTOR",
        help=f"scale of the quarters' radii ({note})",
    )
    add("--force", action="store_true", help="make the arrays again even if they are there")
    add("--refresh", action="store_true", help="make arrays that are there again only if the input files have changed")
    add("--skip-bad", action="store_true", help="go on without unreadable files; dropped.csv lists them")
    add("--workers", type=positive, metavar="N", help="processes (default one a core)")
    return parser


def work_options(args: argparse.Namespace) -> dict[str, Any]:
    """How `preprocess` is to work, by the flags of `prepare_parser`."""
    return {name: getattr(args, name) for name in ("force", "refresh", "skip_bad", "workers")}


def _run_parser(recipe: Recipe, description: str | None) -> argparse.ArgumentParser:
    """The flags that training and evaluation share, but for `add_network_flags`."""
    dataset = recipe.dataset
    parser = _DatasetParser(dataset, description)
    add = parser.add_argument
    checkpoint, results = dataset.folder / "checkpoints" / recipe.checkpoint, dataset.folder / "results"
    with_k = f", with another K than {dataset.clusters} its name ends in _K" if recipe.method.cluster_head else ""
    add("--checkpoint", type=Path, metavar="PATH", help=f"default {checkpoint}{with_k}")
    add("--results", type=Path, default=results, metavar="DIR", help=f"evaluation results (default {results})")
    add("--clusters", type=positive, metavar="K", help="number of shape clusters (default: as prepared)")
    add("--batch-size", type=positive, default=recipe.batch_size, metavar="N", help=f"default {recipe.batch_size}")
    add("--seed", type=seed_number, default=0, help="default 0")
    add("--limit", type=positive, metavar="N", help="only the first N lesions of each split, for a quick look")
    return parser


def parse_train(recipe: Recipe, description: str | None, arguments: Sequence[str] | None = None) -> TrainConfig:
    """Parse a training script's command line; the recipe's values are the defaults."""
    parser = _run_parser(recipe, description)
    add_network_flags(parser, corrected=f"; corrected: {SMALL_CANVAS[0]}x{SMALL_CANVAS[1]}")
    parser.set_defaults(encoder=ENCODER, protocol="released")
    add = parser.add_argument
    add("--encoder-weights", default="imagenet", metavar="imagenet|none|PATH",
        help="what the encoder starts from; PATH is a torchvision-keyed state dict (default imagenet)")  # fmt: skip
    targets = recipe.method.flags.get("target", "ellipse; corrected: quarters")
    add("--target", choices=TARGETS, help=f"mask to train on (default {targets})")
    add("--prompt", choices=PROMPTS, help="recist: each lesion's RECIST mark is an input, too (default %(default)s)")
    add("--outlines", type=positive, metavar="N",
        help="make the last epoch one on the true outlines of N lesions, chosen by the seed")  # fmt: skip
    add("--flips", action=argparse.BooleanOptionalAction,
        help="mirror and transpose lesions at random (default %(default)s)")  # fmt: skip
    add("--jitter", type=number_below(100), metavar="PERCENT",
        help="move a prompt's end points by a share of the long diameter at random (default %(default)g)")  # fmt: skip
    add("--average", type=number_below(1), metavar="DECAY",
        help="keep an exponential moving average (EMA) of the weights (default %(default)g)")  # fmt: skip
    add("--falling", action=argparse.BooleanOptionalAction,
        help="learning rate with warm-up and cosine decay to 0; keep the last epoch (default %(default)s)")  # fmt: skip
    few = f"; more for few lesions, to reach {recipe.method.least_steps} steps; one more with --outlines"
    of_few = few if recipe.method.least_steps else ""
    add("--epochs", type=positive, help=f"at most this many (default {recipe.epochs}{of_few})")
    rate = numbers("a number above 0, below a million", lambda rate: rate > 0)
    add("--lr", type=rate, default=recipe.lr, help=f"default {recipe.lr:g}")
    add("--patience", type=positive, default=recipe.patience, metavar="EPOCHS",
        help=f"epochs without improvement before stopping (default {recipe.patience})")  # fmt: skip
    add("--resume", action="store_true",
        help="continue an interrupted training or, with more --epochs, a completed one")  # fmt: skip
    add("--compile", action="store_true", help="compile the network first: minutes once, faster steps after")
    add("--no-graph", dest="graph", action="store_false", help="on a GPU, launch each kernel of a step by itself")
    parser.set_defaults(**{**PLAIN, **recipe.method.flags})
    args = parser.parse_args(arguments)
    if args.prompt != "none" and recipe.method.paired:
        raise UserError(f"--prompt {args.prompt} is for A1, A1+L and A1+R; {recipe.method.label} can't use it")
    if args.flips and recipe.method.cluster_head:
        raise UserError(
            f"--flips would leave the shape cluster of a mirrored lesion as it was; {recipe.method.label} trains "
            "without it"
        )
    if args.jitter and args.prompt == "none":
        raise UserError(f"--jitter {args.jitter:g} moves a prompt's end points; pass --prompt recist, or --jitter 0")
    if args.outlines and args.target == "truth":
        raise UserError("--target truth trains on every outline; leave --outlines out, or pass another --target")
    if args.outlines and not args.falling:
        raise UserError(
            "--outlines is for the last epoch, which a training that keeps its best by the marks would leave out; pass "
            "--falling, too"
        )
    if args.outlines and args.epochs == 1:
        raise UserError("--outlines is for the last epoch, after others on the marks; pass --epochs 2 or more")
    if args.checkpoint and args.checkpoint.suffix != ".pt":
        raise UserError(f"--checkpoint {args.checkpoint} must end in .pt, which .history.csv and .state will replace")
    args.target = args.target or default_target(args.protocol, recipe.method)
    args.canvas = args.canvas or (CANVAS if args.protocol == "released" else SMALL_CANVAS)
    args.clusters = args.clusters or prepared_clusters(args.prepared, recipe.dataset)
    return _config(TrainConfig, recipe, args)


def parse_eval(recipe: Recipe, description: str | None, arguments: Sequence[str] | None = None) -> EvalConfig:
    """Parse an evaluation script's command line; what no flag sets comes from the checkpoint's own settings."""
    parser = _run_parser(recipe, description)
    add_network_flags(parser, default="the checkpoint's own, else ")
    add = parser.add_argument
    add("--split", choices=("test", "val", "train", "all"), default="test", help="default test")
    masks = "|".join([*TARGETS, "DIR"] if recipe.dataset.read_truth else TARGETS)
    add("--truth", default=recipe.dataset.truth, metavar=masks,
        help=f"masks to score against (default {recipe.dataset.truth})")  # fmt: skip
    add("--prompt-noise", type=number_below(100), default=0.0, metavar="PERCENT",
        help="move the marks that the network sees by this much of the long diameter, seeded (default 0)")  # fmt: skip
    add("--tta", action="store_true", help=TTA_HELP)
    add("--allow-seen", action="store_true", help="score lesions seen in training as test data; every result says so")
    add("--export", choices=("onnx",), help="write the checkpoint as ONNX beside it, score nothing")
    parser.set_defaults(download=False)
    if recipe.released:
        add("--download", action="store_true", help="fetch the released checkpoint first, to the place of --checkpoint")
    args = parser.parse_args(arguments)
    if args.export and args.tta:
        raise UserError("--tta is no part of an exported network; leave it out, and average where that is run")
    return _config(EvalConfig, recipe, args)


def _config(kind: type[Config], recipe: Recipe, args: argparse.Namespace) -> Config:
    """The configuration of a command line; flags that are part of the recipe change the recipe."""
    values = vars(args)
    changes = {name: values[name] for name in ("lr", "batch_size", "epochs", "patience") if values.get(name)}
    if args.checkpoint is None:
        info = recipe.dataset
        clusters = info.clusters if values.get("download") else args.clusters or prepared_clusters(args.prepared, info)
        args.checkpoint = info.folder / "checkpoints" / recipe.checkpoint_name(clusters)
    own = {field.name: values[field.name] for field in fields(kind) if field.name != "recipe"}
    return kind(recipe=replace(recipe, **changes), **own)
