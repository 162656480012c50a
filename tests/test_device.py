"""Where and in what precision."""

import pytest
import torch

from common.device import autocast, pick_device, pick_precision
from common.errors import UserError


def test_auto_takes_what_there_is():
    assert pick_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")
    assert pick_device("cpu").type == "cpu"


def test_missing_cuda_is_told(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(UserError, match="pass --device cpu"):
        pick_device("cuda")


def test_precision_can_be_forced():
    cpu = torch.device("cpu")
    assert [pick_precision(wanted, cpu) for wanted in ("fp32", "bf16")] == ["fp32", "bf16"]
    assert pick_precision("auto", cpu) in ("fp32", "bf16")


@pytest.mark.parametrize(("precision", "dtype"), [("bf16", torch.bfloat16), ("fp32", torch.float32)])
def test_autocast(precision, dtype):
    with autocast(torch.device("cpu"), precision):
        assert torch.nn.functional.linear(torch.ones(2, 2), torch.ones(2, 2)).dtype == dtype
