"""BM25: passages ranked by the words they share with a question, rare words first.

Words are folded so that cases, accents and the plain English endings meet (`closing`, `closes`, `close`). Scripts
without spaces are indexed by pairs of characters. A word of the question that occurs nowhere stands for the words
that begin like it, which is what most languages' endings need (`öffnet`, `öffnen`).
"""

from __future__ import annotations

import asyncio
import math
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Final

from turnwise.server.retrieval.base import Match, Passage

__all__ = ["Bm25Retriever", "rank", "tokenize"]

K1: Final = 1.2
"""How soon a repeated word stops counting."""
B: Final = 0.75
"""How much a long passage is held against it."""
LARGE: Final = 50_000
"""Characters from which a search leaves the event loop."""
PREFIX: Final = 4
ALIKE: Final = 0.6
"""A word stands for another when they share at least `PREFIX` letters and this part of the longer one."""

UNSPACED: Final = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af\uf900-\ufaff"
)
INDIC: Final = "\u0900-\u0963\u0966-\u0dff"  # their vowel signs are no word characters to `re`
TERM: Final = re.compile(rf"([{UNSPACED}]+)|(?:[^\W_{UNSPACED}]|[{INDIC}])+")
ENDINGS: Final = ("ings", "ing", "edly", "ed", "es", "ly", "s")
STOP_WORDS: Final = frozenset(
    """a about all also am an and any are as at be been being but by can could d did do does doing for from had has
    have having he her here him his how i if in into is it its just ll m me mine more most my no nor not of off on or
    our ours please re s shall she should so some such t tell than that the their them then there these they this
    those to too us ve very was we were what when where which who whom whose why will with would you your yours
    """.split()  # noqa: SIM905 - a list of 130 lines reads no better
)


class Bm25Retriever:
    """Ranks by BM25; keeps nothing between searches."""

    async def search(self, query: str, passages: Sequence[Passage], *, limit: int) -> Sequence[Match]:
        """Return at most `limit` matches, best first; much text is searched in a thread of its own."""
        if sum(len(passage.text) for passage in passages) > LARGE:
            return await asyncio.to_thread(rank, query, passages, limit=limit)
        return rank(query, passages, limit=limit)


def rank(query: str, passages: Sequence[Passage], *, limit: int) -> list[Match]:
    """Return at most `limit` matches, best first, equals in the passages' order."""
    counts = [Counter(tokenize(f"{passage.context} {passage.text}")) for passage in passages]
    frequency = Counter(term for count in counts for term in count)
    terms = _query_terms(query, frequency)
    average = sum(count.total() for count in counts) / max(len(counts), 1)
    matches: list[Match] = []
    for passage, count in zip(passages, counts, strict=True):
        length = K1 * (1 - B + B * count.total() / max(average, 1))
        score = sum(
            _rarity(len(counts), frequency[term]) * count[term] * (K1 + 1) / (count[term] + length) for term in terms
        )
        if score > 0:
            matches.append(Match(passage, score * passage.weight))
    matches.sort(key=lambda match: -match.score)
    return matches[:limit]


def tokenize(text: str) -> list[str]:
    """Return the folded words of `text`, and the pairs of characters of scripts without spaces."""
    terms: list[str] = []
    for term in TERM.finditer(_plain(text)):
        if run := term[1]:
            terms += [run[at : at + 2] for at in range(len(run) - 1)] or [run]
        else:
            terms.append(_fold(term[0]))
    return terms


def _plain(text: str) -> str:
    """Fold case and width, and take the accents off letters that have them."""
    decomposed = unicodedata.normalize("NFKD", text.casefold())
    return unicodedata.normalize("NFC", re.sub("[\u0300-\u036f]", "", decomposed))


def _fold(word: str) -> str:
    if len(word) < 4 or not word.isascii():
        return word
    if word.endswith("ies"):
        return word[:-3] + "i"
    ending = next((end for end in ENDINGS if word.endswith(end) and len(word) - len(end) >= 3), "")
    if ending and not (ending == "s" and word[-2] in "su"):
        word = word[: -len(ending)]
    word = word.removesuffix("e")
    if word[-1] == word[-2] and word[-1] not in "aeiou":
        word = word[:-1]
    return f"{word[:-1]}i" if word.endswith("y") else word


STOP_TERMS: Final = frozenset(map(_fold, STOP_WORDS))


def _query_terms(query: str, known: Counter[str]) -> list[str]:
    """Return the words to look for, in order: without stop words, unless there are no others."""
    words = list(dict.fromkeys(tokenize(query)))
    words = [word for word in words if word not in STOP_TERMS] or words
    return list(dict.fromkeys(term for word in words for term in ([word] if word in known else _alike(word, known))))


def _alike(word: str, known: Iterable[str]) -> list[str]:
    if len(word) < PREFIX:
        return []
    return [
        term
        for term in sorted(known)
        if (shared := _shared(word, term)) >= PREFIX and shared >= ALIKE * max(len(word), len(term))
    ]


def _shared(one: str, other: str) -> int:
    """Return how many letters two words begin with alike."""
    pairs = enumerate(zip(one, other, strict=False))
    return next((at for at, (a, b) in pairs if a != b), min(len(one), len(other)))


def _rarity(passages: int, containing: int) -> float:
    return math.log(1 + (passages - containing + 0.5) / (containing + 0.5))
