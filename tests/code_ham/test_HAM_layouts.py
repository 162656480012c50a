"""HAM10000 as its downloads leave it: whatever the layout, the arrays are those of the documented one."""

import csv
from dataclasses import dataclass
from pathlib import Path

import pytest

import HAM_data
from common.utils.errors import UserError
from common.utils.files import read_csv
from HAM_phantom import IMAGE_FOLDERS, MASK_FOLDER


@dataclass(frozen=True)
class Layout:
    """Where files lie, with ``{part}``, 1 or 2, and ``{name}``; what stands between the cells of the metadata."""

    images: tuple[str, ...] = ("HAM10000_images_part_{part}/{name}.jpg",)
    masks: tuple[str, ...] = (f"{MASK_FOLDER}/{{name}}_segmentation.png",)
    metadata: tuple[str, ...] = ("HAM10000_metadata.csv",)
    delimiter: str = ","
    quoting: int = csv.QUOTE_MINIMAL


LAYOUTS = {
    "root of the zips": Layout(("{name}.jpg",), ("{name}_segmentation.png",)),
    "folders in folders of the same name": Layout(
        ("HAM10000_images_part_{part}/HAM10000_images_part_{part}/{name}.jpg",),
        (f"{MASK_FOLDER}/{MASK_FOLDER}/{{name}}_segmentation.png",),
        ("HAM10000_metadata.csv/HAM10000_metadata.csv",),
    ),
    "lower case": Layout(
        ("archive/ham10000_images_part_{part}/{name}.jpg",),
        ("archive/ham10000_segmentations_lesion_tschandl/{name}_segmentation.png",),
        ("archive/ham10000_metadata",),
        delimiter=";",
    ),
    "both spellings of Kaggle": Layout(
        tuple(f"skin/{start}_images_part_{{part}}/{{name}}.jpg" for start in ("HAM10000", "ham10000")),
        ("masks/a/{name}_segmentation.png", "masks/b/{name}_segmentation.png"),
        ("skin/HAM10000_metadata.csv", "HAM10000_metadata.tab"),
    ),
    "one folder, capital suffixes": Layout(("all/{name}.JPG",), ("all/{name}_segmentation.PNG",)),
    "jpeg, and the tab-separated file of Dataverse": Layout(
        ("dataverse_files/images/{name}.jpeg",),
        metadata=("dataverse_files/HAM10000_metadata.tab",),
        delimiter="\t",
        quoting=csv.QUOTE_ALL,
    ),
}


def build(shared: Path, folder: Path, layout: Layout) -> Path:
    """Six real lesions, three of each part, as links in a layout."""
    real = shared / "data" / "ham10000"
    for part, name in enumerate(IMAGE_FOLDERS, 1):
        for source in sorted((real / name).iterdir())[:3]:
            mask = real / MASK_FOLDER / f"{source.stem}_segmentation.png"
            for templates, target in ((layout.images, source), (layout.masks, mask)):
                for template in templates:
                    path = folder / template.format(part=part, name=source.stem)
                    path.parent.mkdir(parents=True, exist_ok=True)
                    path.symlink_to(target)
    rows = read_csv(real / "HAM10000_metadata.csv")
    for name in layout.metadata:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("w", newline="") as file:
            writer = csv.DictWriter(file, rows[0], delimiter=layout.delimiter, quoting=layout.quoting)
            writer.writeheader()
            writer.writerows(rows)
    return folder


def prepare(data: Path, *flags: str) -> dict[str, bytes]:
    """The arrays and the table of lesions; names of image files as the documented layout has them."""
    HAM_data.main(["--data", str(data), "--clusters", "2", "--workers", "1", *flags])
    paths = [*(data / "prepared").glob("*.npy"), data / "prepared" / "lesions.csv"]
    content = {path.name: path.read_bytes() for path in paths}
    for suffix in (b".JPG", b".jpeg"):
        content["lesions.csv"] = content["lesions.csv"].replace(suffix, b".jpg")
    return content


@pytest.fixture(scope="module")
def documented(shared, tmp_path_factory):
    content = prepare(build(shared, tmp_path_factory.mktemp("documented"), Layout()))
    assert len(content) == 8
    assert content["lesions.csv"].count(b",HAM_000") == 6  # the metadata were read
    return content


@pytest.fixture
def data(shared, tmp_path):
    """The documented layout, into which a test may put more."""
    return build(shared, tmp_path, Layout())


@pytest.mark.parametrize("name", LAYOUTS)
def test_every_layout_gives_the_arrays_of_the_documented_one(name, shared, documented, tmp_path, capsys):
    data = build(shared, tmp_path, LAYOUTS[name])
    assert prepare(data) == documented
    output = capsys.readouterr()
    metadata = ", ".join(sorted(LAYOUTS[name].metadata))
    assert output.out.startswith(f"HAM10000: 6 images and 6 masks below {data}, metadata from {metadata}\n")
    assert output.err == ""


def test_other_files_are_neither_data_nor_noise(data, documented, capsys):
    name = next((data / MASK_FOLDER).iterdir()).name.removesuffix("_segmentation.png")
    for stray in (
        f"{IMAGE_FOLDERS[0]}/._{name}.jpg", f"__MACOSX/{MASK_FOLDER}/._{name}_segmentation.png", ".DS_Store",
        f"{IMAGE_FOLDERS[0]}/Thumbs.db", f"__MACOSX/{name}.jpg", "notes/readme.txt", "hmnist_28_28_RGB.csv",
        f"out/{name}_overlay.jpg", f"out/{name}_mask.png", f"out/{name}.png", "photo.jpg", "other/photo.jpg",
        "figure_segmentation.png", "old_HAM10000_metadata.csv", "HAM10000_metadata.csv.bak", "empty.jpg/empty.txt",
    ):  # fmt: skip
        (data / stray).parent.mkdir(parents=True, exist_ok=True)
        (data / stray).write_text(stray)
    assert prepare(data) == documented
    assert capsys.readouterr().err == ""


def test_a_download_without_most_masks_is_two_lines(data, documented, capsys):
    for number in range(129):
        (data / f"ISIC_{number}.jpg").touch()
    (data / "ISIC_999_segmentation.png").touch()
    assert prepare(data) == documented
    assert capsys.readouterr().err.splitlines() == [
        "ISIC_0, ISIC_1, ISIC_10 and 126 more: image without mask, left out",
        "ISIC_999: mask without image, left out",
    ]
    assert len(read_csv(data / "prepared" / "dropped.csv")) == 130


def test_unreadable_files_are_listed_together_and_skipped_on_request(data, capsys):
    first, second, *_ = sorted((data / IMAGE_FOLDERS[0]).iterdir())
    mask = data / MASK_FOLDER / f"{second.stem}_segmentation.png"
    for path, content in ((first, first.read_bytes()[:5000]), (mask, b"<html>")):
        path.unlink()
        path.write_bytes(content)
    with pytest.raises(UserError, match="2 files can't be used, as listed above; mend them, or pass --skip-bad"):
        prepare(data)
    sentences = [
        f"{first} is cut short (5000 bytes); download it again",
        f"{mask} is not a readable image; download it again",
    ]
    assert capsys.readouterr().err.splitlines()[-2:] == sentences
    assert not (data / "prepared").exists()
    prepare(data, "--skip-bad")
    assert [row["reason"] for row in read_csv(data / "prepared" / "dropped.csv")] == sentences
    assert len(read_csv(data / "prepared" / "lesions.csv")) == 4


def test_files_that_contradict_each_other_are_refused(data):
    (data / "HAM10000_metadata").write_text("image_id;lesion_id\nISIC_0024311;HAM_9\n")
    with pytest.raises(UserError, match="ISIC_0024311 a second lesion_id, HAM_0000981; keep one metadata file"):
        prepare(data)
    image = next((data / IMAGE_FOLDERS[0]).iterdir())
    (data / image.name).touch()
    with pytest.raises(UserError, match=rf"{data / image.name} differs from .*part_1/{image.name}, of the same"):
        prepare(data)
