"""The synthetic LiTS: in the original layout, the same from the same seed, and good for a demonstration."""

import nibabel as nib
import numpy as np
import pytest

import lits_data
import lits_phantom
from common.utils.files import read_csv


@pytest.fixture(scope="module")
def phantom(tmp_path_factory):
    folder = tmp_path_factory.mktemp("phantom_lits")
    lits_phantom.write_lits(folder)
    return folder


def test_layout(phantom):
    volumes, segmentations = (
        sorted(path.name for path in (phantom / name).iterdir()) for name in ("volume", "segmentations")
    )
    assert volumes == [f"volume-{n}.nii" + ".gz" * (n % 2) for n in range(6)]
    assert segmentations == [f"segmentation-{n}.nii" + ".gz" * (n % 2) for n in range(6)]
    volume = nib.load(phantom / "volume" / "volume-0.nii")
    assert volume.get_data_dtype() == np.int16
    assert nib.aff2axcodes(volume.affine) == ("P", "L", "S")  # rows and columns as radiologists see them
    assert np.asarray(volume.dataobj).min() < -900
    labels = np.asarray(nib.load(phantom / "segmentations" / "segmentation-0.nii").dataobj)
    assert labels.shape == volume.shape
    assert set(np.unique(labels)) == {0, 1, 2}


def test_the_seed_decides(phantom):
    volume, labels = lits_phantom.draw_volume(0, 0)
    np.testing.assert_array_equal(volume, np.asarray(nib.load(phantom / "volume" / "volume-0.nii").dataobj))
    assert (lits_phantom.draw_volume(1, 0)[1] != labels).any()


def test_it_prepares_to_enough_patches_of_several_sizes(phantom):
    lits_data.main(["--data", str(phantom), "--no-grabcut"])
    lesions = read_csv(phantom / "prepared" / "lesions.csv")
    assert 120 <= len(lesions) <= 200
    assert {row["split"] for row in lesions} == {"train", "val", "test"}
    reasons = {row["reason"] for row in read_csv(phantom / "prepared" / "dropped.csv")}
    assert "the hull has under 5 points" in reasons  # tiny ones, as in the real set
    areas = np.load(phantom / "prepared" / "recist.npy")[:, 2:4].prod(axis=1)
    assert areas.max() > 5 * areas.min()
