from __future__ import annotations

import inspect
import pydoc
from collections.abc import Callable
from types import MappingProxyType, NoneType
from typing import Unpack

import pytest

from turnwise._bind import (
    Method,
    async_,
    async_either,
    async_either_stream,
    async_stream,
    sync,
    sync_either,
    sync_either_stream,
    sync_stream,
)
from turnwise._call import Call, CallOptions, Exchange, PageCall, StreamableCall, StreamablePages, StreamCall
from turnwise._shape import camel
from turnwise.types._base import OMIT, Omit


def say_it(
    conversation_id: str, /, *, text: str, bot_id: str | Omit = OMIT, **options: Unpack[CallOptions]
) -> StreamableCall[str, bytes]:
    """Say something."""
    return StreamableCall(
        method="POST",
        path="/{id}/say",
        ids=(conversation_id,),
        body={"text": text, "botId": bot_id},
        options=options,
        patient=True,
        result=str,
        events=bytes,
    )


def think_it(conversation_id: None, /, *, thoughts: int, **options: Unpack[CallOptions]) -> StreamableCall[int, bytes]:
    """Think."""
    return StreamableCall(
        method="POST", path="/think", body={"thoughts": thoughts}, options=options, result=int, events=bytes
    )


def walk_it(
    cursor: str | None = None, *, take: int | None = None, **options: Unpack[CallOptions]
) -> StreamablePages[int, bytes]:
    """Walk."""
    return StreamablePages(
        method="GET", path="/walk", query={"take": take}, cursor=cursor, options=options, item=int, events=bytes
    )


def nod_it(**options: Unpack[CallOptions]) -> Call[bool]:
    return Call(method="POST", path="/nod", options=options, result=bool)


class Recorder:
    """A runner that keeps what it was to perform."""

    def __init__(self) -> None:
        self.performed: list[tuple[str, Exchange]] = []

    def run(self, call: Call[object]) -> str:
        self.performed.append(("run", call))
        return "ran"

    def pages(self, call: PageCall[object]) -> str:
        self.performed.append(("pages", call))
        return "paged"

    def stream(self, call: StreamCall[object, object]) -> str:
        self.performed.append(("stream", call))
        return "streamed"


class Speaker:
    def __init__(self) -> None:
        self._runner = Recorder()

    say = sync(say_it)
    say_stream = sync_stream(say_it)
    either = sync_either(think_it, say_it)
    walk = sync(walk_it)


def method(name: str, *endpoints: Callable[..., Exchange], streamed: bool = False) -> Method[object]:
    made: Method[object] = Method(*endpoints, streamed=streamed)
    made.__set_name__(Speaker, name)
    return made


def test_a_call_is_run_and_its_result_returned() -> None:
    speaker = Speaker()
    assert speaker.say("c", text="hi") == "ran"
    assert [(verb, type(call), call.ids) for verb, call in speaker._runner.performed] == [
        ("run", StreamableCall, ("c",))
    ]


def test_pages_are_walked_and_streams_streamed() -> None:
    speaker = Speaker()
    speaker.walk("cursor")
    speaker.say_stream("c", text="hi")
    assert [(verb, type(call)) for verb, call in speaker._runner.performed] == [
        ("pages", StreamablePages),
        ("stream", StreamCall),
    ]


def test_a_stream_is_the_same_exchange_without_patience() -> None:
    whole = method("say", say_it).build("c", text="hi", timeout=3)
    streamed = method("say_stream", say_it, streamed=True).build("c", text="hi", timeout=3)
    assert streamed == StreamCall(
        method="POST",
        path="/{id}/say",
        ids=("c",),
        body={"text": "hi", "botId": OMIT},
        options={"timeout": 3},
        events=bytes,
        result=str,
    )
    assert whole.patient
    assert not streamed.patient


def test_a_streamed_walk_begins_at_the_cursor() -> None:
    streamed = method("walk_stream", walk_it, streamed=True).build("c1", take=2)
    assert streamed == StreamCall(
        method="GET", path="/walk", query={"take": 2, "cursor": "c1"}, events=bytes, result=NoneType
    )


def test_a_mapping_in_the_wires_names_stands_for_keywords() -> None:
    say_ = method("say", say_it)
    assert say_.build("c", {"text": "hi", "botId": "b"}) == say_.build("c", text="hi", bot_id="b")
    assert method("walk", walk_it).build(MappingProxyType({"cursor": "c1"})) == method("walk", walk_it).build("c1")


def test_call_options_stand_beside_a_mapping() -> None:
    assert method("say", say_it).build("c", {"text": "hi"}, retries=0).options == {"retries": 0}


def test_unknown_keys_of_a_mapping_travel_as_they_are() -> None:
    call = method("say", say_it).build("c", {"text": "hi", "mood": None, "left": OMIT}, extra_body={"tone": 1})
    assert call.options == {"extra_body": {"mood": None, "tone": 1}}
    call = method("walk", walk_it).build({"take": 1, "near": "x"}, retries=2)
    assert call.options == {"extra_query": {"near": "x"}, "retries": 2}


def test_an_extra_body_beside_a_mapping_wins() -> None:
    call = method("say", say_it).build("c", {"text": "hi", "mood": 1}, extra_body={"mood": 2})
    assert call.options == {"extra_body": {"mood": 2}}


def test_none_is_no_id_where_there_is_one_endpoint() -> None:
    with pytest.raises(TypeError, match="say\\(\\) takes a str as conversation_id, not NoneType"):
        method("say", say_it).build(None, text="hi")


def test_the_first_of_two_endpoints_is_for_an_id_that_is_none() -> None:
    either = method("either", think_it, say_it)
    assert either.build(None, thoughts=3).path == "/think"
    assert either.build(None, {"thoughts": 3}).path == "/think"
    assert either.build("c", text="hi").path == "/{id}/say"


@pytest.mark.parametrize(
    "endpoint,args,kwargs,complaint",
    [
        (say_it, ("c",), {"txt": "hi"}, "say() got an unexpected keyword argument 'txt'; did you mean 'text'?"),
        (say_it, ("c",), {"botId": "b"}, "say() got an unexpected keyword argument 'botId'; did you mean 'bot_id'?"),
        (say_it, ("c",), {"timeuot": 3}, "say() got an unexpected keyword argument 'timeuot'; did you mean 'timeout'?"),
        (
            say_it,
            ("c",),
            {"text": "hi", "xyzzy": 1},
            (
                "say() got an unexpected keyword argument 'xyzzy'; there are text, bot_id, extra_body, extra_headers, "
                "extra_query, retries, timeout"
            ),
        ),
        (say_it, ("c",), {}, "say() is missing the keyword argument 'text'"),
        (say_it, (), {"text": "hi"}, "say() is missing 'conversation_id', which it takes by position"),
        (say_it, (), {"conversation_id": "c"}, "say() is missing 'conversation_id', which it takes by position"),
        (
            say_it,
            ("c",),
            {"text": "hi", "conversation_id": "c"},
            "say() got an unexpected keyword argument 'conversation_id'; it goes by position",
        ),
        (say_it, ("c", "hi"), {}, "say() takes conversation_id by position, and all else by name"),
        (walk_it, ("a", "b"), {}, "walk() takes cursor by position, and all else by name"),
        (walk_it, ("a",), {"cursor": "b"}, "walk() got 'cursor' by position and by name"),
        (nod_it, ("c",), {}, "nod() takes nothing but a mapping by position, and all else by name"),
        (say_it, ("c", {"txt": "hi"}), {}, "say() is missing 'text' in the mapping it got"),
        (say_it, ({"text": "hi"},), {}, "say() is missing 'conversation_id', which it takes by position"),
        (
            say_it,
            ("c", {"bot_id": "b"}),
            {},
            "say() takes a mapping in the wire's own names; 'bot_id' is written 'botId' there",
        ),
        (
            say_it,
            ("c", {"text": "hi", "timeout": 3}),
            {},
            "say() takes a mapping in the wire's own names; 'timeout' is a keyword argument beside it",
        ),
        (
            say_it,
            ("c", {"text": "hi"}),
            {"bot_id": "b"},
            "say() takes a mapping in place of its keywords: put 'bot_id' into the mapping, or give keywords alone",
        ),
        (say_it, (3,), {"text": "hi"}, "say() takes a str as conversation_id, not int"),
    ],
)
def test_what_does_not_fit_is_named(
    endpoint: Callable[..., Exchange], args: tuple[object, ...], kwargs: dict[str, object], complaint: str
) -> None:
    with pytest.raises(TypeError) as raised:
        method(endpoint.__name__.removesuffix("_it"), endpoint).build(*args, **kwargs)
    assert str(raised.value) == complaint


@pytest.mark.parametrize("value", ["", ".", ".."])
def test_an_id_that_would_reach_another_path_is_refused(value: str) -> None:
    with pytest.raises(ValueError, match="as conversation_id; an id as the server made it was expected"):
        method("say", say_it).build(value, text="hi")


@pytest.mark.parametrize(
    "args,kwargs,complaint",
    [
        ((None,), {"text": "hi"}, "either() takes 'text' only in the form either(conversation_id, ...)"),
        (("c",), {"thoughts": 3}, "either() takes 'thoughts' only in the form either(None, ...)"),
        (("c",), {"xyz": 3}, "either() got an unexpected keyword argument 'xyz'; there are text"),
        ((), {}, "either() is missing 'conversation_id', which it takes by position"),
    ],
)
def test_a_keyword_of_the_other_form_is_said_to_be_one(
    args: tuple[object, ...], kwargs: dict[str, object], complaint: str
) -> None:
    with pytest.raises(TypeError) as raised:
        method("either", think_it, say_it).build(*args, **kwargs)
    assert str(raised.value).startswith(complaint)


OPTIONS_SHOWN = (
    "timeout: 'float | Timeout | None' = UNSET, retries: 'int' = UNSET, extra_headers: 'Mapping[str, str]' = UNSET, "
    "extra_query: 'Mapping[str, object]' = UNSET, extra_body: 'Mapping[str, object]' = UNSET"
)


def test_a_bound_method_shows_the_endpoints_signature() -> None:
    assert str(inspect.signature(Speaker().say)) == (
        f"(conversation_id: 'str', /, *, text: 'str', bot_id: 'str | Omit' = UNSET, {OPTIONS_SHOWN}) -> 'str'"
    )
    assert str(inspect.signature(Speaker.say)).startswith("(self, conversation_id: 'str', /, *, text")


def test_a_method_of_two_forms_shows_both() -> None:
    assert str(inspect.signature(Speaker().either)) == (
        "(conversation_id: 'str | None', /, *, thoughts: 'int' = UNSET, text: 'str' = UNSET, "
        f"bot_id: 'str | Omit' = UNSET, {OPTIONS_SHOWN}) -> 'int | str'"
    )


@pytest.mark.parametrize(
    "bound,answer",
    [
        (sync(say_it), "str"),
        (async_(say_it), "Awaitable[str]"),
        (sync_stream(say_it), "Stream[bytes, str]"),
        (async_stream(say_it), "AsyncStream[bytes, str]"),
        (sync(walk_it), "Page[int]"),
        (async_(walk_it), "AsyncPage[int]"),
        (sync_stream(walk_it), "Stream[bytes, None]"),
        (async_stream(walk_it), "AsyncStream[bytes, None]"),
        (sync_either_stream(think_it, say_it), "Stream[bytes, int] | Stream[bytes, str]"),
        (async_either(think_it, say_it), "Awaitable[int] | Awaitable[str]"),
        (async_either_stream(think_it, say_it), "AsyncStream[bytes, int] | AsyncStream[bytes, str]"),
    ],
)
def test_a_method_shows_what_it_answers(bound: Method[object], answer: str) -> None:
    assert bound.__signature__.return_annotation == answer


def test_help_and_editors_land_on_the_endpoint() -> None:
    bound = Speaker().say
    assert "say(conversation_id: 'str', /" in pydoc.plain(pydoc.render_doc(bound))
    assert inspect.getdoc(bound) == "Say something."
    assert inspect.getdoc(Speaker.either) == "Think.\n\nSay something."
    assert inspect.unwrap(Speaker.say) is say_it
    assert (Speaker.say.__name__, Speaker.say.__qualname__, Speaker.say.__module__) == (
        "say",
        "Speaker.say",
        Speaker.__module__,
    )
    assert "say(self, conversation_id" in pydoc.plain(pydoc.render_doc(Speaker))


@pytest.mark.parametrize(
    "name,wire",
    [("text", "text"), ("bot_id", "botId"), ("from_", "from"), ("duration_in_seconds", "durationInSeconds")],
)
def test_names_are_camel_case_on_the_wire(name: str, wire: str) -> None:
    assert camel(name) == wire
