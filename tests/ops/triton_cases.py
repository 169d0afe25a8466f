"""Launches that stand for every Triton kernel and variant, and their compilation without a GPU."""

import os
import re
import subprocess
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from tempfile import NamedTemporaryFile

import torch

from ksdiff_ops.arguments import Window

_POINTERS = {
    torch.float32: "*fp32",
    torch.float64: "*fp64",
    torch.float16: "*fp16",
    torch.bfloat16: "*bf16",
}


def _image_tensors(kernel, dtype, stride, groups=1, size=256, batch=8, channels=64):
    """x, per-pixel kernels and output of a "same" convolution, without memory, and its window."""
    empty = partial(torch.empty, dtype=dtype, device="meta")
    out = -(-size // stride)
    x = empty(batch, channels, size, size)
    weight = empty(batch, groups, *kernel, out, out)
    window = Window((stride, stride), (kernel[0] // 2, kernel[1] // 2), (1, 1))
    return x, weight, empty(batch, channels, out, out), window


def _dynamic_conv(role, kernel, dtype=torch.float32, stride=1):
    from ksdiff_ops.triton import dynamic_conv as ops

    x, weight, y, window = _image_tensors(kernel, dtype, stride)
    if role == "forward":
        return ops.forward_launch(x, weight, y, window)
    if role == "grad_input":
        return ops.grad_input_launch(y, weight, x, window)
    return ops.grad_weight_launch(y, x, weight, window)


def _lowrank(role, kernel, dtype=torch.float32, stride=1, rank=4):
    from ksdiff_ops.triton import lowrank_dynamic_conv as ops

    x, weight, y, window = _image_tensors(kernel, dtype, stride)
    coeff = weight.new_empty(*weight.shape[:2], rank, *weight.shape[4:])
    basis = weight.new_empty(*weight.shape[:2], rank, *kernel)
    if role == "forward":
        return ops.forward_launch(x, coeff, basis, y, window)
    if role == "grad_input":
        return ops.grad_input_launch(y, coeff, basis, x, window)
    if role == "grad_coeff":
        return ops.grad_coeff_launch(y, x, basis, window)[0]
    return ops.grad_basis_launch(y, x, coeff, kernel, window)[0]


def _tucker(role, ranks, dtype=torch.float32, has_base=True):
    from ksdiff_ops.triton import tucker_kernel as ops

    empty = partial(torch.empty, dtype=dtype, device="meta")
    sizes = (64, 48, 3, 3)
    core = empty(8, *ranks)
    factors = [empty(8, size, rank) for size, rank in zip(sizes, ranks, strict=True)]
    base = empty(sizes) if has_base else None
    grads = [core, *factors, *([base] if has_base else [])]
    out = empty(8, *sizes)
    if role == "forward":
        return ops.forward_launch(core, factors, base, out)
    launches = ops.backward_launches(out, core, factors, base, grads)
    return launches[("first", "second", "third").index(role)]


@contextmanager
def _float32(precision):
    """With PyTorch's convolutions told how to multiply float32, which launches follow."""
    conv = torch.backends.cudnn.conv
    before, conv.fp32_precision = conv.fp32_precision, precision
    try:
        yield
    finally:
        conv.fp32_precision = before


def _batched(role, dtype=torch.float32, stride=1, channels=(64, 64), precision="tf32"):
    from ksdiff_ops.triton import batched_conv2d as ops

    inputs, outputs = channels
    x, _, _, window = _image_tensors((3, 3), dtype, stride, channels=inputs)
    y = x.new_empty(x.shape[0], outputs, x.shape[2] // stride, x.shape[3] // stride)
    weight = x.new_empty(x.shape[0], outputs, inputs, 3, 3)
    with _float32(precision):
        if role == "forward":
            return ops.convolve_launch(x, weight, y, 1, window)
        if role == "grad_input":
            return ops.convolve_launch(y, weight, x, 1, window, backwards=True)
        return ops.grad_weight_launch(y, x, 1, (3, 3), window)[0]


def _adaptive(role, dtype=torch.float32, channels=(64, 64), precision="tf32"):
    from ksdiff_ops.triton import adaptive_conv2d as ops

    inputs, outputs = channels
    x = _image_tensors((3, 3), dtype, 1, channels=inputs)[0]
    y = x.new_empty(x.shape[0], outputs, *x.shape[2:])
    attention = x.new_empty(x.shape[0], 3, 3, *x.shape[2:])
    weight = x.new_empty(outputs, inputs, 3, 3)
    with _float32(precision):
        if role == "forward":
            return ops.convolve_launch(x, attention, weight, y)
        if role == "grad_input":
            return ops.convolve_launch(y, attention, weight, x, backwards=True)
        if role == "grad_attention":
            return ops.grad_attention_launch(y, x, weight, attention)
        return ops.grad_weight_launch(y, x, attention)[0]


_PRODUCT_ROLES = {
    _batched: ("forward", "grad_input", "grad_weight"),
    _adaptive: ("forward", "grad_input", "grad_attention", "grad_weight"),
}
_IMAGE_ROLES = {
    _dynamic_conv: ("forward", "grad_input", "grad_weight"),
    _lowrank: ("forward", "grad_input", "grad_coeff", "grad_basis"),
}


def _every_kernel():
    for make, roles in _IMAGE_ROLES.items():
        for role in roles:
            yield f"{make.__name__[1:]} {role} 3x3", partial(make, role, (3, 3))
    for make, roles in _PRODUCT_ROLES.items():
        for role in roles:
            yield f"{make.__name__[1:]} {role} bf16", partial(make, role, torch.bfloat16)
    for role in ("forward", "first", "second", "third"):
        yield f"tucker_kernel {role} (4,4,2,2)", partial(_tucker, role, (4, 4, 2, 2))


def _variants():
    half, double = torch.bfloat16, torch.float64
    for role in _IMAGE_ROLES[_dynamic_conv]:
        yield f"dynamic_conv {role} 5x5 bf16", partial(_dynamic_conv, role, (5, 5), half)
        yield f"dynamic_conv {role} 11x11", partial(_dynamic_conv, role, (11, 11))
        yield f"dynamic_conv {role} 3x3 float64", partial(_dynamic_conv, role, (3, 3), double)
    yield "dynamic_conv grad_weight 7x7", partial(_dynamic_conv, "grad_weight", (7, 7))
    yield "lowrank grad_input 7x7", partial(_lowrank, "grad_input", (7, 7), rank=8)
    yield "dynamic_conv forward stride 2", partial(_dynamic_conv, "forward", (3, 3), stride=2)
    yield "dynamic_conv grad_input stride 2", partial(_dynamic_conv, "grad_input", (3, 3), stride=2)
    yield "lowrank grad_coeff 9x9", partial(_lowrank, "grad_coeff", (9, 9))
    yield "lowrank grad_basis 3x3 rank 8", partial(_lowrank, "grad_basis", (3, 3), rank=8)
    yield "lowrank grad_basis 5x5", partial(_lowrank, "grad_basis", (5, 5))
    for make, roles in _PRODUCT_ROLES.items():
        for role in roles:
            name = f"{make.__name__[1:]} {role}"
            yield f"{name} tf32", partial(make, role)
            yield f"{name} float32", partial(make, role, precision="ieee")
        for role in ("forward", "grad_weight"):
            name = f"{make.__name__[1:]} {role}"
            yield f"{name} float64", partial(make, role, double)
            yield f"{name} few channels", partial(make, role, torch.float16, channels=(4, 9))
    yield "batched grad_input stride 2 bf16", partial(_batched, "grad_input", half, stride=2)
    for role in ("forward", "first", "second"):
        yield (
            f"tucker_kernel {role} rank 16",
            partial(_tucker, role, (16, 16, 3, 3), has_base=False),
        )
        yield (
            f"tucker_kernel {role} rank 16 float64",
            partial(_tucker, role, (16, 16, 3, 3), double),
        )


EVERY_KERNEL = dict(_every_kernel())
VARIANTS = dict(_variants())


def signature(launch) -> dict[str, str]:
    """The types of a launch's arguments, as Triton writes them."""
    types = {name: "constexpr" for name in launch.kernel.arg_names}
    for name, value in launch.arguments.items():
        types[name] = _POINTERS[value.dtype] if isinstance(value, torch.Tensor) else "i32"
    return types


def compile_launch(launch, architecture: int):
    """The kernel compiled for a GPU of that architecture, no GPU needed."""
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    source = ASTSource(launch.kernel, signature(launch), launch.constants)
    options = {"num_warps": launch.warps, "num_stages": launch.stages}
    return triton.compile(source, target=GPUTarget("cuda", architecture, 32), options=options)


def resources(case: str, architecture: int, folder: Path) -> dict[str, int]:
    """Registers, bytes of stack and local memory of a thread, and of the compiled kernel's code the
    64-bit divisions and the reads from global memory of 16 and of 2 bytes.
    """
    os.environ["TRITON_CACHE_DIR"] = str(folder / "cache")
    from triton.knobs import nvidia

    compiled = compile_launch({**EVERY_KERNEL, **VARIANTS}[case](), architecture)
    # Cases that are one kernel share its hash, and another process may be writing it.
    with NamedTemporaryFile(dir=folder, suffix=".cubin") as cubin:
        cubin.write(compiled.asm["cubin"])
        cubin.flush()
        report = subprocess.run(
            [nvidia.cuobjdump.path, "--dump-resource-usage", cubin.name],
            check=True,
            capture_output=True,
            text=True,
        ).stdout
    used = {key: int(value) for key, value in re.findall(r"(REG|STACK|LOCAL):(\d+)", report)}
    found = {
        "DIV64": r"\b(?:div|rem)\.[su]64",
        "WIDE": r"cp\.async\.cg\.shared\.global [^;]*, 0x10,|ld\.global\S*\.v4\.b32",
        "NARROW": r"ld\.global\S*\.b16",
    }
    return used | {name: len(re.findall(code, compiled.asm["ptx"])) for name, code in found.items()}
