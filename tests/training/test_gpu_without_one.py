"""The CUDA path without a GPU or a driver: fake tensors that say they lie on cuda:0. Nothing is computed.

What shows: tensors on two devices in one operation, values that the host reads, copies that it waits for, index tensors
left on the CPU, dtypes and memory formats. What does not: numbers, the backward pass (its engine wants a real device,
so gradients are given), cuDNN, NCCL, memory, time; those are for `make gpu`.
"""

import contextlib
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
import torch
from torch import nn
from torch._subclasses import FakeTensor, FakeTensorMode, fake_tensor
from torch.utils._python_dispatch import TorchDispatchMode

import HAM_A1_train
import HAM_A1class_train
import HAM_A1recist_train
import HAM_Acoseg_train
import HAM_data
from common.data.augment import Augmentation
from common.data.dataset import LesionDataset
from common.data.loader import LesionLoader
from common.inference.predictor import Predictor
from common.model import CanvasTransform
from common.run.cli import parse_train
from common.training.checkpoint import TrainedModel
from common.training.config import TrainConfig
from common.training.distributed import SINGLE_PROCESS
from common.training.train import build_trainer
from common.training.trainer import Trainer, TrainState, step_groups
from helpers import NETWORK, ROOT

METHODS = {
    script.RECIPE.method.name: script.RECIPE
    for script in (HAM_A1_train, HAM_A1class_train, HAM_Acoseg_train, HAM_A1recist_train)
}
GPU = torch.device("cuda", 0)
aten = torch.ops.aten


class Watch(TorchDispatchMode):
    """Notes every place where the host would wait for the device, and index tensors left on the CPU."""

    def __init__(self, mode: FakeTensorMode) -> None:
        super().__init__()
        self.seen: list[str] = []
        self._mode = mode

    def _note(self, what: str) -> None:
        frames = [frame for frame in traceback.extract_stack() if frame.filename.startswith(str(ROOT / "common"))]
        where = f"{Path(frames[-1].filename).name}:{frames[-1].lineno} {frames[-1].line}" if frames else "a test"
        self.seen.append(f"{what} {where}")

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if torch.is_inference_mode_enabled() and func.namespace == "aten":  # composite operations come whole there
            with self:
                parts = func.decompose(*args, **kwargs)
            if parts is not NotImplemented:
                return parts
        if func is aten._local_scalar_dense.default:
            if args[0].device.type == "cuda":
                self._note("read")
            return 0.0
        if func in (aten._to_copy.default, aten.copy_.default):
            source = args[1] if func is aten.copy_.default else args[0]
            target = args[0].device if func is aten.copy_.default else kwargs.get("device") or source.device
            if {source.device.type, target.type} == {"cpu", "cuda"}:
                # FakeTensorMode would carry out the copy of a value that it knows, on the real device.
                if isinstance(source, FakeTensor):
                    source.constant = None
                elif func is aten._to_copy.default:  # made in a thread, where the modes do not reach
                    args = (self._mode.from_tensor(source),)
                if not kwargs.get("non_blocking"):
                    self._note("waits")
        indexes = args[1] if func in (aten.index.Tensor, aten.index_put_.default) else ()
        if any(index is not None and index.device != args[0].device for index in indexes):
            self._note("cpu index")
        return func(*args, **kwargs)


def apply_fake(module: nn.Module, change: Callable, recurse: bool = True) -> nn.Module:
    """`nn.Module._apply` for fake parameters, which can't be swapped."""
    for part in module.modules():
        for name, value in part._parameters.items():
            if value is not None:
                with torch.no_grad():
                    new = change(value)
                if new is not value:
                    part._parameters[name] = nn.Parameter(new, value.requires_grad)
        for name, value in part._buffers.items():
            part._buffers[name] = None if value is None else change(value)
    return module


def copy_fake(tensor: torch.Tensor, memo: dict[int, object]) -> torch.Tensor:
    """`copy.deepcopy` of a fake tensor, which has no storage to be copied."""
    value = torch.empty_like(tensor.detach())
    memo[id(tensor)] = nn.Parameter(value) if isinstance(tensor, nn.Parameter) else value
    return memo[id(tensor)]


@contextlib.contextmanager
def fake_gpu() -> Iterator[Watch]:
    """Let PyTorch believe in one GPU while the block runs."""
    with contextlib.ExitStack() as stack:
        # Before CUDA is said to be available: then the mode keeps away from the driver.
        mode = stack.enter_context(FakeTensorMode(allow_non_fake_inputs=True))
        cuda = {
            "is_available": lambda: True, "device_count": lambda: 1, "set_device": lambda _: None,
            "current_device": lambda: 0, "is_bf16_supported": lambda **_: True,
            "mem_get_info": lambda *_: (80 << 30, 80 << 30), "current_stream": mock.MagicMock(),
            "is_current_stream_capturing": lambda: False, "manual_seed_all": lambda _: None,
            "manual_seed": lambda _: None,
        }  # fmt: skip
        for name, stand_in in cuda.items():
            stack.enter_context(mock.patch.object(torch.cuda, name, stand_in))
        tensors = {
            "numpy": lambda self: np.zeros(tuple(self.shape), np.float32),
            "pin_memory": lambda self: self,  # the modes end at the thread
            "tolist": lambda self: [value.item() for value in self],
        }
        for name, stand_in in tensors.items():
            stack.enter_context(mock.patch.object(torch.Tensor, name, stand_in))
        stack.enter_context(mock.patch.object(nn.Module, "_apply", apply_fake))
        # Older versions make a real tensor for the sake of the backward pass.
        stack.enter_context(mock.patch.object(fake_tensor, "init_gpu_context", lambda _: None, create=True))
        for kind in (torch.Tensor, nn.Parameter):
            stack.enter_context(mock.patch.object(kind, "__deepcopy__", copy_fake))
        yield stack.enter_context(Watch(mode))


class Setup:
    """A training on the fake GPU, on a small synthetic HAM10000."""

    def __init__(self, method: str, precision: str, data: Path) -> None:
        flags = f"{NETWORK} --clusters 8 --batch-size 4"
        arguments = [*flags.split(), "--data", str(data), "--precision", precision, "--device", "cuda", "--no-graph"]
        self.config: TrainConfig = parse_train(METHODS[method], None, arguments)
        self.trainer: Trainer = build_trainer(self.config, GPU, SINGLE_PROCESS)
        self.dataset = LesionDataset.open_for(self.config.prepared, HAM_data.DATASET, "released")

    def loader(self, split: str) -> LesionLoader:
        config = self.config
        return LesionLoader(
            self.dataset, self.dataset.rows(split), config.target, config.canvas, GPU,
            paired=config.recipe.method.paired, prompt=config.prompt == "recist",
        )  # fmt: skip

    def batches(self):
        """Those of an epoch in a random order, as training takes them."""
        loader, config = self.loader("train"), self.config
        augmentation = Augmentation(0, 1, config.flips, config.jitter / 100) if config.flips else None
        order = np.random.default_rng(0).permutation(loader.positions())
        return loader.batches(config.recipe.batch_size, order, "drop", augmentation=augmentation)

    def backward(self):
        """A stand-in for the backward pass, which gives each weight a gradient."""

        def backward(loss: torch.Tensor) -> None:
            assert loss.device == GPU and loss.dtype == torch.float32 and loss.requires_grad
            for weight in self.trainer.network.parameters():
                weight.grad = torch.zeros_like(weight)

        return mock.patch.object(torch.Tensor, "backward", backward)


def watch_steps(method: str, precision: str, data: Path, count: int = 2) -> list[str]:
    """What the host waits for in a training's steps, but for the first batch: what is moved once may be waited for."""
    with fake_gpu() as watch:
        setup = Setup(method, precision, data)
        batches = setup.batches()
        next(batches)
        watch.seen.clear()
        for _, batch in zip(range(count), batches, strict=False):
            assert batch.images.device == batch.masks.device == batch.clusters.device == GPU
            if not batch.images.is_contiguous(memory_format=torch.channels_last):
                watch.seen.append("images are not channels last")
            with setup.backward():
                for groups in step_groups(setup.config.recipe.method, batch):
                    losses = setup.trainer.step(groups)
            assert all(value.device == GPU and not value.requires_grad for value in losses.values())
        return list(dict.fromkeys(watch.seen))


@pytest.mark.parametrize(("precision", "resident"), [("fp32", True), ("bf16", False)])
@pytest.mark.parametrize("method", METHODS)
def test_a_step_never_waits_for_the_gpu(method, precision, resident, phantom_ham, monkeypatch):
    monkeypatch.setattr(LesionLoader, "_fits_device", lambda *_: resident)
    assert watch_steps(method, precision, phantom_ham) == []


@pytest.mark.parametrize("method", METHODS)
def test_an_epoch_and_a_validation_read_their_losses_once(method, phantom_ham):
    with fake_gpu() as watch:
        setup, state = Setup(method, "bf16", phantom_ham), TrainState()
        watch.seen.clear()
        with setup.backward():
            setup.trainer.train_epoch(setup.batches(), state, lambda: False)
        losses = setup.trainer.validate(setup.loader("val"))
    assert set(state.sums) >= {"mask", "total"} and "dice" in losses
    transfers = [line for line in watch.seen if "distributed.py" in line]
    assert len(transfers) == 2, transfers
    moved_once = ("loader.py", "model.py")  # lesions and constants
    assert all(any(name in line for name in moved_once) for line in watch.seen if line not in transfers), watch.seen


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("prompted", [True, False])
def test_prediction_waits_for_no_batch_but_the_one_before(prompted, precision, phantom_ham):
    with fake_gpu() as watch:
        setup = Setup("A1recist" if prompted else "A1class", precision, phantom_ham)
        network, recipe, canvas = setup.trainer.network, setup.config.recipe, setup.config.canvas
        settings = {"prompt": "recist"} if prompted else {}
        model = TrainedModel(network, recipe.method, "resnet18", canvas, 8, "released", settings)
        predictor = Predictor(model, GPU, precision, tta=prompted)
        assert predictor.precision == precision
        batches = predictor.masks(setup.loader("test"), 2)
        next(batches)
        watch.seen.clear()
        assert [masks.shape for _, masks in batches] == [(2, 120, 120)]
        assert watch.seen == []
        ends = [np.zeros((4, 2))] * 9 if prompted else None
        assert predictor.probabilities([np.zeros((120, 120, 3), np.uint8)] * 9, ends).shape == (9, 120, 120)


def reads_a_loss(monkeypatch):
    step = Trainer.step

    def reading(self, groups):
        losses = step(self, groups)
        losses["total"].item()
        return losses

    monkeypatch.setattr(Trainer, "step", reading)


def indexes_on_the_cpu(monkeypatch):
    def pad(self, patches):
        return patches[:, self.rows.cpu()][:, :, self.columns.cpu()]

    monkeypatch.setattr(CanvasTransform, "_pad", pad)


def fetches_a_batch(monkeypatch):
    forward = CanvasTransform.forward

    def fetching(self, patches, ends=None):
        patches.cpu()
        return forward(self, patches, ends)

    monkeypatch.setattr(CanvasTransform, "forward", fetching)


def pads_another_layout(monkeypatch):
    forward = CanvasTransform.forward
    monkeypatch.setattr(CanvasTransform, "forward", lambda self, *args: forward(self, *args).contiguous())


def copies_and_waits(monkeypatch):
    monkeypatch.setattr(LesionLoader, "_to_device", lambda self, tensor: tensor.to(self.device))


def mixes_devices(monkeypatch):
    forward = CanvasTransform.forward
    monkeypatch.setattr(CanvasTransform, "forward", lambda self, *args: forward(self, *args) + torch.ones(3, 1, 1))


@pytest.mark.parametrize(
    ("fault", "seen"),
    [
        (reads_a_loss, "read "),
        (indexes_on_the_cpu, "cpu index model.py"),
        (fetches_a_batch, "waits "),
        (pads_another_layout, "images are not channels last"),
        (copies_and_waits, "waits "),
    ],
)
def test_planted_faults_are_seen(fault, seen, phantom_ham, monkeypatch):
    fault(monkeypatch)
    assert any(line.startswith(seen) for line in watch_steps("A1class", "fp32", phantom_ham, 1))


def test_tensors_on_two_devices_are_refused(phantom_ham, monkeypatch):
    mixes_devices(monkeypatch)
    with pytest.raises(RuntimeError, match=r"[Dd]evice"):
        watch_steps("A1class", "fp32", phantom_ham, 1)
