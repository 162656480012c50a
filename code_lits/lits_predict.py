"""Segment tumours in CT volumes of your own, with a checkpoint trained on LiTS.

python lits_predict.py --checkpoint checkpoints/LiTS_A1class_40.pt volume.nii.gz --lesions lesions.csv --out predictions

Around each lesion a square patch is cut exactly as from LiTS's volumes; the mask is a NIfTI file with the volume's own
shape and affine, 1 inside the lesions. Overlays show the patient's right on the left and anterior up.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import chain, groupby
from pathlib import Path
from typing import Any

import cv2
import numpy as np

import lits_data  # also puts the project's root on the path
from common.data.lesion import Unreadable
from common.inference.lesion_image import LesionImage, LesionPatch
from common.inference.predict import load_predictor, output_names, predict, predict_parser
from common.inference.prompts import VOLUME_HELP, Grid, LesionPrompt, read_prompts
from common.io.images import find_images
from common.patches import resize_points
from common.utils.errors import UserError, run_script
from common.utils.progress import progress
from common.weak_masks import quarters_mask
from lits_files import print_remarks
from lits_scan import Scan

SUFFIXES = (".nii", ".nii.gz")
Window = tuple[float, float] | None


def cut_patch(pixels: np.ndarray, prompt: LesionPrompt, scan: Scan, looks: int = 2) -> LesionPatch:
    """Cut a lesion's patch out of a (rows, columns) uint8 slice; it is pasted into the slice as shown, upright.

    A point's patch, about a box of `POINT_SIDE`, can be followed by up to ``looks`` larger ones, each twice as wide.
    """
    box = (round(prompt.top), round(prompt.left), round(prompt.bottom), round(prompt.right))
    place = lits_data.patch_box(box, pixels.shape)
    patch = pixels[place]

    def paste(probability: np.ndarray) -> np.ndarray:
        image = np.zeros(pixels.shape, np.float32)
        image[place] = cv2.resize(probability, patch.shape[::-1], interpolation=cv2.INTER_LINEAR)
        return scan.upright(image)

    wide, high = (prompt.right - prompt.left) / 2, (prompt.bottom - prompt.top) / 2
    larger = prompt._replace(
        left=max(prompt.left - wide, 0),
        top=max(prompt.top - high, 0),
        right=min(prompt.right + wide, pixels.shape[1] - 1),
        bottom=min(prompt.bottom + high, pixels.shape[0] - 1),
    )
    look = partial(cut_patch, pixels, larger, scan, looks - 1) if prompt.point and looks else None
    marks, corner = prompt.ends, (place[1].start, place[0].start)
    ends = None if marks is None else resize_points(marks - corner, patch.shape)
    quarters = None if marks is None else lambda: scan.upright(quarters_mask(marks, pixels.shape))
    return LesionPatch(
        prompt.lesion,
        lits_data.make_patch(patch),
        paste,
        look,
        ends,
        quarters,
        lambda: scan.upright(prompt.place(pixels.shape)),
    )


def read_slices(
    scan: Scan, prompts: Iterable[LesionPrompt], window: Window, out: Path, name: str
) -> Iterator[LesionImage]:
    """Read the slices that have prompts, in their order, and cut the lesions' patches; images are upright.

    Once the last of them has its mask, the volume's is written to the folder ``out``; names of results begin with
    ``name``. For ``window`` see `lits_data.grey`.

    Raises:
        UserError: the file is cut short or damaged, or as `lits_data.check_patches`.
    """
    slices: list[tuple[int, np.ndarray, list[LesionPatch]]] = []
    for index, slice_prompts in groupby(sorted(prompts, key=lambda p: p.slice), key=lambda p: p.slice):
        pixels = lits_data.grey(scan.read(index), window)
        slices.append((index, pixels, [cut_patch(pixels, prompt, scan) for prompt in slice_prompts]))
    lits_data.check_patches(scan.path, (patch.image for _, _, patches in slices for patch in patches))
    spacing = scan.spacing
    if spacing and scan.orientation is not None and scan.orientation[0, 0] == 0:
        spacing = spacing[1], spacing[0], spacing[2]  # upright, the file's rows are columns
    scan.release()
    mask_file = f"{name}_mask.nii.gz"
    volume_mask = np.zeros(scan.shape, np.uint8, order="F")  # slices are contiguous; untouched ones take no memory

    def save_mask(index: int, slice_mask: np.ndarray) -> None:
        volume_mask[..., index] = scan.upright(slice_mask, back=True)
        if index == slices[-1][0]:
            scan.write_mask(out / mask_file, volume_mask)

    for index, pixels, patches in slices:
        yield LesionImage(
            source=str(scan.path),
            name=f"{name}_{index}",
            mask_file=mask_file,
            rgb=cv2.cvtColor(scan.upright(pixels), cv2.COLOR_GRAY2RGB),
            patches=patches,
            slice=index,
            spacing=spacing,
            save_mask=partial(save_mask, index),
        )


def choose_window(window: Window, settings: Mapping[str, Any], checkpoint: Path) -> Window:
    """The window that a checkpoint's patches were prepared with, by its settings; ``window`` where they don't tell.

    Raises:
        UserError: ``window`` is another.
    """
    preprocessing = settings.get("preprocessing", {})
    if "window" not in preprocessing:
        return window
    own = preprocessing["window"] and tuple(preprocessing["window"])
    if window not in (None, own):
        trained = f"--window {own[0]:g},{own[1]:g}" if own else "no --window"
        raise UserError(
            f"{checkpoint} was trained with {trained}, not with {window[0]:g},{window[1]:g}; leave --window out"
        )
    return own


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line; see --help."""
    parser = predict_parser(__doc__, VOLUME_HELP)
    add, note = parser.add_argument, "default the checkpoint's own, else as published: none"
    add("volumes", type=Path, nargs="+", metavar="VOLUME_OR_FOLDER", help="CT in HU, NIfTI, or folders of such files")
    add("--window", type=lits_data.parse_window, metavar="CENTRE,WIDTH", help=f"HU that become 0..255 ({note})")
    args = parser.parse_args(arguments)
    volumes = find_images(args.volumes, SUFFIXES)
    if strange := next((path for path in volumes if not path.name.lower().endswith(SUFFIXES)), None):
        raise UserError(f"{strange} is not named like a NIfTI volume, {' or '.join(SUFFIXES)}")
    remarks: dict[str, list[str]] = defaultdict(list)

    def read_grid(path: Path) -> Grid:
        scan = Scan(path)
        for remark in scan.remarks:
            remarks[remark].append(str(path))
        return Grid(scan.shape, scan.axes)

    prompts = read_prompts(args.lesions, volumes, read_grid, "volume")
    print_remarks(remarks)
    inputs = [*volumes, args.lesions]
    predictor = load_predictor(args, lits_data.DATASET, inputs, chain.from_iterable(prompts.values()))
    window = choose_window(args.window, predictor.model.settings, args.checkpoint) if predictor else args.window

    def read_volume(path: Path, name: str) -> Iterator[LesionImage | Unreadable]:
        try:
            yield from read_slices(Scan(path), prompts[path], window, args.out, name)
        except UserError as error:
            yield Unreadable(name, str(error))

    slices = chain.from_iterable(map(read_volume, prompts, output_names(list(prompts))))
    total = sum(len({prompt.slice for prompt in own}) for own in prompts.values())
    predict(predictor, progress(slices, "predicting", total, "slice"), args.out)


if __name__ == "__main__":
    run_script(main)
