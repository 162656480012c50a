"""The prepared folder: whether it must be made again, what must not be overwritten, and locking between processes."""

import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from common.data.dataset import TABLES, read_metadata
from common.utils.errors import UserError


@contextmanager
def exclusive(folder: Path) -> Iterator[None]:
    """Let one process at a time prepare ``folder``; the others wait, and say so."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder.parent / f".{folder.name}.lock")
    try:
        held = lock.acquire(blocking=False)
    except Timeout:
        print(f"another process is preparing {folder}; waiting for it", file=sys.stderr, flush=True)
        held = lock.acquire()
    with held:
        yield


def check_replaceable(folder: Path) -> None:
    """Check that a folder holds none of the user's own files, since it is going to be replaced as a whole.

    Raises:
        UserError: something is, or it is no folder.
    """
    if os.path.lexists(folder) and not folder.is_dir():
        raise UserError(f"{folder} is not a folder; move it away, or pass another --prepared")
    for path in folder.iterdir() if folder.is_dir() else ():
        if path.suffix != ".npy" and path.name not in TABLES and not path.name.startswith("."):
            raise UserError(
                f"{folder} holds {path.name}, which would be lost; move it away, or pass another --prepared"
            )


def is_current(folder: Path, wanted: Mapping[str, Any], refresh: bool) -> bool:
    """Whether a prepared folder is up to date with the ``wanted`` settings and inputs; prints what will be done.

    With ``refresh`` unchanged inputs are enough.

    Raises:
        UserError: with ``refresh``, both inputs and settings differ.
    """
    metadata = read_metadata(folder)
    if metadata is None:
        return False
    differing = [name for name, value in wanted.items() if metadata.get(name) != value]
    if not differing or (refresh and "inputs" not in differing):
        settings = f", but another {differing[0]}" if differing else " and settings"
        print(
            f"{folder} is already prepared with these inputs{settings} ({describe_counts(metadata)}); --force redoes it"
        )
        return True
    if refresh and differing != ["inputs"]:
        raise UserError(
            f"the input files of {folder} have changed, and it was made with another {differing[0]} than is asked for "
            "now; prepare it again with the flags that you want"
        )
    print(f"{folder} was made from other inputs or settings; making it again")
    return False


def describe_counts(metadata: Mapping[str, Any]) -> str:
    """How many lesions a prepared folder holds, by split, and how many were dropped."""
    splits = ", ".join(f"{count} {name}" for name, count in metadata["splits"].items())
    text = f"{metadata['lesions']} lesions: {splits}"
    if metadata["dropped"]:
        text += "; dropped " + ", ".join(f"{count} ({reason})" for reason, count in metadata["dropped"].items())
    return text
