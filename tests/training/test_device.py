"""Where and in what precision."""

from types import SimpleNamespace

import pytest
import torch

from common.training import device as module
from common.training.device import (
    autocast,
    copy_to_host,
    explain_out_of_memory,
    pick_device,
    pick_precision,
    set_math_flags,
)
from common.utils.errors import UserError

CPU = torch.device("cpu")


@pytest.fixture
def machine(monkeypatch):
    """Pretend that the machine has so many CUDA devices, a Mac's GPU or not, and that torchrun numbers the process."""

    def pretend(cuda: int = 0, mps: bool = False, rank: int | None = None) -> None:
        monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda > 0)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: cuda)
        monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)
        monkeypatch.delenv("LOCAL_RANK", raising=False)
        if rank is not None:
            monkeypatch.setenv("LOCAL_RANK", str(rank))

    return pretend


@pytest.mark.parametrize(
    ("has", "wanted", "device"),
    [
        ({}, "auto", "cpu"), ({"mps": True}, "auto", "mps"), ({"cuda": 2, "mps": True}, "auto", "cuda:0"),
        ({"mps": True}, "mps", "mps"), ({"cuda": 2, "mps": True}, "cpu", "cpu"), ({"cuda": 2}, "cuda", "cuda:0"),
        ({"cuda": 2}, "cuda:1", "cuda:1"), ({"cuda": 4, "rank": 3}, "auto", "cuda:3"),
        ({"cuda": 4, "rank": 3}, "cuda", "cuda:3"), ({"mps": True, "rank": 0}, "auto", "cpu"),
    ],
)  # fmt: skip
def test_the_device(machine, has, wanted, device):
    machine(**has)
    assert pick_device(wanted) == torch.device(device)


@pytest.mark.parametrize(
    ("has", "wanted", "sentence"),
    [
        ({}, "cuda", "--device cuda: PyTorch finds no CUDA device here; pass --device cpu"),
        ({}, "cuda:1", "--device cuda:1: PyTorch finds no CUDA device"),
        ({"cuda": 2}, "cuda:2", "there is no cuda:2: PyTorch finds 2 CUDA devices here, .*; pass --device cuda:1"),
        ({"cuda": 2, "rank": 2}, "auto", "there is no cuda:2: .*; start at most 2 processes"),
        ({"cuda": 2, "rank": 0}, "cuda:1", "--device cuda:1 is one GPU for all of torchrun's processes"),
        ({"mps": True, "rank": 0}, "mps", "--device mps is one GPU for all"),
        ({"cuda": 1}, "mps", "--device mps: PyTorch finds no GPU of Apple's here"),
    ],
)
def test_a_device_that_is_not_there(machine, has, wanted, sentence):
    machine(**has)
    with pytest.raises(UserError, match=sentence):
        pick_device(wanted)


def test_precision_can_be_forced():
    assert [pick_precision(precision, CPU) for precision in ("fp32", "bf16")] == ["fp32", "bf16"]
    assert pick_precision("auto", torch.device("mps")) == "fp32"


@pytest.mark.parametrize(
    ("flags", "precision"), [("avx2 avx512f", "fp32"), ("avx512_bf16", "bf16"), ("amx_bf16 amx_tile", "bf16")]
)
def test_precision_follows_the_cpu(flags, precision, monkeypatch):
    cpu_info = SimpleNamespace(is_file=lambda: True, read_text=lambda: f"flags : fpu {flags}")
    monkeypatch.setattr(module, "Path", lambda _: cpu_info)
    assert pick_precision("auto", CPU) == precision


@pytest.mark.parametrize(("precision", "dtype"), [("bf16", torch.bfloat16), ("fp32", torch.float32)])
def test_autocast(precision, dtype):
    with autocast(CPU, precision):
        assert torch.nn.functional.linear(torch.ones(2, 2), torch.ones(2, 2)).dtype == dtype


@pytest.mark.parametrize(
    ("size", "canvas", "remedy"),
    [(16, (384, 480), "--batch-size 8 or --canvas 128x128"), (16, (128, 128), "--batch-size 8$"),
     (2, (384, 480), "a smaller --encoder or --canvas 128x128")],
)  # fmt: skip
@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory"),
        RuntimeError("DefaultCPUAllocator: can't allocate memory"),
        RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 9 bytes."),
        RuntimeError("MPS backend out of memory (MPS allocated: 9 GB)"),
        torch.AcceleratorError("CUDA error: out of memory", 2),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
        RuntimeError("cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED"),
    ],
)
def test_out_of_memory_says_what_to_try(error, size, canvas, remedy):
    sentence = rf"out of memory at --batch-size {size} and --canvas .*; try {remedy}"
    with pytest.raises(UserError, match=sentence), explain_out_of_memory(size, canvas):
        raise error


def test_other_errors_pass():
    with pytest.raises(RuntimeError, match="shapes"), explain_out_of_memory(8, (128, 128)):
        raise RuntimeError("shapes differ")


def test_math_flags_leave_the_cpu_alone():
    before = torch.get_float32_matmul_precision()
    set_math_flags(CPU, "bf16")
    assert torch.get_float32_matmul_precision() == before


@pytest.mark.parametrize(
    ("free", "system", "calls"), [(20, "linux", [(-4, 0), (-1, -1)]), (8, "linux", []), (20, "darwin", [])]
)
def test_memory_is_kept_where_there_is_plenty(free, system, calls, monkeypatch):
    made = []
    libc = SimpleNamespace(mallopt=lambda *call: made.append(call))
    monkeypatch.setattr(module.ctypes, "CDLL", lambda _: libc)
    monkeypatch.setattr(module.sys, "platform", system)
    monkeypatch.setattr(module.psutil, "virtual_memory", lambda: SimpleNamespace(available=free << 30))
    set_math_flags(CPU, "fp32")
    assert made == calls
    monkeypatch.setattr(module.ctypes, "CDLL", lambda _: SimpleNamespace())  # another C library than glibc
    set_math_flags(CPU, "fp32")


def test_a_copy_on_the_host_is_the_tensor():
    assert copy_to_host(torch.arange(3))().tolist() == [0, 1, 2]
