"""Where and in what precision."""

import pytest
import torch

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


def test_auto_takes_a_gpu_where_there_is_one():
    assert pick_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")
    assert pick_device("cpu").type == "cpu"


def test_missing_cuda_is_an_error(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(UserError, match="pass --device cpu"):
        pick_device("cuda")


def test_precision_can_be_forced():
    assert [pick_precision(precision, CPU) for precision in ("fp32", "bf16")] == ["fp32", "bf16"]
    assert pick_precision("auto", CPU) in ("fp32", "bf16")


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
    "error", [torch.OutOfMemoryError("CUDA out of memory"), RuntimeError("DefaultCPUAllocator: can't allocate memory")]
)
def test_out_of_memory_says_what_to_try(error, size, canvas, remedy):
    sentence = rf"out of memory at --batch-size {size} and --canvas .*; try {remedy}"
    with pytest.raises(UserError, match=sentence), explain_out_of_memory(size, canvas):
        raise error


def test_other_errors_pass():
    with pytest.raises(RuntimeError, match="shapes"), explain_out_of_memory(8, (128, 128)):
        raise RuntimeError("shapes differ")


def test_each_process_takes_its_own_gpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setenv("LOCAL_RANK", "3")
    assert pick_device("auto") == torch.device("cuda", 3)


def test_math_flags_leave_the_cpu_alone():
    before = torch.get_float32_matmul_precision()
    set_math_flags(CPU, "bf16")
    assert torch.get_float32_matmul_precision() == before


def test_a_copy_on_the_host_is_the_tensor():
    assert copy_to_host(torch.arange(3))().tolist() == [0, 1, 2]
