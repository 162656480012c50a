"""Export of a checkpoint to ONNX, for use without PyTorch: from plain patches to probabilities, all in the graph."""

import importlib.util

import torch
from torch import Tensor, nn

from common.data.dataset import read_metadata
from common.model import PatchNet
from common.patches import PATCH
from common.recipe import EvalConfig
from common.training.checkpoint import TrainedModel, load_model_for
from common.utils.errors import UserError
from common.utils.files import atomic_path
from common.utils.provenance import sha256

OPSET = 18
"""The version that PyTorch's exporter writes natively; any other would be converted from it."""
INPUT = "patches"


class ExportNet(nn.Module):
    """`PatchNet` with probabilities in place of the mask's logits, and its outputs as a tuple."""

    def __init__(self, model: TrainedModel) -> None:
        super().__init__()
        self.network = PatchNet(model.network, model.canvas)
        self.output_names = ["probability", "cluster"] if model.method.cluster_head else ["probability"]

    def forward(self, patches: Tensor) -> tuple[Tensor, ...]:
        """Map (N, 120, 120, 3) float32 0..255 to (N, 120, 120) probabilities and, with the head, (N, K) logits."""
        logits = self.network(patches)
        outputs = {**logits, "probability": logits["mask"].sigmoid()}
        return tuple(outputs[name] for name in self.output_names)


def export(config: EvalConfig) -> None:
    """Write `<checkpoint's stem>.onnx` beside the checkpoint.

    Raises:
        UserError: onnxscript is not installed; or as `load_model_for`.
    """
    if importlib.util.find_spec("onnxscript") is None:
        raise UserError("--export onnx needs the package onnxscript; pip install -r requirements.txt")
    model = load_model_for(config)
    network = ExportNet(model).eval()
    program = torch.onnx.export(
        network,
        (torch.zeros(2, PATCH, PATCH, 3),),  # of a single patch, the exporter would make the batch size a constant
        input_names=[INPUT],
        output_names=network.output_names,
        dynamic_shapes=({0: torch.export.Dim("lesions")},),
        opset_version=OPSET,
        dynamo=True,
        verbose=False,
    )
    assert program is not None
    program.model.metadata_props.update(describe_model(config, model))
    path = config.checkpoint.with_suffix(".onnx")
    with atomic_path(path) as temporary:
        program.save(temporary, external_data=False)
    print(f"{path} written: {INPUT} -> {', '.join(network.output_names)}, opset {OPSET}")


def describe_model(config: EvalConfig, model: TrainedModel) -> dict[str, str]:
    """Metadata of the file, with the patches' channel order where a prepared folder of the same settings exists."""
    metadata = {
        "dataset": config.recipe.dataset.name,
        "method": model.method.name,
        "encoder": model.encoder,
        "canvas": "x".join(map(str, model.canvas)),
        "protocol": model.protocol,
        "checkpoint_sha256": sha256(config.checkpoint),
    }
    prepared = read_metadata(config.prepared) or {}
    if (prepared.get("dataset"), prepared.get("protocol")) == (metadata["dataset"], metadata["protocol"]):
        metadata["channels"] = prepared["channels"]
    return metadata
