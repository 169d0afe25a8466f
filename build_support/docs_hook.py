"""mkdocs: links from pages to files outside docs/ become the files' names.

In a checkout they lead somewhere, which a test checks; the site does not hold the files.
"""

import re
from typing import Any

_LINK = re.compile(r"\[([^\]]+)\]\(((?:\.\./)+)([^)]+)\)")


def on_page_markdown(markdown: str, page: Any, **_: object) -> str:
    depth = page.file.src_uri.count("/")

    def named(link: re.Match[str]) -> str:
        text, up, path = link.groups()
        if up.count("../") <= depth:
            return link.group()
        return text if path.endswith(text.strip("`")) else f"{text} (`{path}`)"

    return _LINK.sub(named, markdown)
