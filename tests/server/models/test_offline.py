# ruff: noqa: RUF001 - the marks of other scripts are meant
from __future__ import annotations

from collections.abc import Sequence

import pytest

from turnwise.server.models.base import (
    Delta,
    Finish,
    FunctionCall,
    FunctionSpec,
    ModelConfig,
    Prompt,
    PromptMessage,
    TextDelta,
)
from turnwise.server.models.offline import OfflineModel
from turnwise.types.message import MessageType

BAKERY = """You are Bella, the assistant of a bakery in Graz. We open at 9 a.m. on weekdays. We close at 18:00.

## Prices
- Sourdough costs 4.50 euros.

Q: Do you deliver?
A: Yes, within 5 km.
"""


def prompt_of(*messages: tuple[MessageType, str], system: str = BAKERY, config: ModelConfig | None = None) -> Prompt:
    return Prompt(
        system=system, messages=[PromptMessage(*message) for message in messages], config=config or ModelConfig()
    )


async def read(prompt: Prompt, model: OfflineModel | None = None) -> list[Delta]:
    return [delta async for batch in (model or OfflineModel()).stream(prompt) for delta in batch]


def text_of(deltas: Sequence[Delta]) -> str:
    return "".join(delta.text for delta in deltas if isinstance(delta, TextDelta))


async def ask(question: str, *, system: str = BAKERY) -> str:
    return text_of(await read(prompt_of(("user", question), system=system)))


@pytest.mark.parametrize(
    "question, answer",
    [
        ("When do you open?", "We open at 9 a.m. on weekdays."),
        ("what is your closing time", "We close at 18:00."),
        ("How much does sourdough cost?", "Sourdough costs 4.50 euros."),
        ("Do you offer delivery?", "Yes, within 5 km."),
        ("Prices?", "Sourdough costs 4.50 euros."),
    ],
)
async def test_the_sentence_that_speaks_about_the_question_is_the_answer(question: str, answer: str) -> None:
    assert await ask(question) == answer


async def test_a_backstory_of_one_sentence_answers() -> None:
    assert await ask("When do you open?", system="We open at 9.") == "We open at 9."


@pytest.mark.parametrize(
    "system, question, answer",
    [
        ("Wir öffnen um 9 Uhr. Am Sonntag ist zu.", "Wann öffnet ihr?", "Wir öffnen um 9 Uhr."),
        ("我们早上九点开门。晚上六点关门。", "你们几点开门？", "我们早上九点开门。"),
        ("Nous ouvrons à 9 h. Le café est gratuit.", "Le CAFE?", "Le café est gratuit."),
    ],
)
async def test_other_languages_work(system: str, question: str, answer: str) -> None:
    assert await ask(question, system=system) == answer


async def test_context_messages_and_what_was_said_are_searched() -> None:
    prompt = prompt_of(
        ("context", "The parking lot is behind the house."),
        ("user", "My dog is called Rex."),
        ("bot", "A bowl of water is at the door."),
        ("reasoning", "The dog is surely big."),
        ("user", "PLACEHOLDER"),
    )
    for question, answer in {
        "Where can I go parking?": "The parking lot is behind the house.",
        "How is my dog called?": "My dog is called Rex.",
        "Is there water?": "A bowl of water is at the door.",
    }.items():
        messages = [*prompt.messages[:-1], PromptMessage("user", question)]
        assert text_of(await read(Prompt(system=BAKERY, messages=messages))) == answer


async def test_the_question_itself_is_never_the_answer() -> None:
    prompt = prompt_of(("user", "Tell me about parrots"), ("bot", "Later."), ("user", "Tell me about parrots"))
    assert "parrots" not in text_of(await read(prompt))


async def test_words_are_deltas_of_their_own_and_one_batch() -> None:
    batches = [batch async for batch in OfflineModel().stream(prompt_of(("user", "When do you open?")))]
    assert len(batches) == 1
    *words, finish = batches[0]
    assert words[:3] == [TextDelta("We"), TextDelta(" open"), TextDelta(" at")]
    assert isinstance(finish, Finish)
    assert (finish.reason, finish.output_tokens) == ("stop", len(words))
    assert finish.input_tokens > 0


async def test_with_a_delay_every_word_is_a_batch_and_the_text_is_the_same() -> None:
    prompt = prompt_of(("user", "When do you open?"))
    batches = [batch async for batch in OfflineModel(delay=0.001).stream(prompt)]
    assert {len(batch) for batch in batches} == {1}
    assert [delta for batch in batches for delta in batch] == await read(prompt)


async def test_the_same_prompt_gets_the_same_answer() -> None:
    prompt = prompt_of(("user", "open, close, sourdough, deliver?"))
    assert await read(prompt) == await read(prompt)


async def test_max_tokens_are_words_and_end_with_length() -> None:
    deltas = await read(prompt_of(("user", "When do you open?"), config=ModelConfig(max_tokens=2)))
    assert text_of(deltas) == "We open"
    assert isinstance(deltas[-1], Finish)
    assert deltas[-1].reason == "length"


@pytest.mark.parametrize("system, question", [(BAKERY, "What is quantum physics?"), (BAKERY, "hello"), ("", "When?")])
async def test_where_nothing_is_found_it_says_what_it_is_and_how_to_connect_a_model(system: str, question: str) -> None:
    answer = await ask(question, system=system)
    for words in ("offline model", "OPENAI_BASE_URL", "OPENAI_API_KEY", "TURNWISE_MODEL", "backstory"):
        assert words in answer


async def test_its_words_about_itself_are_never_quoted_later() -> None:
    apology = await ask("What is quantum physics?")
    prompt = prompt_of(("user", "What is quantum physics?"), ("bot", apology), ("user", "Which language model is it?"))
    assert text_of(await read(prompt)) == apology


async def test_without_any_message_it_introduces_itself() -> None:
    assert "offline model" in text_of(await read(prompt_of()))


def test_it_is_called_offline() -> None:
    assert OfflineModel().name == "offline"
    assert OfflineModel(context_window=5).context_window == 5


async def test_functions_are_called_only_where_it_must() -> None:
    functions = [FunctionSpec(name=name, description="", parameters={"type": "object"}) for name in ("f", "g")]
    messages = [PromptMessage("user", "When do you open?")]
    free = await read(Prompt(system=BAKERY, messages=messages, functions=functions))
    assert text_of(free) == "We open at 9 a.m. on weekdays."
    call, finish = await read(Prompt(system=BAKERY, messages=messages, functions=functions, force="g"))
    assert call == FunctionCall(id="call00000", name="g", arguments="{}")
    assert isinstance(finish, Finish)
    assert finish.reason == "calls"
