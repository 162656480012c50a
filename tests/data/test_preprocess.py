"""Making the arrays on disk: whole or absent, the same for any number of processes."""

import errno
from dataclasses import replace
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest

import toy
from common.data import preprocess as module
from common.data.dataset import LesionDataset
from common.data.preprocess import preprocess
from common.recist import shape_clusters
from common.utils.errors import UserError
from common.weak_masks import quarters_mask
from toy import DATASET, make_config, make_lesions, split_in_thirds


def test_rows_stand_in_the_order_of_the_jobs(folder):
    dataset = LesionDataset.open_for(folder, DATASET, "released", 2)
    names = [row["lesion"] for row in dataset.lesions]
    assert names == ["n1-0", "n2-0", "n2-1", "n4-0", "n5-0", "n5-1", "n7-0", "n8-0", "n8-1", "n10-0", "n11-0", "n11-1"]
    assert dataset.array("images")[:, 0, 0, 0].tolist() == [1, 2, 2, 4, 5, 5, 7, 8, 8, 10, 11, 11]
    assert dataset.array("recist").dtype == np.float32
    assert dataset.array("images").shape == (12, 120, 120, 3)
    assert (folder / "dropped.csv").read_text().count("a multiple of 3") == 4
    assert dataset.metadata["splits"] == {"train": 4, "val": 4, "test": 4}
    assert dataset.rows("val").tolist() == [1, 4, 7, 10]
    assert dataset.rows("all", limit=1).tolist() == [0, 1, 2]
    np.testing.assert_array_equal(dataset.clusters(), shape_clusters(dataset.array("recist"), 2))
    assert set(dataset.clusters()[:6]) != set(dataset.clusters()[6:])


def test_the_number_of_processes_changes_no_byte(folder, tmp_path):
    preprocess(make_config(), tmp_path / "two", range(12), make_lesions, split_in_thirds, workers=2)
    for path in folder.iterdir():
        assert path.read_bytes() == (tmp_path / "two" / path.name).read_bytes(), path.name


def test_equal_content_has_one_identity_whenever_it_is_prepared(folder, tmp_path):
    def identity(name: str, **changes) -> str:
        make = changes.pop("make_lesions", make_lesions)
        preprocess(make_config(**changes), tmp_path / name, range(12), make, split_in_thirds, workers=1)
        return LesionDataset.open(tmp_path / name).identity

    def redraw(job: int) -> list:
        return [replace(item, truth=1 - item.truth) if hasattr(item, "truth") else item for item in make_lesions(job)]

    before = LesionDataset.open(folder).identity
    assert identity("copy", inputs="files with other times") == before
    assert identity("redrawn", make_lesions=redraw) != before
    assert identity("window", preprocessing={"channels": "bgr", "window": [50, 400]}) != before
    split = partial(preprocess, make_config(), tmp_path / "split", range(12), make_lesions, workers=1)
    split(assign_splits=lambda rows: ["train"] * len(rows))
    assert LesionDataset.open(tmp_path / "split").identity != before


def test_quarters_are_drawn_from_the_ends_as_the_flag_says(folder, tmp_path, capsys):
    dataset = LesionDataset.open(folder)
    assert dataset.array("ends").dtype == np.float32
    assert dataset.array("ends").tolist() == [toy.ENDS.tolist()] * 12
    # Half axes 20 and 10 px, by default x 0.96.
    assert (dataset.array("quarters") == quarters_mask(toy.ENDS, (120, 120))).all()
    assert dataset.array("quarters")[0].sum() == pytest.approx(np.pi * 200 * 0.96**2, rel=0.02)
    again = partial(preprocess, folder=folder, jobs=range(12), make_lesions=make_lesions, workers=1)
    again(make_config(settings={"quarters_scale": 1.2}), assign_splits=split_in_thirds)
    assert "made from other inputs or settings; making it again" in capsys.readouterr().out
    larger = LesionDataset.open(folder)
    assert larger.array("quarters")[0].sum() == pytest.approx(np.pi * 200 * 1.2**2, rel=0.02)
    assert larger.identity != dataset.identity


def test_a_failure_leaves_what_was_there(folder):
    files = {path.name: path.read_bytes() for path in folder.iterdir()}
    with pytest.raises(UserError, match="7 is bad"):
        preprocess(
            make_config(), folder, range(12), partial(make_lesions, fails_at=7), split_in_thirds, force=True, workers=2
        )
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == files
    assert sorted(path.name for path in folder.parent.iterdir()) == [".prepared.lock", "prepared"]


def test_a_full_disk_leaves_nothing(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module.ArrayWriter, "append", full)
    with pytest.raises(OSError, match="No space left"):
        preprocess(make_config(), tmp_path / "prepared", range(3), make_lesions, split_in_thirds, workers=1)
    assert [path.name for path in tmp_path.iterdir()] == [".prepared.lock"]


def make_or_unreadable(job: int) -> list:
    """Jobs 4 and 5 have unreadable files, the same file for both; so has 7, another; and 8, a link to itself."""

    def make(named: SimpleNamespace) -> list:
        assert named.name == f"n{job}"
        if job == 8:
            raise OSError(errno.ELOOP, "Too many levels of symbolic links", "8.png")
        return make_lesions(job, fails_at=job if job in (4, 5, 7) else None)

    return module.or_unreadable(SimpleNamespace(name=f"n{job}"), make)


def test_unreadable_files_are_listed_together(tmp_path, capsys):
    arguments = (make_config(), tmp_path / "p", range(12), make_or_unreadable, split_in_thirds)
    with pytest.raises(UserError, match="4 files can't be used, as listed above; mend them, or pass --skip-bad"):
        preprocess(*arguments, workers=1)
    looped = "Too many levels of symbolic links: 8.png"
    assert capsys.readouterr().err.splitlines() == ["4 is bad", "5 is bad", "7 is bad", looped]
    assert not (tmp_path / "p").exists()
    preprocess(*arguments, skip_bad=True, workers=1)
    assert "dropped 4 (a multiple of 3), 4 (unreadable)" in capsys.readouterr().out
    assert "n7,7 is bad\n" in (tmp_path / "p" / "dropped.csv").read_text()
    with pytest.raises(UserError, match=r"^4 is bad \(or pass --skip-bad to go on without it\)$"):
        preprocess(make_config(), tmp_path / "q", range(5), make_or_unreadable, split_in_thirds, workers=1)


def test_nothing_usable_and_too_few_for_the_clusters(tmp_path):
    with pytest.raises(UserError, match="no usable Toy lesion: 1 a multiple of 3"):
        preprocess(make_config(), tmp_path / "p", [3], make_lesions, split_in_thirds, workers=1)
    with pytest.raises(UserError, match="9 shape clusters can't be fitted on 1 lesions"):
        preprocess(make_config(clusters=9), tmp_path / "p", [1], make_lesions, split_in_thirds, workers=1)
    assert not (tmp_path / "p").exists()


def test_splits_without_lesions_are_told(tmp_path, capsys):
    def all_test(rows: list) -> list[str]:
        return ["test"] * len(rows)

    preprocess(make_config(), tmp_path / "p", range(6), make_lesions, all_test, workers=1)
    assert capsys.readouterr().err == (
        "warning: no training or validation lesions; training needs training and validation lesions, evaluation test "
        "lesions or another --split: add images, volumes or patients, or split them otherwise\n"
    )
    assert LesionDataset.open(tmp_path / "p").rows("test").size == 6


def test_names_that_are_no_splits_are_refused(tmp_path):
    for names in (["valid"] * 9, ["train"] * 8):
        with pytest.raises(UserError, match="the split must name train, val or test for each of 9 lesions"):
            preprocess(make_config(), tmp_path / "p", range(9), make_lesions, lambda _, names=names: names, workers=1)
    assert not (tmp_path / "p").exists()


def test_a_group_in_several_splits_is_told(tmp_path, capsys):
    def split(rows: list) -> list[str]:
        for row in rows:
            row["group"] = row["lesion"][:2]
        return split_in_thirds(rows)

    preprocess(make_config(), tmp_path / "p", range(9), make_lesions, split, workers=1)
    assert "warning: n2, n5, n8 in more than one split, so that a network is scored on" in capsys.readouterr().err


def test_the_table_has_a_column_for_whatever_a_lesion_tells(tmp_path):
    def make(job: int) -> list:
        return [replace(lesion, info={f"only {job}": "x"}) for lesion in make_lesions(job)]

    preprocess(make_config(), tmp_path / "p", [1, 2, 4], make, split_in_thirds, workers=1)
    rows = LesionDataset.open(tmp_path / "p").lesions
    assert [row["lesion"] for row in rows if row["only 2"]] == ["n2-0", "n2-1"]


def test_a_missing_truth_is_told(tmp_path, capsys):
    def make(job: int) -> list:
        return [replace(lesion, truth=None) for lesion in make_lesions(job)]

    preprocess(make_config(), tmp_path / "p", [1, 2, 4], make, split_in_thirds, workers=1)
    assert "warning: there is no truth.npy to score against; evaluations need --truth\n" in capsys.readouterr().err


def test_a_place_that_cannot_be_written_to_is_told_before_the_work(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"file can't be written to .*; pass another --prepared"):
        preprocess(make_config(), tmp_path / "file" / "p", range(12), None, split_in_thirds, workers=1)


def test_corrected_fits_clusters_on_train_only(tmp_path, monkeypatch):
    seen = {}

    def record(recist, clusters, seed, fit_on):
        seen["fit_on"] = fit_on
        return np.zeros(len(recist), int)

    monkeypatch.setattr(module, "shape_clusters", record)
    preprocess(make_config(protocol="corrected"), tmp_path / "a", range(12), make_lesions, split_in_thirds, workers=1)
    assert seen["fit_on"].tolist() == [True, False, False] * 4
    preprocess(make_config(), tmp_path / "b", range(12), make_lesions, split_in_thirds, workers=1)
    assert seen["fit_on"] is None


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"truth": np.full((120, 120), 255, np.uint8)}, "truth of n2-0 holds the number 255; a mask holds 0 and 1"),
        ({"ellipse": np.ones((120, 120), bool)}, r"ellipse of n2-0 is bool of \(120, 120\); it must be uint8"),
        (
            {"image": np.zeros((128, 128, 3), np.uint8)},
            r"images of n2-0 is uint8 of \(128, .* uint8 or float32",
        ),
        ({"image": np.zeros((120, 120, 3), np.float32)}, "some lesions have images of float32, others of uint8"),
        ({"name": "n2-1"}, "two lesions are called n2-1; give each a name of its own"),
    ],
)
def test_arrays_that_a_script_got_wrong_are_refused(changes, sentence, tmp_path):
    def make(job):
        lesions = make_lesions(job)
        return [replace(lesions[0], **changes), *lesions[1:]] if job == 2 else lesions

    with pytest.raises(UserError, match=sentence):
        preprocess(make_config(), tmp_path / "p", range(9), make, split_in_thirds, workers=1)
    assert not (tmp_path / "p").exists()


def test_a_split_may_be_an_array(tmp_path):
    def split(rows):
        return np.array(split_in_thirds(rows))

    preprocess(make_config(), tmp_path / "p", range(9), make_lesions, split, workers=1)
    assert LesionDataset.open(tmp_path / "p").metadata["splits"].keys() == {"train", "val", "test"}
