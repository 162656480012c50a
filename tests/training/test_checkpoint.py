"""Checkpoints: the released layout in both directions, and a sentence for every wrong file."""

import json
from dataclasses import replace

import pytest
import torch

import deeplesion_A1_train
import HAM_A1_train
import HAM_A1class_train
import HAM_A1recist_train
import HAM_Acoseg_train
from common.model import build_network
from common.recipe import A1, A1CLASS, A1RECIST, ACOSEG
from common.run.cli import parse_eval
from common.training.checkpoint import TrainedModel, load_checkpoint, load_model, load_model_for, save_checkpoint
from common.utils.errors import UserError

RECIPES = {
    "A1": HAM_A1_train.RECIPE,
    "A1class_K190": HAM_A1class_train.RECIPE,
    "Acoseg": HAM_Acoseg_train.RECIPE,
}


@pytest.mark.parametrize("key", RECIPES)
def test_a_released_checkpoint_loads_and_is_written_back(key, shared, tmp_path):
    manifest = json.loads((shared / "golden" / "state_dict_manifest.json").read_text())[key]
    # As a release file: doubled names, no settings.
    filled = {}
    for name, shape in manifest.items():
        original = name.replace("deeplab_encoder", "deeplab_model.encoder")
        original = original.replace("deeplab_decoder", "deeplab_model.decoder")
        original = original.replace("deeplab_seghead", "deeplab_model.segmentation_head")
        counts = name.endswith("num_batches_tracked")
        filled[name] = filled.get(original, torch.tensor(3) if counts else torch.rand(shape))
    torch.save({"model_dict": filled}, tmp_path / "released.pt")

    model = load_model_for(parse_eval(RECIPES[key], None, ["--checkpoint", str(tmp_path / "released.pt")]))
    assert (model.encoder, model.canvas, model.protocol) == ("resnet101", (384, 480), "released")
    assert str(model.clusters or "") == key.partition("_K")[2]

    network = model.network.to(memory_format=torch.channels_last)
    save_checkpoint(tmp_path / "ours.pt", network, {"dataset": "HAM10000"})
    content = torch.load(tmp_path / "ours.pt", weights_only=True)
    assert list(content) == ["model_dict", "recipe"]
    assert {name: list(value.shape) for name, value in content["model_dict"].items()} == manifest
    for name, value in content["model_dict"].items():
        assert type(value) is torch.Tensor
        assert value.is_contiguous()
        assert torch.equal(value, filled[name]), name
    assert (tmp_path / "ours.pt").stat().st_size < 1.1 * (tmp_path / "released.pt").stat().st_size


@pytest.fixture
def small(tmp_path):
    """Checkpoints of the three methods with ResNet-18 and K=4."""
    paths = {}
    for method in (A1, A1CLASS, ACOSEG):
        paths[method.name] = tmp_path / f"{method.name}.pt"
        settings = {"encoder": "resnet18", "canvas": [128, 160], "protocol": "corrected"}
        save_checkpoint(paths[method.name], build_network(method, "resnet18", 4), settings)
    return paths


def test_settings_come_from_the_checkpoint_unless_given(small):
    config = parse_eval(HAM_A1class_train.RECIPE, None, ["--checkpoint", str(small["A1class"])])
    model = load_model_for(config)
    assert (model.encoder, model.canvas, model.clusters) == ("resnet18", (128, 160), 4)
    assert model.protocol == "corrected"
    changed = load_model_for(replace(config, canvas=(128, 128), protocol="released"))
    assert (changed.canvas, changed.protocol) == ((128, 128), "released")


@pytest.fixture
def prompted(tmp_path):
    """Checkpoints of networks with prompt, of the methods that can have one."""
    paths = {}
    for method in (A1, A1CLASS, A1RECIST):
        paths[method.name] = tmp_path / f"{method.name}_prompted.pt"
        settings = {"method": method.name, "encoder": "resnet18", "canvas": [128, 128], "prompt": "recist"}
        save_checkpoint(paths[method.name], build_network(method, "resnet18", 4, prompt=True), settings)
    return paths


def test_the_method_of_a_prompted_network_is_what_its_training_says(prompted, small):
    for name, path in prompted.items():
        model = load_model(path)
        assert (model.method.name, model.prompted) == (name, True)
        assert model.network.encoder.conv1.in_channels == 4
    assert not load_model(small["A1"]).prompted
    recipe = HAM_A1recist_train.RECIPE
    flags = ["--checkpoint", str(prompted["A1recist"])]
    assert load_model_for(parse_eval(recipe, None, flags)).method is A1RECIST
    with pytest.raises(UserError, match=r"network of A1\+R, not of A1; evaluate it with the A1recist script"):
        load_model_for(parse_eval(HAM_A1_train.RECIPE, None, flags))
    with pytest.raises(UserError, match=r"network of A1, not of A1\+R; evaluate it with the A1 script"):
        load_model_for(parse_eval(recipe, None, ["--checkpoint", str(prompted["A1"])]))


def test_a_prompted_network_without_its_prior_is_of_an_earlier_version(tmp_path):
    network = build_network(A1RECIST, "resnet18", 4, prompt=True)
    del network.prior
    save_checkpoint(tmp_path / "a.pt", network, {"method": "A1recist", "encoder": "resnet18", "prompt": "recist"})
    with pytest.raises(UserError, match=r"a\.pt is from an earlier version, .*; train it again"):
        load_model(tmp_path / "a.pt")


def test_a_checkpoint_of_another_dataset_is_refused(tmp_path):
    save_checkpoint(tmp_path / "a.pt", build_network(A1, "resnet18", 1), {"encoder": "resnet18", "dataset": "LiTS"})
    config = parse_eval(HAM_A1_train.RECIPE, None, ["--checkpoint", str(tmp_path / "a.pt")])
    with pytest.raises(UserError, match=r"a\.pt was trained on LiTS, not on HAM10000; use it for LiTS"):
        load_model_for(config)


@pytest.mark.parametrize("prompt", ["box", 1, ["recist"], None])
def test_a_prompt_that_is_none_is_refused(prompt, tmp_path):
    network = build_network(A1, "resnet18", 4)
    save_checkpoint(tmp_path / "a.pt", network, {"encoder": "resnet18", "prompt": prompt})
    with pytest.raises(UserError, match=r"a\.pt gives an invalid prompt \(.*\); train it again"):
        load_model(tmp_path / "a.pt")


def test_a_released_checkpoint_of_another_k_gets_a_line(small, tmp_path, capsys):
    content = torch.load(small["A1class"], weights_only=True)
    torch.save({"model_dict": content["model_dict"]}, tmp_path / "released.pt")
    flags = ["--checkpoint", str(tmp_path / "released.pt"), "--encoder", "resnet18"]
    load_model_for(parse_eval(HAM_A1class_train.RECIPE, None, flags))
    err = capsys.readouterr().err
    assert "has 4 clusters, but HAM10000's published one has 45" in err
    load_model_for(parse_eval(HAM_A1class_train.RECIPE, None, ["--checkpoint", str(small["A1class"])]))
    assert not capsys.readouterr().err  # ours say themselves what they are


@pytest.mark.parametrize(
    ("recipe", "file", "flags", "sentence"),
    [
        (HAM_A1_train.RECIPE, "A1class", "", "the network of A1+L, not of A1; evaluate it with the A1class script"),
        (HAM_A1class_train.RECIPE, "A1", "", "the network of A1, not of A1+L"),
        (HAM_A1_train.RECIPE, "Acoseg", "", "the network of ACoseg"),
        (HAM_A1class_train.RECIPE, "A1class", "--clusters 45", "has 4 clusters, not 45; leave --clusters out"),
        (HAM_A1_train.RECIPE, "A1", "--encoder resnet34", "are not those of the encoder resnet34; pass --encoder"),
    ],
)
def test_checkpoints_that_do_not_fit(small, recipe, file, flags, sentence):
    with pytest.raises(UserError) as error:
        load_model_for(parse_eval(recipe, None, ["--checkpoint", str(small[file]), *flags.split()]))
    assert sentence in str(error.value)
    assert str(small[file]) in str(error.value)


@pytest.mark.parametrize(
    "content",
    [
        {"state": 1},
        {"model_dict": 1},
        {"model_dict": {"a": torch.ones(1)}},
        {"model_dict": {}},
        {"state_dict": {"encoder.conv1.weight": 1}},
        {"encoder.conv1.weight": torch.ones(1), "epoch": 3},
        {"decoder.weight": torch.ones(1), "myencoder.weight": torch.ones(1)},
        {"model_dict": {"encoder.conv1.weight": torch.ones(1), 5: torch.ones(1)}},
        {"model_dict": {"encoder.conv1.weight": torch.ones(1), "classification_head.3.weight": torch.ones(())}},
        [1],
        torch.ones(2),
    ],
)
def test_what_is_no_checkpoint_is_refused(tmp_path, content):
    torch.save(content, tmp_path / "a.pt")
    with pytest.raises(UserError, match="is not a checkpoint of this project"):
        load_checkpoint(tmp_path / "a.pt")


PREFIXES = ("", "module.", "_orig_mod.", "module._orig_mod.", "_orig_mod.module.", "model.", "net._orig_mod.", "a.b.")


@pytest.mark.parametrize("key", ["", "model_dict", "state_dict", "model_state_dict", "model"])
@pytest.mark.parametrize("method", ["A1", "A1class", "Acoseg"])
def test_what_other_trainers_wrap_around_the_weights_is_taken_off(key, method, tmp_path):
    weight = f"{'deeplab_model.' * (method == 'Acoseg')}encoder.conv1.weight"
    more = {"A1": "segmentation_head.0.weight", "A1class": "classification_head.3.weight", "Acoseg": "mlp1a.weight"}
    state = {weight: torch.ones(2), more[method]: torch.zeros(3)}
    for prefix in PREFIXES:
        wrapped = {prefix + name: value for name, value in state.items()}
        wrapped |= {"criterion.weight": torch.ones(1)} if prefix else {}  # a trainer's own tensors
        torch.save({key: wrapped, "epoch": 3, "optimizer": {"state": {}}} if key else wrapped, tmp_path / "a.pt")
        checkpoint = load_checkpoint(tmp_path / "a.pt")
        assert list(checkpoint.state) == list(state)
        assert (checkpoint.method.name, checkpoint.settings) == (method, {})


def test_a_wrapped_network_is_the_same_network(small, tmp_path):
    for method, path in small.items():
        network = load_model(path).network
        state = torch.nn.DataParallel(torch.compile(network)).state_dict()
        assert next(iter(state)).startswith("module._orig_mod.")
        torch.save({"state_dict": state}, tmp_path / "wrapped.ckpt")
        wrapped = load_model(tmp_path / "wrapped.ckpt", "resnet18", (128, 160))
        assert wrapped.method.name == method
        for value, expected in zip(wrapped.network.parameters(), network.parameters(), strict=True):
            assert torch.equal(value, expected)


def test_of_two_networks_none_is_taken(tmp_path):
    torch.save({f"{name}.encoder.conv1.weight": torch.ones(1) for name in ("student", "teacher")}, tmp_path / "a.pt")
    with pytest.raises(UserError, match="it holds several networks"):
        load_checkpoint(tmp_path / "a.pt")


@pytest.mark.parametrize("settings", [[1], {"canvas": torch.ones(2)}, {"canvas": {1, 2}}, {1: {2: {}}}])
def test_settings_of_other_than_plain_values_count_as_none(tmp_path, settings):
    torch.save({"model_dict": {"encoder.conv1.weight": torch.ones(1)}, "recipe": settings}, tmp_path / "a.pt")
    assert load_checkpoint(tmp_path / "a.pt").settings in ({}, {"1": {"2": {}}})


@pytest.mark.parametrize(
    ("change", "flag"),
    [
        ({"canvas": [16, 16]}, "canvas"),
        ({"canvas": [10**9, 10**9]}, "canvas"),
        ({"canvas": "large"}, "canvas"),
        ({"encoder": ["resnet18"]}, "encoder"),
        ({"protocol": "newest"}, "protocol"),
        ({"protocol": {}}, "protocol"),
    ],
)
def test_settings_of_a_checkpoint_are_checked_unless_given(tmp_path, change, flag):
    network = build_network(A1, "resnet18", 4)
    save_checkpoint(tmp_path / "a.pt", network, {"encoder": "resnet18", "canvas": [128, 128]} | change)
    with pytest.raises(UserError, match=rf"a\.pt gives an invalid {flag} .*; pass --{flag}"):
        load_model(tmp_path / "a.pt")
    flags = {"canvas": (128, 128), "encoder": "resnet18", "protocol": "released"}
    assert load_model(tmp_path / "a.pt", **flags).canvas == (128, 128)


def test_weights_must_be_finite(tmp_path):
    network = build_network(A1, "resnet18", 4)
    next(network.parameters()).data[0] = float("inf")
    save_checkpoint(tmp_path / "a.pt", network, {"encoder": "resnet18"})
    with pytest.raises(UserError, match=r"a\.pt holds weights that are NaN or infinite; train it again"):
        load_model(tmp_path / "a.pt")


def test_missing_and_truncated(tmp_path, small):
    with pytest.raises(UserError, match="train it first"):
        load_checkpoint(tmp_path / "none.pt")
    path = tmp_path / "none.pt"
    with pytest.raises(UserError, match=r"--download .*\(or save https://drive\S+/12gK0K_\S+/view there\)"):
        load_model_for(parse_eval(HAM_A1_train.RECIPE, None, ["--checkpoint", str(path)]))
    with pytest.raises(UserError, match=r"none\.pt does not exist; train it first, or pass --checkpoint PATH"):
        load_model_for(parse_eval(replace(HAM_A1_train.RECIPE, released=None), None, ["--checkpoint", str(path)]))
    content = small["A1"].read_bytes()
    small["A1"].write_bytes(content[: len(content) // 2])
    with pytest.raises(UserError, match="truncated"):
        load_checkpoint(small["A1"])


@pytest.mark.parametrize(
    ("dataset", "protocol", "settings", "channels"),
    [
        (HAM_A1_train.RECIPE.dataset, "released", {}, "bgr"),
        (HAM_A1_train.RECIPE.dataset, "corrected", {}, "rgb"),
        (HAM_A1_train.RECIPE.dataset, "released", {"preprocessing": {"channels": "rgb"}}, "rgb"),
        (HAM_A1_train.RECIPE.dataset, "corrected", {"preprocessing": {"channels": "bgr", "window": [50, 400]}}, "bgr"),
        (deeplesion_A1_train.RECIPE.dataset, "corrected", {}, "slices"),
    ],
)
def test_channels_and_window_are_the_checkpoints_else_the_published(dataset, protocol, settings, channels):
    model = TrainedModel(torch.nn.Identity(), A1, "resnet18", (128, 128), None, protocol, settings)
    assert model.preprocessing(dataset) == settings.get("preprocessing", {}) | {"channels": channels}
