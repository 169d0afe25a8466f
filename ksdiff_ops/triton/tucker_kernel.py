"""Convolution kernels rebuilt from a Tucker core, and all gradients.

A few megaflops and less than a megabyte: time is launches and latency. Forward is one launch,
backward three, each with programs in several roles; loops that wait for memory read several
values ahead. Bytes: the result or its gradient once (twice for the gradient, by rows and by
columns), and the base kernel once for every sample, mostly from the cache.

The result of one sample is a matrix: row `o` an output channel, column `n` = (input channel i,
tap hw). Lanes are columns. A column of `T` [r1, columns] is the core multiplied along modes 2 to
4; the result is U1 T, `M` [r1, r2, taps] the core along modes 3 and 4 alone.
"""

# Kernels add to tuples by concatenation, the one form that Triton compiles.
# ruff: noqa: RUF005

import torch
import triton
import triton.language as tl
from torch import Tensor

from ksdiff_ops.triton import plan
from ksdiff_ops.triton.checks import require
from ksdiff_ops.triton.launch import Launch, kernel, sum_dtype
from ksdiff_ops.triton.walk import accumulator

CORE = "[B, r1, r2, r3, r4]"
FACTORS = ("[B, Cout, r1]", "[B, Cin, r2]", "[B, kh, r3]", "[B, kw, r4]")
RESULT = "[B, Cout, Cin, kh, kw]"
BASE = "[Cout, Cin, kh, kw]"


@triton.jit
def size_if(condition, size):
    """`size`, or nothing: a lane's mask by a condition that is the same for all lanes."""
    return tl.where(condition, size, 0)


@triton.jit
def load_sum(place, mask):
    """A value in the type of sums, zero where `mask` is false."""
    return tl.load(place, mask=mask, other=0.0).to(accumulator(place.dtype.element_ty))


@triton.jit
def expand_core(
    core, u2, u3, u4, sample, first, n, inputs, kh, kw, r1, r2, r3, r4,
    TERMS: tl.constexpr, LANES: tl.constexpr,
):  # fmt: skip
    """TERMS rows of T from row `first`, at columns `n`."""
    inside = n < inputs * kh * kw
    i = n // (kh * kw)
    h = n // kw % kh
    w = n % kw
    sums = (tl.zeros((LANES,), accumulator(core.dtype.element_ty)),) * TERMS
    q = 0
    while q < r2 * r3 * r4:
        share = load_sum(u2 + ((sample * inputs + i) * r2 + q // (r3 * r4)), inside)
        share *= load_sum(u3 + ((sample * kh + h) * r3 + q // r4 % r3), inside)
        share *= load_sum(u4 + ((sample * kw + w) * r4 + q % r4), inside)
        added = ()
        for a in tl.static_range(TERMS):
            place = core + ((sample * r1 + first + a) * r2 * r3 * r4 + q)
            added = added + (sums[a] + load_sum(place, first + a < r1) * share,)
        sums = added
        q += 1
    return sums


@kernel
def forward_kernel(
    core_ptr, u1_ptr, u2_ptr, u3_ptr, u4_ptr, base_ptr, out_ptr,
    outputs, inputs, kh, kw, r1, r2, r3, r4, parts, tiles,
    HAS_BASE: tl.constexpr, TERMS: tl.constexpr, OUTPUTS: tl.constexpr, LANES: tl.constexpr,
):  # fmt: skip
    """OUTPUTS rows of one sample's result, at LANES columns."""
    program = tl.program_id(0)
    first_output = program % parts * OUTPUTS
    n = program // parts % tiles * LANES + tl.arange(0, LANES)
    sample = (program // parts // tiles).to(tl.int64)
    columns = inputs * kh * kw
    sums = (tl.zeros((LANES,), accumulator(core_ptr.dtype.element_ty)),) * OUTPUTS
    first = 0
    while first < r1:
        expanded = expand_core(
            core_ptr, u2_ptr, u3_ptr, u4_ptr, sample, first, n, inputs, kh, kw,
            r1, r2, r3, r4, TERMS, LANES,
        )  # fmt: skip
        added = ()
        for k in tl.static_range(OUTPUTS):
            o = first_output + k
            total = sums[k]
            for a in tl.static_range(TERMS):
                place = u1_ptr + ((sample * outputs + o) * r1 + first + a)
                total += load_sum(place, (o < outputs) & (first + a < r1)) * expanded[a]
            added = added + (total,)
        sums = added
        first += TERMS
    for k in tl.static_range(OUTPUTS):
        o = first_output + k
        mask = n < size_if(o < outputs, columns)
        value = sums[k]
        if HAS_BASE:
            value *= load_sum(base_ptr + (o.to(tl.int64) * columns + n), mask)
        place = out_ptr + ((sample * outputs + o) * columns + n)
        tl.store(place, value.to(out_ptr.dtype.element_ty), mask=mask)


@triton.jit
def load_grad(grad, base, sample, o, n, outputs, columns, HAS_BASE: tl.constexpr):
    """The gradient of U1 T: that of the result, times the base kernel."""
    mask = n < size_if(o < outputs, columns)
    value = load_sum(grad + ((sample * outputs + o) * columns + n), mask)
    if HAS_BASE:
        value *= load_sum(base + (o.to(tl.int64) * columns + n), mask)
    return value


@kernel
def first_backward_kernel(
    grad_ptr, core_ptr, u1_ptr, u2_ptr, u3_ptr, u4_ptr, base_ptr, t_ptr, grad_t_ptr, m_ptr,
    outputs, inputs, kh, kw, r1, r2, r3, r4, tiles, m_tiles, batch,
    HAS_BASE: tl.constexpr, TERMS: tl.constexpr, AHEAD: tl.constexpr, LANES: tl.constexpr,
):  # fmt: skip
    """T and its gradient, U1' times the result's; and M."""
    program = tl.program_id(0)
    columns = inputs * kh * kw
    if program < batch * tiles:
        n = program % tiles * LANES + tl.arange(0, LANES)
        sample = (program // tiles).to(tl.int64)
        first = 0
        while first < r1:
            expanded = expand_core(
                core_ptr, u2_ptr, u3_ptr, u4_ptr, sample, first, n, inputs, kh, kw,
                r1, r2, r3, r4, TERMS, LANES,
            )  # fmt: skip
            sums = (tl.zeros((LANES,), accumulator(core_ptr.dtype.element_ty)),) * TERMS
            o = 0
            while o < outputs:
                grads = ()
                for k in tl.static_range(AHEAD):
                    grads = grads + (
                        load_grad(grad_ptr, base_ptr, sample, o + k, n, outputs, columns, HAS_BASE),
                    )
                added = ()
                for a in tl.static_range(TERMS):
                    total = sums[a]
                    for k in tl.static_range(AHEAD):
                        place = u1_ptr + ((sample * outputs + o + k) * r1 + first + a)
                        mask = (o + k < outputs) & (first + a < r1)
                        total += load_sum(place, mask) * grads[k]
                    added = added + (total,)
                sums = added
                o += AHEAD
            for a in tl.static_range(TERMS):
                place = (sample * r1 + first + a) * columns + n
                mask = n < size_if(first + a < r1, columns)
                tl.store(t_ptr + place, expanded[a], mask=mask)
                tl.store(grad_t_ptr + place, sums[a], mask=mask)
            first += TERMS
    else:
        program -= batch * tiles
        j = program % m_tiles * LANES + tl.arange(0, LANES)
        sample = (program // m_tiles).to(tl.int64)
        size = r1 * r2 * kh * kw
        inside = j < size
        h = j // kw % kh
        w = j % kw
        total = tl.zeros((LANES,), accumulator(core_ptr.dtype.element_ty))
        q = 0
        while q < r3 * r4:
            place = core_ptr + ((sample * r1 * r2 + j // (kh * kw)) * r3 * r4 + q)
            value = load_sum(place, inside)
            value *= load_sum(u3_ptr + ((sample * kh + h) * r3 + q // r4), inside)
            total += value * load_sum(u4_ptr + ((sample * kw + w) * r4 + q % r4), inside)
            q += 1
        tl.store(m_ptr + (sample * size + j), total, mask=inside)


@triton.jit
def grad_u1(
    grad, base, t, out, sample, o, outputs, columns, r1,
    HAS_BASE: tl.constexpr, TERMS: tl.constexpr, LANES: tl.constexpr,
):  # fmt: skip
    """One row: the result's gradient times T', summed over columns."""
    first = 0
    while first < r1:
        sums = (tl.zeros((LANES,), accumulator(t.dtype.element_ty)),) * TERMS
        start = 0
        while start < columns:
            n = start + tl.arange(0, LANES)
            value = load_grad(grad, base, sample, o, n, outputs, columns, HAS_BASE)
            added = ()
            for a in tl.static_range(TERMS):
                place = t + ((sample * r1 + first + a) * columns + n)
                mask = n < size_if(first + a < r1, columns)
                added = added + (sums[a] + value * load_sum(place, mask),)
            sums = added
            start += LANES
        for a in tl.static_range(TERMS):
            total = tl.sum(sums[a], axis=0)
            place = out + ((sample * outputs + o) * r1 + first + a)
            tl.store(place, total.to(out.dtype.element_ty), mask=first + a < r1)
        first += TERMS


@triton.jit
def grad_u2(grad_t, m, out, sample, i, inputs, taps, r1, r2, LANES: tl.constexpr):
    """One row: T's gradient at one input channel times M, summed over r1 and taps."""
    b = 0
    while b < r2:
        sums = tl.zeros((LANES,), accumulator(m.dtype.element_ty))
        start = 0
        while start < r1 * taps:
            j = start + tl.arange(0, LANES)
            a = sample * r1 + j // taps
            value = load_sum(grad_t + ((a * inputs + i) * taps + j % taps), j < r1 * taps)
            sums += value * load_sum(m + ((a * r2 + b) * taps + j % taps), j < r1 * taps)
            start += LANES
        total = tl.sum(sums, axis=0)
        place = out + ((sample * inputs + i) * r2 + b)
        tl.store(place, total.to(out.dtype.element_ty))
        b += 1


@triton.jit
def grad_core(
    grad_t, u2, u3, u4, grad_m, out, sample, pair, inputs, kh, kw, r1, r2, r3, r4,
    AHEAD: tl.constexpr, TAPS: tl.constexpr,
):  # fmt: skip
    """M's gradient at one pair of r1 and r2, and from it the core's."""
    taps = kh * kw
    hw = tl.arange(0, TAPS)
    a = sample * r1 + pair // r2
    b = pair % r2
    sums = tl.zeros((TAPS,), accumulator(grad_t.dtype.element_ty))
    i = 0
    while i < inputs:
        values = ()
        for k in tl.static_range(AHEAD):
            mask = hw < size_if(i + k < inputs, taps)
            values = values + (load_sum(grad_t + ((a * inputs + i + k) * taps + hw), mask),)
        for k in tl.static_range(AHEAD):
            place = u2 + ((sample * inputs + i + k) * r2 + b)
            sums += values[k] * load_sum(place, i + k < inputs)
        i += AHEAD
    tl.store(grad_m + ((sample * r1 * r2 + pair) * taps + hw), sums, mask=hw < taps)
    q = 0
    while q < r3 * r4:
        share = load_sum(u3 + ((sample * kh + hw // kw) * r3 + q // r4), hw < taps)
        share *= load_sum(u4 + ((sample * kw + hw % kw) * r4 + q % r4), hw < taps)
        total = tl.sum(sums * share, axis=0)
        place = out + ((sample * r1 * r2 + pair) * r3 * r4 + q)
        tl.store(place, total.to(out.dtype.element_ty))
        q += 1


@triton.jit
def grad_base(
    grad, u1, t, out, o, n, batch, outputs, columns, r1,
    TERMS: tl.constexpr, LANES: tl.constexpr,
):  # fmt: skip
    """One row at LANES columns: the result's gradient times U1 T, summed over samples."""
    sums = tl.zeros((LANES,), accumulator(t.dtype.element_ty))
    sample = tl.full((), 0, tl.int64)
    while sample < batch:
        value = tl.zeros((LANES,), accumulator(t.dtype.element_ty))
        first = 0
        while first < r1:
            for a in tl.static_range(TERMS):
                term = first + a
                inside = n < size_if(term < r1, columns)
                row = load_sum(t + ((sample * r1 + term) * columns + n), inside)
                value += row * load_sum(u1 + ((sample * outputs + o) * r1 + term), term < r1)
            first += TERMS
        sums += value * load_sum(grad + ((sample * outputs + o) * columns + n), n < columns)
        sample += 1
    place = out + (o.to(tl.int64) * columns + n)
    tl.store(place, sums.to(out.dtype.element_ty), mask=n < columns)


@kernel
def second_backward_kernel(
    grad_ptr, u1_ptr, u2_ptr, u3_ptr, u4_ptr, base_ptr, t_ptr, grad_t_ptr, m_ptr, grad_m_ptr,
    grad_core_ptr, grad_u1_ptr, grad_u2_ptr, grad_base_ptr,
    outputs, inputs, kh, kw, r1, r2, r3, r4, tiles, batch,
    HAS_BASE: tl.constexpr, TERMS: tl.constexpr, AHEAD: tl.constexpr, TAPS: tl.constexpr,
    LANES: tl.constexpr,
):  # fmt: skip
    """The gradients of U1, U2, the core, and the base kernel."""
    program = tl.program_id(0)
    columns = inputs * kh * kw
    second = batch * outputs
    third = second + batch * inputs
    fourth = third + batch * r1 * r2
    if program < second:
        sample = (program // outputs).to(tl.int64)
        grad_u1(
            grad_ptr, base_ptr, t_ptr, grad_u1_ptr, sample, program % outputs,
            outputs, columns, r1, HAS_BASE, TERMS, LANES,
        )  # fmt: skip
    elif program < third:
        program -= second
        sample = (program // inputs).to(tl.int64)
        grad_u2(
            grad_t_ptr, m_ptr, grad_u2_ptr, sample, program % inputs,
            inputs, kh * kw, r1, r2, LANES,
        )  # fmt: skip
    elif program < fourth:
        program -= third
        sample = (program // (r1 * r2)).to(tl.int64)
        grad_core(
            grad_t_ptr, u2_ptr, u3_ptr, u4_ptr, grad_m_ptr, grad_core_ptr,
            sample, program % (r1 * r2), inputs, kh, kw, r1, r2, r3, r4, AHEAD, TAPS,
        )  # fmt: skip
    elif HAS_BASE:
        program -= fourth
        n = program % tiles * LANES + tl.arange(0, LANES)
        grad_base(
            grad_ptr, u1_ptr, t_ptr, grad_base_ptr, program // tiles, n,
            batch, outputs, columns, r1, TERMS, LANES,
        )  # fmt: skip


@kernel
def third_backward_kernel(
    core_ptr, u3_ptr, u4_ptr, grad_m_ptr, grad_u3_ptr, grad_u4_ptr, kh, kw, r12, r3, r4,
    LANES: tl.constexpr,
):  # fmt: skip
    """One element of the gradient of U3 or U4: M's gradient times core and the other factor."""
    per_sample = kh * r3 + kw * r4
    program = tl.program_id(0)
    sample = (program // per_sample).to(tl.int64)
    place = program % per_sample
    sums = tl.zeros((LANES,), accumulator(grad_m_ptr.dtype.element_ty))
    start = 0
    while start < r12:
        j = start + tl.arange(0, LANES)
        inside = j < r12
        m_row = grad_m_ptr + (sample * r12 + j) * kh * kw
        core_row = core_ptr + (sample * r12 + j) * r3 * r4
        if place < kh * r3:
            h = place // r3
            c = place % r3
            q = 0
            while q < kw * r4:
                value = load_sum(m_row + (h * kw + q // r4), inside)
                value *= load_sum(core_row + (c * r4 + q % r4), inside)
                sums += value * load_sum(u4_ptr + (sample * kw * r4 + q), q < kw * r4)
                q += 1
        else:
            w = (place - kh * r3) // r4
            d = (place - kh * r3) % r4
            q = 0
            while q < kh * r3:
                value = load_sum(m_row + (q // r3 * kw + w), inside)
                value *= load_sum(core_row + (q % r3 * r4 + d), inside)
                sums += value * load_sum(u3_ptr + (sample * kh * r3 + q), q < kh * r3)
                q += 1
        start += LANES
    total = tl.sum(sums, axis=0)
    if place < kh * r3:
        out = grad_u3_ptr + (sample * kh * r3 + place)
        tl.store(out, total.to(grad_u3_ptr.dtype.element_ty))
    else:
        out = grad_u4_ptr + (sample * kw * r4 + place - kh * r3)
        tl.store(out, total.to(grad_u4_ptr.dtype.element_ty))


def forward_launch(core: Tensor, factors: list[Tensor], base: Tensor | None, out: Tensor) -> Launch:
    batch, outputs, inputs, kh, kw = out.shape
    rows = plan.tucker_rows(batch, outputs, inputs * kh * kw)
    parts = plan.ceil_div(outputs, rows)
    tiles = plan.ceil_div(inputs * kh * kw, plan.THREADS)
    return Launch(
        forward_kernel,
        batch * parts * tiles,
        {
            "core_ptr": core,
            **_factor_pointers(factors),
            "base_ptr": core if base is None else base,
            "out_ptr": out,
            **_sizes(core, out),
            "parts": parts,
            "tiles": tiles,
        },
        {
            "HAS_BASE": base is not None,
            "TERMS": plan.tucker_terms(core.shape[1], core.element_size()),
            "OUTPUTS": rows,
            "LANES": plan.THREADS,
        },
    )


def backward_launches(
    grad: Tensor, core: Tensor, factors: list[Tensor], base: Tensor | None, grads: list[Tensor]
) -> list[Launch]:
    """Three launches, in this order, that fill `grads`: of the core, the factors and the base."""
    batch, outputs, inputs, kh, kw = grad.shape
    r1, r2 = core.shape[1:3]
    columns, taps = inputs * kh * kw, kh * kw
    dtype = sum_dtype(core)
    t = core.new_empty((batch, r1, columns), dtype=dtype)
    grad_t = torch.empty_like(t)
    m = core.new_empty((batch, r1, r2, taps), dtype=dtype)
    grad_m = torch.empty_like(m)
    tiles = plan.ceil_div(columns, plan.THREADS)
    m_tiles = plan.ceil_div(r1 * r2 * taps, plan.THREADS)
    shared: dict[str, Tensor | int] = {
        "grad_ptr": grad,
        **_factor_pointers(factors),
        "base_ptr": core if base is None else base,
        "t_ptr": t,
        "grad_t_ptr": grad_t,
        "m_ptr": m,
        **_sizes(core, grad),
        "tiles": tiles,
        "batch": batch,
    }
    constants = {
        "HAS_BASE": base is not None,
        "TERMS": plan.tucker_terms(r1, core.element_size()),
        "AHEAD": plan.TUCKER_AHEAD,
        "LANES": plan.THREADS,
    }
    first = Launch(
        first_backward_kernel,
        batch * (tiles + m_tiles),
        {**shared, "core_ptr": core, "m_tiles": m_tiles},
        constants,
    )
    second = Launch(
        second_backward_kernel,
        batch * (outputs + inputs + r1 * r2) + (0 if base is None else tiles * outputs),
        {
            **shared,
            "grad_m_ptr": grad_m,
            "grad_core_ptr": grads[0],
            "grad_u1_ptr": grads[1],
            "grad_u2_ptr": grads[2],
            "grad_base_ptr": core if base is None else grads[5],
        },
        {**constants, "TAPS": triton.next_power_of_2(taps)},
    )
    return [first, second, _last_launch(core, factors, grad_m, grads)]


def _last_launch(
    core: Tensor, factors: list[Tensor], grad_m: Tensor, grads: list[Tensor]
) -> Launch:
    """Fills the gradients of U3 and U4 from M's."""
    kh, kw = (factor.shape[1] for factor in factors[2:])
    r1, r2, r3, r4 = core.shape[1:]
    return Launch(
        third_backward_kernel,
        len(core) * (kh * r3 + kw * r4),
        {
            "core_ptr": core,
            "u3_ptr": factors[2],
            "u4_ptr": factors[3],
            "grad_m_ptr": grad_m,
            "grad_u3_ptr": grads[3],
            "grad_u4_ptr": grads[4],
            "kh": kh,
            "kw": kw,
            "r12": r1 * r2,
            "r3": r3,
            "r4": r4,
        },
        {"LANES": plan.THREADS},
    )


def tucker_kernel(
    core: Tensor,  # [B, r1, r2, r3, r4]
    u1: Tensor,  # [B, Cout, r1]
    u2: Tensor,  # [B, Cin, r2]
    u3: Tensor,  # [B, kh, r3]
    u4: Tensor,  # [B, kw, r4]
    base: Tensor | None,  # [Cout, Cin, kh, kw]
) -> Tensor:  # [B, Cout, Cin, kh, kw]
    factors = [u1, u2, u3, u4]
    sizes = _require_operands(core, factors, base)
    out = core.new_empty((core.shape[0], *sizes))
    forward_launch(core.contiguous(), *_contiguous(factors, base), out).run()
    return out


def tucker_kernel_backward(
    grad: Tensor,  # [B, Cout, Cin, kh, kw]
    core: Tensor,  # [B, r1, r2, r3, r4]
    u1: Tensor,  # [B, Cout, r1]
    u2: Tensor,  # [B, Cin, r2]
    u3: Tensor,  # [B, kh, r3]
    u4: Tensor,  # [B, kw, r4]
    base: Tensor | None,  # [Cout, Cin, kh, kw]
) -> list[Tensor]:  # of core, u1, u2, u3, u4 and, if there is one, base
    factors = [u1, u2, u3, u4]
    sizes = _require_operands(core, factors, base)
    require("grad", grad, RESULT, (core.shape[0], *sizes), ("core", core))
    operands = [core, *factors] if base is None else [core, *factors, base]
    grads = [torch.empty_like(t, memory_format=torch.contiguous_format) for t in operands]
    launches = backward_launches(
        grad.contiguous(), core.contiguous(), *_contiguous(factors, base), grads
    )
    for launch in launches:
        launch.run()
    return grads


def _factor_pointers(factors: list[Tensor]) -> dict[str, Tensor]:
    return {f"u{mode}_ptr": factor for mode, factor in enumerate(factors, start=1)}


def _sizes(core: Tensor, out: Tensor) -> dict[str, int]:
    names = ("outputs", "inputs", "kh", "kw", "r1", "r2", "r3", "r4")
    return dict(zip(names, (*out.shape[1:], *core.shape[1:]), strict=True))


def _contiguous(factors: list[Tensor], base: Tensor | None) -> tuple[list[Tensor], Tensor | None]:
    return [f.contiguous() for f in factors], None if base is None else base.contiguous()


def _require_operands(core: Tensor, factors: list[Tensor], base: Tensor | None) -> tuple[int, ...]:
    """Raises unless all fit together; the result's sizes after the batch."""
    require("core", core, CORE)
    for mode, (factor, layout) in enumerate(zip(factors, FACTORS, strict=True), start=1):
        sizes = (core.shape[0], None, core.shape[mode])
        require(f"u{mode}", factor, layout, sizes, ("core", core))
    result = tuple(factor.shape[1] for factor in factors)
    if base is not None:
        require("base", base, BASE, result, ("core", core))
    return result
