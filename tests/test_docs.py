"""Links between the pages of the documentation."""

import ast
import re
from urllib.parse import unquote

import pytest

from conftest import ROOT

PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", ROOT / "data" / "README.md", *sorted((ROOT / "docs").glob("*.md"))]

SOURCES = [
    ROOT / "build_batches.py",
    *(
        path
        for folder in ("cmpc_tf2", "cmpc_video_tf2", "cogrounding_tf2", "tools")
        for path in (ROOT / folder).rglob("*.py")
    ),
]


def text_of(page):
    """A page without its code blocks."""
    return re.sub(r"^ *```.*?^ *```", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)


def anchors(page) -> set[str]:
    """Anchors of the headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", text_of(page), re.MULTILINE)
    slugs = [re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings]
    assert len(set(slugs)) == len(slugs), f"{page}: two headings have the same anchor"
    return set(slugs)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_to_files_and_headings(page):
    text = re.sub(r"`[^`\n]*`(?!\])", "", text_of(page))
    links = re.findall(r"\]\(([^()\s]+)\)", text) + re.findall(r'(?:src|href)="([^"]+)"', text)
    for link in (unquote(link) for link in links if not re.match(r"[a-z]+:", link)):
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), f"{page.name}: {link}"
        if anchor:
            assert anchor in anchors(target), f"{page.name}: {link}"


def test_the_site_has_every_page():
    site = (ROOT / "mkdocs.yml").read_text()
    for page in PAGES:
        assert re.search(rf"[ :]{re.escape(page.relative_to(ROOT).as_posix())}$", site, re.MULTILINE), page


def test_messages_name_pages_that_exist():
    named = {name for path in SOURCES for name in re.findall(r"\b(?:docs|data)/\w+\.md", path.read_text())}
    assert named and all((ROOT / name).is_file() for name in named), named


def test_troubleshooting_quotes_messages_of_the_code():
    messages = set()
    for node in (node for path in SOURCES for node in ast.walk(ast.parse(path.read_text()))):
        if isinstance(node, ast.JoinedStr):
            parts = [part.value if isinstance(part, ast.Constant) else None for part in node.values]
            messages.add("".join(".+" if part is None else re.escape(part) for part in parts))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            messages.add(re.escape(node.value))
    messages = [message for message in messages if len(message.replace(".+", "")) > 20]
    quoted = re.findall(r"^error: (.+)$", (ROOT / "docs" / "troubleshooting.md").read_text(), re.MULTILINE)
    assert quoted
    for message in quoted:
        assert any(re.fullmatch(pattern, message) for pattern in messages), message
