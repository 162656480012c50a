"""A NIfTI file of LiTS: read slice by slice, oriented by its affine; masks go back in the file's own order."""

import gzip
import zlib
from functools import cached_property
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from nibabel.orientations import apply_orientation, inv_ornt_aff, io_orientation, ornt2axcodes, ornt_transform

from common.utils.errors import UserError
from common.utils.files import atomic_path

TUMOUR = 2  # 0 is background, 1 liver
ROUNDING = 1e-3  # by which a label that is stored as a float may miss its whole number
_MM = {1: 1000.0, 3: 0.001}  # of NIfTI's units metre and micron; any other is taken for mm
_AS_STORED = np.array([[0, 1], [1, 1], [2, 1]])
_UPRIGHT = np.array([[1, -1], [0, -1]])  # rows run from anterior to posterior, columns from the patient's right to left

nib.imageglobals.logger.setLevel("CRITICAL")  # header problems are reported in our own words


class Scan:
    """A three-dimensional NIfTI file, read slice by slice; a compressed one is fastest from first to last.

    Rows, columns and slices lie along the file's first, second and third axis. Where the affine calls another axis than
    the third superior-inferior, they lie along left-right, anterior-posterior and that one, as in LiTS's own volumes. A
    segmentation is read in the order of its ``volume``. A file in another order is read into memory as a whole.

    Raises:
        UserError: not a NIfTI file; not three axes of plain numbers; an affine that is only a placeholder, where slices
            seem not to lie along the third axis, or differs in orientation from the volume's; or another size.
    """

    def __init__(self, path: Path, volume: "Scan | None" = None) -> None:
        self.path = path
        self.remarks: list[str] = []  # warnings for the user
        with path.open("rb") as file:
            compressed = file.read(2) == b"\x1f\x8b"
        # Kept open so that reading the next slice does not decompress from the start again.
        self._stream: Any = gzip.open(path) if compressed else path.open("rb")  # noqa: SIM115
        try:
            self._image, pixdim = _read_header(self._stream)
        except (ValueError, EOFError, zlib.error, gzip.BadGzipFile, nib.spatialimages.HeaderDataError) as error:
            raise UserError(f"{path} is not a readable NIfTI file; download it again") from error
        header, stored = self._image.header, self._image.shape
        while len(stored) > 3 and stored[-1] == 1:
            stored = stored[:-1]
        self.size = "x".join(map(str, stored))  # along the file's own axes, for messages
        if len(stored) != 3:
            raise UserError(f"{path} has {len(stored)} axes ({self.size}) where a volume has three; download it again")
        if min(stored) < 1:
            raise UserError(f"{path} claims {self.size} voxels; download it again")
        if self._image.get_data_dtype().kind not in "iuf":
            raise UserError(f"{path} holds {self._image.get_data_dtype()} voxels, not plain numbers; download it again")

        affine, by_sform = self._image.affine, int(header["sform_code"]) > 0
        self._placeholder = np.allclose(np.abs(affine[:3, :3]), np.eye(3)) or not (by_sform or pixdim.all())
        coded = by_sform or int(header["qform_code"]) > 0
        self._stored_as = _orientation(affine) if coded else None
        self._turn = self._find_turn(stored, volume)  # nibabel's, from the file's axes to rows, columns, slices
        self.axes = tuple(int(axis) for axis in self._turn[:, 0].argsort())  # the file's, of rows, columns and slices
        self.shape: tuple[int, ...] = tuple(stored[axis] for axis in self.axes)  # rows, columns, slices

        unit = _MM.get(int(header["xyzt_units"]) & 7, 1.0)
        self._affine = np.diag([unit, unit, unit, 1]) @ affine @ inv_ornt_aff(self._turn, stored)
        self.orientation = _orientation(self._affine) if coded else None  # of rows, columns, slices
        rows, columns, slices = map(float, nib.affines.voxel_sizes(self._affine))
        possible = not self._placeholder and all(0.01 < step < 100 for step in (rows, columns, slices))
        self.spacing = (rows, columns, slices) if possible else None  # mm from one to the next
        if volume is None and not possible:
            self.remarks.append(
                "the affine's voxel size is a placeholder (1x1x1) or impossible, so that mm stay empty; px are mm only "
                "if the volume was resampled to 1 mm"
            )
        if volume and self.shape != volume.shape:
            raise UserError(f"{path} is {self.size} voxels but its volume is {volume.size}; download both again")
        if volume and not np.allclose(self._affine, volume._affine, rtol=1e-3, atol=0.01):
            self.remarks.append("segmentation and volume differ in origin or spacing; their voxels are taken to match")

    def __del__(self) -> None:
        if hasattr(self, "_stream"):
            self._stream.close()

    def _find_turn(self, stored: tuple[int, int, int], volume: "Scan | None") -> np.ndarray:
        """nibabel's (3, 2) transform from stored to reading order; anything unusual is added to ``remarks``."""
        own, turn = self._stored_as, _AS_STORED.copy()
        if volume is not None:
            other = volume._stored_as
            if own is None or other is None or (own == other).all():
                return volume._turn
            codes, volume_codes = ("".join(ornt2axcodes(orientation)) for orientation in (own, other))
            if self._placeholder or volume._placeholder:
                raise UserError(
                    f"{self.path} is stored as {codes} and its volume as {volume_codes}, but an affine of 1x1x1 mm is "
                    "a placeholder and may be wrong; if their voxels match, give both the same affine"
                )
            self.remarks.append(f"the segmentation, stored as {codes}, is reoriented to its volume, {volume_codes}")
            return ornt_transform(own, volume.orientation).astype(int)
        if own is not None and own[2, 0] != 2:
            turn[:, 0] = own[:, 0]
            axis = ("first", "second")[int(turn[:, 0].argsort()[2])]
            self.remarks.append(f"slices are taken along the {axis} axis, which the affine calls superior-inferior")
        elif (own is None or self._placeholder) and stored[2] in stored[:2] and stored[0] != stored[1]:
            raise UserError(
                f"{self.path} is {self.size} voxels, as if its slices lay along another axis than the third, and its "
                "affine is a placeholder that doesn't tell; store it as rows x columns x slices, or give it its affine"
            )
        return turn

    @cached_property
    def _voxels(self) -> Any:
        """Voxels as rows, columns, slices: on disk or, if the axes must be reordered, all of them in memory."""
        if (self._turn == _AS_STORED).all():
            return self._image.dataobj
        return apply_orientation(np.asarray(self._image.dataobj), self._turn)

    def release(self) -> None:
        """Give back the memory of a file that is read as a whole; reading a further slice takes it again."""
        vars(self).pop("_voxels", None)

    def read(self, index: int) -> np.ndarray:
        """Read a slice as (rows, columns) of the type on disk.

        Raises:
            UserError: the file is cut short or damaged, or the slice holds NaN or infinite voxels.
        """
        further = (0,) * (len(self._image.shape) - 3)  # axes of length 1
        try:
            values = np.asarray(self._voxels[(slice(None), slice(None), index, *further)])
        except (EOFError, OSError, ValueError, zlib.error) as error:
            raise UserError(f"{self.path} is cut short or damaged; download it again") from error
        if values.dtype.kind == "f" and not np.isfinite(values).all():
            raise UserError(f"{self.path} holds NaN or infinite voxels in slice {index}; download it again")
        return values

    def read_tumour(self, index: int) -> np.ndarray:
        """Read a slice of a segmentation as (rows, columns) booleans, true inside tumours.

        Raises:
            UserError: as `read`, or a label other than 0, 1, 2.
        """
        values = self.read(index)
        labels = np.rint(values) if values.dtype.kind == "f" else values
        strange = (labels < 0) | (labels > TUMOUR) | (np.abs(values - labels) > ROUNDING)
        if strange.any():
            raise UserError(
                f"{self.path} holds the label {values[strange][0]:g} in slice {index}; LiTS has 0, 1 (liver) and 2 "
                "(tumour) only: relabel the tumours to 2"
            )
        return labels == TUMOUR

    def upright(self, plane: np.ndarray, *, back: bool = False) -> np.ndarray:
        """Turn (rows, columns) so that the patient's right is left and anterior up, by the affine; or ``back``."""
        if self.orientation is None:
            return plane
        ends = (_UPRIGHT, self.orientation[:2]) if back else (self.orientation[:2], _UPRIGHT)
        return np.ascontiguousarray(apply_orientation(plane, ornt_transform(*ends)))

    def write_mask(self, path: Path, mask: np.ndarray) -> None:
        """Write a (rows, columns, slices) uint8 mask in the order of the file's axes, with its affine, atomically."""
        header, affine = self._image.header.copy(), self._image.affine
        affine = affine if np.isfinite(affine).all() else None  # else the header keeps what it holds of it
        header.set_data_dtype(np.uint8)
        header["cal_min"] = header["cal_max"] = 0  # with the scan's own display range the mask would look black
        image = type(self._image)(mask.transpose(self._turn[:, 0]), affine, header)
        sizes = None if affine is None else nib.affines.voxel_sizes(affine)
        if self.spacing and sizes is not None and not np.allclose(image.header.get_zooms(), sizes, rtol=1e-3):
            image.header.set_zooms(sizes)  # some viewers measure by these, not by the affine
        write_nifti(path, image)


def _read_header(stream: Any) -> tuple[Any, np.ndarray]:
    """The NIfTI image in a stream, its voxels still there, and the (3,) voxel size that its header holds."""
    start = stream.read(540)
    stream.seek(0)
    for kind in (nib.Nifti1Image, nib.Nifti2Image):
        if kind.header_class.may_contain_header(start):
            raw = kind.header_class(start[: kind.header_class.sizeof_hdr], check=False)
            return kind.from_stream(stream), raw["pixdim"][1:4]  # the image's own has a 1 for each 0
    raise ValueError("no NIfTI header")


def _orientation(affine: np.ndarray) -> np.ndarray | None:
    """nibabel's (3, 2) orientation of an affine; None where it has none."""
    orientation = io_orientation(affine) if np.isfinite(affine).all() else np.array(np.nan)
    return None if np.isnan(orientation).any() else orientation.astype(int)


def write_nifti(path: Path, image: Any) -> None:
    """Write a nibabel image, atomically; compressed if the name ends in ``.gz``."""
    # Without name and time in gzip's header, the same voxels give the same bytes.
    with (
        atomic_path(path) as temporary,
        temporary.open("wb") as file,
        gzip.GzipFile("", "wb", 6, file, mtime=0) if path.suffix == ".gz" else file as stream,
    ):
        image.to_stream(stream)
