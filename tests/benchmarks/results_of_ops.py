"""Small made-up results of the operators' benchmarks."""

MACHINE = {
    **{"device": "cpu", "cpu": "Abacus 2", "cores": 2, "threads": 2, "system": "Linux x86_64"},
    **{"python": "3.11.0", "torch": "2.13.0", "triton": "3.6.0", "ksdiff": "0.1.0"},
    **{"operators": "abc", "commit": "def", "omp_wait_policy": "PASSIVE", "load_before": 0.5},
    **{"copy_gb_per_s": 10.0, "fma_gflop_per_s": 100.0, "date": "2026-01-02"},
}


def form(milliseconds, megabytes=1.0, spread=0.01):
    if milliseconds is None:
        return {}
    seconds = milliseconds * 1e-3
    low, high = seconds * (1 - spread), seconds * (1 + spread)
    return {"p20": low, "p50": seconds, "p80": high, "rounds": 9, "peak_bytes": megabytes * 1e6}


def entry(kernel=3, side=4, ours=2.0, unfold=20.0, shift=5.0, compiled=3.0, **facts):
    forms = {"ksdiff_ops": form(ours), "eager unfold": form(unfold, 9.0)}
    forms |= {"eager shift": form(shift), "compiled shift": form(compiled)}
    if compiled is None:
        forms["compiled shift"] = {"left_out": "does not compile: LoweringException: too large"}
    extra = {"op": "dynamic_conv", "shape": [1, 2, side, side], "kernel": kernel, "groups": "1"}
    extra |= {"dtype": "float32", "direction": "forward", "device": "cpu", "backend": "cpu"}
    extra |= {"least_bytes": 10_000_000, "flops": 40_000_000, "forms": forms} | facts
    name = f"test_per_pixel[{kernel}-{side}]"
    return {"name": name, "fullname": name, "extra_info": extra, "stats": {"median": ours * 1e-3}}


def result(*entries, **machine):
    return {"machine_info": MACHINE | machine, "benchmarks": list(entries)}
