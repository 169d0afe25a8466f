"""Which modules a file imports."""

import ast
from collections.abc import Container
from pathlib import Path


def imports(path: Path, known: Container[str], by_name: bool = False) -> set[str]:
    """The modules among ``known`` that a file imports anywhere, functions included.

    ``by_name``: and those whose names it holds as text, as `import_module` is given them.
    """
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import in line {node.lineno}"
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                found.add(full if full in known else node.module)
        elif by_name and isinstance(node, ast.Constant) and isinstance(node.value, str):
            found.add(node.value)
    return {name for name in found if name in known}
