"""Opening a prepared folder: what it was made for, whole or not at all."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from common.data.dataset import LesionDataset, prepared_clusters
from common.data.preprocess import preprocess
from common.recipe import DatasetInfo
from common.utils.errors import UserError
from toy import DATASET, make_config, make_lesions


@pytest.mark.parametrize(
    ("info", "protocol", "clusters", "sentence"),
    [
        (DatasetInfo("Other", Path("o"), "d", "other.py", 2, "truth"), "released", 2, "dataset Toy, but Other"),
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
