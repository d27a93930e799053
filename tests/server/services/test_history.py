from __future__ import annotations

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st
from tests.server.services.calling import check_calls

from turnwise.server.models.base import (
    FunctionAnswer,
    FunctionCall,
    FunctionSpec,
    ModelConfig,
    Prompt,
    PromptMessage,
)
from turnwise.server.models.tokens import MESSAGE_TOKENS, estimate_tokens
from turnwise.server.services.activity import activity_message
from turnwise.server.services.history import build_prompt
from turnwise.types.message import Message, MessageInput, MessageType, TextMessage


def built(*messages: tuple[MessageType, str], most: int | None = None, window: int = 100_000) -> list[str]:
    config = ModelConfig(interaction_max_messages=most)
    return [message.text for message in prompt_of(*messages, config=config, window=window).messages]


def prompt_of(
    *messages: tuple[MessageType, str],
    config: ModelConfig | None = None,
    window: int = 100_000,
    backstory: str | None = None,
    extension: str | None = None,
) -> Prompt:
    history = [MessageInput(type=kind, text=text) for kind, text in messages]
    return build_prompt(backstory, extension, history, config=config or ModelConfig(), context_window=window)


def test_the_backstory_comes_before_the_extension() -> None:
    assert prompt_of(backstory="B", extension="E").system == "B\n\nE"
    assert prompt_of(backstory="B").system == "B"
    assert prompt_of(extension="E").system == "E"
    assert prompt_of(backstory="", extension=None).system == ""


def test_messages_keep_their_order_type_and_text_and_the_configuration_is_handed_on() -> None:
    config = ModelConfig(temperature=0)
    prompt = prompt_of(("backstory", " B\n"), ("user", "  a "), ("bot", "b"), config=config)
    assert prompt.messages == [
        PromptMessage("backstory", " B\n"),
        PromptMessage("user", "  a "),
        PromptMessage("bot", "b"),
    ]
    assert prompt.config is config


def test_stored_messages_are_read_like_given_ones() -> None:
    stored = Message(id="1", type="user", text="a", created_at=1, updated_at=1)
    foreign = Message(id="2", type="hologram", text="b", created_at=1, updated_at=1)
    prompt = build_prompt(None, None, [stored, foreign], config=ModelConfig(), context_window=1000)
    assert prompt.messages == [PromptMessage("user", "a")]


def test_reasoning_and_unreadable_activities_are_left_out_and_count_for_nothing() -> None:
    messages: list[tuple[MessageType, str]] = [
        ("user", "a"),
        ("reasoning", "x" * 1_000_000),
        ("bot", "b"),
        ("activity", ""),
        ("user", "c"),
    ]
    assert built(*messages, most=3) == ["a", "b", "c"]


def test_the_last_messages_are_sent_as_many_as_the_configuration_allows() -> None:
    assert built(("user", "a"), ("bot", "b"), ("user", "c"), most=2) == ["b", "c"]
    assert built(("user", "a"), ("bot", "b"), ("user", "c"), most=9) == ["a", "b", "c"]


def test_the_last_question_is_sent_whatever_the_limits() -> None:
    assert built(("user", "a"), ("bot", "b"), most=1) == ["a", "b"]
    assert built(("user", "old"), ("user", "x" * 1_000_000), window=10) == ["x" * 1_000_000]
    assert built(("user", "a"), ("bot", "x" * 1_000_000), window=10) == ["a"]


def test_without_a_question_what_fits_is_sent() -> None:
    assert built(("bot", "a"), ("bot", "b"), most=1) == ["b"]
    assert built() == []


def test_room_is_left_for_the_reply() -> None:
    messages: list[tuple[MessageType, str]] = [("bot", "x" * 384) for _ in range(10)]  # 100 tokens each
    fitting = {
        max_tokens: len(prompt_of(*messages, config=ModelConfig(max_tokens=max_tokens), window=1008).messages)
        for max_tokens in (None, 100, 400, 100_000)
    }
    assert fitting == {None: 7, 100: 9, 400: 6, 100_000: 5}


TYPES = st.sampled_from(["user", "bot", "context", "reasoning", "activity"])


@given(
    st.lists(st.tuples(TYPES, st.text(max_size=60)), max_size=30),
    st.text(max_size=60),
    st.none() | st.integers(1, 10),
    st.none() | st.integers(1, 200),
    st.integers(1, 400),
)
def test_the_newest_that_fits_is_sent_unaltered(
    given_messages: list[tuple[MessageType, str]],
    backstory: str,
    most: int | None,
    max_tokens: int | None,
    window: int,
) -> None:
    config = ModelConfig(interaction_max_messages=most, max_tokens=max_tokens)
    prompt = prompt_of(*given_messages, config=config, window=window, backstory=backstory)
    sendable = [PromptMessage(*pair) for pair in given_messages if pair[0] not in {"reasoning", "activity"}]
    sent = list(prompt.messages)
    users = [message for message in sendable if message.type == "user"]
    if users:
        assert [message for message in sent if message.type == "user"][-1] == users[-1]
    if sent == sendable:
        return
    fitting = sent if sent == sendable[len(sendable) - len(sent) :] else sent[1:]
    assert fitting == sendable[len(sendable) - len(fitting) :]
    if fitting[:1] in ([], users[-1:]):
        return  # nothing fits but what is sent in any case
    assert len(fitting) <= (most or len(sendable))
    cost = sum(estimate_tokens(message.text) + MESSAGE_TOKENS for message in fitting)
    assert cost + estimate_tokens(backstory) <= window


# Function calls


def said(type: MessageType, text: str) -> MessageInput:
    return MessageInput(type=type, text=text)


def requested(name: str, number: int = 0) -> MessageInput:
    return recorded(activity_message("request", name, {"n": number}))


def responded(name: str, number: int = 0, result: object = "done") -> MessageInput:
    return recorded(activity_message("response", name, {"n": number}, result))


def recorded(message: TextMessage) -> MessageInput:
    return MessageInput(type="activity", text=message.text, meta=message.meta)


def prompted(
    *history: MessageInput, most: int | None = None, window: int = 100_000, functions: Sequence[FunctionSpec] = ()
) -> Prompt:
    config = ModelConfig(interaction_max_messages=most)
    return build_prompt(None, None, history, config=config, context_window=window, functions=functions)


def sketch(prompt: Prompt) -> list[str]:
    """Return texts, calls as `f?` and answers as `f!`."""
    lines: list[str] = []
    for message in prompt.messages:
        match message.activity:
            case None:
                lines.append(message.text)
            case FunctionCall(_, name, _):
                lines.append(f"{name}?")
            case FunctionAnswer(_, name, _):
                lines.append(f"{name}!")
    return lines


LONG = "x" * 4000  # 1,000 tokens


def test_functions_and_what_must_be_called_are_handed_on() -> None:
    functions = [FunctionSpec(name="f", description="", parameters={"type": "object"})]
    prompt = build_prompt(None, None, [], config=ModelConfig(), context_window=1000, functions=functions, force="f")
    assert (prompt.functions, prompt.force) == (functions, "f")


def test_calls_count_as_no_messages() -> None:
    history = said("user", "a"), said("bot", "b"), requested("f"), responded("f"), said("bot", "c")
    assert sketch(prompted(*history, most=2)) == ["a", "b", "f?", "f!", "c"]


def test_calls_before_the_last_question_are_left_out_where_the_messages_before_them_are() -> None:
    history = said("user", "a"), requested("f"), responded("f"), said("bot", "b"), said("user", "c")
    assert sketch(prompted(*history, most=2)) == ["b", "c"]
    assert sketch(prompted(*history, most=3)) == ["a", "f?", "f!", "b", "c"]


def test_the_calls_of_the_exchange_that_runs_are_sent_however_few_messages_are() -> None:
    history = said("user", "old"), said("user", "a"), requested("f"), responded("f"), requested("g"), responded("g")
    assert sketch(prompted(*history, most=1)) == ["a", "f?", "f!", "g?", "g!"]


def test_what_was_said_between_the_calls_of_the_exchange_that_runs_takes_none_of_them_away() -> None:
    history = said("user", "a"), requested("f"), responded("f"), said("context", "b"), requested("g"), responded("g")
    assert sketch(prompted(*history, most=1)) == ["a", "f?", "f!", "b", "g?", "g!"]


def test_where_the_window_ends_a_call_goes_with_its_answer() -> None:
    history = (
        said("user", "a"),
        said("bot", "b"),
        requested("f"),
        requested("g"),
        responded("g"),
        responded("f", result=LONG),
        said("bot", "c"),
    )
    assert sketch(prompted(*history, window=2000)) == ["a", "b", "f?", "g?", "f!", "g!", "c"]
    assert sketch(prompted(*history, window=1200)) == ["a", "c"]


def test_results_that_were_just_given_are_sent_whatever_the_window() -> None:
    history = (
        said("user", "a"),
        requested("f"),
        responded("f", result=LONG),
        requested("g"),
        responded("g", result=LONG),
    )
    assert sketch(prompted(*history, window=100)) == ["a", "g?", "g!"]


def test_functions_take_room() -> None:
    functions = [FunctionSpec(name="f", description=LONG, parameters={"type": "object"})]
    history = said("user", "a"), said("bot", LONG), said("user", "c")
    assert sketch(prompted(*history, window=2000)) == ["a", LONG, "c"]
    assert sketch(prompted(*history, window=2000, functions=functions)) == ["c"]


@given(
    st.lists(
        st.tuples(st.sampled_from(["user", "bot", "request", "response"]), st.sampled_from("fg"), st.integers(0, 200)),
        max_size=30,
    ),
    st.none() | st.integers(1, 10),
    st.integers(1, 600),
)
def test_whatever_is_left_out_every_call_that_is_sent_has_its_answer_right_after(
    drawn: list[tuple[str, str, int]], most: int | None, window: int
) -> None:
    history: list[MessageInput] = []
    for kind, name, length in drawn:
        match kind:
            case "request":
                history.append(requested(name))
            case "response":
                history.append(responded(name, result="x" * length))
            case "user":
                history.append(said("user", "x" * length))
            case _:
                history.append(said("bot", "x" * length))
    prompt = prompted(*history, most=most, window=window)
    check_calls(prompt.messages)
    everything = prompted(*history).messages
    asked = [message for message in everything if message.type == "user"][-1:]
    assert [message for message in prompt.messages if message.type == "user"][-1:] == asked
    last = everything[-1:]
    if last and last[0].activity is not None:
        assert prompt.messages[-1:] == last
