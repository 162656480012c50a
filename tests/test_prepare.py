"""Making the arrays on disk: whole or absent, the same for any number of processes."""

import fcntl
import json
import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from common import prepare as module
from common.errors import UserError
from common.prepare import Request, prepare
from common.prepared import Dropped, Lesion, Prepared
from common.recipe import Dataset
from common.recist import Ellipse

DATASET = Dataset("Toy", Path("code_toy"), "data", "toy_data.py", clusters=2, truth="truth")


def make(number: int, *, fails_at: int | None = None) -> list:
    """A job yields as many lesions as its number modulo 3, in which 0 means dropped."""
    if number == fails_at:
        raise UserError(f"{number} is bad")
    if number % 3 == 0:
        return [Dropped(f"n{number}", "a multiple of 3")]
    fill = np.full((120, 120), number % 2, np.uint8)
    image = np.full((120, 120, 3), number, np.uint8)
    return [
        Lesion(f"n{number}-{part}", image, fill, Ellipse(number, part, 1, 2, 3), truth=fill, info={"source": number})
        for part in range(number % 3)
    ]


def thirds(rows: list) -> list[str]:
    return ["train" if index % 3 == 0 else "val" if index % 3 == 1 else "test" for index in range(len(rows))]


def request(**changes) -> Request:
    return Request(**{"dataset": DATASET, "protocol": "released", "clusters": 2, "seed": 0, "inputs": "abc", **changes})


@pytest.fixture
def folder(tmp_path) -> Path:
    prepare(request(), tmp_path / "prepared", range(12), make, thirds, workers=1)
    return tmp_path / "prepared"


def test_rows_stand_in_the_order_of_the_jobs(folder):
    opened = Prepared.open(folder, DATASET, "released", 2)
    names = [row["lesion"] for row in opened.lesions]
    assert names == ["n1-0", "n2-0", "n2-1", "n4-0", "n5-0", "n5-1", "n7-0", "n8-0", "n8-1", "n10-0", "n11-0", "n11-1"]
    assert opened.array("images")[:, 0, 0, 0].tolist() == [1, 2, 2, 4, 5, 5, 7, 8, 8, 10, 11, 11]
    assert opened.array("recist").dtype == np.float32
    assert opened.array("images").shape == (12, 120, 120, 3)
    assert (folder / "dropped.csv").read_text().count("a multiple of 3") == 4
    assert opened.content["splits"] == {"train": 4, "val": 4, "test": 4}
    assert opened.rows("val").tolist() == [1, 4, 7, 10]
    assert opened.rows("all", limit=1).tolist() == [0, 1, 2]


def test_the_number_of_processes_changes_no_byte(folder, tmp_path):
    prepare(request(), tmp_path / "two", range(12), make, thirds, workers=2)
    for path in folder.iterdir():
        assert path.read_bytes() == (tmp_path / "two" / path.name).read_bytes(), path.name


def test_a_second_run_does_nothing_unless_forced_or_changed(folder, capsys):
    again = partial(prepare, folder=folder, jobs=range(12), work=make, split=thirds, workers=1)
    before = (folder / "prepared.json").stat().st_mtime_ns
    again(request())
    assert "already" in capsys.readouterr().out
    assert (folder / "prepared.json").stat().st_mtime_ns == before
    again(request(), force=True)
    again(request(inputs="other"))
    assert "made from other inputs" in capsys.readouterr().out
    assert json.loads((folder / "prepared.json").read_text())["inputs"] == "other"


def test_a_failure_leaves_what_was_there(folder):
    files = {path.name: path.read_bytes() for path in folder.iterdir()}
    with pytest.raises(UserError, match="7 is bad"):
        prepare(request(), folder, range(12), partial(make, fails_at=7), thirds, force=True, workers=2)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == files
    assert sorted(path.name for path in folder.parent.iterdir()) == [".prepared.lock", "prepared"]


def test_a_full_disk_leaves_nothing(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module._ArrayWriter, "append", full)
    with pytest.raises(OSError, match="No space left"):
        prepare(request(), tmp_path / "prepared", range(3), make, thirds, workers=1)
    assert [path.name for path in tmp_path.iterdir()] == [".prepared.lock"]


def test_nothing_usable_and_too_few_for_the_clusters(tmp_path):
    with pytest.raises(UserError, match="no usable Toy lesion: 1 a multiple of 3"):
        prepare(request(), tmp_path / "p", [3], make, thirds, workers=1)
    with pytest.raises(UserError, match="9 shape clusters can't be fitted on 1 lesions"):
        prepare(request(clusters=9), tmp_path / "p", [1], make, thirds, workers=1)
    assert not (tmp_path / "p").exists()


def test_corrected_fits_clusters_on_train_only(tmp_path, monkeypatch):
    seen = {}
    monkeypatch.setattr(
        module,
        "shape_clusters",
        lambda recist, k, seed, fit_on: seen.update(fit_on=fit_on) or np.zeros(len(recist), int),
    )
    prepare(request(protocol="corrected"), tmp_path / "a", range(12), make, thirds, workers=1)
    assert seen["fit_on"].tolist() == [True, False, False] * 4
    prepare(request(), tmp_path / "b", range(12), make, thirds, workers=1)
    assert seen["fit_on"] is None


@pytest.mark.parametrize(
    ("dataset", "protocol", "clusters", "sentence"),
    [
        (Dataset("Other", Path("o"), "d", "other.py", 2, "truth"), "released", 2, "dataset Toy, but Other"),
        (DATASET, "corrected", 2, r"run python code_toy/toy_data\.py --data .* --protocol corrected"),
        (DATASET, "released", 5, "--clusters 5"),
    ],
)
def test_another_recipe_is_refused_with_the_command_to_run(folder, dataset, protocol, clusters, sentence):
    with pytest.raises(UserError, match=sentence):
        Prepared.open(folder, dataset, protocol, clusters)


def test_an_unfinished_or_damaged_folder_is_never_taken_for_a_whole_one(folder, tmp_path):
    opened = Prepared.open(folder, DATASET, "released")
    with pytest.raises(UserError, match="prepared without it"):
        opened.array("grabcut")
    (folder / "truth.npy").write_bytes((folder / "truth.npy").read_bytes()[:1000])
    with pytest.raises(UserError, match=r"truth\.npy is damaged"):
        opened.array("truth")
    (folder / "lesions.csv").write_text("lesion,split,cluster\n")
    with pytest.raises(UserError, match="has 0 rows, not 12"):
        Prepared.open(folder, DATASET, "released")
    (folder / "prepared.json").unlink()
    with pytest.raises(UserError, match=r"run python code_toy/toy_data\.py --data .* first"):
        Prepared.open(folder, DATASET, "released")
    shutil.rmtree(folder)
    with pytest.raises(UserError, match="is missing or unfinished"):
        Prepared.open(folder, DATASET, "released")


def test_an_empty_split_is_told(tmp_path):
    prepare(request(), tmp_path / "p", range(6), make, lambda rows: ["train"] * len(rows), workers=1)
    with pytest.raises(UserError, match="no lesions in the split test"):
        Prepared.open(tmp_path / "p", DATASET, "released").rows("test")


def test_a_second_process_waits_its_turn(tmp_path):
    with (tmp_path / ".prepared.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        code = (
            "import sys; from pathlib import Path; from common.prepare import _alone\n"
            "with _alone(Path(sys.argv[1])): print('mine')"
        )
        waiting = subprocess.Popen(
            [sys.executable, "-c", code, str(tmp_path / "prepared")],
            cwd=Path(__file__).parents[1], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert "another process is preparing" in waiting.stderr.readline()
        assert waiting.poll() is None
    assert waiting.communicate(timeout=60)[0] == "mine\n"
