"""What the documentation shows is what happens: its links lead somewhere and its programs are real."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PAGES = [
    *(ROOT / name for name in ("README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md")),
    *sorted((ROOT / "docs").rglob("*.md")),
]


def programs(text: str) -> list[str]:
    """The ```python blocks of a page, each padded with empty lines so that its errors name the page's lines."""
    matches = re.finditer(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    return ["\n" * text[: match.start(1)].count("\n") + match[1] for match in matches]


def links(text: str) -> list[str]:
    """The relative links of a page, without their anchors."""
    targets = re.findall(r"\]\(([^)\s]+)\)", re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL))
    return [target.partition("#")[0] for target in targets if "://" not in target and not target.startswith("#")]


def page_id(page: Path) -> str:
    return str(page.relative_to(ROOT))


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_every_link_between_pages_leads_somewhere(page: Path) -> None:
    missing = [target for target in links(page.read_text()) if not (page.parent / target).exists()]
    assert not missing


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_every_program_is_python(page: Path) -> None:
    for program in programs(page.read_text()):
        compile(program, page_id(page), "exec")


def test_every_page_can_be_reached_from_the_index_or_the_readme() -> None:
    reached: set[Path] = set()
    for start in (ROOT / "README.md", ROOT / "docs" / "index.md"):
        reached |= {start, *((start.parent / target).resolve() for target in links(start.read_text()))}
    assert [page_id(page) for page in PAGES if page not in reached] == []


def test_a_program_keeps_the_line_numbers_of_its_page() -> None:
    (program,) = programs("# Title\n\n```python\nfirst = 1\n```\n\n```text\nno program\n```\n")
    assert program.splitlines().index("first = 1") == 3


def test_links_leave_out_the_web_and_anchors() -> None:
    assert links("[a](docs/a.md#part) [b](https://example.com/b) [c](#here)") == ["docs/a.md"]
