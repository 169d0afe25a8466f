"""What the build decides, before any compiler runs."""

import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "build_support"))
pytest.importorskip("setuptools")

import native_build  # noqa: E402
import torch_location  # noqa: E402


@pytest.fixture
def nvcc(tmp_path, monkeypatch):
    """A CUDA toolkit whose compiler knows three architectures, on a machine without a GPU."""
    for name in ("KSDIFF_OPS_CUDA", "TORCH_CUDA_ARCH_LIST", "CUDA_PATH"):
        monkeypatch.delenv(name, raising=False)
    path = command(tmp_path / "cuda/bin/nvcc", "compute_80\ncompute_90\ncompute_120")
    monkeypatch.setenv("CUDA_HOME", str(tmp_path / "cuda"))
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    return path


def command(path: Path, output: str, status: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\necho '{output}'\nexit {status}\n")
    path.chmod(0o755)
    return path


def test_without_a_gpu_one_architecture_is_compiled_whose_ptx_serves_newer_ones(nvcc):
    found, reason = native_build.decide_cuda()
    assert found.path == nvcc
    assert found.architectures == ("8.0+PTX",)
    assert "8.0+PTX" in reason
    assert found.code_flags() == [
        "-gencode=arch=compute_80,code=sm_80",
        "-gencode=arch=compute_80,code=compute_80",
    ]


@pytest.mark.parametrize(
    ("told", "architectures"),
    [("9.0\n9.0", ("9.0",)), ("12.0\n8.0", ("8.0", "12.0")), ("7.5", ("8.0+PTX",))],
)
def test_the_gpus_of_the_machine_are_compiled_for(nvcc, tmp_path, told, architectures):
    command(tmp_path / "bin/nvidia-smi", told)
    assert native_build.decide_cuda()[0].architectures == architectures


def test_a_driver_that_does_not_answer_counts_as_none(nvcc, tmp_path):
    command(tmp_path / "bin/nvidia-smi", "NVIDIA-SMI has failed", status=9)
    assert native_build.decide_cuda()[0].architectures == ("8.0+PTX",)


def test_the_architecture_list_is_obeyed(nvcc, monkeypatch):
    monkeypatch.setenv("TORCH_CUDA_ARCH_LIST", "8.6;9.0a 10.0+PTX")
    assert native_build.decide_cuda()[0].architectures == ("8.6", "9.0a", "10.0+PTX")
    monkeypatch.setenv("TORCH_CUDA_ARCH_LIST", "all")
    assert native_build.decide_cuda()[0].architectures == ("8.0", "9.0", "12.0+PTX")
    monkeypatch.setenv("TORCH_CUDA_ARCH_LIST", "Hopper")
    with pytest.raises(SystemExit, match=r"TORCH_CUDA_ARCH_LIST: expected 'all' .*'Hopper'"):
        native_build.decide_cuda()


def test_the_version_of_the_cuda_toolkit_is_read_from_nvcc(nvcc):
    command(nvcc, "Cuda compilation tools, release 13.0, V13.0.88")
    assert native_build.Nvcc(nvcc, ()).version() == "13.0"
    command(nvcc, "something else")
    with pytest.raises(SystemExit, match="names no release: 'something else"):
        native_build.Nvcc(nvcc, ()).version()


def test_cuda_can_be_left_out_or_demanded(nvcc, monkeypatch):
    monkeypatch.setenv("KSDIFF_OPS_CUDA", "0")
    assert native_build.decide_cuda() == (None, "KSDIFF_OPS_CUDA=0")
    monkeypatch.setenv("KSDIFF_OPS_CUDA", "yes")
    with pytest.raises(SystemExit, match="KSDIFF_OPS_CUDA: expected auto, 0 or 1, got 'yes'"):
        native_build.decide_cuda()
    monkeypatch.setattr(native_build, "find_nvcc", lambda: None)
    monkeypatch.setenv("KSDIFF_OPS_CUDA", "1")
    with pytest.raises(SystemExit, match="but no nvcc"):
        native_build.decide_cuda()
    monkeypatch.setenv("KSDIFF_OPS_CUDA", "auto")
    assert native_build.decide_cuda()[0] is None


def test_every_source_is_compiled(nvcc, monkeypatch):
    monkeypatch.setenv("KSDIFF_OPS_CUDA", "0")
    (cpu,) = native_build.native_extensions(ROOT)
    names = {Path(source).name for source in cpu.sources}
    assert {"build_info.cpp", "schema.cpp", "rows_generic.cpp", "dynamic_conv.cpp"} <= names
    assert names == {path.name for path in (ROOT / "csrc").glob("*.cpp")} | {
        path.name for path in (ROOT / "csrc/cpu").glob("*.cpp")
    }


def fake_torch(folder: Path, version: str) -> Path:
    root = folder / "torch"
    (root / "include/torch/csrc/stable").mkdir(parents=True)
    (root / "version.py").write_text(f"__version__ = '{version}'\n")
    return root


def test_an_installed_pytorch_is_found_without_importing_it(tmp_path, monkeypatch):
    old, new = fake_torch(tmp_path / "old", "2.9.1"), fake_torch(tmp_path / "new", "2.11.0+cpu")
    paths = [old.parent, tmp_path / "nothing", new.parent]
    monkeypatch.setattr(torch_location, "_site_packages", lambda: paths)
    assert torch_location.find_torch() == (new, "2.11.0+cpu")
    monkeypatch.setattr(torch_location, "_site_packages", lambda: paths[:2])
    assert torch_location.find_torch() is None


def test_the_environment_around_an_isolated_build_is_searched(monkeypatch):
    monkeypatch.setattr(sys, "path", ["/nowhere"])
    assert torch_location.find_torch() is not None
