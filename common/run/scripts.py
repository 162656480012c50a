"""What the training and evaluation scripts do when they are run.

Torch is imported only once the command line is understood: --help and bad flags are answered at once.
"""

from collections.abc import Sequence
from functools import partial

from common.recipe import Recipe
from common.run.cli import parse_eval, parse_train
from common.utils.errors import run_script


def train_main(recipe: Recipe, description: str | None, arguments: Sequence[str] | None = None) -> None:
    """Train as a command line says; see --help."""
    config = parse_train(recipe, description, arguments)
    from common.training.train import train

    train(config)


def eval_main(recipe: Recipe, description: str | None, arguments: Sequence[str] | None = None) -> None:
    """Score or export a checkpoint as a command line says; see --help."""
    config = parse_eval(recipe, description, arguments)
    if config.download:
        from common.training.released import download_released

        download_released(config)
    if config.export:
        from common.inference.onnx_export import export as work
    else:
        from common.evaluation.evaluate import evaluate as work
    work(config)


def train_script(recipe: Recipe, description: str | None) -> None:
    """Run as a training script."""
    run_script(partial(train_main, recipe, description))


def eval_script(recipe: Recipe, description: str | None) -> None:
    """Run as an evaluation script."""
    run_script(partial(eval_main, recipe, description))
