"""Tile and registers for every shape: small tables in place of tuning at run time.

Registers bound everything here: a thread holds kernels or sums for `rows` pixels, and what it
holds at once must leave room for addresses, masks and loads in flight in 255 registers.
"""

from typing import NamedTuple

from ksdiff_ops.triton.walk import Pair, Walk

THREADS = 128
TUCKER_AHEAD = 8  # loads in flight in loops that wait for memory
REDUCING_THREADS = 32  # a single warp adds up without shared memory
HELD_WORDS = 100  # 32-bit registers for the kernels or sums of one thread
PROGRAMS = 1024  # enough to fill a GPU of 132 multiprocessors a few times


def ceil_div(a: int, b: int) -> int:
    return -(-a // b)


def tiles(walk: Walk, height: int, width: int) -> Pair:
    down, across = walk.tile
    return ceil_div(height, down), ceil_div(width, across)


class Convolution(NamedTuple):
    rows: int
    across: int
    held: bool  # the kernels stay in registers for all channels
    batch: int  # channels at once where they do not
    shares: int  # programs that divide the channels of a group


class Correlation(NamedTuple):
    rows: int
    across: int
    block: Pair  # taps down and across whose sums one thread holds


class Product(NamedTuple):
    """A tile of a matrix product: what one program multiplies at once, each a power of two."""

    rows: int  # output channels
    depth: int  # input channels times taps, or channels alone
    pixels: int

    @property
    def warps(self) -> int:
        """Enough for sums, addresses and values in flight to fit in the registers."""
        return 8 if self.rows * max(self.depth, self.pixels) > 1024 else 4


class Reduction(NamedTuple):
    rows: int
    across: int
    block: Pair  # taps down and across,
    terms: int  # and basis kernels, whose sums one thread holds


def convolution(
    taps: Pair, planes: int, channels: int, height: int, width: int, element_size: int
) -> Convolution:
    """For `planes` groups of `channels` images of height x width, all samples counted."""
    pixels = planes * height * width
    words = taps[0] * taps[1] * _words(element_size)
    held = words <= HELD_WORDS // 2
    rows = _fewer_rows(_rows(words) if held else 4, pixels)
    programs = ceil_div(pixels, rows * THREADS)
    # Every share reads the kernels again: at least eight channels for each reading.
    shares = max(1, min(PROGRAMS // max(programs, 1), channels // 8))
    return Convolution(rows, _across(width), held, max(1, min(4, channels)), shares)


def correlation(taps: Pair, planes: int, height: int, width: int, element_size: int) -> Correlation:
    """For the gradient of kernels, of which a thread holds the sums."""
    words = _words(element_size)
    rows = _fewer_rows(_rows(taps[0] * taps[1] * words), planes * height * width)
    whole = HELD_WORDS // 2 // words
    return Correlation(rows, _across(width), _block(taps, whole, whole // 2))


def reduction(
    taps: Pair, terms: int, planes: int, height: int, width: int, element_size: int
) -> Reduction:
    """For the gradient of `terms` basis kernels, of which a thread of a single warp holds sums.

    A block of taps costs a second reading of the gradient, a part of the terms costs everything
    again: as many terms as fit.
    """
    words = _words(element_size)
    terms = max(1, min(terms, HELD_WORDS // 2 // words))
    room = max(1, HELD_WORDS // words // (terms + 2))
    block = _block(taps, room, room)
    rows = 4 if block[0] * block[1] * words * (terms + 4) <= HELD_WORDS // 2 else 2
    return Reduction(_fewer_rows(rows, planes * height * width), _across(width), block, terms)


def product(rows: int, pixels: int, planes: int, exact: bool, scaled: bool = False) -> Product:
    """For the product of kernels of `rows` output channels with an image's patches; `exact`
    where it is made without tensor cores, from registers, and `scaled` where each tap's product
    is held beside their sum.
    """
    most_rows, most_pixels, depth = (32, 32, 16) if exact else (64, 64 if scaled else 128, 32)
    rows = _power(rows, 16, most_rows)
    # Less work for each program where an image would not fill the GPU.
    while most_pixels > 32 and planes * pixels < PROGRAMS // 4 * most_pixels:
        most_pixels //= 2
    return Product(rows, depth, most_pixels)


def product_of_pixels(rows: int, depth: int, exact: bool, element_size: int) -> Product:
    """For sums over pixels, of `rows` output channels times `depth` inputs."""
    most = 32 if exact else 64
    return Product(_power(rows, 16, most), _power(depth, 16, most), 128 // element_size)


def steps(programs: int, tiles: int) -> int:
    """How many of `tiles` tiles of pixels one program sums, a power of two, where `programs`
    share nothing: as many as leave enough programs, and not fewer than what is worth a launch.
    """
    return _power(ceil_div(programs * tiles, PROGRAMS), 4, 4096)


def tucker_terms(rank: int, element_size: int) -> int:
    """Rows of the expanded core in registers at once: few variants for all ranks."""
    return 8 if rank > 4 and element_size < 8 else 4


def tucker_rows(batch: int, outputs: int, columns: int) -> int:
    """Rows of the result for one program; each program expands the core again."""
    rows = 16
    while rows > 4 and batch * columns * ceil_div(outputs, rows) < PROGRAMS // 4 * THREADS:
        rows //= 2
    return rows


def strip(programs: int, tiles: int) -> int:
    """Tiles that one program of a reduction sums over, for `programs` of them on each strip."""
    warps = PROGRAMS * THREADS // 32
    return max(1, ceil_div(programs * tiles, warps))


def _words(element_size: int) -> int:
    return 2 if element_size == 8 else 1


def _rows(words: int) -> int:
    """Pixels below one another for one thread that holds `words` registers for each of them.

    Every source row that they share saves a load: 3 x 3 taps need 9 loads for a pixel alone and
    4.5 for each of four, 5 x 5 taps 25 and 15.
    """
    return 4 if words <= 12 else 2


def _fewer_rows(rows: int, pixels: int) -> int:
    """Less work for each thread where an image would not fill the GPU."""
    while rows > 1 and pixels < PROGRAMS // 2 * THREADS * rows:
        rows //= 2
    return rows


def _across(width: int) -> int:
    """A warp reads 32 columns of a row, or 16 of two where the image is narrow."""
    return 32 if width > 16 else 16


def _block(taps: Pair, whole: int, part: int) -> Pair:
    """All taps if there are at most `whole`, else equal blocks of at most `part` taps."""
    if taps[0] * taps[1] <= whole:
        return taps
    down = _divisor(taps[0], part)
    return down, _divisor(taps[1], part // down)


def _power(number: int, least: int, most: int) -> int:
    """The power of two from `number` upwards, between two others."""
    power = least
    while power < min(number, most):
        power *= 2
    return power


def _divisor(number: int, limit: int) -> int:
    """The largest divisor of `number` that is at most `limit`, at least 1."""
    return next(d for d in range(max(1, min(number, limit)), 0, -1) if number % d == 0)
