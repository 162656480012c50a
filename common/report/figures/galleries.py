"""Two pages of patches: shape clusters with their members, and predictions beside the truth."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from common.data.dataset import LesionDataset
from common.data.images import BLUE, GREEN, ORANGE, Colour, display_image
from common.metrics import dice
from common.recist import Ellipse
from common.report.figures.page import FAINT, TEXT, TITLE, WIDTH, Page, Rect

GAP, MARGIN = 0.05, 0.1  # inches between patches, and around everything
TARGET = "approximate\ntarget"
REFERENCES = {"truth": "truth", "grabcut": "GrabCut", "ellipse": "ellipse"}
"""Arrays that predictions are scored against, the best first, and how they are called: not every dataset has all."""


def draw_clusters(path: Path, folders: Sequence[LesionDataset], clusters: int, members: int) -> None:
    """Write a page with a block for each folder, a row for each of its most populous clusters, small ellipses first.

    A row shows all the cluster's ellipses at once, then some lesions that belong to it.

    Args:
        path: PNG to write.
        folders: the blocks, side by side.
        clusters: rows, at most.
        members: lesions in a row.
    """
    gutter, head, apart = 0.32, 0.54, 0.14
    block = (WIDTH - 2 * MARGIN - apart * (len(folders) - 1)) / len(folders)
    side = (block - gutter - GAP * members) / (members + 1)
    page = Page(head + clusters * (side + GAP) + MARGIN)
    for number, prepared in enumerate(folders):
        left = MARGIN + number * (block + apart)
        start = left + gutter
        page.text((start + left + block) / 2, 0.17, block_title(prepared), TITLE, weight="bold")
        page.text(start + side / 2, head - 0.11, "all ellipses")
        page.text((start + side + GAP + left + block) / 2, head - 0.11, f"lesions, {members} of each cluster")
        for line, (cluster, rows) in enumerate(common_clusters(prepared, clusters)):
            place = Rect.square(start, head + line * (side + GAP), side)
            page.text(left + 0.16, place.middle[1], f"cluster {cluster}\n{len(rows)} lesions", rotation=90)
            draw_ellipses(page, place, prepared.array("recist")[rows], ORANGE)
            for column, row in enumerate(rows[spread(len(rows), members)], 1):
                place = Rect.square(start + column * (side + GAP), place.y, side)
                page.image(place, lesion_image(prepared, row))
                page.ellipse(place, Ellipse(*prepared.array("recist")[row]), ORANGE, width=1.1)
    page.save(path)


def block_title(prepared: LesionDataset) -> str:
    """The dataset and its K."""
    return f"{prepared.metadata['dataset']}, K = {prepared.metadata['clusters']}"


def common_clusters(prepared: LesionDataset, count: int) -> list[tuple[int, np.ndarray]]:
    """The ``count`` clusters that most lesions are in, with their rows, by the mean area of their ellipses."""
    labels = prepared.clusters()
    sizes = np.bincount(labels)
    largest = np.argsort(-sizes, kind="stable")[: min(count, np.count_nonzero(sizes))]
    area = prepared.array("recist")[:, 2:4].prod(axis=1)
    members = [(int(cluster), np.flatnonzero(labels == cluster)) for cluster in largest]
    return sorted(members, key=lambda member: float(area[member[1]].mean()))


def draw_ellipses(page: Page, tile: Rect, recist: np.ndarray, colour: Colour) -> None:
    """The outlines of (n, 5) ellipses over each other: the more there are, the fainter each."""
    page.frame(tile, FAINT, fill=(255, 255, 255))
    for ellipse in recist:
        page.ellipse(tile, Ellipse(*ellipse), colour, width=0.8, alpha=float(np.clip(8 / len(recist), 0.2, 0.9)))


def lesion_image(prepared: LesionDataset, row: int) -> np.ndarray:
    """A lesion's patch as it looks: (120, 120, 3) uint8 RGB."""
    return display_image(prepared.array("images")[row], prepared.metadata["channels"])


def spread(length: int, count: int) -> np.ndarray:
    """``count`` different places spread evenly over 0..length-1, none of them at its ends; all where it is shorter.

    >>> spread(10, 2).tolist()
    [2, 7]
    """
    return ((np.arange(min(count, length)) + 0.5) * length / max(min(count, length), 1)).astype(int)


@dataclass(frozen=True)
class Predicted:
    """Some lesions of a prepared folder and what networks made of them."""

    prepared: LesionDataset
    rows: np.ndarray
    """(n,) row numbers."""
    masks: Mapping[str, np.ndarray] = field(default_factory=dict)
    """(n, 120, 120) predictions by column heading."""

    @property
    def reference(self) -> str:
        """The array that predictions are scored against."""
        return next(name for name in REFERENCES if name in self.prepared.metadata["arrays"])


def rows_by_size(prepared: LesionDataset, split: str, count: int) -> np.ndarray:
    """``count`` lesions of a split, spread evenly from the smallest ellipse to the largest."""
    rows = prepared.rows(split)
    area = prepared.array("ellipse")[rows].sum(axis=(1, 2))
    return rows[np.argsort(area, kind="stable")][spread(len(rows), count)]


def draw_results(path: Path, blocks: Sequence[Predicted]) -> None:
    """Write a page with a row for each lesion: image, truth, approximate target, then every network's prediction.

    Args:
        path: PNG to write.
        blocks: what is drawn, one dataset below the other; they need not have the same networks.
    """
    gutter, head, words, apart = 0.3, 0.52, 0.2, 0.1
    headings = ["image", "truth", TARGET, *dict.fromkeys(name for block in blocks for name in block.masks)]
    side = (WIDTH - 2 * MARGIN - gutter - GAP * (len(headings) - 1)) / len(headings)
    pitch, lines = side + words + GAP, sum(len(block.rows) for block in blocks)
    page = Page(head + lines * pitch + apart * (len(blocks) - 1))
    lefts = {name: MARGIN + gutter + place * (side + GAP) for place, name in enumerate(headings)}
    for name, left in lefts.items():
        page.text(left + side / 2, head / 2 - 0.04, name, fitting(name, side))
        if name != "image":
            page.frame(Rect(left, head - 0.07, side, 0.035), width=0, fill=_colour(name))
    top = head
    for block in blocks:
        middle = top + (len(block.rows) * pitch - words - GAP) / 2
        page.text(MARGIN + 0.12, middle, block.prepared.metadata["dataset"], TITLE, rotation=90, weight="bold")
        for line in range(len(block.rows)):
            _draw_line(page, block, line, {name: Rect.square(left, top, side) for name, left in lefts.items()})
            top += pitch
        top += apart
    page.save(path)


def fitting(words: str, width: float) -> float:
    """The size in points, at most that of text, at which the words' longest line is no wider than ``width`` inches."""
    letter = 0.62  # of the size, the mean width of a letter
    return min(TEXT, 72 * width / (letter * max(map(len, words.splitlines()))))


def _colour(heading: str) -> Colour:
    return {"truth": GREEN, TARGET: ORANGE}.get(heading, BLUE)


def _draw_line(page: Page, block: Predicted, line: int, places: Mapping[str, Rect]) -> None:
    """One lesion: its image in each column, with the column's outline and, below, its Dice against the reference."""
    row, image = block.rows[line], lesion_image(block.prepared, block.rows[line])
    reference = block.prepared.array(block.reference)[row]
    masks = {"truth": reference, TARGET: block.prepared.array("ellipse")[row]}
    masks |= {name: predictions[line] for name, predictions in block.masks.items()}
    page.image(places["image"], image)
    for name, mask in masks.items():
        tile = places[name]
        page.image(tile, image)
        page.outline(tile, mask, _colour(name))
        words = f"Dice {dice(mask, reference):.2f}"
        if name == "truth":
            words = "" if block.reference == "truth" else f"{REFERENCES[block.reference]} instead"
        page.text(tile.middle[0], tile.bottom + 0.11, words, fitting(words or " ", tile.width) - 1)
