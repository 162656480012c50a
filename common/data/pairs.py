"""Files that belong together: an image and its mask, a volume and its segmentation."""

import sys
from collections.abc import Mapping
from pathlib import Path

from common.data.dataset import Dropped


def drop_unpaired(
    first: Mapping[str, Path], second: Mapping[str, Path], kinds: tuple[str, str], name: str = "{key}"
) -> list[Dropped]:
    """List the files that have no counterpart, and print a line on stderr for each.

    Args:
        first: files by the key that pairs them.
        second: their counterparts.
        kinds: what the two are, for example ("image", "mask").
        name: template of an unpaired file's name, with ``{key}`` and ``{kind}``.

    Returns:
        The unpaired files of ``first``, then those of ``second``, each in the order of the keys.
    """
    dropped = [
        Dropped(name.format(key=key, kind=kind), f"{kind} without {other}")
        for kind, other, files, others in ((*kinds, first, second), (*kinds[::-1], second, first))
        for key in sorted(files.keys() - others.keys())
    ]
    for item in dropped:
        print(f"{item.lesion}: {item.reason}, left out", file=sys.stderr)
    return dropped
