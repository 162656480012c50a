"""ONNX: onnxruntime computes what PyTorch computes, from plain patches, and the file's metadata describe it."""

import sys
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch

import deeplesion_A1_train
import HAM_A1_train
import HAM_A1class_train
import HAM_Acoseg_train
from common.model import CanvasTransform, build_network
from common.recipe import Recipe
from common.run.scripts import eval_main
from common.training.checkpoint import load_model, save_checkpoint
from common.utils.errors import UserError
from common.utils.provenance import sha256

CANVAS = (128, 144)


def write_checkpoint(recipe: Recipe, folder: Path, **more: object) -> Path:
    """An untrained ResNet-18, K=3."""
    torch.manual_seed(0)
    settings = {"encoder": "resnet18", "canvas": list(CANVAS), "protocol": "released"} | more
    network = build_network(recipe.method, "resnet18", 3, prompt=settings.get("prompt") == "recist")
    save_checkpoint(folder / "a.pt", network, settings)
    return folder / "a.pt"


def export(recipe: Recipe, checkpoint: Path, data: Path) -> onnxruntime.InferenceSession:
    eval_main(recipe, None, ["--checkpoint", str(checkpoint), "--data", str(data), "--export", "onnx"])
    return onnxruntime.InferenceSession(checkpoint.with_suffix(".onnx"))


@pytest.mark.parametrize(
    ("recipe", "settings", "channels"),
    [
        (HAM_Acoseg_train.RECIPE, {}, "red,green,blue"),
        (HAM_A1_train.RECIPE, {"protocol": "corrected"}, "red,green,blue"),
        (deeplesion_A1_train.RECIPE, {}, "previous,key,next slice"),
    ],
    ids=["ACoseg of bgr", "A1 of rgb", "A1 of slices"],
)
def test_onnxruntime_computes_what_torch_computes(recipe, settings, channels, phantom_ham, tmp_path):
    """Channels are swapped for a network that was trained on BGR, and for no other."""
    checkpoint = write_checkpoint(recipe, tmp_path, **settings)
    session = export(recipe, checkpoint, tmp_path / "nowhere")  # no data is needed
    check_outputs(session, checkpoint, phantom_ham, bgr=recipe is HAM_Acoseg_train.RECIPE)
    metadata = session.get_modelmeta().custom_metadata_map
    assert metadata["method"] == recipe.method.name
    assert metadata["channels"] == channels


def test_a_network_that_sees_marks_takes_their_end_points(phantom_ham, tmp_path):
    checkpoint = write_checkpoint(HAM_A1class_train.RECIPE, tmp_path, prompt="recist", protocol="corrected")
    session = export(HAM_A1class_train.RECIPE, checkpoint, tmp_path)
    assert [(given.name, given.shape, given.type) for given in session.get_inputs()] == [
        ("patches", ["lesions", 120, 120, 3], "tensor(float)"),
        ("ends", ["lesions", 4, 2], "tensor(float)"),
    ]
    assert "x and y in px of the patch" in session.get_modelmeta().custom_metadata_map["ends"]
    check_outputs(session, checkpoint, phantom_ham, bgr=False)
    patches = np.load(phantom_ham / "prepared" / "images.npy")[:1].astype(np.float32)
    ends = np.load(phantom_ham / "prepared" / "ends.npy")[:2]
    first, second = (session.run(None, {"patches": patches, "ends": ends[[row]]})[0] for row in (0, 1))
    assert np.abs(first - second).max() > 1e-3  # the marks make a difference


def check_outputs(session: onnxruntime.InferenceSession, checkpoint: Path, data: Path, *, bgr: bool = True) -> None:
    """Compare with torch on lesions of a data folder, one at a time and three together; ONNX gets RGB."""
    patches = np.load(data / "prepared" / "images.npy")[:3].astype(np.float32)
    patches[1] = patches[1] > 128  # of 0 and 1: not divided by 255
    model = load_model(checkpoint)
    ends = np.load(data / "prepared" / "ends.npy")[:3] if model.prompted else None
    with torch.inference_mode():
        canvas = CanvasTransform(CANVAS)(torch.from_numpy(patches), None if ends is None else torch.from_numpy(ends))
        expected = model.network.eval()(canvas)
    expected["probability"] = expected.pop("mask")[:, 0, 4:124, 12:132].sigmoid()
    if ends is not None:  # beyond twice the mark nothing is lesion
        expected["probability"][canvas[:, 3, 4:124, 12:132] == -1] = 0
    assert expected["probability"].std() > 1e-3  # a network that answers the same everywhere would prove nothing
    names = [output.name for output in session.get_outputs()]
    assert sorted(names) == sorted(expected)
    for count in (1, 3):
        given = {"patches": patches[:count, ..., ::-1] if bgr else patches[:count]}
        given |= {} if ends is None else {"ends": ends[:count]}
        for name, values in zip(names, session.run(None, given), strict=True):
            np.testing.assert_allclose(values, expected[name][:count], atol=1e-4, err_msg=name)


@pytest.fixture(scope="module")
def a1class(tmp_path_factory) -> Path:
    """The checkpoint of an A1+L with a window, exported."""
    folder = tmp_path_factory.mktemp("a1class")
    settings = {"preprocessing": {"channels": "bgr", "window": [50, 400]}}
    checkpoint = write_checkpoint(HAM_A1class_train.RECIPE, folder, **settings)
    export(HAM_A1class_train.RECIPE, checkpoint, folder)
    assert sorted(path.name for path in folder.iterdir()) == ["a.onnx", "a.pt"]
    return checkpoint


def test_onnxruntime_computes_what_torch_computes_on_real_patches(a1class, ham_prepared):
    session = onnxruntime.InferenceSession(a1class.with_suffix(".onnx"))
    check_outputs(session, a1class, ham_prepared.folder.parent)


def test_inputs_outputs_and_metadata(a1class, phantom_ham):
    session = onnxruntime.InferenceSession(a1class.with_suffix(".onnx"))
    check_outputs(session, a1class, phantom_ham)
    [patches] = session.get_inputs()
    assert (patches.name, patches.shape, patches.type) == ("patches", ["lesions", 120, 120, 3], "tensor(float)")
    assert {output.name: output.shape for output in session.get_outputs()} == {
        "probability": ["lesions", 120, 120],
        "cluster": ["lesions", 3],
    }
    assert session.get_modelmeta().custom_metadata_map == {
        "dataset": "HAM10000",
        "method": "A1class",
        "encoder": "resnet18",
        "canvas": "128x144",
        "protocol": "released",
        "checkpoint_sha256": sha256(a1class),
        "layout": "lesions,120 rows,120 columns,channels",
        "range": "0..255",
        "channels": "red,green,blue",
        "window": "[50, 400]",
    }


def test_errors_are_one_sentence(tmp_path, monkeypatch):
    recipe = HAM_A1_train.RECIPE
    with pytest.raises(UserError, match="does not exist; train it first"):
        export(recipe, tmp_path / "a.pt", tmp_path)
    checkpoint = write_checkpoint(recipe, tmp_path)
    with pytest.raises(UserError, match=r"holds the network of A1, not of A1\+L"):
        export(HAM_A1class_train.RECIPE, checkpoint, tmp_path)
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(UserError, match="needs the package onnxscript"):
        export(recipe, checkpoint, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["a.pt"]


def test_other_formats_are_refused(tmp_path):
    with pytest.raises(UserError, match="--export"):
        eval_main(HAM_A1_train.RECIPE, None, ["--export", "tflite"])
    with pytest.raises(UserError, match="--tta is no part of an exported network"):
        eval_main(HAM_A1_train.RECIPE, None, ["--export", "onnx", "--tta"])
