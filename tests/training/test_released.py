"""Released checkpoints: fetched from a Google Drive on localhost, checked, never written over a training's own."""

import csv
import http.server
import sys
import threading
import urllib.parse
from pathlib import Path

import pytest
import requests
import torch

import deeplesion_A1_train
import deeplesion_A1class_train
import deeplesion_A1coseg_train
import HAM_A1_train
import HAM_A1class_train
import HAM_Acoseg_train
import lits_A1_train
import lits_A1class_train
import lits_Acoseg_train
from common.model import build_network
from common.recipe import A1
from common.run.cli import parse_eval
from common.run.scripts import eval_main
from common.training.checkpoint import save_checkpoint
from common.training.released import download_released
from common.utils.errors import UserError
from common.utils.files import read_json

RECIPES = [
    HAM_A1_train.RECIPE, HAM_A1class_train.RECIPE, HAM_Acoseg_train.RECIPE,
    lits_A1_train.RECIPE, lits_A1class_train.RECIPE, lits_Acoseg_train.RECIPE,
    deeplesion_A1_train.RECIPE, deeplesion_A1class_train.RECIPE, deeplesion_A1coseg_train.RECIPE,
]  # fmt: skip
RECIPE = HAM_A1_train.RECIPE
GOOGLE = ("https://drive.google.com", "https://drive.usercontent.google.com")
# The page that stands before a file too large to be scanned, and the one after too many downloads.
WARNING = """<!DOCTYPE html><html><body><p>Too large to be scanned. Download anyway?</p><form id="download-form"
    action="https://drive.usercontent.google.com/download" method="get"><input type="submit" value="Yes"/>
    <input type="hidden" name="id" value="{id}"><input type="hidden" name="confirm" value="t">
    <input type="hidden" name="uuid" value="1-2"></form></body></html>""".replace("\n", " ")
QUOTA = (
    '<html><body><p class="uc-error-subcaption">Too many users have viewed or downloaded this file. Later.</p></html>'
)


class Drive(http.server.ThreadingHTTPServer):
    """Files by their ids, and what stands in their place."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.page, self.status, self.missing = WARNING, 200, 0  # the page before a file, its status; bytes left out
        self.kind = "text/html; charset=utf-8"  # of the page
        self.requests: list[str] = []
        super().__init__(("127.0.0.1", 0), Handler)


class Handler(http.server.BaseHTTPRequestHandler):
    server: Drive

    def do_GET(self) -> None:
        url = urllib.parse.urlsplit(self.path)
        query = dict(urllib.parse.parse_qsl(url.query))
        self.server.requests.append(url.path)
        if url.path == "/download" and (query["confirm"], query["uuid"]) == ("t", "1-2"):
            content = self.server.files[query["id"]]
            self.send_response(200)
            self.send_header("Content-Type", "application/octet-stream")
            self.send_header("Content-Disposition", 'attachment; filename="a.pt"')
        else:
            content = self.server.page.format(**query).encode()
            self.send_response(self.server.status)
            if self.server.kind:
                self.send_header("Content-Type", self.server.kind)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content[: len(content) - self.server.missing])

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def drive(monkeypatch):
    """A server on localhost that answers in Google's place."""
    send = requests.adapters.HTTPAdapter.send

    def send_to_localhost(adapter, request, **kwargs):
        for host in GOOGLE:
            request.url = request.url.replace(f"{host}/", f"http://127.0.0.1:{server.server_port}/")
        return send(adapter, request, **kwargs)

    monkeypatch.setattr(requests.adapters.HTTPAdapter, "send", send_to_localhost)
    with Drive() as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


def config(path: Path, recipe=RECIPE):
    return parse_eval(recipe, None, ["--checkpoint", str(path), "--download"])


def released(folder: Path, *names: str) -> bytes:
    """A file with the layout of the released ones, and little in it."""
    torch.save({"model_dict": {name: torch.ones(3) for name in ("encoder.a", *names)}}, folder / "made")
    content = (folder / "made").read_bytes()
    (folder / "made").unlink()
    return content


def serve(drive: Drive, content: bytes, recipe=RECIPE) -> None:
    drive.files[recipe.released.split("/")[5]] = content


def test_the_recipes_have_the_published_files(shared):
    with (shared / "facts" / "released_checkpoints.csv").open() as file:
        published = [
            (row["dataset"], row["file"], f"https://drive.google.com/file/d/{row['google_drive_id']}/view")
            for row in csv.DictReader(file)
        ]
    assert [(recipe.dataset.name, recipe.checkpoint, recipe.released) for recipe in RECIPES] == published
    for recipe in RECIPES:
        assert config(Path("a.pt"), recipe).download
        assert not parse_eval(recipe, None, []).download


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: recipe.checkpoint)
def test_a_file_is_fetched_past_the_warning(recipe, drive, tmp_path, capsys):
    names = {"A1": (), "A1class": ("classification_head.3.weight",), "Acoseg": ("mlp1a.weight",)}[recipe.method.name]
    content = released(tmp_path, *names)
    serve(drive, content, recipe)
    download_released(config(tmp_path / "new" / "a.pt", recipe))
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["a.pt"]
    assert (tmp_path / "new" / "a.pt").read_bytes() == content
    assert drive.requests == ["/uc", "/download"]
    download_released(config(tmp_path / "new" / "a.pt", recipe))
    assert len(drive.requests) == 2
    assert "a.pt is there already and is not downloaded again" in capsys.readouterr().out


def test_the_script_fetches_and_scores(drive, phantom_ham, tmp_path):
    network = build_network(A1, "resnet18", 1)
    torch.save({"model_dict": network.state_dict()}, tmp_path / "made.pt")
    serve(drive, (tmp_path / "made.pt").read_bytes())
    places = ["--data", str(phantom_ham), "--checkpoint", str(tmp_path / "a.pt"), "--results", str(tmp_path)]
    eval_main(RECIPE, None, [*places, "--download", "--encoder", "resnet18", "--canvas", "128x128", "--limit", "4"])
    assert read_json(tmp_path / "a.limit4.json")["lesions"] == 4


def test_a_training_of_ones_own_is_kept(drive, tmp_path):
    save_checkpoint(tmp_path / "a.pt", build_network(A1, "resnet18", 1), {"encoder": "resnet18"})
    before = (tmp_path / "a.pt").read_bytes()
    (tmp_path / "begun.state").touch()
    for name in ("a.pt", "begun.pt"):
        with pytest.raises(
            UserError, match=rf"{name} belongs to a training of your own and is kept; pass --checkpoint"
        ):
            download_released(config(tmp_path / name))
    assert (tmp_path / "a.pt").read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.pt", "begun.state"]
    assert not drive.requests


def too_many(drive: Drive) -> None:
    drive.page = QUOTA


def not_found(drive: Drive) -> None:
    drive.page, drive.status = "<html>Error 404 (Not Found)!!1</html>", 404


def broken_off(drive: Drive) -> None:
    drive.missing = 9


def headless(drive: Drive) -> None:
    drive.kind = ""


def unreachable(drive: Drive) -> None:
    drive.server_port = 9


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        (too_many, r"\(Too many users have viewed or downloaded this file\)"),
        (not_found, r"\(Cannot retrieve the public link of the file\)"),
        (broken_off, r"\(connection failed: ChunkedEncodingError\)"),
        (headless, r"\(the answer is not Google's\)"),
        (unreachable, r"\(connection failed: ConnectionError\)"),
    ],
)
def test_what_cannot_be_fetched_says_where_it_is_and_where_it_goes(fault, reason, drive, tmp_path):
    serve(drive, released(tmp_path))
    fault(drive)
    with pytest.raises(UserError, match=reason) as error:
        download_released(config(tmp_path / "a.pt"))
    assert str(error.value).startswith(f"{RECIPE.released} can't be downloaded (")
    assert str(error.value).endswith(f"; open it in a browser and save the file as {tmp_path / 'a.pt'}")
    assert "\n" not in str(error.value)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("content", [b"<html>", "mlp1a.weight", "classification_head.3.weight"])
def test_another_file_is_not_kept(content, drive, tmp_path):
    serve(drive, content if isinstance(content, bytes) else released(tmp_path, content))
    with pytest.raises(UserError, match=r"12gK0K_S.*/view holds is no checkpoint of A1, and was not kept"):
        download_released(config(tmp_path / "a.pt"))
    assert not list(tmp_path.iterdir())


def test_without_gdown(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "gdown", None)
    with pytest.raises(UserError, match=r"needs the package gdown; pip install -r requirements\.txt"):
        download_released(config(tmp_path / "a.pt"))
