"""The method on one page, with real arrays as its thumbnails."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from common.data.dataset import LesionDataset
from common.data.images import BLUE, GREEN, NAVY, ORANGE, PURPLE, VERMILION, Colour
from common.patches import CANVAS, PATCH, canvas_index, patch_offset
from common.recipe import ENCODER
from common.recist import Ellipse
from common.report.figures.galleries import common_clusters, draw_ellipses, lesion_image, rows_by_size
from common.report.figures.page import FAINT, INK, TEXT, TITLE, WIDTH, Page, Rect
from common.utils.errors import UserError

SHOWN = 6
"""Clusters on the page."""
OTHERS = (BLUE, GREEN, PURPLE, NAVY, VERMILION)
"""Colours of the clusters beside the example's own, which is ORANGE like everything that the network is trained on."""
DARK, LIGHT = (40, 40, 40), (222, 226, 230)
_TOP, _BOTTOM = Rect(0.1, 0.1, WIDTH - 0.2, 2.45), Rect(0.1, 2.65, WIDTH - 0.2, 3.4)


@dataclass(frozen=True)
class Example:
    """One lesion, and what a network of A1+L makes of it."""

    prepared: LesionDataset
    row: int
    mask: np.ndarray
    """(120, 120) uint8 0/1."""
    probabilities: np.ndarray
    """(K,) of the shape clusters."""
    weights: dict[str, float]
    """Of the losses "mask" and "cluster"."""

    @property
    def cluster(self) -> int:
        """The lesion's own."""
        return int(self.prepared.clusters()[self.row])

    @property
    def recist(self) -> Ellipse:
        """The lesion's ellipse, px of the patch."""
        return Ellipse(*self.prepared.array("recist")[self.row].tolist())


def find_example(prepared: LesionDataset, checkpoint: Path, lesion: str | None) -> Example:
    """The lesion of that name, or the test lesion of median size, predicted.

    Raises:
        UserError: no such lesion; the checkpoint has no cluster head, or one of another K.
    """
    import torch

    from common.inference.predictor import Predictor

    names = [known["lesion"] for known in prepared.lesions]
    if lesion is not None and lesion not in names:
        raise UserError(f"{prepared.folder / 'lesions.csv'} has no lesion {lesion}; pass one of its names as --lesion")
    row = int(rows_by_size(prepared, "test", 1)[0]) if lesion is None else names.index(lesion)
    predictor = Predictor.load(checkpoint, device="cpu")
    trained = predictor.model
    if trained.clusters != prepared.metadata["clusters"]:
        head = f"{trained.clusters} clusters" if trained.clusters else "no cluster head"
        raise UserError(
            f"{checkpoint} has {head}, and {prepared.folder} {prepared.metadata['clusters']} clusters; "
            "pass a checkpoint of A1+L that was trained on this folder"
        )
    logits = predictor.logits(torch.from_numpy(prepared.array("images")[[row]]))
    mask = (logits["mask"][0] > 0).numpy().astype(np.uint8)
    weights = trained.settings.get("loss_weights", {"mask": 50.0, "cluster": 1.0})  # else FACTS.md section 1
    return Example(prepared, row, mask, logits["cluster"][0].softmax(0).numpy(), weights)


def draw_overview(path: Path, example: Example) -> None:
    """Write the page: how weak labels arise, and the network with its losses."""
    page = Page(_BOTTOM.bottom + 0.1)
    for panel, title in ((_TOP, "1  Weak labels from RECIST diameters"), (_BOTTOM, "2  One network, two tasks: A1+L")):
        page.panel(panel)
        page.text(panel.x + 0.15, panel.y + 0.22, title, TITLE, ha="left", weight="bold")
    _draw_labels(page, example)
    _draw_network(page, example)
    _draw_losses(page, example)
    page.save(path)


def _draw_labels(page: Page, example: Example) -> None:
    """The upper half: image, ellipse, all ellipses, their clusters."""
    prepared, side, top = example.prepared, 1.45, _TOP.y + 0.5
    image, target, cloud, groups = (Rect.square(x, top, side) for x in (0.3, 2.35, 4.4, 6.45))
    page.image(image, lesion_image(prepared, example.row))
    _draw_diameters(page, image, example.recist)
    _draw_mask(page, target, np.asarray(prepared.array("ellipse")[example.row]), ORANGE)

    recist, labels = prepared.array("recist"), prepared.clusters()
    shown = common_clusters(prepared, SHOWN)
    if example.cluster not in dict(shown):
        shown[-1] = example.cluster, np.flatnonzero(labels == example.cluster)
    others = iter(OTHERS)
    colours = {cluster: ORANGE if cluster == example.cluster else next(others) for cluster, _ in shown}
    page.frame(cloud, FAINT, fill=(255, 255, 255))
    for row in np.linspace(0, len(recist) - 1, min(len(recist), 150)).astype(int):  # more would be one grey blot
        page.ellipse(cloud, Ellipse(*recist[row]), colours.get(int(labels[row]), FAINT), width=0.6, alpha=0.7)
    small = (side - 0.05) / 2
    for place, (cluster, rows) in enumerate(shown):
        corner = groups.x + place % 3 * (small + 0.05), top + place // 3 * (small + 0.05)
        tile = Rect.square(*corner, small)
        draw_ellipses(page, tile, recist[rows], colours[cluster])
        if cluster == example.cluster:
            page.frame(tile, ORANGE, 2.2)

    for before, after, words in ((image, target, "fill"), (target, cloud, "five\nnumbers"), (cloud, groups, "k-means")):
        _connect(page, before, after)
        page.text((before.right + after.x) / 2, top + side / 2 - (0.22 if "\n" in words else 0.15), words)
    clusters = prepared.metadata["clusters"]
    grid = Rect(groups.x, top, 3 * small + 0.1, side)
    for tile, words in (
        (image, "image and its two\nRECIST diameters"),
        (target, "ellipse they span:\nthe approximate target"),
        (cloud, "ellipses of all lesions: centre,\nwidth, height, angle"),
        (grid, f"shape clusters, {len(shown)} of K = {clusters};\nframed: the lesion's"),
    ):
        page.text(tile.middle[0], tile.bottom + 0.24, words)


def _draw_diameters(page: Page, tile: Rect, ellipse: Ellipse) -> None:
    """Both axes of an ellipse, as a radiologist measures a lesion."""
    turn = np.deg2rad(ellipse.angle)
    along, across = np.array([np.cos(turn), np.sin(turn)]), np.array([-np.sin(turn), np.cos(turn)])
    centre = np.array([ellipse.cx, ellipse.cy])
    for way in (along * ellipse.width / 2, across * ellipse.height / 2):
        ends = tile.point(*(centre - way)), tile.point(*(centre + way))
        page.line(*ends, DARK, 3)  # a dark rim, to be seen on light images too
        page.line(*ends, (255, 255, 255), 1.4)


def _draw_mask(page: Page, tile: Rect, mask: np.ndarray, colour: Colour) -> None:
    """A (120, 120) mask in a colour on dark ground."""
    page.image(tile, np.where(mask[..., None] > 0, np.array(colour, np.uint8), np.array(DARK, np.uint8)))


def _connect(page: Page, before: Rect, after: Rect) -> None:
    page.arrow((before.right + 0.08, before.middle[1]), (after.x - 0.08, before.middle[1]))


_ROW, _HEAD = _BOTTOM.y + 1.32, _BOTTOM.y + 2.78
"""Heights of the mask's and of the cluster's branch, in inches from the top."""
_CAPTION = 0.76
"""From the middle of the mask's branch to the captions under it."""
_STAGES = (1.2, 0.9, 0.66, 0.48, 0.34)
"""Heights of the encoder's stages on the page."""


def _draw_network(page: Page, example: Example) -> None:
    """The way of a patch to the mask and to the cluster, with the published sizes."""
    scale = 1.45 / CANVAS[1]
    canvas = Rect(0.3, _ROW - CANVAS[0] * scale / 2, CANVAS[1] * scale, CANVAS[0] * scale)
    page.image(canvas, lesion_image(example.prepared, example.row)[np.ix_(*canvas_index(CANVAS))])
    top, left = patch_offset(CANVAS)
    page.frame(
        Rect(canvas.x + left * scale, canvas.y + top * scale, PATCH * scale, PATCH * scale), (255, 255, 255), 1.4
    )
    page.text(canvas.middle[0], _ROW + _CAPTION, f"patch, mirrored\nto {CANVAS[0]}x{CANVAS[1]}", va="top")

    stages = [Rect(2.15 + 0.24 * step, _ROW - side / 2, 0.17, side) for step, side in enumerate(_STAGES)]
    for stage in stages:
        page.frame(stage, INK, fill=LIGHT)
    last, second = stages[-1], stages[1]
    page.text(stages[2].middle[0], _ROW + _CAPTION, f"encoder\n{ENCODER.replace('resnet', 'ResNet-')}", va="top")
    decoder = Rect(3.7, _ROW - 0.6, 0.95, 1.2)
    low, high = _ROW - last.height / 2, _ROW + last.height / 2
    page.shape(
        [(decoder.x, low), (decoder.right, decoder.y), (decoder.right, decoder.bottom), (decoder.x, high)], LIGHT
    )
    page.text(decoder.middle[0] + 0.04, _ROW, "DeepLabV3+\ndecoder")
    head = Rect(3.5, _HEAD - 0.22, 1.15, 0.44)
    page.frame(head, INK, fill=LIGHT)
    page.text(*head.middle, "auxiliary head:\npool, linear to K")

    over, middle = _ROW - 0.72, decoder.middle[0]
    _connect(page, canvas, stages[0])
    _connect(page, last, decoder)
    page.arrow((second.middle[0], second.y - 0.04), (second.middle[0], over), (middle, over), (middle, _ROW - 0.42))
    page.text((second.middle[0] + middle) / 2, over - 0.1, "features at stride 4")
    page.arrow((last.middle[0], last.bottom + 0.04), (last.middle[0], _HEAD), (head.x - 0.05, _HEAD))
    _connect(page, decoder, _PREDICTED)
    _connect(page, head, _BARS)


_PREDICTED, _TARGET = (Rect.square(x, _ROW - 0.55, 1.1) for x in (5.05, 7.6))
_BARS, _OWN = Rect(5.05, _HEAD - 0.3, 1.1, 0.6), Rect.square(7.85, _HEAD - 0.3, 0.6)


def _draw_losses(page: Page, example: Example) -> None:
    """Both outputs, what each is compared with, and the sum of the losses."""
    _draw_mask(page, _PREDICTED, example.mask, BLUE)
    _draw_mask(page, _TARGET, np.asarray(example.prepared.array("ellipse")[example.row]), ORANGE)
    _draw_bars(page, example)
    draw_ellipses(page, _OWN, example.prepared.array("recist")[example.prepared.clusters() == example.cluster], ORANGE)
    for tile, words in (
        (_PREDICTED, "predicted mask"),
        (_TARGET, "approximate target"),
        (_BARS, "probabilities of K clusters"),
        (_OWN, "the lesion's cluster"),
    ):
        page.text(tile.middle[0], tile.bottom + 0.14, words)

    total = Rect(6.42, (_ROW + _HEAD) / 2 - 0.17, 0.86, 0.34)
    for name, loss, output, target in (("mask", "BCE", _PREDICTED, _TARGET), ("cluster", "CE", _BARS, _OWN)):
        box = Rect(total.x, output.middle[1] - total.height / 2, total.width, total.height)
        page.frame(box, INK, fill=(255, 255, 255))
        page.text(*box.middle, f"{example.weights[name]:g} {loss}", TEXT)
        _connect(page, output, box)
        page.arrow((target.x - 0.08, box.middle[1]), (box.right + 0.08, box.middle[1]))
        ends = (box.bottom + 0.05, total.y - 0.05) if box.y < total.y else (box.y - 0.05, total.bottom + 0.05)
        page.arrow((box.middle[0], ends[0]), (box.middle[0], ends[1]))
    page.frame(total, INK, 1.4, fill=(255, 255, 255))
    page.text(*total.middle, "total loss", TEXT, weight="bold")


def _draw_bars(page: Page, example: Example) -> None:
    """The probability of each cluster, the highest as high as the frame allows; the lesion's own in ORANGE."""
    page.frame(_BARS, FAINT, fill=(255, 255, 255))
    step = _BARS.width / len(example.probabilities)
    for cluster, probability in enumerate(example.probabilities.tolist()):
        height = 0.9 * _BARS.height * probability / float(example.probabilities.max())
        bar = Rect(_BARS.x + (cluster + 0.15) * step, _BARS.bottom - height, 0.7 * step, height)
        page.frame(bar, width=0, fill=ORANGE if cluster == example.cluster else BLUE)
