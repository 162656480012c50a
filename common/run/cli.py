"""The command lines of the data, training and evaluation scripts."""

import argparse
from collections.abc import Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from common.patches import CANVAS, SMALL_CANVAS, parse_canvas
from common.recipe import ENCODER, PROTOCOLS, TARGETS, DatasetInfo, EvalConfig, Recipe, TrainConfig
from common.utils.arguments import Parser, learning_rate, positive, seed_number


class _DatasetParser(Parser):
    def __init__(self, description: str | None, data: Path) -> None:
        super().__init__(description=description)
        self.add_argument("--data", type=Path, default=data, metavar="DIR", help=f"data folder (default {data})")
        self.add_argument("--prepared", type=Path, metavar="DIR", help="prepared arrays (default DATA/prepared)")

    def parse_args(self, *args: Any, **kwargs: Any) -> Any:
        parsed = super().parse_args(*args, **kwargs)
        parsed.prepared = parsed.prepared or parsed.data / "prepared"
        return parsed


def prepare_parser(dataset: DatasetInfo, description: str | None) -> argparse.ArgumentParser:
    """The flags that the three data scripts share; a script adds its own."""
    parser = _DatasetParser(description, dataset.folder / dataset.data)
    parser.add_argument("--protocol", choices=PROTOCOLS, default="released", help="default released")
    parser.add_argument(
        "--clusters",
        type=positive,
        default=dataset.clusters,
        metavar="K",
        help=f"shape clusters (default {dataset.clusters}, as published)",
    )
    parser.add_argument("--seed", type=seed_number, default=0, help="of k-means (default 0, as published)")
    parser.add_argument("--no-grabcut", dest="grabcut", action="store_false", help="skip the GrabCut masks: faster")
    parser.add_argument("--force", action="store_true", help="make the arrays again even if they are there")
    parser.add_argument("--workers", type=positive, metavar="N", help="processes (default one a core)")
    return parser


def _run_parser(recipe: Recipe, description: str | None, note: str) -> argparse.ArgumentParser:
    """The flags that training and evaluation share. ``note`` tells what an option left out means."""
    folder = recipe.dataset.folder
    parser = _DatasetParser(description, folder / recipe.dataset.data)
    add = parser.add_argument
    add(
        "--checkpoint",
        type=Path,
        default=folder / "checkpoints" / recipe.checkpoint,
        metavar="PATH",
        help=f"default {folder.name}/checkpoints/{recipe.checkpoint}",
    )
    add("--results", type=Path, default=folder / "results", metavar="DIR", help=f"default {folder.name}/results")
    add("--encoder", metavar="NAME", help=f"default {note}{ENCODER}")
    sizes = f"{CANVAS[0]}x{CANVAS[1]}; corrected: {SMALL_CANVAS[0]}x{SMALL_CANVAS[1]}"
    add("--canvas", type=parse_canvas, metavar="HxW", help=f"px the network sees (default {note}{sizes})")
    add("--clusters", type=positive, metavar="K", help=f"default {note}{recipe.dataset.clusters}")
    add("--protocol", choices=PROTOCOLS, help=f"default {note}released")
    add("--batch-size", type=positive, default=recipe.batch_size, metavar="N", help=f"default {recipe.batch_size}")
    add("--seed", type=seed_number, default=0, help="default 0")
    add("--device", choices=("auto", "cpu", "cuda"), default="auto")
    add("--precision", choices=("auto", "fp32", "bf16"), default="auto", help="auto: bf16 where the hardware has it")
    add("--limit", type=positive, metavar="N", help="only the first N lesions of each split, for a quick look")
    return parser


def parse_train(recipe: Recipe, description: str | None, arguments: Sequence[str] | None = None) -> TrainConfig:
    """Parse a training script's command line; the recipe's values are the defaults."""
    parser = _run_parser(recipe, description, note="")
    parser.set_defaults(encoder=ENCODER, clusters=recipe.dataset.clusters, protocol="released")
    add = parser.add_argument
    add(
        "--encoder-weights",
        default="imagenet",
        metavar="imagenet|none|PATH",
        help="what the encoder starts from; PATH is a torchvision-keyed state dict (default imagenet)",
    )
    add("--target", choices=TARGETS, default="ellipse", help="mask to train on (default ellipse)")
    add("--epochs", type=positive, default=recipe.epochs, help=f"at most this many (default {recipe.epochs})")
    add("--lr", type=learning_rate, default=recipe.lr, help=f"default {recipe.lr:g}")
    add(
        "--patience",
        type=positive,
        default=recipe.patience,
        metavar="EPOCHS",
        help=f"epochs without improvement before stopping (default {recipe.patience})",
    )
    add("--resume", action="store_true", help="go on where an interrupted training stopped")
    add("--compile", action="store_true", help="compile the network first: minutes once, faster steps after")
    args = parser.parse_args(arguments)
    args.canvas = args.canvas or (CANVAS if args.protocol == "released" else SMALL_CANVAS)
    return TrainConfig(**_fields(TrainConfig, recipe, args))


def parse_eval(recipe: Recipe, description: str | None, arguments: Sequence[str] | None = None) -> EvalConfig:
    """Parse an evaluation script's command line; what is not given comes from the checkpoint's own recipe."""
    parser = _run_parser(recipe, description, note="the checkpoint's own, else ")
    parser.add_argument("--split", choices=("test", "val", "train", "all"), default="test", help="default test")
    folder = "|DIR" if recipe.dataset.read_truth else ""
    parser.add_argument(
        "--truth",
        default=recipe.dataset.truth,
        metavar=f"{'|'.join(TARGETS)}{folder}",
        help=f"masks to score against (default {recipe.dataset.truth})",
    )
    parser.add_argument("--export", choices=("onnx",), help="write the checkpoint as ONNX beside it, score nothing")
    return EvalConfig(**_fields(EvalConfig, recipe, parser.parse_args(arguments)))


def _fields(config: type[TrainConfig | EvalConfig], recipe: Recipe, args: argparse.Namespace) -> dict[str, Any]:
    """The fields of a configuration; flags that are part of the recipe change the recipe."""
    given = vars(args)
    changed = {name: given[name] for name in ("lr", "batch_size", "epochs", "patience") if name in given}
    chosen = {field.name: given[field.name] for field in fields(config) if field.name in given}
    return chosen | {"recipe": replace(recipe, **changed)}
