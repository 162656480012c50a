"""Where and in what precision a network runs."""

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import torch

from common.patches import SMALL_CANVAS
from common.utils.errors import UserError


def pick_device(wanted: str) -> torch.device:
    """The device for "auto", "cpu" or "cuda".

    Raises:
        UserError: CUDA is asked for where there is none.
    """
    if wanted == "auto":
        wanted = "cuda" if torch.cuda.is_available() else "cpu"
    if wanted == "cuda" and not torch.cuda.is_available():
        raise UserError("--device cuda: PyTorch finds no CUDA device here; pass --device cpu")
    # torchrun numbers the processes of a machine, and each takes the GPU of its number.
    return torch.device(wanted, int(os.environ.get("LOCAL_RANK", "0"))) if wanted == "cuda" else torch.device(wanted)


def pick_precision(wanted: str, device: torch.device) -> str:
    """ "fp32" or "bf16"; "auto" is bf16 where the hardware computes with it, else fp32."""
    if wanted != "auto":
        return wanted
    return "bf16" if _has_bf16(device) else "fp32"


def _has_bf16(device: torch.device) -> bool:
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    # PyTorch has no public question for this on the CPU; elsewhere than on Linux, float32 is the safe answer.
    cpu_info = Path("/proc/cpuinfo")
    return cpu_info.is_file() and any(flag in cpu_info.read_text() for flag in ("avx512_bf16", "amx_bf16"))


def set_math_flags(device: torch.device, precision: str) -> None:
    """Let a GPU compute as fast as ``precision`` allows: TF32 beside bf16, and convolutions chosen by trial."""
    if device.type == "cuda":
        torch.cuda.set_device(device)
        torch.backends.cudnn.benchmark = True
        torch.backends.cudnn.allow_tf32 = precision == "bf16"
        torch.set_float32_matmul_precision("high" if precision == "bf16" else "highest")


def autocast(device: torch.device, precision: str) -> AbstractContextManager[object]:
    """The context of a network's forward pass."""
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16")


def copy_to_host(tensor: torch.Tensor) -> Callable[[], torch.Tensor]:
    """Start copying a tensor off its device.

    Returns:
        A function that waits for this copy alone, not for work that the device was given after it.
    """
    if tensor.device.type != "cuda":
        return lambda: tensor
    copy = tensor.to("cpu", non_blocking=True)
    done = torch.cuda.current_stream(tensor.device).record_event()

    def wait() -> torch.Tensor:
        done.synchronize()
        return copy

    return wait


@contextmanager
def explain_out_of_memory(batch_size: int | None, canvas: tuple[int, int]) -> Iterator[None]:
    """Where the network does not fit into memory, say what to try instead; None for a script without --batch-size.

    Raises:
        UserError: out of memory, on the GPU or off it.
    """
    try:
        yield
    except (torch.OutOfMemoryError, RuntimeError) as error:
        if not isinstance(error, torch.OutOfMemoryError) and "can't allocate memory" not in str(error):
            raise
        if batch_size is None:
            size = f"{canvas[0]}x{canvas[1]}"
            raise UserError(
                f"out of memory at a canvas of {size} px; close other programs, or pass --device cpu"
            ) from error
        smaller = f"--batch-size {batch_size // 2}" if batch_size > 3 else "a smaller --encoder"
        if min(canvas) > min(SMALL_CANVAS):
            smaller += f" or --canvas {SMALL_CANVAS[0]}x{SMALL_CANVAS[1]}"
        raise UserError(
            f"out of memory at --batch-size {batch_size} and --canvas {canvas[0]}x{canvas[1]}; try {smaller}"
        ) from error
