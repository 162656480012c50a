"""Lesions of a volume get a mask with the volume's own shape and affine, through the patch that preprocessing makes."""

from pathlib import Path

import cv2
import nibabel as nib
import numpy as np
import pytest
from nibabel.orientations import apply_orientation, axcodes2ornt, ornt_transform
from scipy import ndimage

import lits_data
import lits_predict
import stub
from common.data.dataset import LesionDataset
from common.inference.prompts import ENDS, LesionPrompt
from common.recist import diameters
from common.utils.errors import UserError
from common.utils.files import read_csv
from lits_scan import Scan

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
        *(f"Leber_{index}_overlay.png" for index in (2, 3, 5)), "Leber_mask.nii.gz", "index.html", "measurements.csv",
    ]  # fmt: skip


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
    # At 155 to 1155 HU the lesions of 255 HU are at a tenth of the range.
    run(volume[0], tmp_path / "out", TABLE, "--window", "655,1000")
    assert {row["area_px"] for row in read_csv(tmp_path / "out" / "measurements.csv")} == {"0"}
    assert not np.asarray(nib.load(tmp_path / "out" / "Leber_mask.nii.gz").dataobj).any()
    with pytest.raises(UserError, match=r"Leber.nii.gz: the patches of its lesions are all black"):
        run(volume[0], tmp_path / "out", TABLE, "--window", "1755,1000")


@pytest.mark.parametrize(
    ("prepared", "flag", "window"),
    [
        ({"window": [655.0, 1000.0]}, None, (655, 1000)),
        ({"window": [655.0, 1000.0]}, (655, 1000), (655, 1000)),
        ({"window": None}, None, None),
        (None, None, None),  # a released checkpoint
        (None, (655, 1000), (655, 1000)),
    ],
)
def test_the_window_is_the_checkpoints(prepared, flag, window):
    settings = {"preprocessing": prepared} if prepared else {}
    assert lits_predict.choose_window(flag, settings, "a.pt") == window


@pytest.mark.parametrize(
    ("prepared", "sentence"),
    [
        ({"window": [50.0, 400.0]}, "a.pt was trained with --window 50,400, not with 100,400; leave --window out"),
        ({"window": None}, "a.pt was trained with no --window, not with 100,400; leave --window out"),
    ],
)
def test_another_window_than_the_checkpoints_is_refused(volume, tmp_path, monkeypatch, prepared, sentence):
    stub.use(monkeypatch).model.settings["preprocessing"] = prepared
    with pytest.raises(UserError, match=sentence):
        run(volume[0], tmp_path / "out", TABLE, "--window", "100,400")


@pytest.mark.parametrize(
    ("change", "look"),
    [(lambda hu: (hu + 160) / 400, "of one grey"), (lambda hu: hu + 1024, "white"), (lambda hu: hu - 1400, "black")],
)
def test_intensities_that_are_not_hu_are_refused(volume, tmp_path, monkeypatch, change, look):
    stub.use(monkeypatch)
    path, _ = volume
    hounsfield = np.asarray(nib.load(path).dataobj).astype(np.float32)
    nib.save(nib.Nifti1Image(change(hounsfield), AFFINE), path)
    with pytest.raises(UserError, match=f"Leber.nii.gz: the patches of its lesions are all {look}, so its intensities"):
        run(path, tmp_path / "out", TABLE)
    assert not list((tmp_path / "out").iterdir())


def test_a_point_on_a_large_lesion_gets_a_larger_patch(tmp_path, monkeypatch, capsys):
    stub.use(monkeypatch)
    rows, columns, _ = np.mgrid[:200, :220, :3]
    disc = (rows - 95) ** 2 + (columns - 110) ** 2 <= 45**2
    hounsfield = np.where(disc, 200, -50) + np.random.default_rng(0).normal(0, 5, disc.shape)
    nib.save(nib.Nifti1Image(hounsfield.astype(np.int16), AFFINE), tmp_path / "a.nii")
    run(tmp_path / "a.nii", tmp_path / "out", "x,y,slice\n110,95,1\n")
    (row,) = read_csv(tmp_path / "out" / "measurements.csv")
    assert float(row["long_px"]) == pytest.approx(91, abs=2)  # the patch about 28 px is 64 px wide, the third 148
    assert row["cut"] == "0"
    assert "cut off" not in capsys.readouterr().err


def test_a_point_at_the_border_means_the_lesion_at_the_border(tmp_path, monkeypatch):
    """Not a neighbour in the middle of the box that stands for the point, which ends at the border."""
    stub.use(monkeypatch)
    voxels = np.full((160, 200, 3), -50, np.int16)
    voxels[70:90, 0:4, 1] = voxels[75:85, 8:21, 1] = 255
    nib.save(nib.Nifti1Image(voxels, AFFINE), tmp_path / "a.nii")
    run(tmp_path / "a.nii", tmp_path / "out", "x,y,slice\n2,80,1\n")
    mask = np.asarray(nib.load(tmp_path / "out" / "a_mask.nii.gz").dataobj)[..., 1]
    assert mask[80, 2] and not mask[:, 8:].any()


def test_overlays_of_a_run_before_are_removed(volume, tmp_path, monkeypatch):
    stub.use(monkeypatch)
    path, _ = volume
    for table in (TABLE, "slice,x,y\n3,70,40\n"):
        run(path, tmp_path / "out", table)
    assert [overlay.name for overlay in (tmp_path / "out").glob("*_overlay.png")] == ["Leber_3_overlay.png"]


def test_a_table_may_be_about_several_volumes(volume, tmp_path, monkeypatch, capsys):
    stub.use(monkeypatch)
    path, truth = volume
    other = tmp_path / "c" / "Leber.nii.gz"  # the same lesions two slices later, in rows that run the other way
    other.parent.mkdir()
    nib.save(nib.Nifti1Image(np.roll(np.asarray(nib.load(path).dataobj), 2, axis=2)[::-1], AFFINE), other)
    (tmp_path / "c" / "unmarked.nii").write_bytes(b"never read")
    table = tmp_path / "lesions.csv"
    table.write_text(
        "volume,lesion,slice,x,y\nc/Leber,round,4,70,49\na b/Leber,round,2,70,40\n"
        "c/Leber.nii.gz,round,5,70,49\na b/Leber,round,3,70,40\nc/Leber,corner,1,115,86\n"
    )
    out = tmp_path / "out"
    words = ["--checkpoint", "a.pt", "--lesions", str(table), "--out", str(out)]
    for _ in range(2):
        lits_predict.main([*words, str(path), str(other.parent)])
    assert f"{table} has no row for {tmp_path / 'c' / 'unmarked.nii'}; left out" in capsys.readouterr().err
    assert sorted(file.name for file in out.iterdir()) == [
        *(f"a b_Leber_{end}" for end in ("2_overlay.png", "3_overlay.png", "mask.nii.gz")),
        *(f"c_Leber_{end}" for end in ("1_overlay.png", "4_overlay.png", "5_overlay.png", "mask.nii.gz")),
        "index.html", "measurements.csv",
    ]  # fmt: skip
    marked = truth & (np.arange(6) < 5)
    for name, shown in (("a b", marked), ("c", np.roll(truth, 2, axis=2)[::-1])):
        voxels = np.asarray(nib.load(out / f"{name}_Leber_mask.nii.gz").dataobj)
        assert 2 * (voxels & shown).sum() / (voxels.sum() + shown.sum()) > 0.97
    rows = read_csv(out / "measurements.csv")
    assert [(row["input"], row["lesion"], row["mask"]) for row in rows] == [
        (str(path), "round", "a b_Leber_mask.nii.gz"),
        (str(other), "corner", "c_Leber_mask.nii.gz"),
        (str(other), "round", "c_Leber_mask.nii.gz"),
    ]


def test_a_damaged_volume_does_not_lose_the_others(volume, tmp_path, monkeypatch):
    stub.use(monkeypatch)
    path, _ = volume
    content = path.read_bytes()
    damaged = path.with_name("damaged.nii.gz")
    damaged.write_bytes(content[: len(content) // 2])
    table = tmp_path / "lesions.csv"
    table.write_text("volume,slice,x,y\ndamaged,3,70,40\nLeber,3,70,40\n")
    words = ["--checkpoint", "a.pt", "--lesions", str(table), "--out", str(tmp_path / "out")]
    with pytest.raises(
        UserError, match=r"damaged\.nii\.gz is cut short or damaged; .* \(the others are done, in .*out"
    ):
        lits_predict.main([*words, str(damaged), str(path)])
    assert [row["input"] for row in read_csv(tmp_path / "out" / "measurements.csv")] == [str(path)]
    assert not list((tmp_path / "out").glob("damaged*"))
    damaged.write_bytes(content)
    lits_predict.main([*words, str(damaged), str(path)])
    assert (tmp_path / "out" / "damaged_mask.nii.gz").is_file()
    damaged.write_bytes(content[: len(content) // 2])
    with pytest.raises(UserError, match="cut short or damaged"):
        lits_predict.main([*words, str(damaged), str(path)])
    assert not list((tmp_path / "out").glob("damaged*"))  # nor are those of the run before kept beside the new table


def test_volumes_without_rows_are_inputs_too(volume, tmp_path, monkeypatch):
    stub.use(monkeypatch)
    path, _ = volume
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "Leber_mask.nii.gz").write_bytes(b"drawn by hand")
    table = tmp_path / "lesions.csv"
    table.write_text("volume,slice,x,y\nLeber,3,70,40\n")
    words = ["--checkpoint", "a.pt", "--lesions", str(table), "--out", str(tmp_path / "out")]
    with pytest.raises(UserError, match=r"holds the input Leber_mask\.nii\.gz"):
        lits_predict.main([*words, str(path), str(tmp_path / "out")])


def test_lesions_of_one_name_are_told_apart(volume, tmp_path, monkeypatch, capsys):
    stub.use(monkeypatch)
    path, _ = volume
    other = path.with_name("Leber 2.nii.gz")
    other.write_bytes(path.read_bytes())
    table = tmp_path / "lesions.csv"
    table.write_text("volume,lesion,slice,x,y\n" + "".join(f"{n},a,{s},70,40\n" for n, s in (
        ("Leber", 2), ("Leber", 3), ("Leber 2", 0), ("Leber 2", 3), ("Leber 2", 5))))  # fmt: skip
    lits_predict.main(
        ["--checkpoint", "a.pt", "--lesions", str(table), "--out", str(tmp_path / "out"), str(path.parent)]
    )
    assert f"warning: no volume of a of {other}, whose slices are not consecutive" in capsys.readouterr().err


def test_a_table_about_another_volume_is_refused(volume, tmp_path, monkeypatch):
    stub.use(monkeypatch)
    with pytest.raises(UserError, match=r"lesions\.csv names volume-1, and .*Leber\.nii\.gz is given"):
        run(volume[0], tmp_path / "out", "volume,slice,x,y\nvolume-1,3,70,40\n")


TWO = """lesion,slice,left,top,right,bottom,x,y
small,1,,,,,40,40
large,1,54,31,72,49,,
"""


@pytest.mark.parametrize("codes", ["LAS", "SAL"])
def test_a_lesion_is_not_measured_with_its_neighbours(tmp_path, monkeypatch, codes):
    """A network that sees no marks segments all that lies in a patch."""
    stub.use(monkeypatch)
    voxels = np.full((90, 120, 3), -50, np.int16)
    rows, columns = np.mgrid[:90, :120]
    areas = {}
    for name, centre, radius in (("small", 40, 5), ("large", 63, 9), ("unnamed", 85, 6)):
        disc = (rows - 40) ** 2 + (columns - centre) ** 2 <= radius**2
        voxels[disc, 1], areas[name] = 255, disc.sum()
    store(tmp_path / "a.nii", voxels, codes)
    run(tmp_path / "a.nii", tmp_path / "out", TWO)
    measured = {row["lesion"]: row for row in read_csv(tmp_path / "out" / "measurements.csv")}
    for name, row in measured.items():
        assert row["parts"] == "1"
        assert float(row["area_px"]) == pytest.approx(areas[name], rel=0.05)
    mask = np.asarray(nib.load(tmp_path / "out" / "a_mask.nii.gz").dataobj)
    assert mask.sum() == pytest.approx(areas["small"] + areas["large"], rel=0.05)


# --- orientation and units ---------------------------------------------------------------------------------------


def store(path, voxels, codes, spacing=(0.7, 0.8, 2.5)):
    """Save voxels that lie in the order left, anterior, superior in the order of these codes."""
    affine = np.diag([-spacing[0], spacing[1], spacing[2], 1])
    turn = ornt_transform(axcodes2ornt("LAS"), axcodes2ornt(codes))
    nib.save(nib.Nifti1Image(voxels, affine).as_reoriented(turn), path)
    return turn


@pytest.mark.parametrize(("codes", "axis"), [("LAS", None), ("SAL", "first"), ("ASL", "second"), ("SLA", "first")])
def test_a_mask_is_written_in_the_files_own_order(volume, tmp_path, monkeypatch, capsys, codes, axis):
    stub.use(monkeypatch)
    path, truth = volume
    turn = store(path, np.asarray(nib.load(path).dataobj), codes)
    run(path, tmp_path / "out", TABLE)
    assert (f"slices are taken along the {axis} axis" in capsys.readouterr().err) == (axis is not None)
    mask, stored = nib.load(tmp_path / "out" / "Leber_mask.nii.gz"), nib.load(path)
    assert mask.shape == stored.shape
    np.testing.assert_allclose(mask.affine, stored.affine, atol=1e-6)
    voxels = np.asarray(mask.dataobj)
    right = apply_orientation(truth, turn)
    assert 2 * (voxels & right).sum() / (voxels.sum() + right.sum()) > 0.97
    (lesion,) = (row for row in read_csv(tmp_path / "out" / "measurements.csv") if row["lesion"] == "round")
    assert (lesion["slice"], float(lesion["long_mm"])) == ("3", pytest.approx(0.8 * 25, abs=1))
    assert float(lesion["short_mm"]) == pytest.approx(0.7 * 25, abs=1)


@pytest.mark.parametrize("codes", ["LAS", "SAL", "ASL", "RAS", "LPI"])
def test_i_j_k_are_the_files_own_indices(volume, tmp_path, monkeypatch, codes):
    stub.use(monkeypatch)
    path, truth = volume
    voxels = np.asarray(nib.load(path).dataobj)
    voxels[..., 4:] = voxels[..., :2] = -50  # the round lesion alone
    turn = store(path, voxels, codes)
    centre = np.zeros(voxels.shape, bool)
    centre[40, 70, 2] = True
    i, j, k = np.argwhere(apply_orientation(centre, turn))[0]
    run(path, tmp_path / "out", f"i,j,k\n{i},{j},{k}\n")
    voxels = np.asarray(nib.load(tmp_path / "out" / "Leber_mask.nii.gz").dataobj)
    assert voxels[i, j, k] == 1
    assert voxels.sum() == pytest.approx(truth[..., 2].sum(), rel=0.1)


@pytest.mark.parametrize("codes", ["LAS", "RAS", "LPS", "PLS", "ARI", "SAL"])
def test_overlays_show_the_right_on_the_left_and_anterior_up(volume, tmp_path, monkeypatch, codes):
    stub.use(monkeypatch)
    voxels = np.full((60, 80, 6), -50, np.int16)
    voxels[5:20, 60:75, 3] = 255  # the first rows lie on the patient's right, the last columns are anterior
    turn = store(volume[0], voxels, codes)
    centre = np.zeros(voxels.shape, bool)
    centre[12, 67, 3] = True
    i, j, k = np.argwhere(apply_orientation(centre, turn))[0]
    run(volume[0], tmp_path / "out", f"i,j,k\n{i},{j},{k}\n")
    (path,) = (tmp_path / "out").glob("*_overlay.png")
    overlay = cv2.imread(str(path))
    assert overlay.shape == (160, 120, 3)  # twice 80 rows from anterior to posterior, 60 columns from right to left
    rows, columns = np.nonzero((overlay == 255).all(axis=2))
    assert (rows.min() // 2, rows.max() // 2) == pytest.approx((79 - 74, 79 - 60), abs=1)
    assert (columns.min() // 2, columns.max() // 2) == pytest.approx((5, 19), abs=1)


def test_without_an_orientation_overlays_are_as_stored(volume, tmp_path, monkeypatch):
    stub.use(monkeypatch)
    image = nib.load(volume[0])
    image.header["sform_code"] = image.header["qform_code"] = 0
    nib.save(nib.Nifti1Image(np.asarray(image.dataobj), None, image.header), volume[0])
    run(volume[0], tmp_path / "out", TABLE)
    assert cv2.imread(str(tmp_path / "out" / "Leber_3_overlay.png")).shape == (180, 240, 3)


def test_mm_come_from_the_affine_that_the_mask_shares(volume, tmp_path, monkeypatch):
    stub.use(monkeypatch)
    image = nib.Nifti1Image(np.asarray(nib.load(volume[0]).dataobj), AFFINE)
    image.header["pixdim"][1:4] = 1
    nib.save(image, volume[0])
    assert nib.load(volume[0]).header.get_zooms() == (1, 1, 1)
    run(volume[0], tmp_path / "out", TABLE)
    (row,) = (row for row in read_csv(tmp_path / "out" / "measurements.csv") if row["lesion"] == "round")
    assert float(row["area_mm2"]) == pytest.approx(int(row["area_px"]) * 0.7 * 0.8, abs=0.01)
    mask = nib.load(tmp_path / "out" / "Leber_mask.nii.gz")
    np.testing.assert_allclose(mask.affine, AFFINE, atol=1e-6)
    np.testing.assert_allclose(mask.header.get_zooms(), (0.7, 0.8, 2.5), atol=1e-6)


def test_a_placeholder_leaves_mm_empty(volume, tmp_path, monkeypatch, capsys):
    stub.use(monkeypatch)
    nib.save(nib.Nifti1Image(np.asarray(nib.load(volume[0]).dataobj), np.eye(4)), volume[0])
    run(volume[0], tmp_path / "out", TABLE)
    err = capsys.readouterr().err
    assert "mm stay empty" in err and "not consecutive" not in err
    for row in read_csv(tmp_path / "out" / "measurements.csv"):
        assert [row[name] for name in ("area_mm2", "long_mm", "short_mm", "volume_ml")] == [""] * 4


def cut_patches(scan, prompts):
    images = lits_predict.read_slices(scan, prompts, None, Path("out"), "a")
    return [patch for image in images for patch in image.patches]


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
        patches = cut_patches(scan, prompts)
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
    with pytest.raises(UserError, match=r"lesions\.csv is not named like a NIfTI volume"):
        run(path.with_name("lesions.csv"), tmp_path / "out", TABLE)
    with pytest.raises(UserError, match=r"gone\.nii does not exist"):
        run(path.with_name("gone.nii"), tmp_path / "out", TABLE)
    with pytest.raises(UserError, match="holds the input"):
        run(path, path.parent, TABLE)
    assert not (tmp_path / "out").exists()
    assert network.settings is None
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(UserError, match="cut short or damaged"):
        run(path, tmp_path / "out", TABLE)
    assert not list((tmp_path / "out").iterdir())


# --- RECIST marks ------------------------------------------------------------------------------------------------


MARKED = f"lesion,slice,{','.join(ENDS)}\nround,2,60,40,80,40,70,30,70,50\nround,3,58,40,82,40,70,28,70,52\n"


def test_a_network_sees_the_marks_that_preprocessing_makes(phantom_lits):
    dataset = LesionDataset.open(phantom_lits / "prepared")
    segmentation = Scan(phantom_lits / "segmentations" / "segmentation-0.nii")
    prompts = []
    for index in range(segmentation.shape[2]):
        labels, _ = ndimage.label(segmentation.read_tumour(index), np.ones((3, 3)))
        for component, (rows, columns) in enumerate(ndimage.find_objects(labels), 1):
            box = columns.start, rows.start, columns.stop - 1, rows.stop - 1
            place = lits_data.patch_box((rows.start, columns.start, rows.stop - 1, columns.stop - 1), labels.shape)
            # Measured on the patch: of diameters of one length, which is taken depends on the rounding.
            ends = diameters(labels[place] == component).ends + np.array((place[1].start, place[0].start))
            prompts.append(LesionPrompt(f"volume-0_{index}_{component}", index, *box, ends=ends))
    scan = Scan(phantom_lits / "volume" / "volume-0.nii")
    patches = cut_patches(scan, prompts)
    rows = {row["lesion"]: number for number, row in enumerate(dataset.lesions)}
    kept = [patch for patch in patches if patch.lesion in rows]
    assert len(kept) > 5
    for patch in kept:
        np.testing.assert_allclose(patch.ends, dataset.array("ends")[rows[patch.lesion]], atol=1e-3)


@pytest.mark.parametrize("codes", ["LAS", "SAL", "RPS"])
def test_marks_alone_give_the_mask_of_a_volume(volume, tmp_path, monkeypatch, codes):
    network = stub.use(monkeypatch)
    path, truth = volume
    turn = store(path, np.asarray(nib.load(path).dataobj), codes)
    table = MARKED
    if codes == "RPS":  # stored with rows and columns reversed
        table = f"lesion,slice,{','.join(ENDS)}\nround,2,39,49,59,49,49,39,49,59\nround,3,37,49,61,49,49,37,49,61\n"
    lesions = path.parent / "lesions.csv"
    lesions.write_text(table)
    words = [str(path), "--lesions", str(lesions), "--out", str(tmp_path / "out")]
    lits_predict.main(["--target", "quarters", *words])
    assert network.settings is None
    voxels = np.asarray(nib.load(tmp_path / "out" / "Leber_mask.nii.gz").dataobj)
    marked = apply_orientation(truth & (np.arange(6) < 5), turn)  # without the lesion in the corner
    assert 2 * (voxels & marked).sum() / (voxels.sum() + marked.sum()) > 0.94
    (row,) = read_csv(tmp_path / "out" / "measurements.csv")
    assert (row["slice"], row["slices"], row["cut"]) == ("3", "2", "0")
    assert float(row["long_px"]) == pytest.approx(0.96 * 24, abs=1)
    lesions.write_text(TABLE)
    with pytest.raises(UserError, match=r"lesions\.csv, row 1 after the header, gives no RECIST end points"):
        lits_predict.main(["--target", "quarters", *words])


def test_a_checkpoint_that_sees_marks_gets_them(volume, tmp_path, monkeypatch):
    network = stub.use(monkeypatch)
    network.model.settings["prompt"] = "recist"
    run(volume[0], tmp_path / "out", MARKED)
    (ends,) = network.ends
    # Rows 30 to 50 grow by 18 px each way to 12 to 68: 56 px, which become 120; 30 is (30 - 12 + 0.5) * 120 / 56 - 0.5.
    top, bottom = (np.array((30, 50)) - 12 + 0.5) * 120 / 56 - 0.5
    np.testing.assert_allclose(ends[0][2:, 1], (top, bottom))
    np.testing.assert_allclose(ends[0][:2, 0], (top, bottom))  # so do the columns 60 to 80
    with pytest.raises(UserError, match="row 1 after the header, gives no RECIST end points; --target quarters and"):
        run(volume[0], tmp_path / "out", TABLE)
