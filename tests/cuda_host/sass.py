"""What a GPU will execute: the machine code of compiled kernels, instruction by instruction."""

import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

_INSTRUCTION = re.compile(
    r"^\s*/\*([0-9a-f]+)\*/\s+(?:@!?U?P\w+\s+)?([A-Z][\w.]*)\s*([^;]*);", re.MULTILINE
)
_REGISTER = re.compile(r"\bR(\d+)\b")
_WORDS = {"64": 2, "128": 4}


@dataclass(frozen=True)
class Instruction:
    address: int
    name: str  # with its modifiers: LDG.E.128.CONSTANT
    operands: str

    @property
    def kind(self) -> str:
        return self.name.partition(".")[0]

    @property
    def registers(self) -> list[int]:
        return [int(number) for number in _REGISTER.findall(self.operands)]


def disassembler() -> str | None:
    """The path of cuobjdump: the CUDA toolkit's, or the one that comes with Triton."""
    found = shutil.which("cuobjdump")
    if found is None:
        try:
            from triton.knobs import nvidia
        except ImportError:
            return None
        found = nvidia.cuobjdump.path
    return found


def functions(cubin: Path) -> dict[str, list[Instruction]]:
    """The instructions of every kernel, by its mangled name."""
    text = subprocess.run(
        [disassembler(), "--dump-sass", str(cubin)], capture_output=True, text=True, check=True
    ).stdout
    found = {}
    for function in text.split("Function : ")[1:]:
        name, _, body = function.partition("\n")
        found[name.strip()] = [
            Instruction(int(address, 16), *rest) for address, *rest in _INSTRUCTION.findall(body)
        ]
    return found


def loops(code: list[Instruction]) -> list[list[Instruction]]:
    """What every jump backwards repeats; a kernel's end, a jump to itself, is none."""
    found = []
    for jump in code:
        target = re.search(r"0x([0-9a-f]+)", jump.operands) if jump.kind == "BRA" else None
        if target and int(target.group(1), 16) < jump.address:
            start = int(target.group(1), 16)
            found.append([i for i in code if start <= i.address <= jump.address])
    return found


def most_loads_under_way(code: list[Instruction]) -> int:
    """The most loads from global memory that follow each other before one's result is used.

    Copies to shared memory have no result: they are under way until the thread waits for them.
    """
    most, pending, loads = 0, set(), 0
    for instruction in code:
        registers = instruction.registers
        if instruction.kind == "LDG":
            words = next((_WORDS[w] for w in instruction.name.split(".") if w in _WORDS), 1)
            used, results = registers[1:], range(registers[0], registers[0] + words)
        else:
            used, results = registers, ()
        if pending & set(used) or instruction.kind in ("DEPBAR", "BAR"):
            pending, loads = set(), 0
        if instruction.kind in ("LDG", "LDGSTS"):
            pending |= set(results)
            loads += 1
            most = max(most, loads)
    return most
