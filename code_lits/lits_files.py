"""The files of LiTS: finding volumes and segmentations, reading them slice by slice, and writing masks."""

import gzip
import re
import zlib
from pathlib import Path
from typing import Any, NamedTuple, cast

import nibabel as nib
import numpy as np

from common.data.dataset import Dropped
from common.data.pairs import drop_unpaired
from common.utils.errors import UserError
from common.utils.files import atomic_path, list_files

VOLUME_FOLDER, SEGMENTATION_FOLDER = "volume", "segmentations"
TUMOUR = 2  # 0 is background, 1 liver


class Pair(NamedTuple):
    """A volume and its segmentation."""

    name: str
    volume: Path
    segmentation: Path


def find_pairs(data: Path) -> tuple[list[Pair], list[Dropped]]:
    """Find the volumes that have segmentations, in the order of the patches' names, and the files without counterpart.

    Where a file is there as ``.nii`` and as ``.nii.gz``, the former is taken: it is faster to read.

    Raises:
        UserError: a folder is missing, or no volume has a segmentation.
    """
    volumes, segmentations = (
        _find_scans(data / VOLUME_FOLDER, "volume"),
        _find_scans(data / SEGMENTATION_FOLDER, "segmentation"),
    )
    dropped = drop_unpaired(volumes, segmentations, ("volume", "segmentation"), "{kind}-{key}")
    numbers = sorted(volumes.keys() & segmentations.keys(), key=lambda n: f"{n}_")  # "10_" before "1_", as names sort
    if not numbers:
        raise UserError(f"no volume-N.nii[.gz] in {data / VOLUME_FOLDER} has a segmentation-N; the numbers must match")
    return [Pair(f"volume-{n}", volumes[n], segmentations[n]) for n in numbers], dropped


def _find_scans(folder: Path, stem: str) -> dict[str, Path]:
    if not folder.is_dir():
        raise UserError(f"{folder} is missing; put LiTS there as code_lits/README.md says, or pass --data DIR")
    paths = reversed(list_files(folder, f"{stem}-*.nii*"))  # .nii comes last and replaces .nii.gz
    matches = ((re.fullmatch(rf"{stem}-(\d+)\.nii(\.gz)?", path.name), path) for path in paths)
    return {match[1]: path for match, path in matches if match}


class Scan:
    """A three-dimensional NIfTI file, read slice by slice; a compressed one is fastest from first to last.

    Attributes:
        path: the file.
        shape: number of rows, columns and slices.

    Raises:
        UserError: not a NIfTI file, or not three axes of plain numbers.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        path.open("rb").close()  # so that a file without permission is not called an unknown one, as nibabel does
        try:
            # With the file kept open, going from slice to slice doesn't decompress from the start each time.
            self._image = cast("Any", nib.load(path, keep_file_open=True))
        except (nib.filebasedimages.ImageFileError, nib.spatialimages.HeaderDataError, EOFError, zlib.error) as error:
            raise UserError(f"{path} is not a readable NIfTI file; download it again") from error
        self.shape: tuple[int, ...] = self._image.shape
        if len(self.shape) != 3:
            raise UserError(
                f"{path} has {len(self.shape)} axes ({self.size}) where a volume has three; download it again"
            )
        if min(self.shape) < 1:
            raise UserError(f"{path} claims {self.size} voxels; download it again")
        if self._image.get_data_dtype().kind not in "iuf":
            raise UserError(f"{path} holds {self._image.get_data_dtype()} voxels, not plain numbers; download it again")

    @property
    def size(self) -> str:
        """Rows, columns and slices, for messages."""
        return "x".join(map(str, self.shape))

    @property
    def spacing(self) -> tuple[float, float, float]:
        """Distances between rows, columns and slices in mm."""
        rows, columns, slices = map(float, self._image.header.get_zooms()[:3])
        return rows, columns, slices

    def read(self, index: int) -> np.ndarray:
        """Read a slice as (rows, columns) of the type on disk.

        Raises:
            UserError: the file is cut short or damaged, or the slice holds NaN or infinite voxels.
        """
        try:
            values = np.asarray(self._image.dataobj[..., index])
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
        if not ((values.min() >= 0) and (values.max() <= TUMOUR) and (values == values.astype(np.uint8)).all()):
            strange = values[(values != 0) & (values != 1) & (values != TUMOUR)][0]
            raise UserError(f"{self.path} holds the label {strange} in slice {index}; LiTS has 0, 1 and 2 only")
        return values == TUMOUR

    def write_mask(self, path: Path, mask: np.ndarray) -> None:
        """Write a mask of this scan with the scan's affine, atomically.

        Args:
            path: ends in ``.nii.gz``.
            mask: (rows, columns, slices) uint8.
        """
        header = self._image.header.copy()
        header.set_data_dtype(np.uint8)
        header["cal_min"] = header["cal_max"] = 0  # with the scan's own display range the mask would look black
        write_nifti(path, type(self._image)(mask, self._image.affine, header))


def write_nifti(path: Path, image: Any) -> None:
    """Write a nibabel image, atomically; compressed if the name ends in ``.gz``."""
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        if path.suffix != ".gz":
            image.to_stream(file)
            return
        # Without name and time in the header, the same voxels give the same bytes.
        with gzip.GzipFile("", "wb", compresslevel=6, fileobj=file, mtime=0) as compressed:
            image.to_stream(compressed)
