"""The training step as a CUDA graph: on a small canvas a GPU is faster than the host can launch its many kernels."""

import sys
from collections.abc import Callable

import torch
from torch import Tensor

from common.data.loader import Batch

_WARM_UPS = 3  # steps before the capture: the optimizer gets its state, cuDNN chooses its convolutions

Groups = tuple[Batch, ...]
Step = Callable[[Groups], dict[str, Tensor]]


class GraphedStep:
    """A training step that is captured once and then replayed for full-size batches; others run it uncaptured.

    Only tensors on the device may change from step to step: those of the batch, the network and the optimizer; a
    changing learning rate must be one of them. The step must not read anything back to the host.
    """

    def __init__(self, step: Step, batch_size: int) -> None:
        """``batch_size`` is the full size, over all groups of a step."""
        self._step, self._batch_size = step, batch_size
        self._warm_ups = 0
        self._groups: Groups = ()  # whose tensors the graph reads
        self._losses: dict[str, Tensor] = {}  # that it writes
        self._replay: Callable[[], None] | None = None

    def __call__(self, groups: Groups) -> dict[str, Tensor]:
        """As the step itself."""
        if sum(len(group.rows) for group in groups) != self._batch_size:
            return self._step(groups)
        if self._warm_ups < _WARM_UPS:
            self._warm_ups += 1
            return run_aside(lambda: self._step(groups))
        if self._replay is None:
            self._groups = tuple(
                group._replace(images=group.images.clone(), masks=group.masks.clone(), clusters=group.clusters.clone())
                for group in groups
            )
            try:
                self._losses, self._replay = capture(lambda: self._step(self._groups))
            except torch.OutOfMemoryError:
                raise
            except RuntimeError as error:
                print(f"note: no CUDA graph of the training step ({error}); going on without", file=sys.stderr)
                self._batch_size = 0
                return self._step(groups)
        for captured, group in zip(self._groups, groups, strict=True):
            captured.images.copy_(group.images)
            captured.masks.copy_(group.masks)
            captured.clusters.copy_(group.clusters)
        self._replay()
        return {name: loss.clone() for name, loss in self._losses.items()}


def run_aside(step: Callable[[], dict[str, Tensor]]) -> dict[str, Tensor]:
    """Run a step on a stream of its own, as PyTorch asks for before a capture."""
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        losses = step()
    torch.cuda.current_stream().wait_stream(stream)
    return losses


def capture(step: Callable[[], dict[str, Tensor]]) -> tuple[dict[str, Tensor], Callable[[], None]]:
    """Capture what a step launches without running it; returns its results and the function that replays it."""
    graph = torch.cuda.CUDAGraph()
    # Other threads may go on using CUDA: the loader's pins memory.
    with torch.cuda.graph(graph, capture_error_mode="thread_local"):
        losses = step()
    return losses, graph.replay
