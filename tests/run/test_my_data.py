"""README.md's own-data file, run as it stands there: prepared, all methods trained and scored, table and pictures."""

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import ModuleType

import cv2
import numpy as np
import pytest

from common.data.dataset import LesionDataset
from common.data.lesion import Dropped
from common.data.phantom import blob, smooth_noise
from common.data.splits import split_rows
from common.evaluation import baselines
from common.inference.prompts import ENDS
from common.io import masks
from common.recipe import METHODS
from common.recist import diameters
from common.report import tables as report
from common.report.figures import cli as figures
from common.run import experiment
from common.run.own_data import ON_PATCH, make_lesion, own_data
from common.utils.errors import UserError
from common.utils.files import read_csv, write_csv
from helpers import NETWORK, ROOT

BRIEF = NETWORK.replace(" --clusters 4", "") + " --epochs 1"
IMAGES = 20


@pytest.fixture
def mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The file from README.md, in a project's folder, with images and outlines of 20 lesions."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    section = re.search(r"^## Your own data\n(.*?)^## ", text, re.DOTALL | re.MULTILINE)[1]
    block = re.findall(r"^```python\n(.*?)^```\n", section, re.DOTALL | re.MULTILINE)[0]
    script = tmp_path / "code_mine" / "my_data.py"
    script.parent.mkdir()
    script.write_text(block, encoding="utf-8")
    for folder in ("images", "masks"):
        (script.parent / "data" / folder).mkdir(parents=True)
    for number in range(IMAGES):
        rng = np.random.default_rng(number)
        mask = blob((90, 150), rng.uniform((60, 35), (90, 55)), rng.uniform(12, 30, 2), rng.uniform(0, 180), 0.05, rng)
        grey = 150 - 80 * mask + 8 * smooth_noise(mask.shape, 2, rng)
        image = np.clip(grey[..., None] + (0, 10, 40), 0, 255).astype(np.uint8)  # BGR: reddish
        cv2.imwrite(str(script.parent / "data" / "images" / f"lesion {number}.png"), image)
        cv2.imwrite(str(script.parent / "data" / "masks" / f"lesion {number}.png"), mask * 255)
    monkeypatch.setattr(sys, "path", [*sys.path])  # the file puts its own root on it
    spec = importlib.util.spec_from_file_location("my_data", script)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _main(module: ModuleType, **changes: Callable) -> Callable[..., None]:
    return own_data("Mine", module.__file__, None, clusters=4, **changes)[1]


def run(module: ModuleType, arguments: str) -> None:
    module.main(arguments.split())


def test_all_methods_the_table_and_the_pictures(mine, tmp_path, capsys):
    home = mine.DATASET.folder
    run(mine, "prepare --workers 1")
    for method in METHODS:
        run(mine, f"train {method} {BRIEF}")
        run(mine, f"eval {method}")
    image = home / "data" / "images" / "lesion 0.png"
    mine.main(["predict", "A1class", str(image), "--out", str(tmp_path / "predictions")])
    assert read_csv(tmp_path / "predictions" / "measurements.csv")[0]["lesion"] == "lesion 0"
    report.main([str(home / "results"), "--out", str(tmp_path)])
    table = read_csv(tmp_path / "table.csv")
    assert sorted((row["data"], row["model"]) for row in table) == [
        ("Mine", "A1"),
        ("Mine", "A1+L"),
        ("Mine", "A1+R"),
        ("Mine", "ACoseg"),
    ]
    assert not re.search(r"paper +\d", capsys.readouterr().out)  # nothing is published on these lesions
    checkpoints = sorted(map(str, (home / "checkpoints").glob("mine_*.pt")))
    figures.main(["results", str(home / "data" / "prepared"), *checkpoints, "--out", str(tmp_path / "a.png")])
    assert cv2.imread(str(tmp_path / "a.png")).std() > 20


def test_what_is_prepared_from_outlines(mine):
    run(mine, "prepare --workers 1")
    dataset = LesionDataset.open_for(mine.DATASET.folder / "data" / "prepared", mine.DATASET, "corrected", 4)
    assert dataset.metadata["splits"] == {"train": 14, "val": 4, "test": 2}
    truth, ellipse, image = (dataset.array(name).astype(float) for name in ("truth", "ellipse", "images"))
    overlap = 2 * (truth * ellipse).sum((1, 2)) / (truth + ellipse).sum((1, 2))
    assert overlap.min() > 0.9
    quarters = dataset.array("quarters").astype(float)
    assert (2 * (truth * quarters).sum((1, 2)) / (truth + quarters).sum((1, 2))).min() > 0.9
    assert (image[..., 0] > image[..., 2]).mean() > 0.9  # red first


def test_diameters_are_learned_from_and_outlines_are_the_truth(mine, capsys):
    data = mine.DATASET.folder / "data"
    # Diameters of 40 and 20 px about (60, 50) in an image of 150x90 px, which becomes 120x120.
    cells = dict(zip(ENDS, (40, 50, 80, 50, 60, 40, 60, 60), strict=True))
    flat = dict.fromkeys(ENDS, 5)
    rows = [{"image": "lesion 0.png", **cells}, {"image": "lesion 1.png", **flat}]
    write_csv(data / "recist.csv", rows, ["image", *ENDS])
    run(mine, "prepare --workers 1")
    dataset = LesionDataset.open(data / "prepared")
    assert read_csv(data / "prepared" / "dropped.csv")[0]["lesion"] == "lesion 1.png"
    row = [lesion["lesion"] for lesion in dataset.lesions].index("lesion 0.png")
    # Half axes 16 and 13.3 px: 120/150 and 120/90 times 20 and 10.
    assert dataset.array("ellipse")[row].sum() == pytest.approx(np.pi * 16 * 13.33, rel=0.03)
    np.testing.assert_allclose(dataset.array("recist")[row, :2], (48, 66.7), atol=1)
    # Column 40 of 150 is (40 + 0.5) * 120 / 150 - 0.5 = 31.9.
    ends = [[31.9, 66.833], [63.9, 66.833], [47.9, 53.5], [47.9, 80.167]]
    np.testing.assert_allclose(dataset.array("ends")[row], ends, atol=1e-3)
    told = capsys.readouterr().err
    assert "lesion 10.png, lesion 11.png, lesion 12.png and 15 more: recist.csv has no row for it" in told
    shutil.rmtree(data / "masks")
    with pytest.raises(UserError, match=r"recist\.csv has no row for lesion 10\.png, .* and 15 more"):
        run(mine, "prepare --workers 1 --clusters 1")
    for path in (data / "images").iterdir():
        if path.stem not in ("lesion 0", "lesion 1"):
            path.unlink()
    run(mine, "prepare --workers 1 --clusters 1")
    dataset = LesionDataset.open(data / "prepared")
    assert [lesion["lesion"] for lesion in dataset.lesions] == ["lesion 0.png"]
    assert "truth" not in dataset.metadata["arrays"]


def test_outlines_of_some_images_are_enough_where_all_have_marks(mine, tmp_path, capsys):
    data, rows = mine.DATASET.folder / "data", []
    for number in range(IMAGES):
        path = data / "masks" / f"lesion {number}.png"
        ends = diameters(cv2.imread(str(path), cv2.IMREAD_GRAYSCALE) // 255).ends.ravel()
        rows.append({"image": f"lesion {number}.png", **dict(zip(ENDS, ends.tolist(), strict=True))})
        if number % 2:
            path.unlink()
    write_csv(data / "recist.csv", rows, ["image", *ENDS])
    run(mine, "prepare --workers 1")
    note = "lesion 1.png, lesion 11.png, lesion 13.png and 7 more: no outline in masks/; its mark alone is used"
    assert note in capsys.readouterr().err
    dataset = LesionDataset.open(data / "prepared")
    drawn = dataset.outlined_rows(dataset.rows("all"))
    assert sorted(dataset.lesions[row]["lesion"] for row in drawn) == sorted(f"lesion {n}.png" for n in range(0, 20, 2))
    outlined = len(dataset.outlined_rows(dataset.rows("train")))
    with pytest.raises(UserError, match=rf"groups .* make {outlined}, not 14; pass {outlined}"):
        run(mine, f"train A1recist {BRIEF} --outlines 14 --epochs 2")
    run(mine, f"train A1recist {BRIEF} --outlines {outlined} --epochs 2")
    run(mine, "eval A1recist --split all")
    assert "10 of 20 lesions are left out: truth.npy has no outline of them" in capsys.readouterr().out
    scored = read_csv(mine.DATASET.folder / "results" / "mine_a1recist.all.csv")
    assert len(scored) == 10
    baselines.main([str(data / "prepared"), "--results", str(tmp_path), "--split", "all"])
    assert len(read_csv(tmp_path / "baseline_quarters.all.csv")) == 10
    run(mine, f"train A1 {BRIEF} --target truth --checkpoint {tmp_path}/a.pt")
    assert f"A1: {outlined} training" in capsys.readouterr().out


def test_a_table_in_another_case_with_names_in_another_form_is_used(mine):
    data = mine.DATASET.folder / "data"
    rows = "".join(f"Images/LESION {number},40,50,80,50,60,40,60,60\n" for number in range(IMAGES))
    (data / "RECIST.csv").write_text(f"image,{','.join(ENDS)}\n{rows}")
    run(mine, "prepare --workers 1 --clusters 1")
    ellipses = np.load(data / "prepared" / "ellipse.npy")
    # Half axes 16 and 13.3 px, as above; all the same, and none from the outlines.
    assert (ellipses == ellipses[0]).all()
    assert ellipses[0].sum() == pytest.approx(np.pi * 16 * 13.33, rel=0.03)


def test_end_points_beside_the_outline_are_told(mine, capsys):
    data = mine.DATASET.folder / "data"
    (data / "recist.csv").write_text(f"image,{','.join(ENDS)}\nlesion 3,2,2,12,2,7,1,7,4\n")
    run(mine, "prepare --workers 1")
    assert "lesion 3.png: its end points and its outline lie apart" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("draw", "reason"),
    [
        (lambda mask: mask * 0, masks.EMPTY),
        (lambda mask: mask * 0 + 255, masks.FULL),
        (lambda mask: 255 - mask, masks.INVERTED),
    ],
)
def test_an_outline_that_is_none_is_dropped_with_its_reason(mine, draw, reason):
    data = mine.DATASET.folder / "data"
    path = data / "masks" / "lesion 5.png"
    cv2.imwrite(str(path), draw(cv2.imread(str(path), 0)))
    (data / "recist.csv").write_text(f"image,{','.join(ENDS)}\nlesion 5,40,50,80,50,60,40,60,60\n")
    run(mine, "prepare --workers 1")
    assert read_csv(data / "prepared" / "dropped.csv") == [{"lesion": "lesion 5.png", "reason": reason}]


def test_end_points_in_another_order_are_dropped_with_their_reason(mine):
    data = mine.DATASET.folder / "data"
    (data / "recist.csv").write_text(f"image,{','.join(ENDS)}\nlesion 5,40,50,60,40,80,50,60,58\n")  # round the lesion
    run(mine, "prepare --workers 1")
    (dropped,) = read_csv(data / "prepared" / "dropped.csv")
    assert dropped["lesion"] == "lesion 5.png"
    assert dropped["reason"].startswith("its diameters don't cross; x1,y1 and x2,y2 must be the ends of one")


def test_images_of_a_patient_stay_together(mine):
    data = mine.DATASET.folder / "data"
    rows = [{"image": f"lesion {number}", "patient": f"p{number // 4}"} for number in range(IMAGES)]
    write_csv(data / "patients.csv", rows, ["image", "patient"])
    run(mine, "prepare --workers 1 --clusters 2")
    lesions = LesionDataset.open(data / "prepared").lesions
    assert {lesion["group"] for lesion in lesions} == {f"p{number}" for number in range(5)}
    assert len({(lesion["group"], lesion["split"]) for lesion in lesions}) == 5


def test_copies_of_an_image_stay_together_and_are_told(mine, capsys):
    data = mine.DATASET.folder / "data"
    for folder in ("images", "masks"):
        for number in range(IMAGES):
            shutil.copy(data / folder / f"lesion {number}.png", data / folder / f"lesion {number} (1).png")
    run(mine, "prepare --workers 1")
    lesions = LesionDataset.open(data / "prepared").lesions
    assert len(lesions) == 2 * IMAGES
    assert len({(lesion["group"], lesion["split"]) for lesion in lesions}) == IMAGES
    assert "and 37 more: copies of the same image are kept in one split" in capsys.readouterr().err


def test_outlines_that_an_image_should_not_have_are_told(mine, capsys):
    data = mine.DATASET.folder / "data"
    large, mask = np.zeros((1000, 1000, 3), np.uint8), np.zeros((1000, 1000), np.uint8)
    large[::2] = 200
    for number, radius in ((1, 5), (2, 18)):
        cv2.imwrite(str(data / "images" / f"lesion {number}.png"), large)
        cv2.imwrite(str(data / "masks" / f"lesion {number}.png"), cv2.circle(mask.copy(), (300, 400), radius, 255, -1))
    two = cv2.circle(np.zeros((90, 150), np.uint8), (20, 20), 9, 255, -1)
    cv2.imwrite(str(data / "masks" / "lesion 3.png"), cv2.circle(two, (120, 70), 9, 255, -1))
    run(mine, "prepare --workers 1")
    assert read_csv(data / "prepared" / "dropped.csv") == [
        {"lesion": "lesion 1.png", "reason": f"it is lost {ON_PATCH}"}
    ]
    err = capsys.readouterr().err
    assert "lesion 2.png: its outline has less than 50 px on the patch of 120x120 px; cut the image closer" in err
    assert "lesion 3.png: its outline has a second large part; an image must show one lesion only" in err


def test_two_images_that_would_share_a_mask_are_one_sentence(mine):
    folder = mine.DATASET.folder / "data" / "images"
    shutil.copy(folder / "lesion 0.png", folder / "lesion 0.jpg")
    (folder / ".DS_Store").touch()
    with pytest.raises(UserError, match=r"lesion 0\.jpg, lesion 0\.png would share a mask"):
        run(mine, "prepare --workers 1")
    (folder / "lesion 0.jpg").unlink()
    run(mine, "prepare --workers 1")


def test_junk_is_never_an_image_and_unreadable_ones_are_listed_together(mine, capsys):
    data = mine.DATASET.folder / "data"
    for name in (".DS_Store", "Thumbs.db", "notes.txt", "._lesion 0.png"):
        (data / "images" / name).write_text("junk")
        (data / "masks" / name).write_text("junk")
    (data / "images" / "old").mkdir()
    (data / "images" / "lesion 3.png").write_bytes(b"no image")
    cv2.imwrite(str(data / "masks" / "lesion 4.png"), np.ones((9, 9), np.uint8))  # of another size
    with pytest.raises(UserError, match=r"2 files can't be used, as listed above; .*--skip-bad"):
        run(mine, "prepare --workers 1")
    err = capsys.readouterr().err
    assert "images: Thumbs.db, notes.txt, old/: folder, or not named like an image; left out" in err
    assert "lesion 3.png is not a readable image" in err and "lesion 4.png" in err
    run(mine, "prepare --workers 1 --skip-bad")
    dropped = [row["lesion"] for row in read_csv(data / "prepared" / "dropped.csv")]
    assert dropped == ["lesion 3.png", "lesion 4.png"]


def test_no_data_is_one_sentence(mine):
    shutil.rmtree(mine.DATASET.folder / "data" / "images")
    with pytest.raises(UserError, match=r"no image is in .*images: there is no such folder; images end in \.jpg"):
        run(mine, "prepare")
    (mine.DATASET.folder / "data" / "images").mkdir()
    with pytest.raises(UserError, match=r"no image is in .*images: it is empty"):
        run(mine, "prepare")


def test_the_file_is_a_script_that_answers_help_at_once_and_prepares_in_processes(mine):
    command = [sys.executable, "-X", "importtime", str(mine.DATASET.folder / "my_data.py")]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run([*command, "--help"], capture_output=True, text=True, env=environment)
    assert done.stdout.startswith("My lesions, one an image, ")
    assert "python my_data.py train METHOD" in done.stdout
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert not imported & {"torch", "sklearn", "matplotlib", "pandas", "skimage"}
    subprocess.run([*command, "prepare", "--workers", "2"], check=True, capture_output=True, env=environment)
    dataset = LesionDataset.open(mine.DATASET.folder / "data" / "prepared")
    assert len(dataset.lesions) == IMAGES


def test_the_experiment_finds_the_file(mine, tmp_path):
    flags = [
        "--methods",
        "A1",
        "--seeds",
        "1",
        "--no-upper-bound",
        "--prepare",
        "--workers 1",
        "--out",
        str(tmp_path / "out"),
    ]
    train = f"{BRIEF} --limit 8"
    experiment.main([str(mine.DATASET.folder), *flags, "--train", train])
    table = read_csv(tmp_path / "out" / "table.csv")
    assert [row["model"] for row in table] == ["A1", "ellipse itself", "GrabCut itself", "quarters themselves"]
    assert (tmp_path / "out" / "report.html").is_file()


def test_a_mark_is_the_same_whichever_diameter_comes_first(mine):
    path = mine.DATASET.folder / "data" / "images" / "lesion 0.png"
    ends = np.array([[30, 40], [90, 60], [55, 30], [60, 70]], float)  # not at right angles
    one, other = (make_lesion(path, {path: points}, False)[0] for points in (ends, np.roll(ends, 2, axis=0)))
    assert one.ellipse.any()
    for name, array in one.arrays().items():
        np.testing.assert_array_equal(other.arrays()[name], array)


def test_ones_own_patients_and_ones_own_lesions(mine):
    def split_by_patient(rows):
        for row in rows:
            row["group"] = row["lesion"].removesuffix(".png")[-1]  # 0, 2, 4, 6 or 8: two images each
        return split_rows(rows)

    def only_even(path, ends, grabcut):
        return [Dropped(path.name, "odd")] if int(path.stem[-1]) % 2 else make_lesion(path, ends, grabcut)

    flags = ["prepare", "--workers", "1", "--clusters", "3"]  # of 6 training lesions, which are not known before
    _main(mine, split=split_by_patient, make_lesion=only_even)(flags)
    dataset = LesionDataset.open(mine.DATASET.folder / "data" / "prepared")
    assert dataset.metadata["dropped"] == {"odd": IMAGES // 2}
    assert dataset.metadata["splits"] == {"train": 6, "val": 2, "test": 2}
    assert len({(lesion["group"], lesion["split"]) for lesion in dataset.lesions}) == 5


def test_lesions_with_names_of_ones_own_belong_to_their_images_patients(mine):
    data = mine.DATASET.folder / "data"
    write_csv(
        data / "patients.csv",
        [{"image": f"lesion {number}", "patient": f"p{number // 4}"} for number in range(IMAGES)],
        ["image", "patient"],
    )

    def renamed(path, ends, grabcut):
        return [replace(lesion, name=path.stem.upper()) for lesion in make_lesion(path, ends, grabcut)]

    def of_no_image(path, ends, grabcut):
        return [replace(lesion, info={}) for lesion in renamed(path, ends, grabcut)]

    flags = "prepare --workers 1 --clusters 2 --no-grabcut".split()
    _main(mine, make_lesion=renamed)(flags)
    lesions = LesionDataset.open(data / "prepared").lesions
    assert {lesion["lesion"] for lesion in lesions} >= {"LESION 0", "LESION 19"}
    assert {lesion["group"] for lesion in lesions} == {f"p{number}" for number in range(5)}
    with pytest.raises(UserError, match=r"the lesion LESION 0 does not say which image it is of; let make_lesion put"):
        _main(mine, make_lesion=of_no_image)([*flags, "--force"])


def test_another_way_to_read_or_split_lesions_makes_them_again(mine, capsys):
    def first_is_test(rows):
        return ["test", *split_rows(rows)[1:]]

    def first_is_val(rows, name="val"):
        return [name, *split_rows(rows)[1:]]

    flags = "prepare --workers 1 --clusters 2 --no-grabcut".split()
    for split in (split_rows, first_is_test, partial(first_is_val, name="val")):
        for told in ("again" if split is not split_rows else "20 lesions", "is already prepared with these inputs"):
            _main(mine, split=split)(flags)
            assert told in capsys.readouterr().out
