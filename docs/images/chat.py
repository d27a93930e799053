# ruff: noqa: INP001, S603, S607 - a script, beside the picture it makes; it starts tmux with arguments of its own
"""Makes chat.svg: a real session of `turnwise chat` in tmux, with a model that says what is written below.

    python docs/images/chat.py

needs tmux, and an environment with this project's development requirements (`make` makes one in .venv).
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from rich.console import Console
from rich.terminal_theme import TerminalTheme
from rich.text import Text

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from tests.cli.model_server import model_server  # noqa: E402 - found on the path that was just set

WIDTH, HEIGHT = 84, 40

TALK = {
    "When do you open at the weekend?": """\
We open **earlier** on Saturdays:

| Day | Opens | Fresh bread | Closes |
|:----|------:|:------------|-------:|
| Saturday | 8:00 | from 8:30 | 14:00 |
| Sunday | 9:00 | *sold out by noon* | 12:00 |

Parking is free in the yard behind the shop.
""",
    "Can a script order a cake?": """\
Yes, that takes **two steps**:

1. Ask for a quote. It stays valid until `18:00` the day before.
2. Confirm it:

   ```python
   def confirm(quote: Quote, *, candles: int = 0) -> Order:
       \"\"\"Order the cake; it is in the oven from then on.\"\"\"
       return shop.order(quote.id, extras=["candle"] * candles)
   ```

> Please tell us about allergies when you ask for the quote.
""",
}

BACKGROUND, FOREGROUND = "161821", "d6dae6"
NORMAL = "414868 f7768e 9ece6a e0af68 7aa2f7 bb9af7 7dcfff c0caf5"
BRIGHT = "565f89 ff899d b9f27c ffc777 89b4ff cba6f7 94e2ff e6e9f5"

# Rich's own frame names a font that is fetched from elsewhere; this one asks for fonts that people have.
FRAME = """\
<svg class="rich-terminal" viewBox="0 0 {width} {height}" xmlns="http://www.w3.org/2000/svg">
<style>
.{unique_id}-matrix {{
    font-family: "Cascadia Mono", "SF Mono", Menlo, Consolas, "DejaVu Sans Mono", monospace;
    font-size: {char_height}px; line-height: {line_height}px; font-variant-east-asian: full-width;
}}
.{unique_id}-title {{ font-size: 18px; font-weight: bold; font-family: system-ui, sans-serif; }}
{styles}
</style>
<defs>
<clipPath id="{unique_id}-clip-terminal">
<rect x="0" y="0" width="{terminal_width}" height="{terminal_height}"/>
</clipPath>
{lines}
</defs>
{chrome}
<g transform="translate({terminal_x}, {terminal_y})" clip-path="url(#{unique_id}-clip-terminal)">
{backgrounds}
<g class="{unique_id}-matrix">
{matrix}
</g>
</g>
</svg>
"""


def colour(text: str) -> tuple[int, int, int]:
    """Read a colour written as six hexadecimal digits."""
    red, green, blue = bytes.fromhex(text)
    return red, green, blue


def colours(text: str) -> list[tuple[int, int, int]]:
    """Read colours separated by spaces."""
    return [colour(part) for part in text.split()]


THEME = TerminalTheme(colour(BACKGROUND), colour(FOREGROUND), colours(NORMAL), colours(BRIGHT))


def tmux(*arguments: str) -> str:
    """Run tmux on a server of our own and return what it prints."""
    return subprocess.run(
        ["tmux", "-L", f"turnwise-{os.getpid()}", *arguments], capture_output=True, text=True, check=True
    ).stdout


def screen_of_a_session() -> str:
    """Return the rows of the terminal, with their colours, after the talk."""
    with tempfile.TemporaryDirectory() as folder, model_server(list(TALK.values()), delay=0.01) as url:
        setting = {"XDG_DATA_HOME": folder, "OPENAI_BASE_URL": url, "TURNWISE_MODEL": "baker"}
        variables = [part for name, value in setting.items() for part in ("-e", f"{name}={value}")]
        tmux("new-session", "-d", "-x", str(WIDTH), "-y", str(HEIGHT), *variables, "bash --norc")
        try:
            tmux("send-keys", f"PS1='$ ' PATH={Path(sys.executable).parent}:$PATH; clear", "Enter")
            wait_for("$")
            tmux("send-keys", "turnwise chat", "Enter")
            for question in TALK:
                wait_for("\u203a")
                tmux("send-keys", question, "Enter")
                time.sleep(0.5)
            wait_for("\u203a")
            return tmux("capture-pane", "-e", "-p")
        finally:
            tmux("kill-server")


def wait_for(prompt: str) -> None:
    """Wait until the terminal's last row is a prompt and nothing else."""
    deadline = time.monotonic() + 20
    while (screen := tmux("capture-pane", "-p").rstrip()).rpartition("\n")[2] != prompt:
        if time.monotonic() > deadline:
            raise TimeoutError(f"no prompt came:\n{screen}")
        time.sleep(0.1)


def main() -> None:
    """Write the picture beside this file."""
    rows = [Text.from_ansi(row) for row in screen_of_a_session().split("\n")]
    while not rows[-1].plain.strip():
        rows.pop()
    with Path(os.devnull).open("w") as nowhere:
        console = Console(record=True, width=WIDTH, force_terminal=True, color_system="truecolor", file=nowhere)
        for row in rows:
            console.print(row, no_wrap=True, crop=True)
    picture = console.export_svg(title="turnwise chat", theme=THEME, code_format=FRAME, unique_id="turnwise")
    (Path(__file__).parent / "chat.svg").write_text(picture)


if __name__ == "__main__":
    main()
