"""Which backend runs an operator, and what is said where it cannot."""

import inspect
import os
import shutil
import subprocess
import sys

import instruction_set_check
import pytest
import torch

import ksdiff_ops
from ksdiff_ops import backends, calls, native

X, WEIGHT = torch.ones(1, 2, 4, 4), torch.ones(1, 1, 3, 3, 4, 4)


def test_tensors_on_the_cpu_run_compiled_code():
    assert backends.choose("dynamic_conv", "cpu") == "cpu"


def test_the_environment_forces_a_backend_and_the_argument_goes_before_it(monkeypatch):
    monkeypatch.setenv("KSDIFF_OPS_BACKEND", "reference")
    assert backends.choose("dynamic_conv", "cpu") == "reference"
    assert backends.choose("dynamic_conv", "cpu", "cpu") == "cpu"
    monkeypatch.setenv("KSDIFF_OPS_BACKEND", "fast")
    with pytest.raises(ValueError, match=r"KSDIFF_OPS_BACKEND: expected one of .*, got 'fast'"):
        ksdiff_ops.dynamic_conv(X, WEIGHT)


def test_every_operator_has_its_choice_and_reason_for_both_kinds_of_device():
    public = {name for name in ksdiff_ops.__all__ if inspect.isfunction(getattr(ksdiff_ops, name))}
    composed = {"carafe", "convnext_block", "dynamic_conv_transpose", "separable_dynamic_conv"}
    assert set(backends.AUTOMATIC) == public - composed - {"build_info"}
    for choices in backends.AUTOMATIC.values():
        assert set(choices) == {"cpu", "cuda"}
        for choice in choices.values():
            assert set(choice.backends) <= set(backends.available())
            assert choice.reason
    with pytest.raises(ValueError, match=r"operator: expected one of dynamic_conv, .*'conv'"):
        backends.choose("conv", "cpu")


def test_unknown_backends_and_wrong_devices_are_refused():
    with pytest.raises(ValueError, match=r"backend: expected one of reference, cpu, .*'gpu'"):
        ksdiff_ops.dynamic_conv(X, WEIGHT, backend="gpu")
    with pytest.raises(ValueError, match="backend: 'cuda' cannot run on tensors on 'cpu'"):
        ksdiff_ops.dynamic_conv(X, WEIGHT, backend="cuda")
    with pytest.raises(ValueError, match="no kernels for device 'xpu'"):
        backends.choose("dynamic_conv", "xpu")


def test_triton_runs_on_the_cpu_only_in_its_interpreter(monkeypatch):
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    with pytest.raises(ValueError, match="'triton' cannot run on tensors on 'cpu'"):
        backends.choose("dynamic_conv", "cpu", "triton")


def test_a_missing_backend_says_how_to_get_it_and_nothing_slow_takes_its_place(monkeypatch):
    monkeypatch.setattr(native, "module", None)
    monkeypatch.setattr(native, "problem", "not built; do this")
    calls.forget()
    with pytest.raises(RuntimeError, match="cpu: not built; do this"):
        ksdiff_ops.dynamic_conv(X, WEIGHT)
    with pytest.raises(RuntimeError, match="'cpu' is not available"):
        ksdiff_ops.dynamic_conv(X, WEIGHT, backend="cpu")
    assert ksdiff_ops.dynamic_conv(X, WEIGHT, backend="reference").shape == X.shape


@pytest.fixture
def unloaded(monkeypatch, tmp_path):
    """The module `native` before it has loaded anything, looking for libraries in a folder."""
    for name in ("module", "problem", "cuda_loaded", "cuda_problem"):
        monkeypatch.setattr(native, name, None)
    monkeypatch.setattr(native, "_HERE", tmp_path)
    return tmp_path


def test_where_nothing_is_built_that_is_said_and_how_to_build_it(unloaded):
    native._load()
    assert native.module is None
    for problem in (native.problem, native.cuda_problem):
        assert f"{unloaded / '_C.so'} is not built; build it with `pip" in problem
    assert not native.build_info()["cpu_kernels"]


def test_a_library_that_does_not_load_is_an_error_that_says_why(unloaded):
    (unloaded / "_C.so").write_text("not a library")
    native._load()
    assert "_C.so does not load: " in native.problem


@pytest.mark.parametrize(
    ("runtime", "driver", "problem"),
    [
        ("13.0", 12080, "driver supports CUDA 12.8 and the kernels were built with CUDA 13.0"),
        ("13.2", 13000, None),
        ("12.8", 13000, None),
        ("13.0", None, None),  # no driver at all: PyTorch says that
        ("", 12080, None),  # built without CUDA
    ],
)
def test_a_driver_too_old_for_the_kernels_is_noticed(runtime, driver, problem):
    found = native._driver_problem(runtime, driver)
    assert found is None if problem is None else problem in found


def test_with_a_driver_too_old_the_cuda_kernels_are_not_loaded(unloaded, monkeypatch):
    for name in ("_C.so", "_C_cuda.so"):
        (unloaded / name).touch()
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.setattr(native, "_load_library", lambda path: path)
    monkeypatch.setattr(native, "_built", lambda: {"cuda_built_with": "13.0"})
    monkeypatch.setattr(native, "_driver_version", lambda: 12080)
    native._load()
    assert not native.cuda_loaded
    assert "driver supports CUDA 12.8" in native.cuda_problem
    monkeypatch.setattr(native, "_driver_version", lambda: 13010)
    native._load()
    assert native.cuda_loaded


def test_no_library_refers_to_python():
    """So one wheel serves every Python, and free-threaded ones keep their threads."""
    reader = shutil.which("nm")
    if reader is None or native.module is None:
        pytest.skip("no nm, or nothing is built")
    for library in native._HERE.glob("_C*.so"):
        listed = subprocess.run(
            [reader, "-D", "--undefined-only", library], capture_output=True, text=True, check=True
        ).stdout
        names = [line.split()[-1] for line in listed.splitlines()]
        assert any("torch" in name for name in names)
        assert not [name for name in names if name.lstrip("_").startswith("Py")]


def test_a_missing_cuda_backend_says_how_to_get_it(monkeypatch):
    monkeypatch.setattr(native, "cuda_loaded", False)
    monkeypatch.setattr(native, "cuda_problem", "built without")
    with pytest.raises(RuntimeError, match=r"built without; .*KSDIFF_OPS_CUDA=1 pip install"):
        backends.choose("dynamic_conv", "cuda", "cuda")


def test_available_tells_of_every_backend():
    told = backends.available()
    assert tuple(told) == ("reference", "cpu", "cuda", "triton")
    assert told["reference"] is None
    assert told["cpu"] is None


def test_build_info_tells_what_was_built_and_loaded():
    info = ksdiff_ops.build_info()
    assert info["cpu_kernels"]
    assert info["cpu_problem"] is None
    assert info["cpu_instruction_set"] in ("generic", "avx2", "avx512")
    assert info["cpu_bfloat16"] in (True, False)
    assert info["torch_running"] == torch.__version__
    assert info["cuda_built"] == bool(info["cuda_architectures"])
    assert info["cuda_kernels"] == (info["cuda_problem"] is None)
    for key in ("version", "compiler", "torch_built_with", "cuda_built_with", "cuda_architectures"):
        assert key in info


def test_the_code_for_this_machine_gives_the_reference_s_values():
    instruction_set_check.check()


def test_the_code_for_plain_machines_gives_the_reference_s_values():
    environment = {**os.environ, "KSDIFF_OPS_CPU_CAPABILITY": "generic"}
    script = [sys.executable, instruction_set_check.__file__, "generic"]
    subprocess.run(script, env=environment, check=True)
