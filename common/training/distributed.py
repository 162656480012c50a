"""One training or evaluation over several processes: torchrun --nproc_per_node=N code_ham/HAM_A1_train.py

Each process takes its part of every batch; batch normalisation, losses and gradients are those of the whole batch.
Without torchrun there is one process, and nothing here costs anything.
"""

import os
import time
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.nn.functional as F
from timm.layers import BatchNormAct2d
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from common.utils.errors import UserError

_PAUSE = 0.2  # s
_HEAD_START = 2  # s; torchrun compares whole seconds


@dataclass(frozen=True)
class World:
    """Rank and size of the process group, with its collectives."""

    rank: int = 0
    size: int = 1

    @property
    def is_main(self) -> bool:
        """True in the one process that writes files and prints."""
        return self.rank == 0

    def any(self, flag: bool) -> bool:
        """Whether the flag is true in any process; exchanged between CPUs, so that no GPU is waited for."""
        if self.size == 1:
            return flag
        tensor = torch.tensor(int(flag))
        dist.all_reduce(tensor, dist.ReduceOp.MAX)
        return bool(tensor)

    def all_reduce_sum(self, values: Mapping[str, Tensor]) -> dict[str, float]:
        """Named scalars summed over the processes, read from the device."""
        stacked = torch.stack(list(values.values())).cpu().double()  # mps has no float64
        if self.size > 1:
            dist.all_reduce(stacked)
        return dict(zip(values, stacked.tolist(), strict=True))

    def gather(self, values: list[Any]) -> list[Any]:
        """The lists of all processes, joined, in the main one; empty in the others."""
        if self.size == 1:
            return values
        parts: list[Any] | None = [None] * self.size if self.is_main else None
        dist.gather_object(values, parts)
        return [value for part in parts or [] for value in part]

    def distribute(self, network: nn.Module, device: torch.device) -> nn.Module:
        """Wrap a network so that all processes train it together; parameters and tensor names stay what they were.

        Raises:
            UserError: the encoder has a normalisation layer that can't be synchronised over processes.
        """
        if self.size == 1:
            return network
        for module in network.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                kind = type(module)
                if kind not in _SYNCHRONISED:
                    raise UserError(
                        f"several processes can't share the encoder's layers of {kind.__module__}.{kind.__name__}; "
                        "start the script without torchrun, or pass another --encoder"
                    )
                # Replaced in place, because ACoseg's network holds the same modules under two names.
                module.__class__ = _SYNCHRONISED[kind]
        # PyTorch warns once about depthwise weights, for which two sets of strides describe the same layout.
        warnings.filterwarnings("ignore", "Grad strides do not match bucket view strides")
        device_ids = [device] if device.type == "cuda" else None
        # Some encoders have unused parameters (EfficientNet's last convolution), the same ones in every step.
        parallel = DistributedDataParallel(network, device_ids=device_ids, static_graph=True)
        parallel.broadcast_buffers = False  # the argument is deprecated in 2.14, and has no other name in 2.11
        return parallel


SINGLE_PROCESS = World()


@contextmanager
def process_group(device: torch.device) -> Iterator[World]:
    """Join the processes that torchrun has started, and leave them at the end; `SINGLE_PROCESS` without torchrun.

    Raises:
        UserError: another process of the group has failed.
    """
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        yield SINGLE_PROCESS
        return
    dist.init_process_group("cpu:gloo,cuda:nccl" if device.type == "cuda" and dist.is_nccl_available() else "gloo")
    world = World(dist.get_rank(), size)
    try:
        with Path(os.devnull).open("w") as devnull:
            if world.is_main:
                yield world
            else:
                with redirect_stdout(devnull):
                    yield world
    except RuntimeError as error:
        if isinstance(error, dist.DistError) or "gloo" in str(error).lower():
            time.sleep(_HEAD_START)  # so that the process which failed is the first to say so
            raise UserError("another process of this run has stopped; its message tells why") from error
        raise
    finally:
        # A thread of PyTorch releases what was exchanged last, and needs the interpreter for it; without a moment's
        # pause the two could, in 2.11, wait for each other for ever.
        time.sleep(_PAUSE)
        dist.destroy_process_group()


class SyncBatchNorm(nn.BatchNorm2d):
    """Batch normalisation over the images of all processes; PyTorch's own needs a GPU, and waits for it every time."""

    def forward(self, features: Tensor) -> Tensor:
        """Map (B, C, h, w) features to normalised ones; the statistics are those of all processes' images."""
        return _Normalise.apply(features, self.weight, self.bias, self) if self.training else super().forward(features)


class SyncBatchNormAct(BatchNormAct2d):
    """The same with an activation behind it, as many of timm's encoders have it."""

    def forward(self, features: Tensor) -> Tensor:
        """Map (B, C, h, w) features to normalised and activated ones; see `SyncBatchNorm`."""
        if not self.training:
            return super().forward(features)
        return self.act(self.drop(_Normalise.apply(features, self.weight, self.bias, self)))


_SYNCHRONISED: dict[type, type] = {nn.BatchNorm2d: SyncBatchNorm, BatchNormAct2d: SyncBatchNormAct}


class _Normalise(torch.autograd.Function):
    """Normalises as if all processes' features were one batch; nothing is read on the host."""

    @staticmethod
    def forward(ctx: Any, features: Tensor, weight: Tensor, bias: Tensor, layer: nn.BatchNorm2d) -> Tensor:
        wide = features.to(torch.promote_types(features.dtype, torch.float32))
        variance, mean = (moment.double() for moment in torch.var_mean(wide, (0, 2, 3), correction=0))
        sums = torch.stack([torch.ones_like(mean), mean, variance + mean**2]) * (features.numel() // len(mean))
        dist.all_reduce(sums)
        count, mean, square = sums[0], *(sums[1:] / sums[0])
        variance = square - mean**2
        assert layer.running_mean is not None and layer.running_var is not None and layer.momentum is not None
        assert layer.num_batches_tracked is not None
        layer.running_mean.lerp_(mean.to(weight.dtype), layer.momentum)
        layer.running_var.lerp_((variance * count / (count - 1)).to(weight.dtype), layer.momentum)
        layer.num_batches_tracked += 1
        statistics = mean.to(weight.dtype), variance.to(weight.dtype)
        ctx.eps = layer.eps
        ctx.save_for_backward(features, weight, *statistics, count)
        return F.batch_norm(features, *statistics, weight, bias, eps=layer.eps)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        features, weight, mean, variance, count = ctx.saved_tensors
        # Those of a layer with fixed statistics, then what the features contribute through the statistics.
        of_features, of_weight, of_bias = torch.ops.aten.native_batch_norm_backward(
            gradient, features, weight, mean, variance, None, None, False, ctx.eps, [True, True, True]
        )
        sums = torch.stack([of_weight, of_bias])
        dist.all_reduce(sums)
        inverse = torch.rsqrt(variance + ctx.eps)
        slope, level = weight * inverse * sums / count.to(weight.dtype)
        slope = slope * inverse
        of_features -= features * slope[:, None, None] + (level - slope * mean)[:, None, None]
        return of_features, of_weight, of_bias, None
