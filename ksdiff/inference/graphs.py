"""CUDA graphs for functions that are called again with the same shapes."""

from __future__ import annotations

import warnings
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator, Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

Tree = object  # a tensor, or tuples and lists of them, between which other things may stand
_T = TypeVar("_T")

_MOST = 20  # graphs: a scene has up to nine shapes of windows, and one of samples


class Graphs:
    """Calls functions, on a CUDA device through graphs: one launch instead of hundreds.

    A function is called directly the first time it gets tensors of certain shapes, captured the
    second time and replayed from then on. The least recently used graphs are dropped; all share
    one memory pool.

    A replay runs no Python. A captured function must neither read tensor values on the CPU nor copy
    from it; if it does, capturing fails with a warning, and all functions are called directly from
    then on. For inference, and for one thread and stream at a time.

    Args:
        device: where the tensors lie; on any but a CUDA device functions are just called.
    """

    def __init__(self, device: torch.device) -> None:
        self._capturing = device.type == "cuda"
        self._graphs: OrderedDict[Hashable, _Graph | None] = OrderedDict()  # None: seen once
        self._stream = torch.cuda.Stream(device) if self._capturing else None

    def __call__(self, function: Callable[..., _T], scene: Tree, *inputs: Tree) -> _T:
        """``function(scene, *inputs)``.

        Args:
            function: hashable; those that are equal compute the same.
            scene: tensor, or tuples and lists of tensors, that later calls may share: the same
                object is not copied again, so its tensors must not change.
            inputs: likewise, copied in every call.

        Returns:
            Tensor, or tuples and lists of tensors, that no later call overwrites.
        """
        if not self._capturing:
            return function(scene, *inputs)
        key = (function, *((x.shape, x.dtype) for x in _tensors((scene, inputs))))
        if key not in self._graphs:
            self._keep(key, None)
            return function(scene, *inputs)
        graph = self._graphs[key]
        if graph is None:
            return self._capture(key, function, scene, inputs)
        self._keep(key, graph)
        return graph(scene, inputs)

    def _keep(self, key: Hashable, graph: _Graph | None) -> None:
        self._graphs[key] = graph
        self._graphs.move_to_end(key)
        if len(self._graphs) > _MOST:
            torch.cuda.synchronize()  # the one to go may be running
            self._graphs.popitem(last=False)

    def _capture(
        self, key: Hashable, function: Callable[..., _T], scene: Tree, inputs: tuple[Tree, ...]
    ) -> _T:
        current = torch.cuda.current_stream()
        pool = next((graph.pool() for graph in self._graphs.values() if graph), None)
        assert self._stream is not None
        result = _warm_up(function, scene, inputs, self._stream)
        try:
            self._keep(key, _Graph(function, scene, inputs, self._stream, pool))
        except RuntimeError as error:
            torch.cuda.set_stream(current)  # which a capture that fails at its end leaves behind
            warnings.warn(f"computing without CUDA graphs, capturing failed: {error}", stacklevel=3)
            self._capturing = False
            torch.cuda.synchronize()
            self._graphs.clear()
        return result


def _warm_up(
    function: Callable[..., _T], scene: Tree, inputs: tuple[Tree, ...], stream: torch.cuda.Stream
) -> _T:
    """Compiles and caches what capturing must find; libraries keep workspaces by stream."""
    current = torch.cuda.current_stream()
    stream.wait_stream(current)
    with torch.cuda.stream(stream):
        result = function(scene, *inputs)
    current.wait_stream(stream)
    for x in _tensors(result):
        x.record_stream(current)
    return result


class _Graph:
    """One function at one set of shapes."""

    def __init__(
        self,
        function: Callable[..., Any],
        scene: Tree,
        inputs: tuple[Tree, ...],
        stream: torch.cuda.Stream,
        pool: Any,  # torch.cuda's handle of a memory pool, which has no public type
    ) -> None:
        # Not in inference mode, whose tensors PyTorch could not refresh for others' graphs: the
        # first capture of a process makes what all of them seed random numbers from.
        with torch.inference_mode(False), torch.no_grad():
            self._scene, self._inputs = _mapped(torch.clone, scene), _mapped(torch.clone, inputs)
            self._copied = scene
            self._graph = torch.cuda.CUDAGraph()
            capture = torch.cuda.graph(
                self._graph, pool=pool, stream=stream, capture_error_mode="thread_local"
            )
            with capture, Reads() as reads:
                self._result = function(self._scene, *self._inputs)
        self._read = reads.tensors

    def pool(self) -> Any:
        return self._graph.pool()

    def __call__(self, scene: Tree, inputs: tuple[Tree, ...]) -> Any:
        if scene is not self._copied:
            _copy(scene, self._scene)
            self._copied = scene
        _copy(inputs, self._inputs)
        self._graph.replay()
        # Graphs of one pool write over each other's results.
        return _mapped(torch.clone, self._result)


class Reads(TorchFunctionMode):
    """Keeps tensors that captured code reads but has not computed: weights, cached filters. A graph
    knows them only by address, and a cache may drop them.
    """

    def __init__(self) -> None:
        super().__init__()
        self.tensors: list[Tensor] = []
        self._computed: set[int] = set()

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        for x in _tensors((args, tuple(kwargs.values()))):
            if _address(x) not in self._computed:
                self.tensors.append(x)
        result = func(*args, **kwargs)
        self._computed.update(map(_address, _tensors(result)))
        return result


def _address(x: Tensor) -> int:
    return x.untyped_storage().data_ptr()


def _tensors(tree: Tree) -> Iterator[Tensor]:
    if isinstance(tree, Tensor):
        yield tree
    elif isinstance(tree, (tuple, list)):
        for part in tree:
            yield from _tensors(part)


def _mapped(change: Callable[[Tensor], Tensor], tree: Any) -> Any:
    if isinstance(tree, Tensor):
        return change(tree)
    if not isinstance(tree, (tuple, list)):
        return tree
    parts = [_mapped(change, part) for part in tree]
    return type(tree)(*parts) if hasattr(tree, "_fields") else type(tree)(parts)


def _copy(source: Tree, target: Tree) -> None:
    for one, other in zip(_tensors(source), _tensors(target), strict=True):
        other.copy_(one)
