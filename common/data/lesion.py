"""What a dataset's script makes of each of its lesions."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from common.recist import Ellipse


@dataclass(frozen=True)
class Lesion:
    """One lesion as a dataset's script yields it: 120x120 arrays, and what the dataset knows of it."""

    name: str
    group: str  # what must never be in two splits: the patient, the volume, the lesion, else the image
    image: np.ndarray  # (120, 120, 3) uint8 or float32, 0..255.
    ellipse: np.ndarray  # (120, 120) uint8 0/1
    recist: Ellipse  # in px of the patch
    ends: np.ndarray  # (4, 2) px of the patch: ends (x, y) of the diameter that is long in the image, then the other's
    grabcut: np.ndarray | None = None
    truth: np.ndarray | None = None
    info: Mapping[str, Any] = field(default_factory=dict)
    """More cells of `lesions.csv`; "source" tells where the lesion came from."""
    notes: tuple[str, ...] = ()  # sentences for the user; each is printed once, with the lesions that it holds for

    def arrays(self) -> dict[str, np.ndarray]:
        """The arrays of one row that the lesion has, by file name, except the quarters."""
        rows = {
            "images": self.image,
            "ellipse": self.ellipse,
            "grabcut": self.grabcut,
            "truth": self.truth,
            "recist": np.array(self.recist, np.float32),
            "ends": self.ends.astype(np.float32),
        }
        return {name: row for name, row in rows.items() if row is not None}


@dataclass(frozen=True)
class Dropped:
    """A lesion that can't be used, and why."""

    lesion: str
    reason: str


class Unreadable(Dropped):
    """A lesion whose files are damaged or of the wrong kind; ``reason`` is the whole sentence.

    Preparing stops once all of them are known, unless --skip-bad says to go on without them.
    """


Outcome = Lesion | Dropped
