"""Text -> passages of one sentence, each with what it stands under."""

# ruff: noqa: RUF001 - the marks of other scripts are meant
from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from turnwise.server.retrieval.base import Passage

__all__ = ["passages_of", "sentences_of"]

SENTENCE_END: Final = re.compile(r"(?<=[.!?…])[\"'»”’)\]*_]*\s+(?=\S)|(?<=[。！？｡।॥۔؟])[」』”’）]*\s*(?=\S)")
LIST_MARK: Final = re.compile(r"^(?:[-*•–>]|\d{1,3}[.)])\s+")
ANSWER_MARK: Final = re.compile(r"^(?:A|Answer|Q|Question)\s*[:.]\s+", re.IGNORECASE)
ABBREVIATION: Final = re.compile(
    r"(?:^|[\s(])(?:[A-Z]|[A-Za-z]\.[A-Za-z]|[Dd]r|[Mm]rs?|[Mm]s|[Pp]rof|[Ss]t|vs|etc|approx|[Nn]o|[Tt]el)\.$"
)
HEADING: Final = re.compile(r"^#{1,6}\s|:\s*$")
QUESTION_END: Final = ("?", "？", "؟")


def passages_of(text: str, *, weight: float = 1.0) -> list[Passage]:
    """Return the sentences of `text` as passages.

    A Markdown heading, a line that ends in a colon and a question are no answers: they become the context of what
    follows, a question of the next sentence, a heading of all others up to the next heading.
    """
    passages: list[Passage] = []
    heading = question = ""
    for line in text.splitlines():
        for sentence in sentences_of(line):
            if HEADING.search(sentence):
                heading, question = sentence, ""
            elif sentence.endswith(QUESTION_END):
                question = sentence
            else:
                passages.append(Passage(sentence, question or heading, weight))
                question = ""
    return passages


def sentences_of(text: str) -> list[str]:
    """Return the sentences of `text`, without the marks of lists around them."""
    return [sentence for line in text.splitlines() for sentence in _sentences(LIST_MARK.sub("", line.strip()))]


def _sentences(line: str) -> Iterator[str]:
    """Split at the ends of sentences, but not after an abbreviation or before a small letter."""
    line = ANSWER_MARK.sub("", line)
    start = 0
    for end in SENTENCE_END.finditer(line):
        sentence = line[start : end.end()].strip()
        if ABBREVIATION.search(sentence) or line[end.end()].islower():
            continue
        yield sentence
        start = end.end()
    if rest := line[start:].strip():
        yield rest
