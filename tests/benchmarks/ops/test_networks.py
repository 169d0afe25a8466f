"""The benchmark over the shapes of networks checks what it times, and lists every loss."""

import pytest
import torch

from benchmarks import results
from benchmarks.ops import networks
from tests.support.benchmarks import MACHINE

SMALL = (
    networks.dynamic("a", (2, 4, 6, 7), (3, 5), 2),
    networks.dynamic("b", (2, 4, 6, 7), (1, 1), 4),
    networks.ddf((2, 4, 6, 7)),
    networks.carafe((1, 4, 5, 6), 3, 2),
    networks.separable((1, 3, 8, 9), 5),
    networks.batched("c", (3, 4, 6, 7), 8, 3, 2),
    networks.adaptive("d", (2, 4, 6, 7), 5),
    networks.lowrank("e", (2, 4, 6, 7), 3, 4, 2),
)


@pytest.mark.parametrize("dtype", networks.DTYPES)
@pytest.mark.parametrize("site", SMALL, ids=[site.id for site in SMALL])
def test_all_forms_of_a_site_compute_the_same(site, dtype):
    rows = networks.measure(site, dtype, "forward+backward", 1e-4)
    assert {row["form"] for row in rows} == {"ksdiff_ops", *site.plain}
    assert all(row["p50"] > 0 for row in rows)


def test_a_form_that_computes_something_else_is_refused():
    site = networks.dynamic("a", (1, 2, 5, 5), (3, 3), 1)
    site.plain["wrong"] = lambda x, weight: networks.shift(x, weight) + 0 * x + torch.ones(())
    with pytest.raises(AssertionError, match="wrong"):
        networks.measure(site, "float32", "forward", 1e-4)


def test_losses_are_listed_apart(tmp_path):
    times = {"ksdiff_ops": 2.0, "shift": 1.0, "unfold": 3.0}
    rows = [
        {
            **{"network": name, "what": "k 3", "dtype": "float32", "direction": "forward"},
            **{"form": form, "p20": t, "p50": t * (scale if form == "ksdiff_ops" else 1)},
            **{"p80": t, "rounds": 1, "ratio": t / (scale * times["ksdiff_ops"])},
        }
        for name, scale in (("lost", 1.0), ("won", 0.25))
        for form, t in times.items()
    ]
    path = tmp_path / "networks.json"
    results.write(path, MACHINE, rows)
    losses, every = networks.text(path).split("All cases:")
    assert "1 of 2 cases" in losses
    assert "| lost |" in losses and "0.50" in losses
    assert "| won |" not in losses
    assert "| won |" in every and f"{1 / (2 * 0.25):.2f}" in every
