"""Studies of single choices and of the whole program: what each measures, and its tables."""

from collections.abc import Callable, Iterable
from typing import NamedTuple

from benchmarks.results import Result
from benchmarks.studies import (
    adaptation,
    busy,
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
    """``tables`` by their name in the pages, made of the result."""

    measure: Callable[..., Iterable[dict]]
    tables: dict[str, Callable[[Result], str]]


# By the name of the result file.
STUDIES = {
    "adaptation": Study(adaptation.measure, {"adaptation": adaptation.text}),
    "busy": Study(busy.measure, {"busy": busy.text}),
    "calls": Study(overhead.calls, {"calls": overhead.calls_text}),
    "contrast": Study(
        contrast.measure,
        {"contrast": contrast.scores_table, "contrast-spread": contrast.spread_table},
    ),
    "files": Study(files.measure, {"files": files.text}),
    "full-resolution": Study(full_resolution.measure, {"full-resolution": full_resolution.text}),
    "graph-memory": Study(overhead.graph_memory, {"graph-memory": overhead.memory_text}),
    "held-out": Study(held_out.measure, {"held-out": held_out.text}),
    "held-out-adapting": Study(
        held_out_adapting.measure, {"held-out-adapting": held_out_adapting.text}
    ),
    "held-out-prior": Study(held_out.measure_prior, {"held-out-prior": held_out.prior_text}),
    "held-out-tenth": Study(held_out.measure_tenth, {"held-out-tenth": held_out.tenth_text}),
    "large": Study(large.measure, {"large": large.text}),
    "registration": Study(registration.measure, {"registration": registration.text}),
    "scale-costs": Study(scale.costs, {"scale-costs": scale.cost_table}),
    "scale-scheduler": Study(scale.scheduler, {"scale-scheduler": scale.scheduler_table}),
    "scale-steps": Study(scale.steps, {"scale-steps": scale.steps_table}),
    "scale-workers": Study(scale.workers, {"scale-workers": scale.workers_table}),
    "serve": Study(serve.measure, {"serve": serve.text}),
    "strength": Study(strength.measure, {"strength": strength.text}),
    "tile": Study(tile.measure, {"tile": tile.text}),
    "unnamed": Study(unnamed.measure, {"unnamed": unnamed.text}),
}
