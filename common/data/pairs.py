"""Files that belong together: an image and its mask, a volume and its segmentation."""

import filecmp
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

from common.data.lesion import Dropped
from common.utils.errors import UserError, join_names


def unique_files(files: Iterable[tuple[str, Path]]) -> dict[str, Path]:
    """Files by the key that pairs them; one that lies in several folders is taken once.

    Raises:
        UserError: files of one key differ.
    """
    by_key: dict[str, Path] = {}
    for key, path in files:
        other = by_key.setdefault(key, path)
        if other is not path and not filecmp.cmp(other, path, shallow=False):
            raise UserError(f"{path} differs from {other}, of the same name or number; keep one of them")
    return by_key


def drop_unpaired(
    first: Mapping[str, Path], second: Mapping[str, Path], kinds: tuple[str, str], name: str = "{key}"
) -> list[Dropped]:
    """List the files that have no counterpart, and print a line on stderr for each kind.

    Args:
        first: files by the key that pairs them.
        second: their counterparts.
        kinds: what the two are, for example ("image", "mask").
        name: template of an unpaired file's name, with ``{key}`` and ``{kind}``.

    Returns:
        The unpaired files of ``first``, then those of ``second``, each in the order of the keys.
    """
    dropped = []
    for kind, other, files, others in ((*kinds, first, second), (*kinds[::-1], second, first)):
        names = [name.format(key=key, kind=kind) for key in sorted(files.keys() - others.keys())]
        if names:
            print(f"{join_names(names)}: {kind} without {other}, left out", file=sys.stderr)
        dropped += [Dropped(item, f"{kind} without {other}") for item in names]
    return dropped
