"""The model for when there is none: it quotes what it was told.

It answers with the sentences of the backstory and the conversation that speak about the user's message (BM25), the
same ones every time. Where none do, it says so, what it is, and how to connect a model. Functions it calls only where
it must, without arguments.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator, Sequence
from typing import Final

from turnwise.server.models.base import Delta, Finish, FinishReason, FunctionCall, Prompt, TextDelta, call_id
from turnwise.server.models.tokens import estimate_tokens
from turnwise.server.retrieval.base import Passage, Retriever
from turnwise.server.retrieval.bm25 import Bm25Retriever
from turnwise.server.retrieval.passages import passages_of, sentences_of

__all__ = ["NAME", "OfflineModel"]

NAME: Final = "offline"
CONNECT: Final = (
    "To connect a language model, set OPENAI_BASE_URL to an OpenAI-compatible server "
    "(Ollama's is http://127.0.0.1:11434/v1) or OPENAI_API_KEY to a key of OpenAI's, "
    "set TURNWISE_MODEL to the model's name, and start again."
)
NOTHING_TOLD: Final = (
    "Hello! I am Turnwise's offline model: no language model is connected, and so far nobody has told me anything that "
    'I could quote. Give this conversation a backstory, such as "We open at 9.", and ask me when you open. '
) + CONNECT
NOTHING_ASKED: Final = (
    "Hello! I am Turnwise's offline model: I answer with sentences from the backstory and from this conversation. "
    "Ask me something about them. "
) + CONNECT
NOTHING_FOUND: Final = (
    "I found nothing about that in the backstory or in this conversation, and as Turnwise's offline model I can only "
    "quote from there. "
) + CONNECT
OWN_SENTENCES: Final = frozenset(sentences_of(f"{NOTHING_TOLD} {NOTHING_ASKED} {NOTHING_FOUND}"))
GREETING: Final = re.compile(
    r"(?:hi|hey|hello|howdy|good (?:morning|day|evening)|thanks?|thank you|bye)\b[^?]{0,20}", re.IGNORECASE
)
KNOWLEDGE: Final = frozenset({"context", "instruction", "backstory", "checkpoint"})
MOST_SENTENCES: Final = 3
CLOSE_TO_BEST: Final = 0.6
"""A sentence is quoted beside the best one when it scores at least this part of it."""
SAID_WEIGHT: Final = 0.7
"""What was said in the conversation counts less than what the bot was told to know."""


class OfflineModel:
    """Needs nothing; `delay` is how many seconds it waits before each word."""

    def __init__(
        self, *, delay: float = 0.0, retriever: Retriever | None = None, context_window: int = 128_000
    ) -> None:
        self._delay = delay
        self._retriever = retriever or Bm25Retriever()
        self._context_window = context_window

    @property
    def name(self) -> str:
        """Always `offline`."""
        return NAME

    @property
    def context_window(self) -> int:
        """How much of a conversation it looks through, in tokens."""
        return self._context_window

    async def stream(self, prompt: Prompt, /) -> AsyncGenerator[Sequence[Delta], None]:
        """Answer word by word: one batch with no delay, else one a word. A word counts as a token."""
        asked = sum(map(estimate_tokens, (prompt.system, *(message.text for message in prompt.messages))))
        if prompt.force is not None:
            call = FunctionCall(id=call_id(0), name=prompt.force, arguments="{}")
            yield [call, Finish(reason="calls", input_tokens=asked, output_tokens=1)]
            return
        words = re.findall(r"\s*\S+", await self.answer(prompt))
        most = prompt.config.max_tokens
        kept = words[:most]
        reason: FinishReason = "length" if len(kept) < len(words) else "stop"
        finish = Finish(reason=reason, input_tokens=asked, output_tokens=len(kept))
        if self._delay <= 0:
            yield [*map(TextDelta, kept), finish]
            return
        for word in kept:
            await asyncio.sleep(self._delay)
            yield [TextDelta(word)]
        yield [finish]

    async def answer(self, prompt: Prompt) -> str:
        """Return the whole answer to the user's last message."""
        question = next((message.text for message in reversed(prompt.messages) if message.type == "user"), "").strip()
        told = _told(prompt)
        if not question or GREETING.fullmatch(question):
            return NOTHING_ASKED if told else NOTHING_TOLD
        passages = _distinct([*told, *_said(prompt, question)])
        matches = await self._retriever.search(question, passages, limit=MOST_SENTENCES)
        if not matches:
            return NOTHING_FOUND if told else NOTHING_TOLD
        best = matches[0].score
        chosen = {match.passage for match in matches if match.score >= CLOSE_TO_BEST * best}
        return " ".join(passage.text for passage in passages if passage in chosen)


def _told(prompt: Prompt) -> list[Passage]:
    """Return what the bot was told to know."""
    texts = [prompt.system, *(message.text for message in prompt.messages if message.type in KNOWLEDGE)]
    return [passage for text in texts for passage in passages_of(text)]


def _said(prompt: Prompt, question: str) -> list[Passage]:
    """Return what was said before, but for questions and this model's own words about itself."""
    passages: list[Passage] = []
    for message in prompt.messages:
        if message.type == "bot":
            own = passages_of(message.text, weight=SAID_WEIGHT)
            passages += [passage for passage in own if passage.text not in OWN_SENTENCES]
        elif message.type == "user" and message.text.strip() != question:
            passages += passages_of(message.text, weight=SAID_WEIGHT)
    return passages


def _distinct(passages: Sequence[Passage]) -> list[Passage]:
    """Leave out sentences that were there before: the bot quotes the backstory."""
    distinct: dict[str, Passage] = {}
    for passage in passages:
        distinct.setdefault(passage.text, passage)
    return list(distinct.values())
