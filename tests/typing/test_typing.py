"""That `use_*.py` hold and that a wrong keyword does not: both checkers run as they do on a user's program."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

HERE = Path(__file__).parent
RIGHT = """
from turnwise import AsyncConversationClient, ConversationClient, SendResult

def one(client: ConversationClient) -> SendResult:
    return client.send("c", text="hi")

async def two(client: AsyncConversationClient) -> SendResult:
    return await client.send("c", text="hi")
"""
CHECKERS = {
    "mypy": [sys.executable, "-m", "mypy", "--strict", "--no-error-summary"],
    "pyright": [sys.executable, "-m", "pyright", "--pythonpath", sys.executable],
}


def check(checker: str, *paths: Path, where: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*CHECKERS[checker], *map(str, paths)], capture_output=True, text=True, check=False, cwd=where
    )


@pytest.mark.parametrize("checker", CHECKERS)
def test_the_clients_have_the_types_they_are_said_to_have(checker: str, root: Path) -> None:
    checked = check(checker, *sorted(HERE.glob("use_*.py")), where=root)
    assert checked.returncode == 0, checked.stdout


@pytest.mark.parametrize("checker", CHECKERS)
def test_a_wrong_keyword_is_rejected(checker: str, tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(RIGHT)
    checked = check(checker, program, where=tmp_path)
    assert checked.returncode == 0, checked.stdout
    program.write_text(RIGHT.replace("text=", "txt="))
    checked = check(checker, program, where=tmp_path)
    assert checked.returncode == 1
    assert checked.stdout.count("error:") >= 2
