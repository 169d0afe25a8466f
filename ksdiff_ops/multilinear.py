"""Shapes, gradients of every order, forward-mode derivatives and batching of multilinear operators,
all from a table of their slots.

With the gradient of its output as one more argument, an operator becomes a multilinear form
S(slot 1, slot 2, ...): linear in each slot. The derivative of S by one slot is made of the others,
by an operator that is such a derivative itself. So a family of operators is closed under
differentiation, and everything that autograd needs follows from which slots an operator reads and
which derivatives it returns.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch._functorch.utils import enable_single_level_autograd_function
from torch._ops import OpOverload
from torch.autograd import forward_ad
from torch.autograd.function import _SingleLevelFunction

from ksdiff_ops.flops import count_flops

Axes = dict[str, Any]  # axis -> size, an int or a symbolic one
Slots = dict[str, Any]  # slot -> tensor, or None
BATCH = "B"  # the axis along which samples do not mix

_below_autograd = torch._C._AutoDispatchBelowAutograd
_operators: dict[Callable[..., Any], "_Operator"] = {}


@dataclass(frozen=True)
class Primitive:
    """One operator: the derivatives of the form by the slots in `makes`.

    Its arguments are the tensors in `reads`, then the sizes in `sizes`, an axis or several an
    argument, that the tensors do not tell, then the family's settings.
    """

    name: str
    reads: tuple[str, ...]
    makes: tuple[str, ...]
    sizes: tuple[str | tuple[str, ...], ...] = ()
    lists: bool = False  # returns a list, which leaves out slots that are None


@dataclass(frozen=True)
class Family:
    """A multilinear form and its derivatives.

    slots: the axes of every slot, such as {"x": "B C H W"}.
    primitives: the operators; each slot is made by one of them.
    flops: those of an operator that makes one slot, a multiply-add counted as two.
    complete: adds the sizes of axes that follow from others and from the settings, such as the
        stride, with which the arguments of all the operators end.
    keeps_format: images [B, C, H, W] come out in channels_last where the first tensor is.
    """

    slots: dict[str, str]
    primitives: tuple[Primitive, ...]
    flops: Callable[[Axes], int]
    complete: Callable[[Axes, Sequence], None] | None = None
    keeps_format: bool = False


def image_format(image: Tensor) -> torch.memory_format:
    """The memory format of what is made from an image: channels_last stays channels_last."""
    channels_last = not image.is_contiguous() and image.is_contiguous(
        memory_format=torch.channels_last
    )
    return torch.channels_last if channels_last else torch.contiguous_format


def register(namespace: str, library: torch.library.Library, family: Family) -> None:
    """Gives a family's operators in `namespace`, which must be defined, their fakes, gradients and
    batching rules.
    """
    module = getattr(torch.ops, namespace)
    overloads = {p.name: getattr(module, p.name).default for p in family.primitives}
    for primitive in family.primitives:
        operator = _Operator(family, primitive, overloads)
        _operators[operator.call] = operator
        qualified = f"{namespace}::{primitive.name}"
        torch.library.register_fake(qualified, operator.fake, lib=library)
        torch.library.register_vmap(qualified, operator.batched, lib=library)
        count_flops(getattr(module, primitive.name), operator.flops)
        library.impl(primitive.name, operator.batched_gradients, "Batched")
        library.impl(primitive.name, _differentiable(operator), "Autograd")


class Saving(NamedTuple):
    """The slots whose gradients are wanted, and the places of the tensors saved for these."""

    wanted: set[str]
    places: tuple[int, ...]


class Step(NamedTuple):
    """A derivative of a form: an operator, what it is called with, and whose gradients it makes."""

    operator: "_Operator"
    sources: tuple[int, ...]  # its tensors' places in (the result's gradient, *saved, None)
    rest: tuple
    targets: tuple[int | None, ...]  # arguments, one for each result; None where it is not wanted


class _Operator:
    """A primitive with what follows from its place in its family."""

    def __init__(
        self,
        family: Family,
        primitive: Primitive,
        overloads: dict[str, OpOverload],
    ) -> None:
        self.family, self.primitive, self.overloads = family, primitive, overloads
        self.call = overloads[primitive.name]
        self.entry = self.call._op
        self.savings: dict[tuple[bool, ...], Saving] = {}
        self.layouts = {slot: layout.split() for slot, layout in family.slots.items()}
        self.read_by_maker = {slot: p.reads for p in family.primitives for slot in p.makes}

    def split(self, inputs: Sequence) -> tuple[Slots, Sequence, Sequence]:
        """The arguments as tensors by slot, sizes and settings."""
        reads, sizes = self.primitive.reads, len(self.primitive.sizes)
        after = len(reads)
        tensors = dict(zip(reads, inputs[:after], strict=True))
        return tensors, inputs[after : after + sizes], inputs[after + sizes :]

    def axes(self, tensors: Slots, sizes: Sequence, settings: Sequence) -> Axes:
        """The sizes of all the family's axes."""
        axes: Axes = {}
        for slot, tensor in tensors.items():
            if tensor is not None:
                axes.update(zip(self.layouts[slot], tensor.shape, strict=True))
        for names, values in zip(self.primitive.sizes, sizes, strict=True):
            if isinstance(names, str):
                axes[names] = values
            else:
                axes.update(zip(names, values, strict=True))
        if self.family.complete is not None:
            self.family.complete(axes, settings)
        return axes

    def made(self, tensors: Slots) -> list[str]:
        """The slots of the results: those left out are None among the arguments."""
        return [s for s in self.primitive.makes if s not in tensors or tensors[s] is not None]

    def fake(self, *inputs: Any) -> Tensor | list[Tensor]:
        tensors, sizes, settings = self.split(inputs)
        axes = self.axes(tensors, sizes, settings)
        first = inputs[0]
        results = []
        for slot in self.made(tensors):
            layout = self.layouts[slot]
            result = first.new_empty([axes[axis] for axis in layout])
            if self.family.keeps_format and len(layout) == 4:
                result = result.contiguous(memory_format=image_format(first))
            results.append(result)
        return results if self.primitive.lists else results[0]

    def flops(self, *inputs: Any, out_val: Any = None, **_: Any) -> int:
        """What `torch.utils.flop_counter` counts: a gradient of a chain of products by all its
        factors takes two products for each of the chain.
        """
        axes = self.axes(*self.split(inputs))
        return self.family.flops(axes) * (2 if self.primitive.lists else 1)

    def below_autograd(self, *inputs: Any) -> Tensor | list[Tensor]:
        with _below_autograd():
            return self.entry(*inputs)

    def needed(self, wanted: set[str]) -> tuple[str, ...]:
        """The arguments that the gradients of the `wanted` ones are made of."""
        reads: set[str] = set()
        for result in self.primitive.makes:
            for slot in wanted - {result}:
                own = {result} if len(self.primitive.makes) == 1 else set()
                reads |= set(self.read_by_maker[slot]) - own
        return tuple(slot for slot in self.primitive.reads if slot in reads)

    def saving(self, needs: tuple[bool, ...]) -> Saving:
        """What a graph keeps where a `Call` and its tensors have these `needs` of a gradient."""
        known = self.savings.get(needs)
        if known is None:
            reads = self.primitive.reads
            wanted = {slot for slot, need in zip(reads, needs[1:], strict=True) if need}
            known = Saving(wanted, tuple(reads.index(slot) for slot in self.needed(wanted)))
            self.savings[needs] = known
        return known

    def forward_derivative(
        self, inputs: Sequence, tangents: Sequence[Tensor | None]
    ) -> list[Tensor | None]:
        """The sum over arguments of the operator with the argument replaced by its tangent."""
        tensors, *_ = self.split(inputs)
        results = self.made(tensors)
        sums: list[Tensor | None] = [None] * len(results)
        for index, (slot, tangent) in enumerate(zip(tensors, tangents, strict=True)):
            if tangent is None:
                continue
            replaced = list(inputs)
            replaced[index] = tangent
            parts = self.call(*replaced)
            for place, part in enumerate(parts if self.primitive.lists else [parts]):
                if results[place] != slot:
                    total = sums[place]
                    sums[place] = part if total is None else total + part
        return sums

    def batched(self, info: Any, in_dims: Sequence, *inputs: Any) -> tuple[Any, Any]:
        """The rule of `torch.vmap`."""
        reads = len(self.primitive.reads)
        is_batched = [dim is not None for dim in in_dims[:reads]]
        tensors = [
            tensor if dim is None else tensor.movedim(dim, 0)
            for tensor, dim in zip(inputs[:reads], in_dims[:reads], strict=True)
        ]
        results = self.over_batch(info.batch_size, tensors, is_batched, inputs[reads:])
        return results, [0] * len(results) if self.primitive.lists else 0

    def batched_gradients(self, *inputs: Any) -> Tensor | list[Tensor]:
        """The rule of `torch.autograd.grad(is_grads_batched=True)`, whose batches are not those of
        `torch.vmap`.
        """
        level = gradients_level()
        reads = len(self.primitive.reads)
        # What is not batched gets a first axis of one.
        tensors = [
            t if t is None else torch._remove_batch_dim(t, level, 1, 0) for t in inputs[:reads]
        ]
        size = max(t.shape[0] for t in tensors if t is not None)
        is_batched = [t is not None and t.shape[0] == size for t in tensors]
        tensors = [t if t is None or b else t[0] for t, b in zip(tensors, is_batched, strict=True)]
        results = self.over_batch(size, tensors, is_batched, inputs[reads:])
        if self.primitive.lists:
            return [torch._add_batch_dim(result, 0, level) for result in results]
        return torch._add_batch_dim(results, 0, level)

    def over_batch(
        self,
        size: int,
        tensors: Sequence[Tensor | None],
        is_batched: Sequence[bool],
        rest: Sequence,
    ) -> Any:
        """The results for tensors of which some have a first axis of `size` on top of their own,
        with such an axis: folded into the samples where all have samples, else one by one.
        """
        reads = self.primitive.reads
        over = [slot for slot, batched in zip(reads, is_batched, strict=True) if batched]
        if all(self.layouts[slot][0] == BATCH for slot in (*over, *self.primitive.makes)):
            folded: list[Tensor | None] = []
            for slot, tensor, batched in zip(reads, tensors, is_batched, strict=True):
                if tensor is not None and self.layouts[slot][0] == BATCH:
                    whole = tensor if batched else tensor.expand(size, *tensor.shape)
                    samples = whole.shape[1]
                    folded.append(whole.flatten(0, 1))
                else:
                    folded.append(tensor)
            results = self.call(*folded, *rest)
            if self.primitive.lists:
                return [result.unflatten(0, (size, samples)) for result in results]
            return results.unflatten(0, (size, samples))
        each = [
            self.call(
                *(
                    tensor[i] if batched and tensor is not None else tensor
                    for tensor, batched in zip(tensors, is_batched, strict=True)
                ),
                *rest,
            )
            for i in range(size)
        ]
        if self.primitive.lists:
            return [torch.stack(results) for results in zip(*each, strict=True)]
        return torch.stack(each)


class Call:
    """An operator with all its arguments but the tensors, which may come again and again, always
    of the same shapes.
    """

    def __init__(self, operator: _Operator, rest: Sequence) -> None:
        self.operator, self.rest = operator, rest
        self.settings = rest[len(operator.primitive.sizes) :]
        self.results: list[str] | None = None
        self.axes: Axes = {}
        self.absent: set[str] = set()
        self.known_steps: dict[tuple[bool, ...], list[list[Step]]] = {}

    def note(self, tensors: Sequence[Tensor | None]) -> None:
        """Keeps what gradients need to know of tensors that the operator has accepted."""
        slots, sizes, settings = self.operator.split((*tensors, *self.rest))
        self.axes = self.operator.axes(slots, sizes, settings)
        self.results = self.operator.made(slots)
        self.absent = {slot for slot, tensor in slots.items() if tensor is None}

    def steps(self, needs: tuple[bool, ...]) -> list[list[Step]]:
        """For each result, what makes the gradients of the arguments with these `needs`."""
        known = self.known_steps.get(needs)
        if known is None:
            known = self.known_steps[needs] = [self._steps(r, needs) for r in self.results or ()]
        return known

    def _steps(self, result: str, needs: tuple[bool, ...]) -> list[Step]:
        """The form's derivatives with the result's slot replaced by its gradient; the result is
        linear in all slots but its own.
        """
        operator, reads = self.operator, self.operator.primitive.reads
        saving = operator.saving(needs)
        wanted = saving.wanted - {result}
        # Of a slot twice the later place counts; -1 is that of None.
        places = {reads[place]: n + 1 for n, place in enumerate(saving.places)}
        places |= dict.fromkeys(self.absent, -1) | {result: 0}
        steps = []
        for primitive in operator.family.primitives:
            if wanted.isdisjoint(primitive.makes):
                continue
            rest = (
                self.axes[names] if isinstance(names, str) else [self.axes[name] for name in names]
                for names in primitive.sizes
            )
            made = primitive.makes
            if primitive.lists:
                made = tuple(slot for slot in made if places[slot] != -1)
            steps.append(
                Step(
                    _operators[operator.overloads[primitive.name]],
                    tuple(places[slot] for slot in primitive.reads),
                    (*rest, *self.settings),
                    tuple(reads.index(slot) if slot in wanted else None for slot in made),
                )
            )
        return steps


@contextmanager
def _recording() -> Iterator[None]:
    """Below autograd, with derivatives of both modes taken by what comes next."""
    with _below_autograd(), torch.enable_grad(), forward_ad._set_fwd_grad_enabled(True):
        yield


class _Gradient(_SingleLevelFunction):
    """Records an operator: of what is saved, nothing is more than its gradients are made of.

    `torch.library.register_autograd` takes twice as long a call, knows no forward mode and is
    refused inside the transforms of `torch.func`.
    """

    @staticmethod
    def forward(ctx: Any, call: Call, *tensors: Tensor | None) -> Any:
        operator = call.operator
        transformed = torch._C._are_functorch_transforms_active()
        # Outer transforms come next, and have gradients of their own to record.
        with _recording() if transformed else _below_autograd():
            result = operator.entry(*tensors, *call.rest)
        if call.results is None:
            call.note(tensors)
        ctx.call = call
        ctx.save_for_backward(*[tensors[i] for i in operator.saving(ctx.needs_input_grad).places])
        ctx.set_materialize_grads(False)
        if transformed or forward_ad._current_level >= 0:
            ctx.tensors = tensors
        return tuple(result) if operator.primitive.lists else result

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple:
        call, needs = ctx.call, ctx.needs_input_grad
        # Read before autograd is left: activation checkpointing computes them again here.
        saved = ctx.saved_tensors
        recorded = torch.is_grad_enabled() or forward_or_transformed()
        sums: list[Tensor | None] = [None] * (len(needs) - 1)
        with nullcontext() if recorded else _below_autograd():
            for gradient, steps in zip(gradients, call.steps(needs), strict=True):
                if gradient is None:
                    continue
                values = (gradient, *saved, None)
                for operator, sources, rest, targets in steps:
                    run = operator.call if recorded else operator.entry
                    made = run(*[values[place] for place in sources], *rest)
                    parts = made if operator.primitive.lists else (made,)
                    for target, part in zip(targets, parts, strict=True):
                        if target is not None:
                            total = sums[target]
                            sums[target] = part if total is None else total + part
        return (None, *sums)

    @staticmethod
    def jvp(ctx: Any, _: None, *tangents: Tensor | None) -> Any:
        operator, inputs = ctx.call.operator, (*ctx.tensors, *ctx.call.rest)
        del ctx.tensors
        if torch._C._are_functorch_transforms_active():
            # Forward mode is off here, but outer transforms may be in forward mode, too.
            inputs = tuple(_without_tangent(i) if isinstance(i, Tensor) else i for i in inputs)
            with forward_ad._set_fwd_grad_enabled(True):
                sums = operator.forward_derivative(inputs, tangents)
        else:
            sums = operator.forward_derivative(inputs, tangents)
        return tuple(sums) if operator.primitive.lists else sums[0]


def _differentiable(operator: _Operator) -> Callable[..., Any]:
    """The operator's implementation for the dispatch key Autograd."""
    reads = len(operator.primitive.reads)

    def kernel(*inputs: Any) -> Any:
        if not torch.is_grad_enabled() and not forward_or_transformed():
            return operator.below_autograd(*inputs)
        transformed = torch._C._are_functorch_transforms_active()
        with enable_single_level_autograd_function() if transformed else nullcontext():
            call = Call(operator, inputs[reads:])
            result = _Gradient.apply(call, *inputs[:reads])  # type: ignore[attr-defined]
        return list(result) if operator.primitive.lists else result

    return kernel


class Direct:
    """An operator of one result, called with arguments of always the same shapes, by the shortest
    way: it does what the key Autograd would, without the dispatcher's way there and back.

    For calls outside of transforms, modes and traces only.
    """

    def __init__(self, overload: Callable[..., Tensor]) -> None:
        self.operator = _operators[overload]
        self.entry, self.reads = self.operator.entry, len(self.operator.primitive.reads)
        self.call: Call | None = None

    def __call__(self, *inputs: Any) -> Tensor:
        if torch.is_grad_enabled():
            tensors = inputs[: self.reads]
            for tensor in tensors:
                if tensor is not None and tensor.requires_grad:
                    if self.call is None:
                        self.call = Call(self.operator, inputs[self.reads :])
                    return _Gradient.apply(self.call, *tensors)  # type: ignore[attr-defined]
        with _below_autograd():
            return self.entry(*inputs)


def direct(operator: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """`Direct` where the operator is of a family here, else the operator itself."""
    return Direct(operator) if operator in _operators else operator


def forward_or_transformed() -> bool:
    """Whether derivatives are taken forwards, or by a transform of `torch.func`."""
    return forward_ad._current_level >= 0 or torch._C._are_functorch_transforms_active()


def gradients_level() -> int:
    """How many `torch.autograd.grad(is_grads_batched=True)` the call is inside of."""
    level = torch._C._vmapmode_increment_nesting() - 1
    torch._C._vmapmode_decrement_nesting()
    return level


def _without_tangent(tensor: Tensor) -> Tensor:
    """The tensor as the current transform of `torch.func` sees one that it does not follow."""
    level = torch._C._functorch.peek_interpreter_stack().level()
    inner = torch._C._functorch._unwrap_for_grad(tensor, level)
    return torch._C._functorch._wrap_for_grad(inner, level)
