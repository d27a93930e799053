from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from turnwise.server.models.base import ModelConfig, Prompt, PromptMessage
from turnwise.server.models.tokens import MESSAGE_TOKENS, estimate_tokens
from turnwise.server.services.history import build_prompt
from turnwise.types.message import Message, MessageInput, MessageType


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


def test_reasoning_and_activities_are_left_out_and_count_for_nothing() -> None:
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
