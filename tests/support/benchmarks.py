"""Small made-up results of the benchmarks."""

MACHINE = {
    **{"device": "cpu", "processor": "Abacus 2", "gpu": None, "cores": 2, "threads": 2},
    **{"python": "3.11.0", "torch": "2.13.0", "triton": "3.6.0", "ksdiff": "0.1.0"},
    **{"operators": "abc", "code": "def", "omp_wait_policy": "PASSIVE", "load_before": 0.5},
    **{"copy_gb_per_s": 10.0, "fma_gflop_per_s": 100.0, "date": "2026-01-02T03:04:05+00:00"},
}


def form(milliseconds, megabytes=1.0, spread=0.01):
    seconds = milliseconds * 1e-3
    low, high = seconds * (1 - spread), seconds * (1 + spread)
    return {"p20": low, "p50": seconds, "p80": high, "rounds": 9, "peak_bytes": megabytes * 1e6}


def rows(kernel=3, side=4, ours=2.0, unfold=20.0, shift=5.0, compiled=3.0, spread=0.01, **facts):
    """All forms of a case of dynamic_conv, times in milliseconds."""
    case = {"op": "dynamic_conv", "shape": [1, 2, side, side], "kernel": kernel, "groups": "1"}
    case |= {"dtype": "float32", "direction": "forward"} | facts
    case |= {"least_bytes": 10_000_000, "flops": 40_000_000}
    left_out = {"left_out": "does not compile: LoweringException: too large"}
    return [
        case | {"form": "ksdiff_ops", "backend": "cpu"} | form(ours, spread=spread),
        case | {"form": "unfold and sum"} | form(unfold, 9.0),
        case | {"form": "shift"} | form(shift),
        case | {"form": "compiled shift"} | (form(compiled) if compiled else left_out),
    ]
