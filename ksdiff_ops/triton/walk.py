"""How a window of taps walks over an image, and how its pixels are shared out among threads.

A program works on a tile: `across` pixels side by side, and `threads / across` strips of `rows`
pixels below one another, one strip a thread. Tensors inside a kernel hold one value a thread, so
that neighbouring threads read neighbouring columns (coalesced, whatever the alignment) and no
value ever moves between threads. What a thread holds for each of its rows and taps is a tuple,
which lives in registers. A row of the source that several of a thread's pixels need is read once.
"""

# Kernels add to tuples by concatenation, the one form that Triton compiles.
# ruff: noqa: RUF005

from dataclasses import dataclass

import triton
import triton.language as tl

Pair = tuple[int, int]


@dataclass(frozen=True)
class Walk:
    """Which source pixel tap k of pixel p reads: (p * step - padding + k * dilation) / divide.

    A tap whose division leaves a remainder reads nothing. The convolution divides by one; its
    gradient by the image walks backwards, with step 1, negative dilation and divide = stride.
    A kernel too large for a thread's registers is walked in blocks of taps: a walk of one block,
    and a padding that is less by the block's place times the dilation.
    """

    kernel: Pair  # taps down, taps across
    step: Pair
    dilation: Pair
    divide: Pair
    rows: int
    across: int
    threads: int

    @property
    def tile(self) -> Pair:
        return self.rows * self.threads // self.across, self.across


@triton.constexpr_function
def get(WALK, name, axis=None):
    value = getattr(WALK, name)
    return value if axis is None else value[axis]


@triton.constexpr_function
def strips(WALK):
    return WALK.threads // WALK.across


@triton.constexpr_function
def divides(WALK):
    return WALK.divide != (1, 1)


@triton.constexpr_function
def source_rows(WALK):
    """The source rows that one thread reads, counted from its first pixel's first."""
    pixels = range(WALK.rows)
    taps = range(WALK.kernel[0])
    return sorted({r * WALK.step[0] + k * WALK.dilation[0] for r in pixels for k in taps})


@triton.constexpr_function
def source_row_count(WALK):
    return len(source_rows(WALK))


@triton.constexpr_function
def source_row(WALK, index):
    return source_rows(WALK)[index]


@triton.constexpr_function
def source_index(WALK, pixel, tap):
    """Which of `source_rows` tap row `tap` of a thread's pixel `pixel` reads."""
    return source_rows(WALK).index(pixel * WALK.step[0] + tap * WALK.dilation[0])


@triton.constexpr_function
def reach(WALK, axis):
    """The least and the largest source row or column that a tile reads, less its first pixel's."""
    last_pixel = (WALK.tile[axis] - 1) * WALK.step[axis]
    last_tap = (WALK.kernel[axis] - 1) * WALK.dilation[axis]
    return min(0, last_tap), last_pixel + max(0, last_tap)


@triton.constexpr_function
def least_reach(WALK, axis):
    return reach(WALK, axis)[0]


@triton.constexpr_function
def largest_reach(WALK, axis):
    return reach(WALK, axis)[1]


@triton.constexpr_function
def accumulator(dtype):
    """The type of sums: float32, or float64 for float64."""
    return tl.float64 if dtype == tl.float64 else tl.float32


@triton.jit
def tile_pixels(tile_row, tile_column, WALK: tl.constexpr):
    """Row of each thread's first pixel, and its column."""
    lane = tl.arange(0, get(WALK, "threads"))
    across: tl.constexpr = get(WALK, "across")
    rows: tl.constexpr = get(WALK, "rows")
    row = (tile_row * strips(WALK) + lane // across) * rows
    return row, tile_column * across + lane % across


@triton.jit
def tile_inside(tile_row, tile_column, height, width, pad_h, pad_w, WALK: tl.constexpr):
    """Whether a tile reads from every tap, and inside a source of that size."""
    top = tile_row * get(WALK, "tile", 0) * get(WALK, "step", 0) - pad_h
    left = tile_column * get(WALK, "tile", 1) * get(WALK, "step", 1) - pad_w
    return (
        (not divides(WALK))
        & (top + least_reach(WALK, 0) >= 0)
        & (left + least_reach(WALK, 1) >= 0)
        & (top + largest_reach(WALK, 0) < height)
        & (left + largest_reach(WALK, 1) < width)
    )


@triton.jit
def column_offsets(row, column, kx, height, width, pad_h, pad_w, WALK: tl.constexpr):
    """Offsets into a source plane of what tap column `kx` reads, one for each source row, and
    masks of what lies inside the plane.
    """
    divide_h: tl.constexpr = get(WALK, "divide", 0)
    divide_w: tl.constexpr = get(WALK, "divide", 1)
    first_row = row * get(WALK, "step", 0) - pad_h
    first_column = column * get(WALK, "step", 1) - pad_w
    x = first_column + kx * get(WALK, "dilation", 1)
    inside_x = (x >= 0) & (x < width * divide_w)
    # 64 bits, and the taps added last: they become immediate offsets of the load instruction.
    first = first_row.to(tl.int64) * width + first_column
    offsets = ()
    masks = ()
    for index in tl.static_range(source_row_count(WALK)):
        y = first_row + source_row(WALK, index)
        inside = inside_x & (y >= 0) & (y < height * divide_h)
        if divides(WALK):
            inside = inside & (x % divide_w == 0) & (y % divide_h == 0)
            offsets = offsets + ((y // divide_h).to(tl.int64) * width + x // divide_w,)
        else:
            down = first + source_row(WALK, index) * width
            offsets = offsets + (down + kx * get(WALK, "dilation", 1),)
        masks = masks + (inside,)
    return offsets, masks


@triton.jit
def read_column(
    plane, row, column, kx, height, width, pad_h, pad_w, WALK: tl.constexpr, MASKED: tl.constexpr
):
    """What tap column `kx` of a thread's pixels reads: one value for each source row."""
    offsets, masks = column_offsets(row, column, kx, height, width, pad_h, pad_w, WALK)
    values = ()
    for index in tl.static_range(source_row_count(WALK)):
        if MASKED:
            value = tl.load(plane + offsets[index], mask=masks[index], other=0.0)
        else:
            value = tl.load(plane + offsets[index])
        values = values + (value.to(accumulator(plane.dtype.element_ty)),)
    return values


@triton.jit
def read_pixels(plane, row, column, height, width, WALK: tl.constexpr):
    """A plane's values at a thread's own pixels, zero below and right of it."""
    offset = row.to(tl.int64) * width + column
    values = ()
    for r in tl.static_range(get(WALK, "rows")):
        mask = (row + r < height) & (column < width)
        value = tl.load(plane + (offset + r * width), mask=mask, other=0.0)
        values = values + (value.to(accumulator(plane.dtype.element_ty)),)
    return values


@triton.jit
def write_pixels(plane, values, row, column, height, width, WALK: tl.constexpr):
    """Writes one value for each of a thread's own pixels."""
    offset = row.to(tl.int64) * width + column
    for r in tl.static_range(get(WALK, "rows")):
        mask = (row + r < height) & (column < width)
        tl.store(plane + (offset + r * width), values[r].to(plane.dtype.element_ty), mask=mask)
