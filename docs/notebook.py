"""Executes docs/ndvi.ipynb; writes ndvi.md beside it and its pictures into ndvi_files.

    make notebook

The pictures' words for those who do not see them are in the metadata of their cells, as ``alt``.
"""

import io
import re
import tempfile
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from PIL import Image

FOLDER = Path(__file__).parent


def executed(path: Path) -> nbformat.NotebookNode:
    """The notebook with what its cells give, run in an empty folder."""
    notebook = nbformat.read(path, as_version=4)
    with tempfile.TemporaryDirectory() as folder:
        client = NotebookClient(notebook, timeout=300, resources={"metadata": {"path": folder}})
        return client.execute()


def main() -> None:
    notebook = executed(FOLDER / "ndvi.ipynb")
    from nbconvert import MarkdownExporter  # not needed for executing alone

    text, resources = MarkdownExporter().from_notebook_node(
        notebook, resources={"output_files_dir": "ndvi_files", "unique_key": "ndvi"}
    )
    for alt in (cell.metadata["alt"] for cell in notebook.cells if "alt" in cell.metadata):
        text = text.replace("![png](", f"![{alt}](", 1)
    text = re.sub(r"[ \t]+\n", "\n", text)
    (FOLDER / "ndvi_files").mkdir(exist_ok=True)
    for name, content in resources["outputs"].items():
        # Saved anew, a picture does not name the program that made it.
        Image.open(io.BytesIO(content)).save(FOLDER / name)
    (FOLDER / "ndvi.md").write_text(text.strip() + "\n")


if __name__ == "__main__":
    main()
