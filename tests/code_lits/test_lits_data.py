"""LiTS: the golden values of the published code, the arithmetic of the patch, and bad input."""

import csv
import gzip
from functools import partial
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

import lits_data
from common.data.dataset import LesionDataset
from common.data.lesion import Dropped
from common.utils.errors import UserError
from common.utils.files import read_csv
from helpers import golden_masks

# --- golden values -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def real(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> LesionDataset:
    """The five real volumes, prepared as published."""
    folder = tmp_path_factory.mktemp("lits") / "prepared"
    lits_data.main(["--data", str(shared / "data" / "lits"), "--prepared", str(folder)])
    return LesionDataset.open_for(folder, lits_data.DATASET, "released", 40)


@pytest.fixture(scope="module")
def golden(shared: Path) -> dict[str, np.ndarray]:
    with np.load(shared / "golden" / "lits.npz") as file:
        return {name: file[name] for name in ("names", "dropped", "dropped_iou", "image", "recist", "shapes")}


def ious(ours: np.ndarray, theirs: np.ndarray) -> np.ndarray:
    return (ours & theirs).sum((1, 2)) / (ours | theirs).sum((1, 2))


def test_the_same_patches_are_kept_and_dropped(real, golden):
    dropped = read_csv(real.folder / "dropped.csv")
    assert [row["lesion"] for row in real.lesions] == golden["names"].tolist()
    assert {row["lesion"] for row in dropped} == set(golden["dropped"])
    assert {row["lesion"] for row in dropped if "IoU" in row["reason"]} == set(golden["dropped_iou"])


def test_patches_have_the_published_pixels(real, golden):
    images = real.array("images")
    assert images.shape == (268, 120, 120, 3)
    assert images.dtype == np.uint8
    for channel in range(3):
        np.testing.assert_array_equal(images[..., channel], golden["image"])
    assert [row["patch_px"] for row in real.lesions] == [f"{rows}x{columns}" for rows, columns in golden["shapes"]]


def test_masks_agree_with_the_published_ones(real, shared):
    np.testing.assert_array_equal(real.array("truth"), golden_masks(shared, "lits", "truth"))
    ellipse = ious(real.array("ellipse"), golden_masks(shared, "lits", "ellipse"))
    assert ellipse.mean() >= 0.99
    assert (ellipse >= 0.97).mean() >= 0.95
    assert ious(real.array("grabcut"), golden_masks(shared, "lits", "grabcut")).mean() >= 0.975


def test_quarters_of_simulated_marks_are_better_than_fitted_ellipses(real):
    truth, quarters, ellipse = (real.array(name) for name in ("truth", "quarters", "ellipse"))
    assert ious(quarters, truth).mean() > ious(ellipse, truth).mean() > 0.78
    assert np.isfinite(real.array("ends")).all()


def test_end_points_are_in_px_of_the_patch():
    component, pixels = np.zeros((40, 60), bool), np.zeros((40, 60), np.uint8)
    make = partial(lits_data.make_lesion, "a", "v", pixels, component, {}, corrected=False, grabcut=False)
    component[10:21, 8:49] = True  # 11 rows, 41 columns
    lesion = make()
    assert isinstance(lesion, Dropped)  # its hull has four corners
    component[9, 20:30] = component[21, 20:30] = True
    lesion = make()
    ends = (lesion.ends + 0.5) * (60 / 120, 40 / 120) - 0.5  # back in px of the component's patch
    assert np.ptp(ends[:2, 0]) == pytest.approx(41, abs=0.1)
    assert np.ptp(ends[2:, 1]) == pytest.approx(13, abs=0.6)


def test_recist_agrees_with_the_published_ones(real, golden):
    near = np.abs(real.array("recist") - golden["recist"])[:, :4] <= 1  # px; the angle of a near circle is anyone's
    assert near.all(axis=1).mean() >= 0.95


def test_lesions_name_their_origin(real):
    first = real.lesions[0]
    assert first["source"] == "volume-0 slice 46 component 1"
    assert first["spacing_mm"] == "0.703125x0.703125x5"
    assert {int(row["cluster"]) for row in real.lesions} == set(range(40))


def test_no_real_volume_is_in_two_splits(real):
    assert_whole([row["group"] for row in real.lesions], [row["split"] for row in real.lesions])


def assert_whole(volumes: list[str], splits: list[str]) -> None:
    assert len(set(zip(volumes, splits, strict=True))) == len(set(volumes))
    assert set(splits) == {"train", "val", "test"}


# --- the patch ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("box", "rows", "columns"),
    [
        # 82..127 x 132..169 after both growths: side 46, centre (104.5, 150.5), halves to the even number
        ((100, 150, 109, 151), (81, 127), (127, 173)),
        # the left border stops the growth at column 0: 82..128 x 0..28, side 47, centre (105, 14), cut at 0
        ((100, 5, 110, 10), (82, 128), (0, 37)),
        # a single pixel in the far corner: 493..512 x 493..512, side 20, centre 502.5 -> 502
        ((511, 511, 511, 511), (492, 512), (492, 512)),
        # the larger side decides, the smaller is cut by the slice: 0..512 rows, side 513 -> half 256
        ((0, 300, 511, 310), (0, 512), (49, 512)),
    ],
)
def test_patch_box(box, rows, columns):
    patch = lits_data.patch_box(box, (512, 512))
    assert (patch[0].start, patch[0].stop) == rows
    assert (patch[1].start, patch[1].stop) == columns


def test_hounsfield_units_saturate():
    hounsfield = np.array([-1024, -1, 0, 1, 254, 255, 256, 3000], np.int16)
    assert lits_data.grey(hounsfield).tolist() == [0, 0, 0, 1, 254, 255, 255, 255]
    assert lits_data.grey(np.array([0.4, 0.5, 1.5, 254.6])).tolist() == [0, 0, 2, 255]  # as OpenCV rounds


def test_window_maps_linearly():
    hounsfield = np.array([-200, -155, 55, 101, 355, 400], np.int16)
    assert lits_data.grey(hounsfield, (100, 510)).tolist() == [0, 0, 105, 128, 255, 255]


def disc(radius: float, centre: float = 30) -> np.ndarray:
    y, x = np.mgrid[:60, :60]
    return np.hypot(y - centre, x - centre) <= radius


def test_lesion_from_a_component():
    patch = np.full((60, 60), 90, np.uint8)
    lesion = lits_data.make_lesion("a", "volume-7", patch, disc(9), {"source": "b"}, corrected=False, grabcut=False)
    assert lesion.truth.sum() == 4 * disc(9).sum()  # twice the size
    assert (lesion.image == 90).all()
    assert lesion.image.shape == (120, 120, 3)
    # The disc's pixels span 18 px from centre to centre, so twice that in the frame of the patch, less about 4.5 for
    # the pixels that are covered partly, before and after resizing.
    assert lesion.recist[:4] == pytest.approx((60.5, 60.5, 31.5, 31.5), abs=0.6)
    assert lesion.grabcut is None
    assert (lesion.group, lesion.info) == ("volume-7", {"source": "b"})


@pytest.mark.parametrize(
    ("component", "reason"),
    [
        (np.pad(np.ones((2, 2), bool), 29), "the hull has under 5 points"),
        (disc(15) & ~disc(13.5), "the ellipse's IoU with the truth is under 0.4"),
    ],
)
def test_lesions_are_dropped_with_a_reason(component, reason):
    patch = np.zeros((60, 60), np.uint8)
    assert lits_data.make_lesion("a", "b", patch, component, {}, corrected=False, grabcut=False) == Dropped("a", reason)


# --- whole folders, small ----------------------------------------------------------------------------------------


def scan(rng_seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """64x64x12 voxels with an ellipsoid of tumour in slices 2 to 10."""
    x, y, z = np.mgrid[:64, :64, :12]
    tumour = ((x - 30) / 14) ** 2 + ((y - 34) / 10) ** 2 + ((z - 6) / 5) ** 2 < 1
    noise = np.random.default_rng(rng_seed).normal(0, 8, tumour.shape)
    return (110 - 50 * tumour + noise).astype(np.int16), (1 + tumour).astype(np.uint8)


def write(
    folder: Path, number: int, volume: np.ndarray | None, labels: np.ndarray | None, suffix: str = ".nii"
) -> None:
    for stem, name, voxels in (("volume", "volume", volume), ("segmentations", "segmentation", labels)):
        (folder / stem).mkdir(parents=True, exist_ok=True)
        if voxels is not None:
            nib.save(nib.Nifti1Image(voxels, np.diag([0.5, 0.5, 2, 1])), folder / stem / f"{name}-{number}{suffix}")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Volumes 1 and 2, one of them compressed."""
    write(tmp_path, 1, *scan(1), suffix=".nii")
    write(tmp_path, 2, *scan(2), suffix=".nii.gz")
    return tmp_path


def prepare(data: Path, *flags: str) -> None:
    lits_data.main(["--data", str(data), "--clusters", "2", "--workers", "1", "--no-grabcut", *flags])


def test_rows_stand_in_the_order_of_their_names(data):
    write(data, 10, *scan(3))
    prepare(data)
    lesions = [row["lesion"] for row in read_csv(data / "prepared" / "lesions.csv")]
    assert lesions == sorted(lesions)
    assert lesions[:3] == ["volume-10_10_1", "volume-10_2_1", "volume-10_3_1"]
    assert len(lesions) == 27
    assert read_csv(data / "prepared" / "lesions.csv")[0]["spacing_mm"] == "0.5x0.5x2"


def test_masks_are_in_place_under_the_corrected_protocol(data):
    """As published, OpenCV's nearest pixels lie up to 0.5 px to the lower right (FACTS.md 4.10)."""
    middles = {}
    for protocol in ("released", "corrected"):
        prepare(data, "--protocol", protocol)
        truth = np.load(data / "prepared" / "truth.npy")
        middles[protocol] = np.mean([np.argwhere(mask).mean(0) for mask in truth], axis=0)
    shift = middles["released"] - middles["corrected"]
    assert (shift > 0.2).all() and (shift < 0.6).all()


def test_window_and_type_on_disk_change_what_they_should(data):
    volume, labels = scan(1)
    write(data, 1, volume.astype(np.float64), labels.astype(np.float64))
    prepare(data, "--prepared", str(data / "float"))
    write(data, 1, volume, labels)
    prepare(data)
    prepare(data, "--prepared", str(data / "window"), "--window=-20,400")
    images = {name: np.load(data / name / "images.npy") for name in ("float", "prepared", "window")}
    np.testing.assert_array_equal(images["float"], images["prepared"])
    assert images["prepared"].max() < 160 < images["window"].max()
    splits = [{row["split"] for row in read_csv(data / name / "lesions.csv")} for name in ("prepared", "window")]
    assert splits[0] == splits[1]


def test_split_file_is_part_of_the_settings(data, capsys):
    (data / "a.csv").write_text("volume,split\n1,train\n2,test\n")
    prepare(data, "--split-file", str(data / "a.csv"))
    (data / "a.csv").write_text("volume,split\n1,test\n2,train\n")
    prepare(data, "--split-file", str(data / "a.csv"))
    with (data / "prepared" / "lesions.csv").open() as file:
        assert {(row["group"], row["split"]) for row in csv.DictReader(file)} == {
            ("volume-1", "test"),
            ("volume-2", "train"),
        }
    assert "making it again" in capsys.readouterr().out


def test_unpaired_files_and_volumes_without_tumour_are_listed(data, capsys):
    volume, labels = scan()
    write(data, 3, volume, None)
    write(data, 4, None, labels)
    write(data, 5, volume, np.minimum(labels, 1))
    prepare(data)
    assert {(row["lesion"], row["reason"]) for row in read_csv(data / "prepared" / "dropped.csv")} >= {
        ("volume-3", "volume without segmentation"),
        ("segmentation-4", "segmentation without volume"),
        ("volume-5", lits_data.NO_TUMOUR),
    }
    output = capsys.readouterr()
    assert "volume-3: volume without segmentation, left out" in output.err
    assert "1 (volume without tumour (label 2;" in output.out


def damage_shape(data: Path) -> None:
    write(data, 1, None, scan()[1][:, :, :-1])


def damage_cut(data: Path) -> None:
    path = data / "volume" / "volume-2.nii.gz"
    path.write_bytes(path.read_bytes()[:-4000])


def damage_cut_segmentation(data: Path) -> None:
    path = data / "segmentations" / "segmentation-2.nii.gz"
    path.write_bytes(path.read_bytes()[:-200])


def damage_cut_plain(data: Path) -> None:
    path = data / "volume" / "volume-1.nii"
    path.write_bytes(path.read_bytes()[:-10])


def damage_cut_header(data: Path) -> None:
    path = data / "volume" / "volume-2.nii.gz"
    path.write_bytes(path.read_bytes()[:60])


def damage_label(data: Path) -> None:
    labels = scan()[1]
    labels[0, 0, 4] = 3
    write(data, 1, None, labels)


def damage_fraction(data: Path) -> None:
    write(data, 1, None, scan()[1].astype(np.float32) * np.float32(0.5))


def damage_text(data: Path) -> None:
    (data / "volume" / "volume-1.nii").write_text("<html>403 Forbidden</html>")


def damage_text_gz(data: Path) -> None:
    (data / "volume" / "volume-2.nii.gz").write_text("<html>403 Forbidden</html>")


def damage_empty(data: Path) -> None:
    (data / "volume" / "volume-1.nii").write_bytes(b"")


def damage_gz_text(data: Path) -> None:
    (data / "volume" / "volume-2.nii.gz").write_bytes(gzip.compress(b"hello" * 200))


def damage_4d(data: Path) -> None:
    write(data, 1, np.stack([scan()[0]] * 2, axis=3), None)


def damage_nan(data: Path) -> None:
    volume = scan()[0].astype(np.float32)
    volume[3, 3, 5] = np.nan
    write(data, 1, volume, None)


def damage_infinite(data: Path) -> None:
    volume = scan()[0].astype(np.float64)
    volume[3, 3, 5] = np.inf
    write(data, 1, volume, None)


@pytest.mark.parametrize(
    ("damage", "file", "message"),
    [
        (damage_shape, "segmentation-1.nii", r"is 64x64x11 voxels but its volume is 64x64x12"),
        (damage_cut, "volume-2.nii.gz", "is cut short or damaged"),
        (damage_cut_segmentation, "segmentation-2.nii.gz", "is cut short or damaged"),
        (damage_cut_plain, "volume-1.nii", "is cut short or damaged"),
        (damage_cut_header, "volume-2.nii.gz", "is not a readable NIfTI file|is cut short"),
        (damage_label, "segmentation-1.nii", "holds the label 3 in slice 4"),
        (damage_fraction, "segmentation-1.nii", "holds the label 0.5 in slice 0"),
        (damage_text, "volume-1.nii", "is not a readable NIfTI file"),
        (damage_text_gz, "volume-2.nii.gz", "is not a readable NIfTI file"),
        (damage_empty, "volume-1.nii", "is not a readable NIfTI file"),
        (damage_gz_text, "volume-2.nii.gz", "is not a readable NIfTI file"),
        (damage_4d, "volume-1.nii", "has 4 axes"),
        (damage_nan, "volume-1.nii", "holds NaN or infinite voxels in slice 5"),
        (damage_infinite, "volume-1.nii", "holds NaN or infinite voxels in slice 5"),
    ],
)
def test_damaged_files_stop_with_a_sentence(data, damage, file, message):
    damage(data)
    with pytest.raises(UserError, match=message) as error:
        prepare(data)
    assert file in str(error.value)
    assert not (data / "prepared").exists()
    assert not list(data.glob(".prepared.*.tmp"))


def test_no_tumour_anywhere(tmp_path):
    volume, labels = scan()
    write(tmp_path, 1, volume, np.minimum(labels, 1))
    with pytest.raises(UserError, match="no usable LiTS lesion: 1 volume without tumour"):
        prepare(tmp_path)
    assert not (tmp_path / "prepared").exists()


@pytest.mark.parametrize("text", ["50", "50,0", "50,-3", "a,b", "nan,3", "1,2,3", ""])
def test_bad_windows(data, text):
    with pytest.raises(UserError, match="is not CENTRE,WIDTH in HU"):
        prepare(data, f"--window={text}")
