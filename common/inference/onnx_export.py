"""Export of a checkpoint to ONNX, for use without PyTorch: from RGB patches to probabilities, all in the graph."""

import importlib.util
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from common.inference.patch_net import PatchNet
from common.patches import PATCH
from common.training.checkpoint import TrainedModel, load_model_for
from common.training.config import EvalConfig
from common.utils.errors import UserError
from common.utils.files import atomic_path, check_writable
from common.utils.provenance import sha256

OPSET = 18  # the version that PyTorch's exporter writes natively; any other would be converted from it
INPUTS = ("patches", "ends")  # the second of a network with prompt alone
ENDS_LAYOUT = "lesions,both ends of the long diameter then of the short one,x and y in px of the patch"


class ExportNet(nn.Module):
    """`PatchNet` with probabilities in place of the mask's logits, its outputs as a tuple, and no BGR outside of it."""

    def __init__(self, model: TrainedModel, *, bgr: bool) -> None:
        super().__init__()
        self.bgr = bgr
        self.network = PatchNet(model.network, model.canvas)
        self.output_names = ["probability", "cluster"] if model.method.cluster_head else ["probability"]

    def forward(self, patches: Tensor, ends: Tensor | None = None) -> tuple[Tensor, ...]:
        """Map (N, 120, 120, 3) float32 0..255 to (N, 120, 120) probabilities and, with the head, (N, K) logits.

        A network with prompt takes (N, 4, 2) float32 ``ends`` too.
        """
        logits = self.network(patches.flip(-1) if self.bgr else patches, ends)
        outputs = {**logits, "probability": logits["mask"].sigmoid()}
        return tuple(outputs[name] for name in self.output_names)


def export(config: EvalConfig) -> None:
    """Write `<checkpoint's stem>.onnx` beside the checkpoint.

    Raises:
        UserError: onnxscript is not installed; or as `load_model_for`.
    """
    if importlib.util.find_spec("onnxscript") is None:
        raise UserError("--export onnx needs the package onnxscript; pip install -r requirements.txt")
    check_writable(config.checkpoint.parent, "copy the checkpoint elsewhere and pass that --checkpoint")
    model = load_model_for(config)
    preprocessing = model.preprocessing(config.recipe.dataset)
    network = ExportNet(model, bgr=preprocessing["channels"] == "bgr").eval()
    inputs = INPUTS[: 1 + model.prompted]
    # Of a single patch, the exporter would make the batch size a constant.
    examples = torch.zeros(2, PATCH, PATCH, 3), torch.zeros(2, 4, 2)
    program = torch.onnx.export(
        network,
        examples[: len(inputs)],
        input_names=inputs,
        output_names=network.output_names,
        dynamic_shapes=({0: torch.export.Dim("lesions")}, {0: torch.export.Dim.AUTO})[: len(inputs)],
        opset_version=OPSET,
        dynamo=True,
        verbose=False,
    )
    assert program is not None
    program.model.metadata_props.update(describe_model(config, model, preprocessing))
    path = config.checkpoint.with_suffix(".onnx")
    with atomic_path(path) as temporary:
        program.save(temporary, external_data=False)
    print(f"{path} written: {', '.join(inputs)} -> {', '.join(network.output_names)}, opset {OPSET}")


def describe_model(config: EvalConfig, model: TrainedModel, preprocessing: Mapping[str, Any]) -> dict[str, str]:
    """Metadata of the file: whose network it is, and what it takes."""
    return {
        "dataset": config.recipe.dataset.name,
        "method": model.method.name,
        "encoder": model.encoder,
        "canvas": "x".join(map(str, model.canvas)),
        "protocol": model.protocol,
        "checkpoint_sha256": sha256(config.checkpoint),
        "layout": f"lesions,{PATCH} rows,{PATCH} columns,channels",
        "range": "0..255",
        **({"ends": ENDS_LAYOUT} if model.prompted else {}),
        **{name: str(value) for name, value in preprocessing.items() if value is not None},
        "channels": "previous,key,next slice" if preprocessing["channels"] == "slices" else "red,green,blue",
    }
