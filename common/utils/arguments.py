"""Command-line parsing: types of arguments, and a parser whose errors are one sentence."""

import argparse
import os
import re
import shlex
from collections.abc import Callable
from typing import Any

from common.utils.errors import UserError

TTA_HELP = "test-time augmentation: average over the mirrored and transposed patches, eight times slower"


def numbers(what: str, fits: Callable[..., bool], count: int = 1) -> Callable[[str], Any]:
    """Make a parser of ``count`` numbers that satisfy ``fits``; its error says that the text is not ``what``."""

    def parse(text: str) -> Any:
        values = number_list(text, count)
        if values is None or not fits(*values):
            raise argparse.ArgumentTypeError(f"{text!r} is not {what}")
        return values if count > 1 else values[0]

    return parse


def whole_number(what: str, least: int, most: int) -> Callable[[str], int]:
    """A parser of a whole number from ``least`` to ``most``; anything else is refused as not being ``what``."""

    def parse(text: str) -> int:
        if not (text.isascii() and text.isdigit() and least <= int(text) <= most):
            raise argparse.ArgumentTypeError(f"{text!r} is not {what}")
        return int(text)

    return parse


def number_below(limit: float) -> Callable[[str], float]:
    """A parser of numbers from 0 up to, and without, a limit."""
    return numbers(f"a number from 0 to below {limit:g}", lambda number: 0 <= number < limit)


positive = whole_number("a whole number above 0", 1, 2**31 - 1)
seed_number = whole_number(f"a whole number from 0 to {2**32 - 1}", 0, 2**32 - 1)


def device_name(text: str) -> str:
    """Check the name of a device; whether the machine has it is for `training.device.pick_device` to say.

    Raises:
        argparse.ArgumentTypeError: none of the names.
    """
    if not re.fullmatch(r"auto|cpu|mps|cuda(:[0-9]{1,3})?", text):
        raise argparse.ArgumentTypeError(f"{text!r} is none of auto, cpu, mps, cuda and cuda:N, N counted from 0")
    return text


def split_flags(text: str) -> list[str]:
    """Split a command line given as one argument; on Windows a backslash is part of a path."""
    return shlex.split(text.replace("\\", "/") if os.name == "nt" else text)


def number_list(text: str, count: int) -> tuple[float, ...] | None:
    """Parse numbers with commas between them.

    Args:
        text: for example "-175, 275".
        count: how many numbers it must hold.

    Returns:
        The numbers, or None where the text holds anything else, or a number of a million or more: no length in px or
        mm and no intensity in HU is as large, and its square would overflow.
    """
    try:
        numbers = tuple(float(part) for part in text.split(","))
    except ValueError:
        return None
    if "_" in text:  # which Python allows between digits
        return None
    return numbers if len(numbers) == count and all(abs(number) < 1e6 for number in numbers) else None


class Parser(argparse.ArgumentParser):
    """A parser whose help keeps its line breaks, and that answers bad input with one sentence and exit status 2."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(formatter_class=argparse.RawDescriptionHelpFormatter, **kwargs)

    def error(self, message: str) -> Any:
        """Without the usage block."""
        raise UserError(f"{message} (see --help)")
