"""One training or evaluation over several processes: torchrun --nproc_per_node=N code_ham/HAM_A1_train.py

Each process takes its part of every batch; batch normalisation, losses and gradients are those of the whole batch.
Without torchrun there is one process, and nothing here costs anything.
"""

import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.distributed.nn.functional as differentiable
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from common.utils.errors import UserError

_PAUSE = 0.2  # s


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
        stacked = torch.stack([value.double() for value in values.values()])
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
        """Wrap a network so that all processes train it together; parameters and tensor names stay what they were."""
        if self.size == 1:
            return network
        if device.type == "cuda":
            network = nn.SyncBatchNorm.convert_sync_batchnorm(network)
        else:
            for module in network.modules():
                if type(module) is nn.BatchNorm2d:
                    # Replaced in place, because ACoseg's network holds the same modules under two names.
                    module.__class__ = CpuSyncBatchNorm
        devices = [device] if device.type == "cuda" else None
        return DistributedDataParallel(network, device_ids=devices, broadcast_buffers=False)


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
    dist.init_process_group("cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo")
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
            raise UserError("another process of this run has stopped; its message tells why") from error
        raise
    finally:
        # A thread of PyTorch releases what was exchanged last, and needs the interpreter for it; without a moment's
        # pause the two could, in 2.11, wait for each other for ever.
        time.sleep(_PAUSE)
        dist.destroy_process_group()


class CpuSyncBatchNorm(nn.BatchNorm2d):
    """Batch normalisation over the images of all processes, on the CPU; PyTorch's own needs a GPU."""

    def forward(self, features: Tensor) -> Tensor:
        """Map (B, C, h, w) features to normalised ones; the statistics are those of all processes' images."""
        if not self.training:
            return super().forward(features)
        wide = features.to(torch.promote_types(features.dtype, torch.float32))
        count = torch.tensor(float(wide.shape[0] * wide.shape[2] * wide.shape[3]))
        dist.all_reduce(count)
        mean = differentiable.all_reduce(wide.sum((0, 2, 3))) / count
        centred = wide - mean[:, None, None]
        variance = differentiable.all_reduce((centred * centred).sum((0, 2, 3))) / count
        with torch.no_grad():
            assert self.running_mean is not None and self.running_var is not None and self.momentum is not None
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(variance * count / (count - 1), self.momentum)
            assert self.num_batches_tracked is not None
            self.num_batches_tracked += 1
        scale = self.weight * torch.rsqrt(variance + self.eps)
        return (centred * scale[:, None, None] + self.bias[:, None, None]).to(features.dtype)
