"""Lesions of a volume get a mask with the volume's own shape and affine, through the patch that preprocessing makes."""

import nibabel as nib
import numpy as np
import pytest
from scipy import ndimage

import lits_data
import lits_predict
import stub
from common.data.dataset import LesionDataset
from common.inference.prompts import LesionPrompt
from common.utils.errors import UserError
from common.utils.files import read_csv
from lits_files import Scan

AFFINE = np.array([[-0.7, 0, 0, 30], [0, 0.8, 0, -20], [0, 0, 2.5, 7], [0, 0, 0, 1]])


@pytest.fixture
def volume(tmp_path):
    """Two bright lesions of 255 HU in 90x120x6 voxels: one on the slices 2 and 3, one in the corner of slice 5."""
    voxels = np.full((90, 120, 6), -50, np.int16)
    rows, columns = np.mgrid[:90, :120]
    for index, radius in ((2, 10), (3, 12)):
        voxels[..., index][(rows - 40) ** 2 + (columns - 70) ** 2 <= radius**2] = 255
    voxels[:8, 110:, 5] = 255
    image = nib.Nifti1Image(voxels, AFFINE)
    image.header["cal_max"] = 400
    path = tmp_path / "a b" / "Leber.nii.gz"
    path.parent.mkdir()
    nib.save(image, path)
    return path, voxels == 255


def run(path, out, table, *words):
    lesions = path.parent / "lesions.csv"
    lesions.write_text(table)
    lits_predict.main(["--checkpoint", "a.pt", str(path), "--lesions", str(lesions), "--out", str(out), *words])


TABLE = """lesion,slice,left,top,right,bottom,x,y
corner,5,110,0,119,7,,
round,3,,,,,70,40
round,2,60,30,80,50,,
"""


def test_a_mask_lies_where_the_lesions_are(volume, tmp_path, monkeypatch):
    network = stub.use(monkeypatch)
    path, truth = volume
    run(path, tmp_path / "out", TABLE)
    assert network.settings["dataset"] == "LiTS"
    mask = nib.load(tmp_path / "out" / "Leber_mask.nii.gz")
    assert (mask.shape, mask.get_data_dtype()) == ((90, 120, 6), np.uint8)
    np.testing.assert_allclose(mask.affine, AFFINE, atol=1e-6)
    assert mask.header["cal_max"] == 0
    voxels = np.asarray(mask.dataobj)
    assert set(np.unique(voxels)) == {0, 1}
    for index in range(6):
        assert voxels[..., index].any() == truth[..., index].any()
    assert 2 * (voxels & truth).sum() / (voxels.sum() + truth.sum()) > 0.97
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        *(f"Leber_{index}_overlay.png" for index in (2, 3, 5)), "Leber_mask.nii.gz", "measurements.csv"]  # fmt: skip


def test_measurements_are_in_mm_and_ml_over_all_slices_of_a_lesion(volume, tmp_path, monkeypatch):
    stub.use(monkeypatch)
    path, truth = volume
    run(path, tmp_path / "out", TABLE)
    rows = {row["lesion"]: row for row in read_csv(tmp_path / "out" / "measurements.csv")}
    assert list(rows) == ["round", "corner"]  # in the order of the slices
    lesion = rows["round"]
    assert (lesion["slice"], lesion["slices"]) == ("3", "2")
    assert float(lesion["long_px"]) == pytest.approx(25, abs=1)
    assert float(lesion["long_mm"]) == pytest.approx(0.8 * 25, abs=1)  # along the columns
    assert float(lesion["short_mm"]) == pytest.approx(0.7 * 25, abs=1)
    voxel = 0.7 * 0.8 * 2.5 / 1000
    assert float(lesion["volume_ml"]) == pytest.approx(truth[..., 2:4].sum() * voxel, rel=0.04)
    assert float(rows["corner"]["area_mm2"]) == pytest.approx(80 * 0.7 * 0.8, rel=0.1)


def test_the_same_command_gives_the_same_bytes(volume, tmp_path, monkeypatch):
    stub.use(monkeypatch)
    for name in ("first", "second"):
        run(volume[0], tmp_path / name, TABLE)
    for path in (tmp_path / "first").iterdir():
        assert path.read_bytes() == (tmp_path / "second" / path.name).read_bytes()


def test_the_window_is_the_given_one(volume, tmp_path, monkeypatch):
    stub.use(monkeypatch)
    # At 1255 to 2255 HU everything is black.
    run(volume[0], tmp_path / "out", TABLE, "--window", "1755,1000")
    assert {row["area_px"] for row in read_csv(tmp_path / "out" / "measurements.csv")} == {"0"}
    assert not np.asarray(nib.load(tmp_path / "out" / "Leber_mask.nii.gz").dataobj).any()


def test_patches_are_those_of_preprocessing(phantom_lits):
    dataset = LesionDataset.open(phantom_lits / "prepared")
    images = {row["lesion"]: dataset.array("images")[number] for number, row in enumerate(dataset.lesions)}
    for suffix, number in ((".nii", 0), (".nii.gz", 1)):
        segmentation = Scan(phantom_lits / "segmentations" / f"segmentation-{number}{suffix}")
        prompts = []
        for index in range(segmentation.shape[2]):
            labels, _ = ndimage.label(segmentation.read_tumour(index), np.ones((3, 3)))
            for component, (rows, columns) in enumerate(ndimage.find_objects(labels), 1):
                name = f"volume-{number}_{index}_{component}"
                prompts.append(LesionPrompt(name, index, columns.start, rows.start, columns.stop - 1, rows.stop - 1))
        scan = Scan(phantom_lits / "volume" / f"volume-{number}{suffix}")
        patches = [patch for image in lits_predict.read_slices(scan, prompts, "a", None) for patch in image.patches]
        kept = [patch for patch in patches if patch.lesion in images]
        assert len(kept) > 10
        for patch in kept:
            np.testing.assert_array_equal(patch.image, images[patch.lesion])


def test_what_cannot_be_predicted_is_one_sentence(volume, tmp_path, monkeypatch):
    network = stub.use(monkeypatch)
    path, _ = volume
    for table, wrong in (
        ("lesion,slice,x,y\na,6,1,1\n", r"lesions.csv, row 1 .* slice 6 is not one of the volume's, 0 to 5"),
        ("lesion,x,y\na,1,1\n", "slice is missing"),
        ("slice,x,y\n2,120,1\n", "outside the image of 120 columns and 90 rows"),
    ):
        with pytest.raises(UserError, match=wrong):
            run(path, tmp_path / "out", table)
    with pytest.raises(UserError, match="is not named like a NIfTI volume"):
        run(path.with_name("volume.dcm"), tmp_path / "out", TABLE)
    with pytest.raises(UserError, match="holds the input"):
        run(path, path.parent, TABLE)
    assert not (tmp_path / "out").exists()
    assert network.settings is None
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(UserError, match="cut short or damaged"):
        run(path, tmp_path / "out", TABLE)
    assert not list((tmp_path / "out").iterdir())
    assert lits_data.DATASET.name == "LiTS"
