"""Networks: the published outputs and tensor names."""

import json

import numpy as np
import pytest
import torch
from helpers import formula_network

from common.data.loader import LesionLoader
from common.model import build_network, count_flops
from common.recipe import A1, A1CLASS, ACOSEG
from common.utils.errors import UserError


@pytest.mark.parametrize(("method", "key"), [(A1CLASS, "A1class"), (ACOSEG, "Acoseg")])
def test_outputs_are_the_published_codes(method, key, shared, ham_prepared):
    order = json.loads((shared / "golden" / "trajectories_resnet18.json").read_text())["order"][:2]
    batch = next(LesionLoader(ham_prepared, np.array(order), "ellipse", (384, 480), torch.device("cpu")).batches(2))
    with torch.no_grad():
        outputs = formula_network(method, shared).eval()(batch.images)
    mask = outputs["mask"][..., ::8, ::8].numpy()
    with np.load(shared / "golden" / "forward_resnet18.npz") as golden:
        wanted = {"mask": golden[f"{key}_0"]}
        if method.paired:  # one lesion on each side
            wanted["mask"] = np.concatenate([golden[f"{key}_0"], golden[f"{key}_1"]])
        else:
            wanted["cluster"] = golden[f"{key}_1"]
    for name, want in wanted.items():
        got = mask if name == "mask" else outputs[name].numpy()
        assert np.abs(got - want).max() <= 1e-5 * np.abs(want).max()


@pytest.mark.parametrize(
    ("key", "method", "clusters"),
    [("A1", A1, 45), ("A1class_K45", A1CLASS, 45), ("A1class_K40", A1CLASS, 40), ("A1class_K190", A1CLASS, 190),
     ("Acoseg", ACOSEG, 45)],
)  # fmt: skip
def test_tensors_bear_the_published_names_and_shapes(key, method, clusters, shared):
    manifest = json.loads((shared / "golden" / "state_dict_manifest.json").read_text())[key]
    state = build_network(method, "resnet101", clusters).state_dict()
    assert {name: list(value.shape) for name, value in state.items()} == manifest


def test_an_unknown_encoder_is_told():
    with pytest.raises(UserError, match="resnet7 is not an encoder"):
        build_network(A1, "resnet7", 4)


@pytest.mark.parametrize("method", [A1CLASS, ACOSEG])
def test_floating_point_operations_are_those_of_the_convolutions(method):
    network, done = build_network(method, "resnet18", 4), []

    def count(module: torch.nn.Module, _: object, output: torch.Tensor) -> None:
        inputs = module.weight[0].numel()  # of one output: channels of its group, times the kernel's area
        done.append(2 * inputs * output.numel())

    for module in set(network.modules()):
        if isinstance(module, torch.nn.Conv2d | torch.nn.Linear):
            module.register_forward_hook(count)
    assert count_flops(network, (128, 144)) == 3 * sum(done)
