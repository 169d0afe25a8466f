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
    held_out_adapting,
    large,
    overhead,
    registration,
    scale,
    serve,
    strength,
    tile,
    unnamed,
)


class Study(NamedTuple):
    measure: Callable[..., Iterable[dict]]
    table: Callable[[Result], str]


_MODULES = (
    *(adaptation, contrast, full_resolution, held_out, held_out_adapting),
    *(large, registration, serve, strength, tile, unnamed),
)
# By the name of the result file and of the table's place in a page.
STUDIES = {
    **{
        module.__name__.rpartition(".")[2].replace("_", "-"): Study(module.measure, module.text)
        for module in _MODULES
    },
    "busy": Study(files.busy, files.busy_text),
    "calls": Study(overhead.calls, overhead.calls_text),
    "contrast-spread": Study(contrast.measure_spread, contrast.spread_text),
    "files": Study(files.gdal, files.gdal_text),
    "graph-memory": Study(overhead.graph_memory, overhead.memory_text),
    "held-out-prior": Study(held_out.measure_prior, held_out.prior_text),
    "held-out-tenth": Study(held_out.measure_tenth, held_out.tenth_text),
    "scale-costs": Study(scale.costs, scale.cost_table),
    "scale-scheduler": Study(scale.scheduler, scale.scheduler_table),
    "scale-steps": Study(scale.steps, scale.steps_table),
    "scale-workers": Study(scale.workers, scale.workers_table),
}
