"""Studies of single choices: each measures the rows of its result files and has their tables."""

from benchmarks.studies import (
    adaptation,
    contrast,
    full_resolution,
    held_out,
    registration,
    strength,
    tenth,
    tile,
)

# By name: what `python -m benchmarks.studies` measures.
STUDIES = {
    "adaptation": adaptation,
    "contrast": contrast,
    "full-resolution": full_resolution,
    "held-out": held_out,
    "registration": registration,
    "strength": strength,
    "tenth": tenth,
    "tile": tile,
}
