"""Tensors from files: nothing is executed, and an encoder starts from the weights of a file or of the hub."""

import hashlib
import http.server
import json
import os
import pickle
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import segmentation_models_pytorch as smp
import torch
import torchvision
from safetensors.torch import save_file

from common.model import build_network
from common.recipe import A1, ACOSEG
from common.training.weights import load_encoder_weights, load_tensors
from common.utils.errors import UserError
from helpers import ROOT


@pytest.mark.parametrize("method", [A1, ACOSEG])
def test_a_torchvision_state_dict_starts_the_encoder(method, tmp_path):
    source = torchvision.models.resnet18().state_dict()
    torch.save(source, tmp_path / "resnet18.pth")
    network = build_network(method, "resnet18", 4)
    load_encoder_weights(network, "resnet18", str(tmp_path / "resnet18.pth"))
    for name, value in network.encoder.state_dict().items():
        torch.testing.assert_close(value, source[name])


@pytest.mark.parametrize(
    ("encoder", "first"),
    [("resnet18", "conv1"), ("mobilenet_v2", "features.0.0"), ("efficientnet-b0", "_conv_stem")],
)
def test_with_a_prompt_the_image_keeps_its_weights_and_the_mark_gets_their_mean(encoder, first, tmp_path):
    source = smp.encoders.get_encoder(encoder, weights=None).state_dict()
    torch.save(source, tmp_path / "encoder.pth")
    network = build_network(A1, encoder, 4, prompt=True)
    load_encoder_weights(network, encoder, str(tmp_path / "encoder.pth"))
    for name, value in network.encoder.state_dict().items():
        if name != f"{first}.weight":
            assert torch.equal(value, source[name])
            continue
        assert value.shape[1] == 4
        assert torch.equal(value[:, :3], source[name])
        torch.testing.assert_close(value[:, 3], source[name].sum(1) / 3)


def test_none_leaves_the_network_as_it_is():
    network = build_network(A1, "resnet18", 4)
    before = network.encoder.conv1.weight.clone()
    load_encoder_weights(network, "resnet18", "none")
    torch.testing.assert_close(network.encoder.conv1.weight, before)


def test_weights_of_another_network_are_refused(tmp_path):
    torch.save(torchvision.models.resnet34().state_dict(), tmp_path / "resnet34.pth")
    with pytest.raises(UserError, match="does not hold weights of the encoder resnet18"):
        load_encoder_weights(build_network(A1, "resnet18", 4), "resnet18", str(tmp_path / "resnet34.pth"))


class _Runs:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


@pytest.mark.parametrize("save", [torch.save, lambda content, path: path.write_bytes(pickle.dumps(content))])
def test_code_in_a_file_is_refused_and_not_run(tmp_path, save):
    save({"model_dict": _Runs(tmp_path / "ran")}, tmp_path / "evil.pt")
    with pytest.raises(UserError, match=r"evil\.pt"):
        load_tensors(tmp_path / "evil.pt")
    assert not (tmp_path / "ran").exists()


@pytest.mark.filterwarnings("ignore::UserWarning")  # torch has its doubts about these kinds itself
@pytest.mark.parametrize(
    "make",
    [
        lambda: torch.eye(9).to_sparse(),
        lambda: torch.eye(9).to_sparse_csr(),
        lambda: torch.empty(9, device="meta"),
        lambda: torch.quantize_per_tensor(torch.ones(9), 0.1, 0, torch.qint8),
        lambda: torch.nested.nested_tensor([torch.ones(2), torch.ones(3)]),
    ],
)
def test_tensors_of_other_kinds_are_refused(tmp_path, make):
    torch.save({"a": [make()]}, tmp_path / "a.pt")
    with pytest.raises(UserError, match=r"a\.pt (is refused: it holds tensors that are not plain|.*holds code)"):
        load_tensors(tmp_path / "a.pt")


def test_what_holds_itself_is_searched_once(tmp_path):
    content = {"a": torch.ones(3)}
    content["self"] = [content]
    torch.save(content, tmp_path / "a.pt")
    loaded = load_tensors(tmp_path / "a.pt")
    assert loaded["self"][0] is loaded
    content["large"] = torch.ones(1).expand(10**6, 10**6)
    torch.save(content, tmp_path / "a.pt")
    with pytest.raises(UserError, match="claims tensors of 4000000000000"):
        load_tensors(tmp_path / "a.pt")


@pytest.mark.parametrize("content", [b"", b"garbage", b"PK\x03\x04 half a zip"])
def test_damaged_files_are_refused(tmp_path, content):
    (tmp_path / "a.pt").write_bytes(content)
    with pytest.raises(UserError, match=r"a\.pt"):
        load_tensors(tmp_path / "a.pt")


@pytest.mark.parametrize(
    "page", ["<!DOCTYPE html><html>", "\ufeff\r\n <html lang=en>", "<?xml version='1.0'?><Error/>"]
)
def test_a_download_page_is_called_that(tmp_path, page):
    (tmp_path / "a.pt").write_text(page, encoding="utf-8")
    with pytest.raises(UserError, match=r"a\.pt is a web page that was saved in place of .*; delete it and download"):
        load_tensors(tmp_path / "a.pt")


@pytest.mark.parametrize("content", [[1, 2], {"a": 1}])
def test_what_is_no_state_dict_is_refused(tmp_path, content):
    torch.save(content, tmp_path / "a.pth")
    with pytest.raises(UserError, match="does not hold a plain state dict"):
        load_encoder_weights(build_network(A1, "resnet18", 4), "resnet18", str(tmp_path / "a.pth"))


@pytest.fixture
def hub(tmp_path):
    """A model hub on localhost that serves ResNet-18 under segmentation-models-pytorch's own address."""
    torch.manual_seed(7)
    state = smp.encoders.get_encoder("resnet18", weights=None).state_dict()
    save_file(state, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(json.dumps({}))

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            path = tmp_path / Path(self.path).name
            exists = self.path.startswith("/smp-hub/resnet18.imagenet/resolve/") and path.is_file()
            content = path.read_bytes() if exists else b""
            self.send_response(200 if exists else 404)
            self.send_header("Content-Length", str(len(content)))
            self.send_header("ETag", f'"{hashlib.sha256(content).hexdigest()}"')
            self.send_header("X-Repo-Commit", "0" * 40)
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(content)

        do_HEAD = do_GET  # noqa: N815

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", state
        server.shutdown()


LOAD = """
import sys, time, torch
time.sleep = lambda seconds: None  # the hub's client waits before each retry
from common.model import build_network
from common.recipe import A1
from common.training.weights import load_encoder_weights
from common.utils.errors import run_script

def main():
    network = build_network(A1, "resnet18", 4)
    load_encoder_weights(network, "resnet18", "imagenet")
    torch.save(network.encoder.conv1.weight.data, sys.argv[1])

run_script(main)
"""


def _download(address: str, folder: Path) -> subprocess.CompletedProcess:
    # The hub's address is read at import, so the download runs in a process of its own.
    environment = os.environ | {"HF_ENDPOINT": address, "HF_HOME": str(folder / "cache"), "HF_HUB_DISABLE_XET": "1"}
    command = [sys.executable, "-c", LOAD, str(folder / "weight.pt")]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)


def test_imagenet_weights_come_from_the_hub(hub, tmp_path):
    address, state = hub
    process = _download(address, tmp_path)
    assert process.returncode == 0, process.stderr
    torch.testing.assert_close(torch.load(tmp_path / "weight.pt", weights_only=True), state["conv1.weight"])


def test_a_hub_that_cannot_be_reached_is_one_sentence(tmp_path):
    process = _download("http://127.0.0.1:9", tmp_path)
    assert process.returncode == 2
    assert "pass --encoder-weights PATH" in process.stderr
    assert "Traceback" not in process.stderr


def test_weights_of_timm_are_those_that_the_name_stands_for(monkeypatch):
    wanted, make = [], smp.encoders.get_encoder

    def get_encoder(name: str, weights: str | bool) -> torch.nn.Module:
        wanted.append(weights)
        return make(name, weights=None)

    monkeypatch.setattr(smp.encoders, "get_encoder", get_encoder)
    for encoder in ("resnet18", "tu-resnet18"):
        load_encoder_weights(build_network(A1, encoder, 4), encoder, "imagenet")
    assert wanted == ["imagenet", True]


@pytest.mark.parametrize("encoder", ["dpn68b", "tu-regnetz_005"])
def test_an_encoder_without_imagenet_weights_is_one_sentence(encoder):
    with pytest.raises(UserError, match=f"there are no ImageNet weights for {encoder}; pass --encoder-weights none"):
        load_encoder_weights(torch.nn.Identity(), encoder, "imagenet")
