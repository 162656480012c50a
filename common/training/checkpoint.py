"""Checkpoints: weights in the released layout, with the settings of their training.

A file is ``{"model_dict": state_dict, "recipe": {...}}``; the release reads and writes only the first key, under the
same names (FACTS.md section 2). Wrappers that other trainers put around the weights are removed on loading.
"""

import io
import json
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map_only

from common.model import build_network
from common.patches import CANVAS, check_canvas
from common.recipe import (
    A1,
    A1CLASS,
    A1RECIST,
    ACOSEG,
    ENCODER,
    PROMPTS,
    PROTOCOLS,
    DatasetInfo,
    Method,
    Protocol,
)
from common.training.config import EvalConfig, state_path
from common.training.weights import load_tensors
from common.utils.errors import UserError
from common.utils.files import atomic_path

_CLUSTER_WEIGHT = "classification_head.3.weight"
_WEIGHTS = ("model_dict", "state_dict", "model_state_dict", "model")  # where the weights are, if not at the top level
# What precedes a network's own names: "module.", "_orig_mod.", Lightning's "model." and the like.
_PREFIX = re.compile(r"((?:\w+\.)*?)(?:encoder|deeplab_model|deeplab_encoder)\.")


def save_checkpoint(path: Path, network: nn.Module, settings: Mapping[str, Any]) -> None:
    """Write a network's weights and the settings of its training, atomically.

    Args:
        path: the file.
        network: any of `build_network`'s; its tensors are written plain, on the CPU, in the default memory layout.
        settings: plain values only, so that the file loads without running code.
    """
    state = to_host(dict(network.state_dict()), torch.contiguous_format)
    save_tensors(path, {"model_dict": state, "recipe": dict(settings)})


def to_host(content: Any, layout: torch.memory_format = torch.preserve_format) -> Any:
    """Copy nested lists and dictionaries, with tensors on the CPU; one that is there twice is copied once."""
    moved: dict[Any, Tensor] = {}

    def move(tensor: Tensor) -> Tensor:
        key = (tensor.data_ptr(), tensor.shape, tensor.stride())
        if key not in moved:
            moved[key] = tensor.detach().to("cpu", copy=True, memory_format=layout)
        return moved[key]

    return tree_map_only(Tensor, move, content)


def save_tensors(path: Path, content: Mapping[str, Any]) -> None:
    """``torch.save``, atomically, and with an OSError where the disk is full."""
    buffer = io.BytesIO()  # torch.save hides the reason when writing to a file fails
    torch.save(content, buffer)
    with atomic_path(path) as temporary:
        temporary.write_bytes(buffer.getbuffer())


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint file's content, checked."""

    state: dict[str, Tensor]
    settings: dict[str, Any]  # of its training, as JSON has them; empty for a released checkpoint

    @property
    def method(self) -> Method:
        """The method whose network this is, told from the tensors' names, or A1+R from A1 by its settings."""
        if "mlp1a.weight" in self.state:
            return ACOSEG
        if _CLUSTER_WEIGHT in self.state:
            return A1CLASS
        return A1RECIST if self.settings.get("method") == A1RECIST.name else A1

    @property
    def clusters(self) -> int | None:
        """K of the cluster head; None without one."""
        return len(self.state[_CLUSTER_WEIGHT]) if _CLUSTER_WEIGHT in self.state else None


def load_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint: ours, a released one, or the same network as another trainer saves it.

    Raises:
        UserError: missing, truncated, or no checkpoint.
    """
    if not path.is_file():
        raise UserError(f"the checkpoint {path} does not exist; train it first, or pass --checkpoint PATH")
    content = load_tensors(path)
    named = isinstance(content, dict)
    state = next((content[name] for name in _WEIGHTS if name in content), content) if named else None
    if not isinstance(state, dict) or not all(isinstance(v, Tensor) and isinstance(k, str) for k, v in state.items()):
        raise UserError(f"{path} is not a checkpoint of this project: it has no dict of tensors")
    prefixes = {found[1] for name in state if (found := _PREFIX.match(name))}
    if len(prefixes) != 1:
        what = "several networks" if prefixes else "no encoder"
        raise UserError(f"{path} is not a checkpoint of this project: it holds {what}")
    prefix = prefixes.pop()
    state = {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}
    if _CLUSTER_WEIGHT in state and not state[_CLUSTER_WEIGHT].dim():
        raise UserError(f"{path} is not a checkpoint of this project: its cluster head has no clusters")
    return Checkpoint(state, _plain(content.get("recipe")))


def _plain(settings: Any) -> dict[str, Any]:
    """Settings after a round trip through JSON; empty if JSON can't hold them."""
    try:
        plain = json.loads(json.dumps(settings))
    except (TypeError, ValueError, RecursionError):
        return {}
    return plain if isinstance(plain, dict) else {}


@dataclass(frozen=True)
class TrainedModel:
    """A network ready for use, and the settings that its checkpoint or the command line gave."""

    network: nn.Module
    method: Method
    encoder: str
    canvas: tuple[int, int]
    clusters: int | None  # K of the cluster head; None without one
    protocol: Protocol
    settings: dict[str, Any]  # of the training; empty for a released checkpoint

    @property
    def prompted(self) -> bool:
        """Whether the network sees the RECIST mark of the lesion that it segments."""
        return self.settings.get("prompt") == "recist"

    def preprocessing(self, dataset: DatasetInfo) -> dict[str, Any]:
        """How the network's patches were made: as its checkpoint says, else as published (FACTS.md section 3)."""
        rgb = self.protocol == "corrected" and dataset.channels == "bgr"
        return {"channels": "rgb" if rgb else dataset.channels, **self.settings.get("preprocessing", {})}


def load_model(
    path: Path,
    encoder: str | None = None,
    canvas: tuple[int, int] | None = None,
    protocol: Protocol | None = None,
    checkpoint: Checkpoint | None = None,
) -> TrainedModel:
    """Build the network that a checkpoint's tensors belong to, whatever its method, on the CPU.

    What is None comes from the checkpoint's own settings, else from the published defaults.

    Args:
        path: of the checkpoint.
        encoder: segmentation-models-pytorch's name.
        canvas: (height, width) in px.
        protocol: whose data handling the network was trained under.
        checkpoint: the file's content where it has been read already.

    Raises:
        UserError: as `load_checkpoint`; its training is not complete; a setting in the file is invalid; the tensors are
            not those of the encoder, or not finite.
    """
    if state_path(path).exists():
        raise UserError(
            f"the training of {path} is not complete, and the file may be older than its state; "
            f"resume it, or delete {state_path(path)} to use the checkpoint as it is"
        )
    checkpoint = checkpoint or load_checkpoint(path)
    own, method = checkpoint.settings, checkpoint.method
    encoder = encoder or own.get("encoder", ENCODER)
    protocol = protocol or own.get("protocol", PROTOCOLS[0])
    try:
        canvas = check_canvas(canvas or own.get("canvas", CANVAS))
    except ValueError as error:
        raise UserError(f"{path} gives an invalid canvas ({error}); pass --canvas") from error
    if not isinstance(encoder, str):
        raise UserError(f"{path} gives an invalid encoder ({encoder!s:.40}); pass --encoder")
    if protocol not in PROTOCOLS:
        raise UserError(f"{path} gives an invalid protocol ({protocol!s:.40}); pass --protocol")
    if (prompt := own.get("prompt", PROMPTS[0])) not in PROMPTS:
        raise UserError(f"{path} gives an invalid prompt ({prompt!s:.40}); train it again")
    if prompt == "recist" and "prior" not in checkpoint.state:
        raise UserError(f"{path} is from an earlier version, which encoded marks differently; train it again")
    network = build_network(method, encoder, checkpoint.clusters or 1, canvas, prompt == "recist")
    try:
        network.load_state_dict(checkpoint.state)
    except RuntimeError as error:
        raise UserError(f"the tensors of {path} are not those of the encoder {encoder}; pass --encoder") from error
    if not all(value.isfinite().all() for value in network.state_dict().values()):
        raise UserError(f"{path} holds weights that are NaN or infinite; train it again")
    return TrainedModel(network, method, encoder, canvas, checkpoint.clusters, protocol, own)


def check_dataset(path: Path, settings: Mapping[str, Any], dataset: str) -> None:
    """Refuse a checkpoint whose settings say that it was trained on another dataset.

    Raises:
        UserError: it was.
    """
    trained_on = settings.get("dataset")
    if trained_on not in (None, dataset):
        raise UserError(f"{path} was trained on {trained_on}, not on {dataset}; use it for {trained_on}")


def load_model_for(config: EvalConfig) -> TrainedModel:
    """The network that an evaluation scores.

    Raises:
        UserError: as `load_model`; or the checkpoint is of another dataset, method or K.
    """
    path, method, released = config.checkpoint, config.recipe.method, config.recipe.released
    if released and not path.is_file():
        raise UserError(
            f"the checkpoint {path} does not exist; train it first, pass --download for the released one (or save "
            f"{released} there), or pass --checkpoint PATH"
        )
    checkpoint = load_checkpoint(path)
    check_dataset(path, checkpoint.settings, config.recipe.dataset.name)
    if checkpoint.method != method:
        raise UserError(
            f"{path} holds the network of {checkpoint.method.label}, not of {method.label}; "
            f"evaluate it with the {checkpoint.method.name} script"
        )
    if config.clusters and checkpoint.clusters not in (None, config.clusters):
        raise UserError(f"{path} has {checkpoint.clusters} clusters, not {config.clusters}; leave --clusters out")
    if not checkpoint.settings.get("complete", True):
        print(f"warning: the training of {path} was not completed; its result is kept apart", file=sys.stderr)
    published = config.recipe.dataset.clusters
    if not checkpoint.settings and checkpoint.clusters not in (None, published):
        print(
            f"warning: {path} has {checkpoint.clusters} clusters, but {config.recipe.dataset.name}'s published one "
            f"has {published}; make sure that it is not another dataset's",
            file=sys.stderr,
        )
    return load_model(path, config.encoder, config.canvas, config.protocol, checkpoint)
