"""LiTS as its downloads leave it: whatever the layout, the arrays are those of the documented one."""

import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

import lits_data
import lits_files
from common.data.lesion import Dropped
from common.utils.errors import UserError
from common.utils.files import read_csv, read_json

NUMBERS = (1, 4)  # the two smallest of the real volumes
DOCUMENTED = ("volume_pt1/volume-{n}.nii.gz", "segmentations/segmentation-{n}.nii.gz")
LAYOUTS = {
    "as published": ("volume/volume-{n}.nii.gz", "segmentations/segmentation-{n}.nii.gz"),
    "Kaggle, the second part nested": ("part2/volume_pt6/volume_pt6/volume-{n}.nii.gz", DOCUMENTED[1]),
    "a batch of the challenge": (
        "LITS/Training Batch 1/media/volume-{n}.nii.gz",
        "LITS/Training Batch 1/media/segmentation-{n}.nii.gz",
    ),
    "Decathlon": ("Task03_Liver/imagesTr/liver_{n}.nii.gz", "Task03_Liver/labelsTr/liver_{n}.nii.gz"),
    "Decathlon, each file in a folder": (
        "imagesTr/liver_{n}.nii/liver_{n}.nii",
        "labelsTr/liver_{n}.nii/liver_{n}.nii",
    ),
    "flat": ("volume-{n}.nii.gz", "segmentation-{n}.nii.gz"),
    "flat, unpacked, in capitals": ("Volume-{n}.NII", "Segmentation-{n}.NII"),
}
JUNK = (
    "{folder}/._{name}", "__MACOSX/{folder}/{name}", ".DS_Store", "Thumbs.db", "notes.txt", "imagesTs/liver_{n}.nii.gz",
    "test-volume-{n}.nii", "volume-{n}_mask.nii.gz", "volume-{n}.nii.txt", "{name}.zip", "notes/volume.nii",
)  # fmt: skip


def put(path: Path, content: bytes | Path) -> None:
    """A file, or a link to one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.symlink_to(content) if isinstance(content, Path) else path.write_bytes(content)


def build(shared: Path, folder: Path, templates: tuple[str, str]) -> Path:
    """Two real volumes and their segmentations as links in a layout."""
    for number in NUMBERS:
        for template, name in zip(templates, LAYOUTS["as published"], strict=True):
            put(folder / template.format(n=number), shared / "data" / "lits" / name.format(n=number))
    return folder


def prepare(data: Path, *flags: str) -> dict[str, bytes]:
    """The arrays, the table of lesions and the identity of both."""
    lits_data.main(["--data", str(data), "--clusters", "2", "--workers", "1", "--no-grabcut", *flags])
    content = {path.name: path.read_bytes() for path in (data / "prepared").glob("*.npy")}
    content["lesions.csv"] = (data / "prepared" / "lesions.csv").read_bytes()
    return content | {"identity": read_json(data / "prepared" / "prepared.json")["identity"].encode()}


@pytest.fixture(scope="module")
def documented(shared, tmp_path_factory):
    content = prepare(build(shared, tmp_path_factory.mktemp("documented"), DOCUMENTED))
    arrays = {f"{name}.npy" for name in ("images", "ellipse", "quarters", "truth", "recist", "ends")}
    assert content.keys() == arrays | {"lesions.csv", "identity"}
    assert content["lesions.csv"].count(b"\nvolume-1_") == 33
    return content


@pytest.fixture
def data(shared, tmp_path):
    """The documented layout, into which a test may put more."""
    return build(shared, tmp_path, DOCUMENTED)


@pytest.mark.parametrize("templates", LAYOUTS.values(), ids=LAYOUTS)
def test_every_layout_gives_the_arrays_of_the_documented_one(templates, shared, documented, tmp_path, capsys):
    data = build(shared, tmp_path, templates)
    for template in templates:
        path = Path(template.format(n=1))
        for junk in JUNK:
            put(data / junk.format(folder=path.parent, name=path.name, n=1), b"junk")
    assert prepare(data) == documented
    output = capsys.readouterr()
    assert output.out.startswith(f"LiTS: 2 volumes with segmentations below {data}, in ")
    assert output.out.count(str(data)) == 2  # that line, and what was prepared
    assert "left out" not in output.err


def test_a_line_says_where_files_were_taken_from(data, capsys):
    lits_files.find_pairs(data)
    assert capsys.readouterr().out == f"LiTS: 2 volumes with segmentations below {data}, in segmentations, volume_pt1\n"


def test_masks_without_their_volumes_are_one_line(data, documented, capsys):
    for number in range(5, 134):
        put(data / f"segmentations/segmentation-{number}.nii", b"")
    assert prepare(data) == documented
    (line,) = (line for line in capsys.readouterr().err.splitlines() if "segmentation-" in line)
    names = "segmentation-10, segmentation-100, segmentation-101 and 126 more"
    assert line == f"{names}: segmentation without volume, left out"
    reasons = [row["reason"] for row in read_csv(data / "prepared" / "dropped.csv")]
    assert reasons.count("segmentation without volume") == 129


def test_what_is_there_twice_is_taken_once(data, documented, shared, capsys):
    build(shared, data, LAYOUTS["a batch of the challenge"])
    assert prepare(data) == documented
    packed, unpacked = data / "volume_pt1" / "volume-1.nii.gz", data / "volume_pt1" / "volume-1.nii"
    put(unpacked, packed.resolve())
    for path in (data / "LITS").rglob("volume-1.*"):
        path.unlink()
    packed.unlink()
    put(packed, b"another")  # is not looked at
    pairs, dropped = lits_files.find_pairs(data)
    assert (pairs[0].volume, dropped) == (unpacked, [])
    assert "volume-1.nii.gz: passed over; the .nii of the same name is read" in capsys.readouterr().err


def test_a_volume_under_two_numbers_is_refused(data):
    for number in (7, 9):
        shutil.copyfile(data / "volume_pt1" / "volume-1.nii.gz", data / "volume_pt1" / f"volume-{number}.nii.gz")
        put(data / "segmentations" / f"segmentation-{number}.nii.gz", b"")
    with pytest.raises(UserError, match=r"volume-1\.nii\.gz and .*volume-7\.nii\.gz are copies, .* remove one"):
        lits_files.find_pairs(data)


def test_files_of_one_number_that_differ_are_refused(data):
    put(data / "imagesTr" / "liver_4.nii", b"another")
    with pytest.raises(UserError, match=r"volume_pt1/volume-4.nii.gz differs from .*imagesTr/liver_4.nii, of the same"):
        prepare(data)


def test_nothing_to_take(tmp_path):
    with pytest.raises(UserError, match=r"holds 0 volumes and 0 seg.*; there is no such folder; .*or pass --data DIR"):
        prepare(tmp_path / "nowhere")
    put(tmp_path / "archive.zip", b"")
    put(tmp_path / "a" / "volume-1.nii", b"")
    put(tmp_path / "a" / "segmentation-2.nii", b"")
    sentence = r"holds 1 volumes and 1 segmentations, but none of .*; it holds a/, archive\.zip; unpack LiTS"
    with pytest.raises(UserError, match=sentence):
        prepare(tmp_path)
    assert not (tmp_path / "prepared").exists()


# --- unreadable volumes ------------------------------------------------------------------------------------------


def write_scans(folder: Path, number: int, volume: np.ndarray, labels: np.ndarray) -> None:
    for name, voxels in (("volume", volume), ("segmentation", labels)):
        nib.save(nib.Nifti1Image(voxels, np.diag([0.5, 0.5, 2, 1])), folder / f"{name}-{number}.nii")


def test_unreadable_volumes_are_listed_together_and_dropped_whole(tmp_path, capsys):
    x, y, z = np.mgrid[:64, :64, :12]
    labels = 2 * (((x - 30) / (9 + z)) ** 2 + ((y - 34) / 10) ** 2 < 1).astype(np.uint8)
    volume = np.random.default_rng(0).normal(90, 8, labels.shape).astype(np.float32)
    with_nan, strange = volume.copy(), labels.copy()
    with_nan[0, 0, 11] = np.nan
    strange[0, 0, 11] = 7
    write_scans(tmp_path, 1, volume, labels)
    write_scans(tmp_path, 2, with_nan, labels)
    write_scans(tmp_path, 3, volume + 1, strange)
    write_scans(tmp_path, 4, volume + 2, labels[..., 1:])
    write_scans(tmp_path, 5, volume * 0, labels)
    write_scans(tmp_path, 6, volume, labels)
    (tmp_path / "volume-6.nii").write_text("<html>403 Forbidden</html>")
    sentences = {
        "volume-2": "volume-2.nii holds NaN or infinite voxels in slice 11;",
        "volume-3": "segmentation-3.nii holds the label 7 in slice 11;",
        "volume-4": "segmentation-4.nii is 64x64x11 voxels but its volume is 64x64x12;",
        "volume-5": "volume-5.nii: the patches of its lesions are all black,",
        "volume-6": "volume-6.nii is not a readable NIfTI file;",
    }
    with pytest.raises(UserError, match="5 files can't be used, as listed above; mend them, or pass --skip-bad"):
        prepare(tmp_path)
    lines = capsys.readouterr().err.splitlines()[-5:]
    assert all(map(str.__contains__, lines, sentences.values())), lines
    assert not (tmp_path / "prepared").exists()
    prepare(tmp_path, "--skip-bad")
    dropped = [Dropped(**row) for row in read_csv(tmp_path / "prepared" / "dropped.csv")]
    assert [item.lesion for item in dropped] == list(sentences)
    assert [item.reason for item in dropped] == lines
    assert {row["group"] for row in read_csv(tmp_path / "prepared" / "lesions.csv")} == {"volume-1"}
