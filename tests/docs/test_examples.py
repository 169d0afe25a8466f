"""Code in the README and in docs/ runs as it stands there, and links lead somewhere."""

import re
from pathlib import Path

import pytest

from ksdiff.config import load_config

ROOT = Path(__file__).resolve().parents[2]
SELF_CONTAINED = ("README.md", "operators.md")  # others speak of the reader's files
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]


def blocks(language: str, pages: list[Path]) -> list:
    pattern = re.compile(rf"^```{language}\n(.*?)^```$", re.S | re.M)
    return [
        pytest.param(text, id=f"{page.name}-{number}")
        for page in pages
        for number, text in enumerate(pattern.findall(page.read_text()))
    ]


@pytest.mark.parametrize(
    "code", blocks("python", [page for page in PAGES if page.name in SELF_CONTAINED])
)
def test_python_example_runs_and_gives_the_shape_it_says(code):
    names = {}
    exec(compile(code, "example", "exec"), names)
    for name, shape in re.findall(r"^(\w+) = .*# (\[[\d, ]+\])$", code, re.M):
        assert str(list(names[name].shape)) == shape


@pytest.mark.parametrize("text", blocks("yaml", PAGES))
def test_yaml_example_is_a_config(text, tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text(text)
    load_config(path)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_to_files(page):
    targets = re.findall(r"\]\(([^)#]+)\)", page.read_text())
    missing = [t for t in targets if "://" not in t and not (page.parent / t).exists()]
    assert not missing


@pytest.mark.parametrize(
    "operator",
    ["dynamic_conv", "lowrank_dynamic_conv", "tucker_kernel", "batched_conv2d", "adaptive_conv2d"],
)
def test_operators_page_has_an_example_and_a_picture_of_each(operator):
    text = (ROOT / "docs/operators.md").read_text()
    section = text.split(f"\n## {operator}\n")[1].split("\n## ")[0]
    example = re.search(r"```python\n(.*?)```", section, re.S).group(1)
    assert f"ksdiff_ops.{operator}(" in example
    assert len(example.strip().splitlines()) <= 6
    assert f"](pictures/{operator}.png)" in section
