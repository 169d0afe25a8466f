"""What a request may ask, and how that is described."""

from __future__ import annotations

from dataclasses import MISSING, fields
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from ksdiff.errors import KSDiffError
from ksdiff.inference.options import SharpenOptions
from ksdiff.io.input_options import InputOptions
from ksdiff.io.output_options import OutputOptions
from ksdiff.serve.allowed import Allowed

_OWN = {"device", "tile", "co"}  # options that are the server's affair
_PARTS: dict[str, type] = {
    "options": SharpenOptions,
    "reading": InputOptions,
    "output": OutputOptions,
}
_Names = Annotated[list[str], Field(min_length=1, max_length=64)]


class Asked(BaseModel):
    """What to sharpen, and how."""

    model_config = ConfigDict(extra="forbid")

    pan: str | _Names
    ms: str | _Names
    options: dict[str, Any] = {}
    reading: dict[str, Any] = {}
    output: dict[str, Any] = {}
    report: bool = False


class Execution(BaseModel):
    """The same as OGC API - Processes wraps it."""

    inputs: Asked


def checked(asked: Asked, allowed: Allowed) -> dict:
    """A request as it is stored. Files are looked at here and once more when the job begins.

    Raises:
        KSDiffError: a file that may not be named, an option or a value that does not exist.
    """
    request = asked.model_dump()
    for role in ("pan", "ms"):
        names = request[role]
        request[role] = [names] if isinstance(names, str) else names
        for name in request[role]:
            allowed(role, name)
    for part, kind in _PARTS.items():
        _check(part, kind, request[part])
    return request


def _check(part: str, kind: type, values: dict[str, Any]) -> None:
    """Raise KSDiffError unless the values are an option's each."""
    known = {each.name: each.default for each in fields(kind) if each.name not in _OWN}
    for name, value in values.items():
        if name not in known:
            raise KSDiffError(f"{part}: unknown {name!r}; expected one of {', '.join(known)}")
        default = known[name]
        kinds = (str, type(None)) if default is None else (type(default),)
        if type(value) not in kinds:
            raise KSDiffError(
                f"{part}: {name}: expected {' or '.join(each.__name__ for each in kinds)}, "
                f"got {value!r}"
            )
    kind(**values)


def described() -> dict:
    """Schema and defaults of all that can be asked, by name."""
    schema = Asked.model_json_schema()
    inputs = {name: {"schema": each} for name, each in schema["properties"].items()}
    for part, kind in _PARTS.items():
        inputs[part]["schema"] = {
            "type": "object",
            "additionalProperties": False,
            "properties": {
                each.name: {"default": None if each.default is MISSING else each.default}
                for each in fields(kind)
                if each.name not in _OWN
            },
        }
    return inputs
