from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from turnwise.cli.chat.blocks import Block, Blocks, Marker

LINES = st.sampled_from(
    [
        "",
        "   ",
        "Some words",
        "and **more** of them",
        "- item",
        "* item",
        "  - nested",
        "1. first",
        "12) twelfth",
        "-",
        "2024. A good year",
        "# Heading",
        "===",
        "---",
        "> quoted",
        "```",
        "```python",
        "~~~~",
        "~~~",
        "    indented",
        "   within",
        "\tafter a tab",
        "| a | b |",
        "|---|---|",
        "日本語",
        "[link]: https://example.com",
        "line\r",
    ]
)
TEXTS = st.lists(LINES | st.text(max_size=12)).map("\n".join)


def blocks_of(text: str) -> list[Block]:
    blocks = Blocks()
    return [*blocks.feed(text), *blocks.finish()]


def cut(text: str, places: list[int]) -> list[str]:
    ends = sorted({place % (len(text) + 1) for place in places})
    return [text[a:b] for a, b in zip([0, *ends], [*ends, len(text)], strict=True)]


@given(TEXTS, st.lists(st.integers(0, 1000)))
def test_text_cut_into_any_pieces_gives_the_same_blocks(text: str, places: list[int]) -> None:
    blocks = Blocks()
    found = [block for piece in cut(text, places) for block in blocks.feed(piece)]
    assert [*found, *blocks.finish()] == blocks_of(text)


@given(TEXTS, st.lists(st.integers(0, 1000)))
def test_looking_ahead_changes_nothing(text: str, places: list[int]) -> None:
    blocks = Blocks()
    found: list[Block] = []
    for piece in cut(text, places):
        found += blocks.feed(piece)
        blocks.preview()
    assert [*found, *blocks.finish()] == blocks_of(text)


@given(st.lists(st.text("abcdefgh *_[]()", min_size=1).filter(str.strip), min_size=1))
def test_no_word_is_lost(lines: list[str]) -> None:
    text = "\n\n".join(f"x {line}" for line in lines)
    assert "\n".join(block.text for block in blocks_of(text)).split() == text.split()


@pytest.mark.parametrize(
    "text,expected",
    [
        ("one\ntwo\n\nthree", [("paragraph", "one\ntwo"), ("paragraph", "three")]),
        ("# Title\ntext", [("heading", "# Title"), ("paragraph", "text")]),
        ("Title\n=====\ntext", [("heading", "# Title"), ("paragraph", "text")]),
        ("a\n\n---\nb", [("paragraph", "a"), ("rule", "---"), ("paragraph", "b")]),
        ("```py\na\n\nb\n```\nc", [("fence", "a\n\nb"), ("paragraph", "c")]),
        ("````\n```\n````", [("fence", "```")]),
        ("~~~\nnot closed", [("fence", "not closed")]),
        ("text\n> quote\nlazy", [("paragraph", "text"), ("quote", "> quote\nlazy")]),
        ("    code\n    more\ntext", [("indented", "    code\n    more"), ("paragraph", "text")]),
        ("| a |\n|---|\n| 1 |", [("paragraph", "| a |\n|---|\n| 1 |")]),
        ("In\n2024. It rained.", [("paragraph", "In\n2024. It rained.")]),
    ],
)
def test_blocks_end_where_markdown_ends_them(text: str, expected: list[tuple[str, str]]) -> None:
    assert [(block.kind, block.text) for block in blocks_of(text)] == expected


def test_every_list_item_is_a_block_with_its_marker_and_its_margin() -> None:
    text = "To do:\n- one\n  goes on\n- two\n    1. deeper\n\n  in two\n\nafter"
    assert blocks_of(text) == [
        Block("paragraph", "To do:"),
        Block("paragraph", "one\ngoes on", margin=3, marker=Marker(None), spaced=False),
        Block("paragraph", "two", margin=3, marker=Marker(None), spaced=False),
        Block("paragraph", "deeper", margin=7, marker=Marker(1), spaced=False),
        Block("paragraph", "in two", margin=3),
        Block("paragraph", "after"),
    ]


def test_code_in_a_list_item_loses_the_items_indentation_and_no_more() -> None:
    [item, code] = blocks_of("1. Run:\n   ```sh\n   if x\n     y\n   ```\n")
    assert (item.text, code.text, code.margin, code.language) == ("Run:", "if x\n  y", 4, "sh")


@pytest.mark.parametrize("begun", ["-", "- ", "1.", "#", "```", "|", "==", "**", ">"])
def test_a_line_that_is_all_markup_so_far_is_not_shown_yet(begun: str) -> None:
    blocks = Blocks()
    blocks.feed(f"Some words\n{begun}")
    assert [block.text for block in blocks.preview()] == ["Some words"]
