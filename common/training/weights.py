"""Loading tensors from files without running code in them, and an encoder's initial weights."""

import logging
import pickle
import warnings
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import segmentation_models_pytorch as smp
import torch
from torch import Tensor, nn

from common.utils.errors import UserError


def load_tensors(path: Path) -> Any:
    """Read a file made by ``torch.save``, tensors and plain values only, onto the CPU.

    Raises:
        UserError: missing, truncated, not such a file (a download page), or holding anything that would run code.
    """
    if not path.is_file():
        raise UserError(f"{path} does not exist")
    size = path.stat().st_size
    with path.open("rb") as file:
        if file.read(99).lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"<"):
            raise UserError(
                f"{path} is a web page that was saved in place of the file it offers (a browser shows what it says); "
                "delete it and download the file itself"
            )
    try:
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:  # torch.save does not compress; what does is a bomb
                _check_size(path, sum(member.file_size for member in archive.infolist()), size)
        with warnings.catch_warnings(action="ignore"):  # of old formats; what is wrong is reported below
            content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise UserError(
            f"{path} is not a file of tensors, or holds code, which is never run; use a file of weights only, as "
            "torch.save(network.state_dict(), PATH) makes it"
        ) from error
    except (RuntimeError, EOFError, LookupError, ValueError, TypeError, AttributeError, zipfile.BadZipFile) as error:
        raise UserError(f"{path} is truncated or not a PyTorch file; make or download it again") from error
    for tensor in _tensors(content):
        if tensor.layout != torch.strided or tensor.is_quantized or tensor.is_nested or tensor.is_meta:
            raise UserError(f"{path} is refused: it holds tensors that are not plain numbers; use a file you trust")
        _check_size(path, tensor.nbytes, size)  # strides of 0 let one number stand for a tensor of any size
    return content


def _tensors(content: Any) -> Iterator[Tensor]:
    """Every tensor in what was unpickled, which may be nested as deep as it likes and hold itself."""
    waiting, seen = [content], set()
    while waiting:
        item = waiting.pop()
        if isinstance(item, Tensor):
            yield item
        elif isinstance(item, Mapping | list | tuple) and id(item) not in seen:
            seen.add(id(item))
            waiting.extend(item.values() if isinstance(item, Mapping) else item)


def _check_size(path: Path, claimed: int, size: int) -> None:
    if claimed > size:
        raise UserError(f"{path} is refused: it has {size} bytes but claims tensors of {claimed}; use a file you trust")


def load_encoder_weights(network: nn.Module, encoder: str, source: str) -> None:
    """Start a network's encoder from trained weights.

    Args:
        network: as made by ``model.build_network``.
        encoder: its encoder's name.
        source: "imagenet" (downloaded by segmentation-models-pytorch; for tu- names, timm's default weights), "none"
            (stay random), or the path of a state dict with torchvision's keys, whose ``fc.*`` keys are left out.

    Raises:
        UserError: the download fails, or the file is missing, damaged or of another network.
    """
    if source == "none":
        return
    state = _downloaded(encoder) if source == "imagenet" else _from_file(Path(source))
    part = network.get_submodule("encoder")
    for name, weight in part.state_dict().items():
        if name in state and weight.dim() == 4 == state[name].dim() and weight.shape[1] == state[name].shape[1] + 1:
            # The first convolution of a network with prompt: the image's weights stay, the prompt gets their mean.
            state[name] = torch.cat([state[name], state[name].mean(1, keepdim=True)], dim=1)
    try:
        part.load_state_dict(state)
    except (RuntimeError, KeyError) as error:
        raise UserError(
            f"{source} does not hold weights of the encoder {encoder}; pass the matching --encoder"
        ) from error


def _from_file(path: Path) -> dict[str, Tensor]:
    if not path.is_file():
        raise UserError(f"--encoder-weights {path} does not exist; pass imagenet, none or the path of a state dict")
    state = load_tensors(path)
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise UserError(f"{path} does not hold a plain state dict; save model.state_dict() of a torchvision network")
    return {name: value for name, value in state.items() if not name.startswith("fc.")}


def _downloaded(encoder: str) -> dict[str, Tensor]:
    # The hub's client tells of each of its retries; one sentence at the end is enough.
    logging.getLogger("huggingface_hub").setLevel(logging.CRITICAL)
    try:
        # Names of timm say themselves which weights theirs are.
        weights = encoder.startswith("tu-") or "imagenet"
        return smp.encoders.get_encoder(encoder, weights=weights).state_dict()
    except (KeyError, RuntimeError) as error:
        raise UserError(
            f"there are no ImageNet weights for {encoder}; pass --encoder-weights none or a PATH"
        ) from error
    except OSError as error:
        raise UserError(
            f"ImageNet weights for {encoder} can't be downloaded; "
            "pass --encoder-weights PATH, a torchvision state dict, or --encoder-weights none"
        ) from error
