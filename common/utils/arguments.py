"""Command-line parsing: types of arguments, and a parser whose errors are one sentence."""

import argparse
import math
import os
import re
import shlex
from collections.abc import Callable
from typing import Any

from common.utils.errors import UserError

TTA_HELP = "test-time augmentation: average over the mirrored and transposed patches, eight times slower"


def positive(text: str) -> int:
    """Parse a whole number above 0.

    Raises:
        argparse.ArgumentTypeError: anything else.
    """
    if not (text.isascii() and text.isdigit() and 0 < int(text) < 2**31):
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number above 0")
    return int(text)


def seed_number(text: str) -> int:
    """Parse a seed: a whole number of 32 bits.

    Raises:
        argparse.ArgumentTypeError: anything else.
    """
    if not (text.isascii() and text.isdigit() and int(text) < 2**32):
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 0 to {2**32 - 1}")
    return int(text)


def learning_rate(text: str) -> float:
    """Parse a number above 0.

    Raises:
        argparse.ArgumentTypeError: anything else.
    """
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not (math.isfinite(value) and value > 0):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number above 0")
    return value


def number_below(limit: float) -> Callable[[str], float]:
    """A parser of numbers from 0 up to, and without, a limit."""

    def parse(text: str) -> float:
        match number_list(text, 1):
            case (value,) if 0 <= value < limit:
                return value
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 0 to below {limit:g}")

    return parse


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
    return numbers if len(numbers) == count and all(abs(number) < 1e6 for number in numbers) else None


class Parser(argparse.ArgumentParser):
    """A command line whose help keeps its lines, and where bad input is one sentence and exit status 2."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(formatter_class=argparse.RawDescriptionHelpFormatter, **kwargs)

    def error(self, message: str) -> Any:
        """Without the usage block."""
        raise UserError(f"{message} (see --help)")
