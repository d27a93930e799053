from __future__ import annotations

import pytest
from rich.text import Text

from turnwise.cli.output import ago, one_line, print_table, shortened


@pytest.mark.parametrize(
    "seconds,expected",
    [
        (-5, "just now"),
        (9, "just now"),
        (10, "10s ago"),
        (59, "59s ago"),
        (60, "1m ago"),
        (3599, "59m ago"),
        (3600, "1h ago"),
        (86_400, "1d ago"),
        (40 * 86_400, "1mo ago"),
        (800 * 86_400, "2y ago"),
    ],
)
def test_moments_are_told_from_now(seconds: float, expected: str) -> None:
    assert ago(1_000_000_000_000, now=1_000_000_000 + seconds) == expected


def test_a_text_on_one_line_cannot_steer_the_terminal() -> None:
    assert one_line("a\n b\x1b[2Jc\t d") == "a b[2Jc d"
    assert one_line(None, otherwise="nothing") == "nothing"


def test_texts_are_shortened_to_their_length() -> None:
    assert shortened("one two", 7) == "one two"
    assert shortened("one two three", 9) == "one two…"


@pytest.mark.parametrize("count", range(2, 6))
def test_only_the_wide_column_of_a_table_is_cut(count: int, capsys: pytest.CaptureFixture[str]) -> None:
    columns = ["Wide", *(f"Column {number}" for number in range(1, count))]
    print_table(columns, [[Text("x" * 200), *(Text(f"whole {number}") for number in range(1, count))]], wide="Wide")
    row = capsys.readouterr().out.splitlines()[2]
    assert len(row.rstrip()) <= 80
    assert all(f"whole {number}" in row for number in range(1, count))
    assert row.index("…") > 20


def test_tables_fit_the_terminal_and_keep_ids_whole(capsys: pytest.CaptureFixture[str]) -> None:
    rows = [[Text("0123456789abcdef" * 2), Text("A very long name " * 9), Text("5m ago")]]
    print_table(["ID", "Name", "Updated"], rows, wide="Name")
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80
    assert lines[2].startswith("0123456789abcdef" * 2 + "   A very long name")
    assert lines[2].rstrip().endswith("…   5m ago")
