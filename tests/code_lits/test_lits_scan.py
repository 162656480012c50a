"""Orientation, units and oddities of NIfTI files: the same lesions in whatever order voxels lie, or one sentence."""

import gzip
import struct

import nibabel as nib
import numpy as np
import pytest
from nibabel.orientations import axcodes2ornt, ornt_transform

import lits_data
import lits_scan
from common.utils.errors import UserError
from common.utils.files import read_csv
from lits_scan import Scan

AFFINE = np.array([[-0.7, 0, 0, 30], [0, 0.8, 0, -20], [0, 0, 2.5, 7], [0, 0, 0, 1]])  # LAS, as LiTS's own volumes


def draw() -> tuple[np.ndarray, np.ndarray]:
    """64x56x8 voxels of HU with a tumour that is the same from no two sides, and labels."""
    x, y, z = np.mgrid[:64, :56, :8]
    tumour = ((x - 24) / 11) ** 2 + ((y - 33) / 8) ** 2 + ((z - 3) / 3) ** 2 < 1
    tumour |= (((x - 44) / 6) ** 2 + ((y - 15) / (4 + z)) ** 2 < 1) & (z > 1)
    hounsfield = 110 + x - 50 * tumour + np.random.default_rng(0).normal(0, 8, tumour.shape)
    return hounsfield.astype(np.int16), (1 + tumour).astype(np.uint8)


def reorient(image: nib.Nifti1Image, codes: str) -> nib.Nifti1Image:
    return image.as_reoriented(ornt_transform(nib.io_orientation(image.affine), axcodes2ornt(codes)))


@pytest.fixture(scope="module")
def arrays(tmp_path_factory):
    """The prepared arrays of a LAS volume and its LAS segmentation, and the file names for a data folder."""
    folder = tmp_path_factory.mktemp("as_published")
    prepare(folder, *images())
    return read_arrays(folder)


def images() -> tuple[nib.Nifti1Image, nib.Nifti1Image]:
    return tuple(nib.Nifti1Image(voxels, AFFINE) for voxels in draw())


def prepare(folder, volume, segmentation, *flags: str, suffix: str = ".nii.gz") -> None:
    for name, image in (("volume/volume-1", volume), ("segmentations/segmentation-1", segmentation)):
        (folder / name).parent.mkdir(exist_ok=True)
        if image is not None:
            nib.save(image, folder / (name + suffix))
    lits_data.main(["--data", str(folder), "--clusters", "2", "--workers", "1", "--no-grabcut", *flags])


def read_arrays(folder) -> dict[str, np.ndarray]:
    return {name: np.load(folder / "prepared" / f"{name}.npy") for name in ("images", "truth", "ellipse", "recist")}


def assert_same(folder, arrays) -> None:
    assert len(arrays["images"]) == 11
    for name, array in read_arrays(folder).items():
        np.testing.assert_array_equal(array, arrays[name])


def remarks(capsys) -> list[str]:
    """The lines on stderr about the files; that one volume can't fill three splits is no remark on them."""
    return [line for line in capsys.readouterr().err.splitlines() if not line.startswith("warning: no ")]


# --- orientation -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("codes", ["RAS", "LPS", "LAI", "RPI", "SAL", "ALS", "PSR"])
def test_a_segmentation_is_reoriented_to_its_volume(tmp_path, arrays, capsys, codes):
    volume, segmentation = images()
    prepare(tmp_path, volume, reorient(segmentation, codes))
    assert_same(tmp_path, arrays)
    assert f"volume-1: the segmentation, stored as {codes}, is reoriented to its volume, LAS" in capsys.readouterr().err


@pytest.mark.parametrize(("codes", "axis"), [("SAL", "first"), ("ASL", "second"), ("SLA", "first"), ("LSA", "second")])
def test_slices_lie_along_the_superior_inferior_axis(tmp_path, arrays, capsys, codes, axis):
    prepare(tmp_path, *(reorient(image, codes) for image in images()))
    assert_same(tmp_path, arrays)
    errors = capsys.readouterr().err
    assert f"volume-1: slices are taken along the {axis} axis, which the affine calls superior-inferior" in errors
    assert "reoriented" not in errors
    lesion = read_csv(tmp_path / "prepared" / "lesions.csv")[0]
    assert (lesion["spacing_mm"], lesion["group"]) == ("0.7x0.8x2.5", "volume-1")


def test_a_slice_first_volume_may_have_any_segmentation(tmp_path, arrays):
    volume, segmentation = images()
    prepare(tmp_path, reorient(volume, "SAL"), reorient(segmentation, "RPS"))
    assert_same(tmp_path, arrays)


@pytest.mark.parametrize("codes", ["RAS", "LPS", "PLS", "ARS"])
def test_an_ordinary_volume_is_used_as_stored(tmp_path, capsys, codes):
    pair = [reorient(image, codes) for image in images()]
    prepare(tmp_path / codes, *pair)
    assert remarks(capsys) == []
    same_voxels = [nib.Nifti1Image(np.asarray(image.dataobj), AFFINE) for image in pair]
    prepare(tmp_path / "LAS", *same_voxels)
    for name, array in read_arrays(tmp_path / codes).items():
        np.testing.assert_array_equal(array, np.load(tmp_path / "LAS" / "prepared" / f"{name}.npy"))


@pytest.fixture(autouse=True)
def folders(tmp_path):
    for name in ("LAS", "RAS", "LPS", "PLS", "ARS"):
        (tmp_path / name).mkdir()


@pytest.mark.parametrize("affine", [np.eye(4), np.diag([-1.0, -1, 1, 1])])
def test_a_placeholder_of_another_orientation_is_refused(tmp_path, affine):
    volume, segmentation = images()
    sentence = "segmentation-1.nii.gz is stored as (RAS|LPS) and its volume as LAS, but .* is a placeholder"
    with pytest.raises(UserError, match=sentence):
        prepare(tmp_path, volume, nib.Nifti1Image(np.asarray(segmentation.dataobj), affine))
    assert not (tmp_path / "prepared").exists()


SHIFTED = AFFINE.copy()
SHIFTED[0, 3] += 9  # mm


@pytest.mark.parametrize("affine", [None, SHIFTED, np.diag([-1.0, 1, 1, 1])], ids=["none", "origin", "1 mm"])
def test_another_origin_or_spacing_is_a_warning(tmp_path, arrays, capsys, affine):
    volume, segmentation = images()
    prepare(tmp_path, volume, nib.Nifti1Image(np.asarray(segmentation.dataobj), affine))
    assert_same(tmp_path, arrays)
    assert remarks(capsys) == [
        "volume-1: segmentation and volume differ in origin or spacing; their voxels are taken to match"
    ]


@pytest.mark.parametrize("shape", [(10, 64, 64), (64, 10, 64), (80, 64, 64)])
def test_slices_that_seem_to_lie_elsewhere_need_an_affine(tmp_path, shape):
    pair = [nib.Nifti1Image(np.zeros(shape, np.int16), np.eye(4)) for _ in range(2)]
    with pytest.raises(UserError, match=r"volume-1.nii.gz is \d+x\d+x64 voxels, as if its slices lay along another"):
        prepare(tmp_path, *pair)


def test_one_line_for_all_volumes_of_a_kind(tmp_path, capsys):
    volume, segmentation = images()
    for number in range(2, 6):
        for name, image in (("volume/volume", volume), ("segmentations/segmentation", segmentation)):
            (tmp_path / name).parent.mkdir(exist_ok=True)
            voxels = np.asarray(image.dataobj).copy()
            voxels[0, 0, 0] = -number if name == "volume/volume" else 0  # no two volumes are alike
            nib.save(nib.Nifti1Image(voxels, np.eye(4)), tmp_path / f"{name}-{number}.nii")
    prepare(tmp_path, volume, reorient(segmentation, "LPS"))
    assert [line.partition(":")[0] for line in remarks(capsys)] == [
        "volume-1",
        "volume-2, volume-3, volume-4 and 1 more",
    ]


# --- units -------------------------------------------------------------------------------------------------------


def save(path, affine=AFFINE, unit="mm", pixdim=None, codes=None):
    """A file of draw()'s volume; ``pixdim`` and the (sform, qform) ``codes`` are written over its header."""
    image = nib.Nifti1Image(draw()[0], affine)
    image.header.set_xyzt_units(unit)
    if affine is not None:
        image.set_qform(affine, 1)
    nib.save(image, path)
    content = bytearray(path.read_bytes())
    if pixdim:
        content[80:92] = struct.pack("<3f", *pixdim)
    if codes:
        content[252:256] = struct.pack("<2h", *reversed(codes))
    path.write_bytes(content)
    return Scan(path)


@pytest.mark.parametrize(
    ("header", "spacing"),
    [
        ({}, (0.7, 0.8, 2.5)),
        ({"pixdim": (1, 1, 1)}, (0.7, 0.8, 2.5)),  # the sform counts
        ({"pixdim": (0, 0, 0)}, (0.7, 0.8, 2.5)),
        ({"codes": (0, 1)}, (0.7, 0.8, 2.5)),  # by the qform
        ({"codes": (0, 0)}, (0.7, 0.8, 2.5)),  # by pixdim alone
        ({"codes": (0, 1), "pixdim": (0.7, 0.8, 0)}, None),
        ({"codes": (0, 0), "pixdim": (0, 0, 0)}, None),
        ({"affine": np.diag([-7e-4, 8e-4, 2.5e-3, 1]), "unit": "meter"},
         (0.7, 0.8, 2.5)),
        ({"affine": np.diag([-700.0, 800, 2500, 1]), "unit": "micron"}, (0.7, 0.8, 2.5)),
        ({"affine": np.diag([-7e-4, 8e-4, 2.5e-3, 1])}, None),  # mm that can't be
        ({"affine": np.eye(4)}, None),
        ({"affine": np.diag([-1.0, 1, 1, 1])}, None),
        ({"affine": np.diag([0.7, 0.7, 1, 1])}, (0.7, 0.7, 1)),
    ],
)  # fmt: skip
def test_mm_are_those_of_the_affine_or_none(tmp_path, header, spacing):
    scan = save(tmp_path / "a.nii", **header)
    assert scan.spacing == (spacing and pytest.approx(spacing, rel=1e-5))
    assert any("mm stay empty" in remark for remark in scan.remarks) == (spacing is None)


def test_a_mask_of_a_volume_whose_affine_is_not_finite_is_written(tmp_path):
    affine = AFFINE.copy()
    affine[1] = np.nan
    save(tmp_path / "a.nii")
    content = bytearray((tmp_path / "a.nii").read_bytes())
    content[296:312] = struct.pack("<4f", *[np.nan] * 4)  # srow_y
    (tmp_path / "a.nii").write_bytes(content)
    scan = Scan(tmp_path / "a.nii")
    assert scan.spacing is None and scan.remarks
    mask = np.zeros(scan.shape, np.uint8)
    mask[1, 2, 3] = 1
    scan.write_mask(tmp_path / "mask.nii.gz", mask)
    assert nib.load(tmp_path / "mask.nii.gz").get_fdata().sum() == 1


def test_prepared_lesions_of_a_placeholder_have_no_mm(tmp_path, capsys):
    prepare(tmp_path, *(nib.Nifti1Image(voxels, np.diag([-1.0, 1, 1, 1])) for voxels in draw()))
    assert {row["spacing_mm"] for row in read_csv(tmp_path / "prepared" / "lesions.csv")} == {""}
    assert capsys.readouterr().err.count("mm stay empty") == 1


def test_an_affine_without_numbers_tells_nothing(tmp_path):
    path = tmp_path / "a.nii"
    save(path)
    content = bytearray(path.read_bytes())
    content[280:284] = struct.pack("<f", np.nan)  # the first number of the sform
    path.write_bytes(content)
    scan = Scan(path)
    assert (scan.orientation, scan.spacing) == (None, None)


# --- intensities and labels --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "look"),
    [
        (lambda hu: (hu + 160) / 400, "of one grey"),
        (lambda hu: hu + 1024, "white"),
        (lambda hu: hu + 32768, "white"),
        (lambda hu: hu - 1024, "black"),
        (lambda hu: hu * 0, "black"),
    ],
)
@pytest.mark.parametrize("window", ["", "--window=50,400"])
def test_intensities_that_cannot_be_hu_are_refused(tmp_path, change, look, window):
    hounsfield, labels = draw()
    pair = (nib.Nifti1Image(voxels, AFFINE) for voxels in (change(hounsfield.astype(np.float32)), labels))
    with pytest.raises(UserError, match=r"volume-1.nii.gz: the patches of its lesions are all .* can't be HU, or"):
        prepare(tmp_path, *pair, *window.split())
    assert not (tmp_path / "prepared").exists()


def test_shifted_intensities_are_taken_with_a_window_that_fits_them(tmp_path, arrays):
    hounsfield, labels = draw()
    prepare(tmp_path, *(nib.Nifti1Image(v, AFFINE) for v in (hounsfield + 1024, labels)), "--window", "1151.5,255")
    assert_same(tmp_path, arrays)


def test_clipped_hu_are_hu(tmp_path):
    hounsfield, labels = draw()
    prepare(tmp_path, *(nib.Nifti1Image(v, AFFINE) for v in (np.clip(hounsfield, -160, 240), labels)))


def test_labels_may_miss_their_number_by_a_thousandth(tmp_path, arrays):
    volume, _ = images()
    labels = draw()[1].astype(np.float32)
    prepare(tmp_path, volume, nib.Nifti1Image(labels - 0.0009 * (labels > 0), AFFINE))
    assert_same(tmp_path, arrays)
    with pytest.raises(UserError, match=r"segmentation-1.nii.gz holds the label 0.998 in slice 0"):
        prepare(tmp_path, volume, nib.Nifti1Image(labels - 0.002 * (labels > 0), AFFINE), "--force")


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda labels: (labels == 2) * 1, "volume without tumour .label 2; if 1 stands for the tumours, relabel them"),
        (lambda labels: (labels == 2) * 255, "holds the label 255 in slice 1; .*: relabel the tumours to 2"),
        (lambda labels: labels * 127.5, "holds the label 127.5 in slice 0; .*: relabel the tumours to 2"),
    ],
)
def test_other_labels_are_refused_with_the_remedy(tmp_path, change, sentence):
    volume, _ = images()
    with pytest.raises(UserError, match=sentence):
        prepare(tmp_path, volume, nib.Nifti1Image(change(draw()[1]).astype(np.float32), AFFINE))


# --- files -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("codes", ["LAS", "SAL"])
def test_further_axes_of_length_1_are_dropped(tmp_path, arrays, codes):
    pair = [reorient(image, codes) for image in images()]
    prepare(tmp_path, *(nib.Nifti1Image(np.asarray(i.dataobj)[..., None, None], i.affine) for i in pair))
    assert_same(tmp_path, arrays)


@pytest.mark.parametrize(("suffix", "change"), [(".nii.gz", gzip.decompress), (".nii", gzip.compress)])
def test_the_content_says_whether_a_file_is_compressed(tmp_path, arrays, suffix, change):
    prepare(tmp_path, *images(), suffix=suffix)
    for path in (*(tmp_path / "volume").iterdir(), *(tmp_path / "segmentations").iterdir()):
        path.write_bytes(change(path.read_bytes()))
    prepare(tmp_path, None, None, "--force")
    assert_same(tmp_path, arrays)


def test_nifti_2_and_big_endian_files(tmp_path, arrays):
    volume, segmentation = draw()
    big = nib.Nifti1Header(endianness=">")
    prepare(tmp_path, nib.Nifti2Image(volume, AFFINE), nib.Nifti1Image(segmentation, AFFINE, big))
    assert_same(tmp_path, arrays)


def test_masks_are_the_same_bytes_each_time(tmp_path):
    scan = save(tmp_path / "a.nii")
    for name in ("b.nii.gz", "c.nii.gz"):
        scan.write_mask(tmp_path / name, np.ones(scan.shape, np.uint8))
    assert (tmp_path / "b.nii.gz").read_bytes() == (tmp_path / "c.nii.gz").read_bytes()
    assert lits_scan.TUMOUR == 2
