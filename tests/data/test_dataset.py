"""Opening a prepared folder: what it was made for, whole or not at all."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from common.data.dataset import LesionDataset, prepared_clusters
from common.data.preprocess import preprocess
from common.recipe import DatasetInfo
from common.recist import mark_noise, move_ends
from common.utils.errors import UserError
from toy import DATASET, make_config, make_lesions


@pytest.mark.parametrize(
    ("info", "protocol", "clusters", "sentence"),
    [
        (DatasetInfo("Other", Path("o"), "d", ("other.py",), 2, "truth"), "released", 2, "dataset Toy, but Other"),
        (DATASET, "corrected", 2, r"run python code_toy/toy_data\.py --data .* --protocol corrected"),
        (DATASET, "released", 5, r"with clusters 2, but 5 .* --clusters 5, or leave --clusters out$"),
        (DATASET, "corrected", None, "--protocol corrected --clusters 2$"),
    ],
)
def test_another_recipe_is_refused_with_the_command_to_run(folder, info, protocol, clusters, sentence):
    with pytest.raises(UserError, match=sentence):
        LesionDataset.open_for(folder, info, protocol, clusters)


def test_an_unfinished_or_damaged_folder_is_never_taken_for_a_whole_one(folder):
    dataset = LesionDataset.open_for(folder, DATASET, "released")
    with pytest.raises(UserError, match="prepared without it"):
        dataset.array("grabcut")
    (folder / "truth.npy").write_bytes((folder / "truth.npy").read_bytes()[:1000])
    with pytest.raises(UserError, match=r"truth\.npy is damaged"):
        dataset.array("truth")
    (folder / "lesions.csv").write_text("lesion,split,cluster\n")
    with pytest.raises(UserError, match="has 0 rows, not 12"):
        LesionDataset.open_for(folder, DATASET, "released")
    (folder / "prepared.json").unlink()
    with pytest.raises(UserError, match=r"run python code_toy/toy_data\.py --data .* first"):
        LesionDataset.open_for(folder, DATASET, "released")
    shutil.rmtree(folder)
    with pytest.raises(UserError, match=r"is missing .* first, or pass --prepared DIR if it is elsewhere"):
        LesionDataset.open_for(folder, DATASET, "released")


def test_a_folder_of_an_earlier_version_opens_and_says_what_it_lacks(folder):
    metadata = json.loads((folder / "prepared.json").read_text())
    metadata["arrays"] = [name for name in metadata["arrays"] if name not in ("ends", "quarters")]
    (folder / "prepared.json").write_text(json.dumps(metadata | {"protocol": "corrected"}))
    for name in ("ends", "quarters"):
        (folder / f"{name}.npy").unlink()
        with pytest.raises(UserError, match=rf"{name}\.npy does not exist: .*; prepare it again with --force$"):
            LesionDataset.open(folder).array(name)
    assert LesionDataset.open(folder).target == "ellipse"


def test_what_is_prepared_again_meanwhile_is_not_mixed_in(folder):
    dataset = LesionDataset.open(folder)
    before = dataset.array("images").copy()
    preprocess(
        make_config(inputs="o"), folder, range(2, 14), make_lesions, lambda rows: ["test"] * len(rows), workers=1
    )
    np.testing.assert_array_equal(dataset.array("images"), before)
    assert not np.array_equal(LesionDataset.open(folder).array("images")[: len(before)], before)


def test_pictures_show_the_mask_that_the_protocol_trains_on(folder):
    dataset = LesionDataset.open(folder)
    assert dataset.target == "ellipse"
    assert replace(dataset, metadata={**dataset.metadata, "protocol": "corrected"}).target == "quarters"


def test_k_is_that_of_the_arrays_else_the_published_one(folder):
    assert prepared_clusters(folder, replace(DATASET, clusters=45)) == 2
    assert prepared_clusters(folder / "nowhere", replace(DATASET, clusters=45)) == 45


def test_a_folder_of_any_dataset_is_opened_where_no_recipe_asks(folder):
    dataset = LesionDataset.open(folder)
    assert (dataset.metadata["dataset"], len(dataset.lesions)) == ("Toy", 12)
    shutil.rmtree(folder)
    with pytest.raises(UserError, match="is missing or unfinished; prepare it first"):
        LesionDataset.open(folder)
    with pytest.raises(UserError, match="; run mine first"):
        LesionDataset.open(folder, "run mine")


def test_an_empty_split_is_an_error(tmp_path):
    preprocess(make_config(), tmp_path / "p", range(6), make_lesions, lambda rows: ["train"] * len(rows), workers=1)
    with pytest.raises(UserError, match="p has no test lesions; training needs training and validation lesions, eval"):
        LesionDataset.open_for(tmp_path / "p", DATASET, "released").rows("test")


GROUPS = ["a", "a", "a", "b", "c", "c", "d", "e"]


def _grouped(groups: list[str]) -> LesionDataset:
    return LesionDataset(Path("prepared"), {}, [{"group": group} for group in groups])


@pytest.mark.parametrize("seed", range(20))
def test_rows_are_chosen_by_whole_groups(seed):
    rows = np.array([0, 1, 2, 3, 4, 5, 7])
    chosen = _grouped(GROUPS).choose_rows(rows, 4, seed)
    names = [GROUPS[row] for row in chosen]
    assert chosen.tolist() == sorted(set(chosen.tolist())) and set(chosen) <= set(rows)
    assert all(names.count(name) == GROUPS.count(name) for name in names)
    assert len(chosen) == 4
    np.testing.assert_array_equal(chosen, _grouped(GROUPS).choose_rows(rows, 4, seed))


def test_rows_are_chosen_by_the_seed_alone():
    dataset = _grouped([str(row) for row in range(50)])
    chosen = [tuple(dataset.choose_rows(np.arange(50), 5, seed)) for seed in range(10)]
    assert len(set(chosen)) == 10
    assert {len(rows) for rows in chosen} == {5}
    assert dataset.choose_rows(np.arange(50), 50, 0).tolist() == list(range(50))


def test_more_rows_than_there_are_or_fewer_than_any_group_has():
    with pytest.raises(UserError, match=r"prepared has 8 training lesions .* groups .* make 8, not 9; pass 8"):
        _grouped(GROUPS).choose_rows(np.arange(8), 9, 0)
    with pytest.raises(UserError, match=r"prepared has 5 training lesions .* make 2, not 1; pass 2"):
        _grouped(["a", "a", "a", "b", "b"]).choose_rows(np.arange(5), 1, 0)
    with pytest.raises(UserError, match=r"prepared has 4 training lesions .* make 2, not 3; pass 2"):
        _grouped(["a", "a", "b", "b"]).choose_rows(np.arange(4), 3, 0)


def test_the_marks_of_all_lesions_are_moved_each_by_its_row(phantom_ham):
    dataset = LesionDataset.open(phantom_ham / "prepared")
    ends = dataset.noisy_ends(10, seed=4)
    assert ends.dtype == np.float32
    np.testing.assert_allclose(ends[7:8], move_ends(dataset.array("ends")[7:8], 0.1, mark_noise([[4, 7]])), rtol=1e-6)
    assert not np.array_equal(ends, dataset.noisy_ends(10, seed=5))
