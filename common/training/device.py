"""Where and in what precision a network runs."""

import ctypes
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path

import psutil
import torch

from common.patches import SMALL_CANVAS
from common.utils.errors import UserError

_OUT_OF_MEMORY = (
    "can't allocate memory",  # Linux, macOS
    "not enough memory",  # Windows
    "MPS backend out of memory",
    "CUDA error: out of memory",  # the driver's own, torch.AcceleratorError
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_ALLOC_FAILED",
    "ALLOCATION_FAILED",  # cuDNN 9, on the host or the device
)
"""What PyTorch says where it has no class of its own for a lack of memory."""
_PLENTY = 16 << 30  # bytes of free memory
_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4  # of malloc.h


def pick_device(wanted: str) -> torch.device:
    """The device for "cpu", "cuda", "cuda:N", "mps" (a Mac's GPU) or "auto": the first of cuda, mps, cpu that is there.

    Raises:
        UserError: the device is not there, or is one that torchrun's processes can't share.
    """
    rank = os.environ.get("LOCAL_RANK")  # set by torchrun, which numbers the processes of a machine
    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    has_mps = torch.backends.mps.is_available()
    if wanted == "auto":
        wanted = "cuda" if gpus else "mps" if has_mps and rank is None else "cpu"
    if wanted == "mps" and not has_mps:
        raise UserError("--device mps: PyTorch finds no GPU of Apple's here; pass --device cpu")
    kind, _, number = wanted.partition(":")
    if rank is not None and (number or kind == "mps"):
        raise UserError(f"--device {wanted} is one GPU for all of torchrun's processes; pass --device cuda or cpu")
    if kind != "cuda":
        return torch.device(kind)
    index = int(number or rank or 0)
    if not gpus:
        raise UserError(f"--device {wanted}: PyTorch finds no CUDA device here; pass --device cpu")
    if index >= gpus:
        remedy = f"pass --device cuda:{gpus - 1}" if rank is None else f"start at most {gpus} processes"
        raise UserError(f"there is no cuda:{index}: PyTorch finds {gpus} CUDA devices here, from cuda:0 on; {remedy}")
    return torch.device(kind, index)


def pick_precision(wanted: str, device: torch.device) -> str:
    """ "fp32" or "bf16"; "auto" is bf16 where the hardware computes with it, else fp32."""
    if wanted != "auto":
        return wanted
    return "bf16" if _has_bf16(device) else "fp32"


def _has_bf16(device: torch.device) -> bool:
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    # PyTorch has no public API for this elsewhere. Only Linux lists the CPU's features; float32 is the safe answer.
    cpu_info = Path("/proc/cpuinfo")
    flags = cpu_info.read_text() if device.type == "cpu" and cpu_info.is_file() else ""
    return "avx512_bf16" in flags or "amx_bf16" in flags


def set_math_flags(device: torch.device, precision: str) -> None:
    """Let a device compute as fast as ``precision`` allows.

    A GPU uses TF32 beside bf16, and chooses convolutions by trial. On a CPU with plenty of free memory, freed blocks
    are kept for reuse.
    """
    if device.type == "cpu" and psutil.virtual_memory().available > _PLENTY:
        _keep_freed_memory()
    if device.type == "cuda":
        torch.cuda.set_device(device)
        torch.backends.cudnn.benchmark = True
        torch.backends.cudnn.allow_tf32 = precision == "bf16"
        torch.set_float32_matmul_precision("high" if precision == "bf16" else "highest")


def _keep_freed_memory() -> None:
    """Keep glibc from giving large blocks back to the system, which has to fill them with zeros again at every step.

    This saves a quarter of a step's time at 384x480, for a quarter more memory; smaller canvases are unaffected.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:
        mallopt(_M_MMAP_MAX, 0)
        mallopt(_M_TRIM_THRESHOLD, -1)


def autocast(device: torch.device, precision: str) -> AbstractContextManager[object]:
    """The context of a network's forward pass."""
    return torch.autocast(device.type, torch.bfloat16) if precision == "bf16" else nullcontext()


def copy_to_host(tensor: torch.Tensor) -> Callable[[], torch.Tensor]:
    """Start copying a tensor off its device.

    Returns:
        A function that waits for this copy alone, not for work that the device was given after it.
    """
    if tensor.device.type != "cuda":
        return tensor.cpu
    copy = tensor.to("cpu", non_blocking=True)
    done = torch.cuda.current_stream(tensor.device).record_event()

    def wait() -> torch.Tensor:
        done.synchronize()
        return copy

    return wait


@contextmanager
def explain_out_of_memory(batch_size: int | None, canvas: tuple[int, int]) -> Iterator[None]:
    """Turn out-of-memory errors into advice on what to try; ``batch_size`` is None for scripts without --batch-size.

    Raises:
        UserError: out of memory, on the GPU or off it.
    """
    try:
        yield
    except RuntimeError as error:
        if not isinstance(error, torch.OutOfMemoryError) and not any(text in str(error) for text in _OUT_OF_MEMORY):
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
