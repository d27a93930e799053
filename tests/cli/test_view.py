"""What a person sees while an answer grows, on a screen that scrolls."""

from __future__ import annotations

import re
from typing import IO, cast

from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console
from tests.cli.screen import Screen
from tests.cli.test_blocks import TEXTS, cut

from turnwise.cli.chat.render import THEME
from turnwise.cli.chat.view import AnswerView

ANSWER = """\
# Opening hours

We are open **every day** except Monday:
- Tuesday to Friday: `9:00` to `18:00`
- 土曜日は午前のみ営業しております。どうぞよろしくお願いいたします。
    1. coffee
    2. [cake](https://example.com)

```python
def hours(day: str) -> tuple[int, int]:
    return (9, 18)  # a long comment that does not fit into a narrow terminal
```

| Day | Opens | Closes |
|:----|------:|-------:|
| Tuesday | 9:00 | 18:00 |
| Saturday | 9:00 | 13:00 |

> Please call before you come.
"""


class Clock:
    """Every look at it is a frame later: everything fed is drawn."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        self.now += 1.0
        return self.now


def console_on(screen: Screen) -> Console:
    return Console(
        file=cast("IO[str]", screen),
        width=screen.width,
        height=screen.height,
        force_terminal=True,
        color_system="standard",
        theme=THEME,
        legacy_windows=False,
    )


def shown(pieces: list[str], *, width: int, height: int) -> Screen:
    screen = Screen(width, height)
    view = AnswerView(console_on(screen), clock=Clock())
    for piece in pieces:
        view.feed(piece)
    view.end()
    return screen


@settings(max_examples=60, deadline=None)
@given(
    st.just(ANSWER) | TEXTS,
    st.lists(st.integers(0, 1000), max_size=12),
    st.integers(1, 90),
    st.integers(2, 30),
)
def test_an_answer_looks_the_same_however_it_came(text: str, places: list[int], width: int, height: int) -> None:
    at_once = shown([text], width=width, height=10_000)
    in_pieces = shown(cut(text, places), width=width, height=height)
    assert in_pieces.text == at_once.text


def test_an_answer_longer_than_the_screen_leaves_no_trace_of_its_growth() -> None:
    text = "```\n" + "\n".join(f"line {number}" for number in range(100)) + "\n```\nend\n"
    screen = shown([text[at : at + 3] for at in range(0, len(text), 3)], width=40, height=8)
    assert screen.text.split("\n") == [*(f"  line {number}" for number in range(100)), "", "end", ""]


def test_what_is_finished_is_never_written_again() -> None:
    screen = Screen(60, 20)
    view = AnswerView(console_on(screen), clock=Clock())
    view.feed("A first paragraph.\n\n")
    screen.written.clear()
    for word in ("Then", "a", "second", "one."):
        view.feed(word + " ")
    assert "first" not in "".join(screen.written)
    assert "second" in "".join(screen.written)


def test_every_update_is_one_write_that_terminals_show_at_once() -> None:
    screen = Screen(30, 20)
    view = AnswerView(console_on(screen), clock=Clock())
    view.feed("word " * 30)
    [update] = screen.written
    assert re.fullmatch(r"\x1b\[\?2026h.*\x1b\[\?2026l", update, re.DOTALL)


def test_the_cursor_is_back_at_the_end() -> None:
    screen = Screen(30, 20)
    view = AnswerView(console_on(screen), clock=Clock())
    view.feed("word")
    assert not screen.cursor_shown
    view.end()
    assert (screen.cursor_shown, screen.column) == (True, 0)


def test_a_sign_of_life_is_shown_until_the_first_word() -> None:
    screen = Screen(30, 20)
    clock = Clock()
    view = AnswerView(console_on(screen), clock=clock)
    clock.now = 7
    view.draw()
    assert re.fullmatch(r"\S 7 s", screen.text)
    view.feed("Here I am")
    view.end()
    assert screen.text == "Here I am\n"


def test_reasoning_stands_above_the_answer_dim() -> None:
    screen = Screen(60, 20)
    view = AnswerView(console_on(screen), clock=Clock())
    for piece in ("Let me ", "see.\n\nThey ask", " when."):
        view.feed(piece, "reasoning")
    view.feed("At nine.")
    view.end()
    assert screen.text == "Let me see.\n\nThey ask when.\n\nAt nine.\n"
    assert "\x1b[2;3mThey ask when." in "".join(screen.written)


def test_a_model_cannot_steer_the_terminal() -> None:
    hostile = "a\x1b[2Jb\x1b]52;c;aGk=\x07c\x9b31md\x00e\x7ff"
    assert shown([hostile], width=60, height=5).text == "a[2Jb]52;c;aGk=c31mdef\n"


def test_a_terminal_made_narrower_meanwhile_keeps_the_text_once() -> None:
    screen = Screen(40, 20)
    console = console_on(screen)
    view = AnswerView(console, clock=Clock())
    view.feed("These are some words that need one row ")
    screen.rows = [list("These are some words"), list("that need one row")]
    screen.row, screen.column, screen.width, console.width = 1, 17, 21, 21
    view.feed("and more.\n")
    view.end()
    assert screen.text == "These are some words\nthat need one row\nand more.\n"
