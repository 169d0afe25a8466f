"""Studies of single choices and of the whole program: what each measures, and its table."""

from collections.abc import Callable, Iterable
from typing import NamedTuple

from benchmarks.results import Result
from benchmarks.studies import (
    adaptation,
    contrast,
    files,
    full_resolution,
    held_out,
    large,
    overhead,
    registration,
    scale,
    serve,
    tile,
)


class Study(NamedTuple):
    measure: Callable[..., Iterable[dict]]
    table: Callable[[Result], str]


# By the name of the result file and of the table's place in a page.
STUDIES = {
    "adaptation": Study(adaptation.measure, adaptation.text),
    "busy": Study(files.busy, files.busy_text),
    "calls": Study(overhead.calls, overhead.calls_text),
    "contrast": Study(contrast.measure, contrast.text),
    "contrast-spread": Study(contrast.measure_spread, contrast.spread_text),
    "files": Study(files.gdal, files.gdal_text),
    "full-resolution": Study(full_resolution.measure, full_resolution.text),
    "graph-memory": Study(overhead.graph_memory, overhead.memory_text),
    "held-out": Study(held_out.measure, held_out.text),
    "held-out-adapting": Study(held_out.measure_adapting, held_out.adapting_text),
    "held-out-prior": Study(held_out.measure_prior, held_out.prior_text),
    "held-out-tenth": Study(held_out.measure_tenth, held_out.tenth_text),
    "large": Study(large.measure, large.text),
    "registration": Study(registration.measure, registration.text),
    "scale-costs": Study(scale.costs, scale.cost_table),
    "scale-scheduler": Study(scale.scheduler, scale.scheduler_table),
    "scale-steps": Study(scale.steps, scale.steps_table),
    "scale-workers": Study(scale.workers, scale.workers_table),
    "serve": Study(serve.measure, serve.text),
    "strength": Study(contrast.measure_strength, contrast.strength_text),
    "tile": Study(tile.measure, tile.text),
    "unnamed": Study(held_out.measure_unnamed, held_out.unnamed_text),
}
