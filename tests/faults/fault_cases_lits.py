"""Faults of LiTS's raw files."""

import gzip
import struct

import nibabel as nib
import numpy as np

from fault_worlds import (
    Fault,
    World,
    closed,
    cut,
    folder,
    gone,
    image,
    loop,
    moved,
    nothing,
    overwrite,
    put,
    read_only,
    several,
    small_disk,
    volume,
)
from faults import FULL, Case, dropped, kept
from lits_data import NO_TUMOUR

LITS = "code_lits/lits_data"
NII, LABELS = "data/volume/volume-1.nii", "data/segmentations/segmentation-1.nii"
SIZES, SCALE = 40, 112  # bytes of a NIfTI-1 header: the number of axes and voxels along them; slope and intercept
BORDERS = {"top": (0, 48), "left": (48, 0), "bottom": (95, 48), "right": (48, 95), "corner": (95, 95)}


def packed(name: str, share: float = 1.0) -> Fault:
    """A volume as .nii.gz, of which only a share is there."""

    def fault(world: World) -> None:
        data = gzip.compress(world.path(name).read_bytes(), 1)
        gone(name)(world)
        put(f"{name}.gz", data[: int(len(data) * share)])(world)

    return fault


def tumour(voxels: np.ndarray, row: int, column: int, radius: int = 16) -> None:
    """A disc alone in slice 2, cut by the border."""
    rows, columns = np.ogrid[:96, :96]
    voxels[..., 2] = 2 * ((rows - row) ** 2 + (columns - column) ** 2 <= radius**2)


def fill(voxels: np.ndarray, label: int) -> None:
    voxels[..., 2] = label


def wide_volume(world: World) -> None:
    """NIfTI-1 counts to 32,767 voxels an axis; NIfTI-2 goes on."""
    for name, value in ((NII, 90), (LABELS, 0)):
        voxels = np.full((100_000, 40, 2), value, np.int16)
        if name == NII:
            voxels += np.arange(40, dtype=np.int16)[:, None]
        else:
            voxels[50_000:50_020, 10:28, 1] = 2
            voxels[50_000, 10, 1] = 0
        world.make(name, lambda path, voxels=voxels: nib.save(nib.Nifti2Image(voxels, np.eye(4)), path))


def with_nan(world: World) -> None:
    def change(voxels: np.ndarray) -> np.ndarray:
        voxels = voxels.astype(np.float32)
        voxels[3, 3, 2] = np.nan
        return voxels

    volume(NII, change)(world)


CASES = [
    Case(LITS, "truncated volume", cut(NII), r"volume-1\.nii is cut short"),
    Case(LITS, "truncated segmentation", cut(LABELS, 0.9), r"segmentation-1\.nii is cut short"),
    Case(LITS, "truncated header", cut(NII, 0.001), r"volume-1\.nii is not a readable NIfTI"),
    Case(LITS, "truncated .nii.gz", packed(NII, 0.7), r"volume-1\.nii\.gz is cut short"),
    Case(LITS, "packed as .nii.gz", packed(NII), right=kept("volume-1_1_1")),
    Case(LITS, "empty volume", put(NII, b""), r"volume-1\.nii is not a readable NIfTI"),
    Case(LITS, ".nii.gz named .nii", several(packed(NII), moved(f"{NII}.gz", NII)), right=kept("volume-1_1_1")),
    Case(LITS, "PNG named .nii", image(NII, np.zeros((64, 64), np.uint8)), "not a readable NIfTI"),
    Case(LITS, "unreadable volume", closed(NII), r"no permission for .*volume-1\.nii"),
    Case(LITS, "link to itself in place of a volume", loop(NII), r"symbolic links.*volume-1\.nii"),
    Case(LITS, "folder in place of a volume", folder(NII),
         right=dropped("segmentation-1", "segmentation without volume")),
    Case(LITS, "folder in place of a segmentation", folder(LABELS),
         right=dropped("volume-1", "volume without segmentation")),
    Case(LITS, "no folder of segmentations", gone("data/segmentations"),
         "data holds 3 volumes and 0 segmentations, but none of .*; it holds volume/; unpack LiTS there"),
    Case(LITS, "no data folder", nothing, "nowhere holds 0 volumes and .*there is no such folder", "--data nowhere"),
    Case(LITS, "another volume of the same number", put("data/old/volume-1.nii.gz", b"x"),
         r"data/volume/volume-1\.nii differs from data/old/volume-1\.nii\.gz"),
    Case(LITS, "two unreadable volumes left out", several(cut(NII, 0.9), put("data/volume/volume-2.nii", b"")),
         flags="--skip-bad", right=kept("volume-0_1_1")),
    Case(LITS, "a volume and a segmentation that can't be opened left out",
         several(closed(NII), loop("data/segmentations/segmentation-2.nii")),
         flags="--skip-bad", right=kept("volume-0_1_1")),
    Case(LITS, "too few tumours for the clusters", flags="--clusters 99",
         sentence="99 shape clusters can't be fitted on 18 lesions; pass --clusters 1, say"),
    Case(LITS, "read-only data folder", read_only("data"), r"data can't be written to .*pass another --prepared"),
    Case(LITS, "unreadable folder of volumes", closed("data/volume"), "no permission for data/volume"),
    Case(LITS, "the same volume packed and unpacked",
         lambda world: put(f"{NII}.gz", gzip.compress(world.path(NII).read_bytes()))(world)),
    Case(LITS, "100,000 voxels wide", wide_volume, right=kept("volume-1_1_1")),
    Case(LITS, "header claims 32,767 voxels an axis", overwrite(NII, SIZES, struct.pack("<4h", 3, *[32767] * 3)),
         r"volume-1\.nii|segmentation-1\.nii is"),
    Case(LITS, "both headers claim 32,767 voxels an axis",
         several(*(overwrite(name, SIZES, struct.pack("<4h", 3, *[32767] * 3)) for name in (NII, LABELS))),
         r"segmentation-1\.nii is cut short"),
    Case(LITS, "header claims no voxels", overwrite(NII, SIZES, struct.pack("<4h", 3, 96, 96, 0)), "96x96x0 voxels"),
    Case(LITS, "negative number of voxels", overwrite(NII, SIZES, struct.pack("<4h", 3, -96, 96, 4)),
         "claims -96x96x4"),
    Case(LITS, "NaN voxel", with_nan, r"volume-1\.nii holds NaN"),
    Case(LITS, "scaled by NaN", overwrite(NII, SCALE, struct.pack("<2f", np.nan, 0)), right=kept("volume-1_1_1")),
    Case(LITS, "scaled by infinity", overwrite(NII, SCALE, struct.pack("<2f", np.inf, 0)), right=kept("volume-1_1_1")),
    Case(LITS, "NaN added to all voxels", overwrite(NII, SCALE, struct.pack("<2f", 1, np.nan)), r"volume-1\.nii"),
    Case(LITS, "label 7", volume(LABELS, lambda v: fill(v, 7)), r"holds the label 7"),
    Case(LITS, "segmentation all zero", volume(LABELS, lambda v: v * 0),
         right=dropped("volume-1", NO_TUMOUR)),
    Case(LITS, "segmentation all one", volume(LABELS, lambda v: v * 0 + 1),
         right=dropped("volume-1", NO_TUMOUR)),
    Case(LITS, "tumour fills the slice", volume(LABELS, lambda v: fill(v, 2)),
         right=dropped("volume-1_2_1", "the hull has under 5 points")),
    Case(LITS, "one-voxel tumour", volume(LABELS, lambda v: tumour(v, 40, 40, 0)),
         right=dropped("volume-1_2_1", "the hull has under 5 points")),
    *(Case(LITS, f"tumour at the border: {name}",
           volume(LABELS, lambda v, place=place: tumour(v, *place)),
           right=kept("volume-1_2_1")) for name, place in BORDERS.items()),
    Case(LITS, "volume all zero", volume(NII, lambda v: v * 0), r"volume-1\.nii: the patches .* are all black"),
    Case(LITS, "segmentation of another size", volume(LABELS, lambda v: v[:, :, :3]), "is 96x96x3 voxels but its"),
    Case(LITS, "four axes", volume(NII, lambda v: v[..., None].repeat(2, 3)), "has 4 axes"),
    Case(LITS, "complex voxels", volume(NII, lambda v: v.astype(np.complex64)), "not plain numbers"),
    Case(LITS, "window of no width", sentence="is not CENTRE,WIDTH", flags="--window 50,0"),
    Case(LITS, "window of NaN", sentence="is not CENTRE,WIDTH", flags="--window nan,400"),
    Case(LITS, "missing split file", sentence=r"nowhere\.csv", flags="--split-file nowhere.csv"),
    Case(LITS, "folder in place of the split file", folder("s.csv"), r"s\.csv", "--split-file s.csv"),
    Case(LITS, "link to itself as split file", loop("s.csv"), r"s\.csv", "--split-file s.csv"),
    Case(LITS, "binary split file", put("s.csv", b"\xff\xfe\x00"), r"s\.csv", "--split-file s.csv"),
    Case(LITS, "a volume in two splits", put("s.csv", "volume,split\n0,train\n0,test\n"), "puts volume-0 into",
         "--split-file s.csv"),
    Case(LITS, "disk full", small_disk("full", 300_000), FULL, "--prepared full/prepared"),
]  # fmt: skip
