"""Progress of long work: a tqdm bar on a terminal, plain lines elsewhere."""

import sys
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

from tqdm import tqdm

T = TypeVar("T")
_SECONDS_BETWEEN_LINES = 30.0


def progress(items: Iterable[T], what: str, total: int, unit: str = "lesion") -> Iterator[T]:
    """Pass ``items`` on while showing how many are done, the rate and the time left (on stderr).

    Without a terminal (a log file, CI) a line is printed every 30 seconds instead of a bar that redraws itself.
    """
    if sys.stderr.isatty():
        yield from tqdm(items, desc=what, total=total, unit=unit, leave=False, dynamic_ncols=True)
        return
    units = f"{unit}es" if unit.endswith("ch") else f"{unit}s"
    start = last = time.monotonic()
    for done, item in enumerate(items, 1):
        yield item
        now = time.monotonic()
        if now - last >= _SECONDS_BETWEEN_LINES and done < total:
            rate = done / (now - start)
            left = (total - done) / rate
            print(f"{what}: {done}/{total} {units}, {rate:.2f}/s, {left:.0f} s left", file=sys.stderr, flush=True)
            last = now
