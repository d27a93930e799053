"""What the documentation shows is what happens: its links lead somewhere and its programs are real."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from turnwise.server.embed import embedded
from turnwise.server.settings import Settings, variable_of

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


@pytest.fixture
def served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A server of its own, in the environment as the pages tell their readers to put it there."""
    settings = Settings(database_url=f"sqlite:///{tmp_path / 'turnwise.db'}", model="offline", discover=False)
    with embedded(settings=settings) as server:
        monkeypatch.setenv("TURNWISE_BASE_URL", server.url)
        monkeypatch.setenv("TURNWISE_SECRET", server.secret)
        yield


def run(page: Path) -> None:
    """Run a page's programs from top to bottom, as one."""
    names: dict[str, object] = {"__name__": "__main__"}
    for program in programs(page.read_text()):
        exec(compile(program, page_id(page), "exec"), names)  # noqa: S102 - our own pages


WITH_PROGRAMS = [page for page in PAGES if programs(page.read_text())]


@pytest.mark.usefixtures("served")
@pytest.mark.parametrize("page", WITH_PROGRAMS, ids=page_id)
def test_every_program_runs_as_printed(page: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(page)
    assert capsys.readouterr().out.strip()


@pytest.mark.usefixtures("served")
def test_the_readme_s_program_streams_the_answer(capsys: pytest.CaptureFixture[str]) -> None:
    run(ROOT / "README.md")
    answer, _, end = capsys.readouterr().out.strip().rpartition("\n")
    assert "The shop opens at nine" in answer
    assert end.startswith("stop ")


def test_the_settings_page_tells_of_every_setting_and_its_default() -> None:
    page = (ROOT / "docs" / "reference" / "settings.md").read_text()
    rows = dict(re.findall(r"^\| `(\w+)` \|.*\| ([^|]+) \|$", page.partition("## The server")[2], re.MULTILINE))
    wrong: list[str] = []
    for setting in dataclasses.fields(Settings):
        told = rows.get(variable_of(setting.name), "(nothing)")
        if told != written(setting.default) and setting.default not in {"", ()}:
            wrong.append(f"{variable_of(setting.name)}: {told}, not {written(setting.default)}")
        if told == "(nothing)":
            wrong.append(f"{variable_of(setting.name)} is not on the page")
    assert wrong == []


def written(default: object) -> str:
    """A default as the page writes it."""
    match default:
        case bool():
            return f"`{str(default).lower()}`"
        case float():
            return f"`{default:g}`"
        case tuple():
            return f"`{','.join(str(part) for part in default)}`"  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
        case _:
            return f"`{default}`"


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
