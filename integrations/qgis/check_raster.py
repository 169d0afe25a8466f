"""Looks at a raster for test.sh: exits with what is wrong with it."""

from __future__ import annotations

import argparse
import sys

import numpy as np
import rasterio


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("raster")
    parser.add_argument("--like", help="raster whose grid it has")
    parser.add_argument("--part-of", help="raster of whose grid it has a part")
    parser.add_argument("--covers", help="bounds that it covers")
    parser.add_argument("--same", help="raster that has the same pixels")
    parser.add_argument("--bands", help="names of its bands")
    parser.add_argument("--dtype")
    parser.add_argument("--compress")
    given = parser.parse_args()
    with rasterio.open(given.raster) as raster:
        pixels = raster.read()
        expect(pixels.std() > 0, "all pixels are the same")
        if given.like:
            with rasterio.open(given.like) as other:
                grids = [(each.shape, each.transform, each.crs) for each in (raster, other)]
                expect(grids[0] == grids[1], f"its grid is not that of {given.like}")
        if given.part_of:
            with rasterio.open(given.part_of) as other:
                column, row = ~other.transform @ (raster.bounds.left, raster.bounds.top)
                expect(column == int(column) and row == int(row), "it lies between pixels")
                expect(raster.shape < other.shape, "it is no part")
        if given.covers:
            left, bottom, right, top = map(float, given.covers.split(","))
            box = raster.bounds
            inside = box.left <= left and box.bottom <= bottom
            expect(inside and box.right >= right and box.top >= top, f"it covers {box} only")
        if given.same:
            with rasterio.open(given.same) as other:
                expect(np.array_equal(pixels, other.read()), f"its pixels differ from {given.same}")
        if given.bands:
            expect(raster.descriptions == tuple(given.bands.split(",")), raster.descriptions)
        if given.dtype:
            expect(set(raster.dtypes) == {given.dtype}, raster.dtypes)
        if given.compress:
            expect(raster.compression.value.lower() == given.compress, raster.compression)


def expect(holds: bool, problem: object) -> None:
    if not holds:
        sys.exit(f"{sys.argv[1]}: {problem}")


if __name__ == "__main__":
    main()
