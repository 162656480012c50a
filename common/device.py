"""Where and in what precision a network runs."""

from contextlib import AbstractContextManager
from pathlib import Path

import torch

from common.errors import UserError


def pick_device(wanted: str) -> torch.device:
    """The device for "auto", "cpu" or "cuda".

    Raises:
        UserError: CUDA is asked for where there is none.
    """
    if wanted == "auto":
        wanted = "cuda" if torch.cuda.is_available() else "cpu"
    if wanted == "cuda" and not torch.cuda.is_available():
        raise UserError("--device cuda: PyTorch finds no CUDA device here; pass --device cpu")
    return torch.device(wanted)


def pick_precision(wanted: str, device: torch.device) -> str:
    """ "fp32" or "bf16"; "auto" is bf16 where the hardware computes with it, else fp32."""
    if wanted != "auto":
        return wanted
    return "bf16" if _has_bf16(device) else "fp32"


def _has_bf16(device: torch.device) -> bool:
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    # PyTorch has no public question for this on the CPU; elsewhere than on Linux, float32 is the safe answer.
    flags = Path("/proc/cpuinfo")
    return flags.is_file() and any(flag in flags.read_text() for flag in ("avx512_bf16", "amx_bf16"))


def autocast(device: torch.device, precision: str) -> AbstractContextManager[object]:
    """The context a network's forward pass runs in."""
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16")
