"""The machine code that nvcc makes of the kernels, for the GPU that they are tuned for."""

import shutil

import pytest
import sass
from sass import Instruction, loops, most_loads_under_way
from test_cuda_build import compile_kernels

BFLOAT = "I13__nv_bfloat16"


@pytest.fixture(scope="module")
def kernels() -> dict[str, list[Instruction]]:
    if shutil.which("nvcc") is None:
        pytest.skip("no nvcc")
    if sass.disassembler() is None:
        pytest.skip("no cuobjdump on PATH or in Triton")
    return sass.functions(compile_kernels("90").cubin)


def one(kernels: dict[str, list[Instruction]], *words: str) -> list[Instruction]:
    (found,) = [code for name, code in kernels.items() if all(word in name for word in words)]
    return found


def test_nothing_lives_in_local_memory(kernels):
    assert kernels
    for name, code in kernels.items():
        assert not {"LDL", "STL"} & {i.kind for i in code}, name


def test_no_function_is_called_in_a_loop_of_a_convolution(kernels):
    checked = 0
    for name, code in kernels.items():
        if "conv" in name or "correlation" in name or "gradient" in name:
            for loop in loops(code):
                assert "CALL" not in {i.kind for i in loop}, name
                checked += 1
    assert checked > 50


@pytest.mark.parametrize("kernel", [3, 5, 7])
@pytest.mark.parametrize("type_", [BFLOAT, "I6__half", "If"])
def test_staged_convolutions_have_eight_wide_copies_under_way(kernels, type_, kernel):
    code = one(kernels, f"staged_conv{type_}Li{kernel}E", "12DenseWeights")
    wait = next(n for n, i in enumerate(code) if i.kind == "DEPBAR")
    copies = [i for i in code[:wait] if i.kind == "LDGSTS" and "128" in i.name]
    assert len(copies) >= 8
    # And kernels are loaded before the first one is used: eight at least, of nine at 3 x 3.
    assert most_loads_under_way([i for i in code[:wait] if i.kind != "LDGSTS"]) >= 8


@pytest.mark.parametrize("sink", ["14WeightGradient", "19CoefficientGradient", "13BasisGradient"])
def test_staged_correlations_have_eight_wide_copies_under_way(kernels, sink):
    code = one(kernels, f"staged_correlation{BFLOAT}Li5E", sink)
    wait = next(n for n, i in enumerate(code) if i.kind == "DEPBAR")
    assert sum(i.kind == "LDGSTS" and "128" in i.name for i in code[:wait]) >= 8


@pytest.mark.parametrize(
    ("words", "access"),
    (
        (("staged_convIfLi5E", "12DenseWeights"), "LDG.E.128"),
        (("staged_convIfLi5E", "12DenseWeights"), "LDS.128"),
        (("staged_convIfLi5E", "12DenseWeights"), "STG.E.128"),
        ((f"staged_conv{BFLOAT}Li5E", "12DenseWeights"), "LDG.E.64"),
        ((f"staged_conv{BFLOAT}Li5E", "12DenseWeights"), "LDS.64"),
        ((f"streaming_conv{BFLOAT}Li5ELb0E",), "LDG.E.128"),
        ((f"streaming_conv{BFLOAT}Li5ELb0E",), "STG.E.128"),
        (("streaming_correlationI6__halfLi3E",), "STG.E.128"),
    ),
)
def test_neighbours_move_in_the_widest_words_meant(kernels, words, access):
    assert any(i.name.startswith(access) for i in one(kernels, *words))


@pytest.mark.parametrize("kernel", [3, 5, 7])
def test_taps_are_single_precision_multiply_adds(kernels, kernel):
    pixels = 2 if kernel == 7 else 4
    code = one(kernels, f"staged_conv{BFLOAT}Li{kernel}E", "12DenseWeights")
    kinds = [i.kind for i in code]
    products = kinds.count("FFMA") + kinds.count("FMUL")
    assert products >= kernel * kernel * pixels
    assert not {"DFMA", "DMUL", "F2F"} & set(kinds)


def test_the_reader_of_machine_code_sees_loads_loops_and_calls():
    text = (
        "LDG.E.64|R2, desc[UR4][R8.64]",
        "LDG.E|R4, desc[UR4][R8.64+0x8]",
        "FADD|R5, R3, R4",
        "LDG.E|R6, desc[UR4][R8.64+0x10]",
        "CALL.REL.NOINC|0x400",
        "@P0 BRA|0x10",
        "EXIT|",
        "BRA|0x70",
    )
    code = [
        Instruction(16 * n, *line.replace("@P0 ", "").split("|")) for n, line in enumerate(text)
    ]
    assert most_loads_under_way(code) == 2
    (loop,) = loops(code)
    assert [i.kind for i in loop] == ["LDG", "FADD", "LDG", "CALL", "BRA"]
