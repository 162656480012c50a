"""A checkpoint as an ONNX file for use without torch: from plain patches to probabilities, all in its graph."""

import importlib.util

import torch
from torch import Tensor, nn

from common.checkpoint import Trained, load_trained
from common.cli import Run
from common.dataset import ToCanvas, centre
from common.errors import UserError
from common.files import atomic_path, sha256
from common.patches import PATCH
from common.prepared import read_content

OPSET = 18
"""The version that torch's exporter writes itself; any other is converted from it."""
INPUT = "patches"


class PatchNet(nn.Module):
    """A network with what happens before and after it: normalising, mirror padding, cutting the patch out."""

    def __init__(self, trained: Trained) -> None:
        super().__init__()
        self.network = trained.network
        self._to_canvas = ToCanvas(trained.canvas, torch.device("cpu"))
        self.outputs = ("probability", "cluster") if trained.method.cluster_head else ("probability",)

    def forward(self, patches: Tensor) -> tuple[Tensor, ...]:
        """Map (N, 120, 120, 3) float32 0..255 to (N, 120, 120) probabilities and, with the head, (N, K) logits."""
        logits = self.network(self._to_canvas.images(patches))
        named = logits | {"probability": centre(logits["mask"])[:, 0].sigmoid()}
        return tuple(named[name] for name in self.outputs)


def export(run: Run) -> None:
    """Write `<checkpoint's stem>.onnx` beside a run's checkpoint.

    Raises:
        UserError: no exporter is installed, or the checkpoint does not fit.
    """
    if importlib.util.find_spec("onnxscript") is None:
        raise UserError("--export onnx needs the package onnxscript; pip install -r requirements.txt")
    trained = load_trained(run)
    network = PatchNet(trained).eval()
    example = torch.zeros(2, PATCH, PATCH, 3)  # a batch of 1 would become a constant of the graph
    program = torch.onnx.export(
        network,
        (example,),
        input_names=[INPUT],
        output_names=list(network.outputs),
        dynamic_shapes=({0: torch.export.Dim("lesions")},),
        opset_version=OPSET,
        dynamo=True,
        verbose=False,
    )
    assert program is not None
    program.model.metadata_props.update(describe(run, trained))
    path = run.checkpoint.with_suffix(".onnx")
    with atomic_path(path) as temporary:
        program.save(temporary, external_data=False)
    print(f"{path} written: {INPUT} -> {', '.join(network.outputs)}, opset {OPSET}")


def describe(run: Run, trained: Trained) -> dict[str, str]:
    """What the file says of itself, with the patches' channel order where the prepared folder is there to tell it."""
    about = {
        "dataset": run.recipe.dataset.name,
        "method": trained.method.name,
        "encoder": trained.encoder,
        "canvas": "x".join(map(str, trained.canvas)),
        "protocol": trained.protocol,
        "checkpoint_sha256": sha256(run.checkpoint),
    }
    prepared = read_content(run.prepared) or {}
    if (prepared.get("dataset"), prepared.get("protocol")) == (about["dataset"], about["protocol"]):
        about["channels"] = prepared["channels"]
    return about
