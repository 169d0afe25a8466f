"""Text of groups and ``KEY = VALUE`` lines: Landsat's MTL, Maxar's IMD and TIL."""

from __future__ import annotations

import re

_LINE = re.compile(r"\s*(\w+)\s*=\s*(.*?)\s*;?\s*")
Groups = dict[str, dict[str, str]]


def parse_odl(text: str) -> Groups:
    """Keys and values by group, in the order of the file; those of no group under "".

    A group within groups stands under its own name. Lists over several lines are cut.
    """
    groups: Groups = {"": {}}
    path: list[str] = []
    for line in text.splitlines():
        match = _LINE.fullmatch(line)
        if match is None:
            continue
        key, value = match[1], match[2].strip('"')
        if key in ("GROUP", "BEGIN_GROUP"):
            path.append(value)
            groups.setdefault(value, {})
        elif key == "END_GROUP":
            path = path[:-1]
        else:
            groups[path[-1] if path else ""].setdefault(key, value)
    return groups
