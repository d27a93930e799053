from __future__ import annotations

import asyncio
import json
import socket
import subprocess
import sys
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import replace

import aiohttp
import pytest
from tests.server.models.upstream import (
    DONE,
    Cut,
    FakeUpstream,
    Script,
    Step,
    Wait,
    calling,
    calls,
    chunk,
    document,
    event,
    failure,
    piece,
    reply,
    usage,
)
from tests.stalls import Stalls

from turnwise.server.models.base import (
    Delta,
    Finish,
    FunctionCall,
    FunctionSpec,
    ModelConfig,
    ModelError,
    Prompt,
    PromptMessage,
    ReasoningDelta,
    TextDelta,
)
from turnwise.server.models.openai import OpenAIModel, OpenAIServer, Patience
from turnwise.server.models.openai_errors import Endpoint

KEY = "sk-test-0123456789abcdef"
PROMPT = Prompt(system="We open at 9.", messages=[PromptMessage("user", "When do you open?")])
QUICK = Patience(connect=60, idle=60, tries=3, first_delay=0.01, longest_delay=0.5)
"""Tries again soon. It never tires of waiting, as it would where the machine stands still."""
IMPATIENT = replace(QUICK, connect=1.0, idle=0.3)


@asynccontextmanager
async def model_of(
    *scripts: Script, name: str = "m", patience: Patience = QUICK
) -> AsyncGenerator[tuple[OpenAIModel, FakeUpstream]]:
    async with FakeUpstream(*scripts) as upstream:
        server = OpenAIServer(Endpoint(base_url=upstream.base_url, api_key=KEY), patience=patience)
        try:
            yield OpenAIModel(name, server), upstream
        finally:
            await server.aclose()


async def read(model: OpenAIModel, prompt: Prompt = PROMPT) -> list[Delta]:
    return [delta async for batch in model.stream(prompt) for delta in batch]


async def fail(model: OpenAIModel, seen: list[Delta] | None = None) -> ModelError:
    with pytest.raises(ModelError) as caught:
        await _read_into([] if seen is None else seen, model)
    assert KEY not in str(caught.value)
    assert caught.value.message == str(caught.value)
    return caught.value


async def _read_into(seen: list[Delta], model: OpenAIModel) -> None:
    async for batch in model.stream(PROMPT):
        seen.extend(batch)


def text_of(deltas: Sequence[Delta]) -> str:
    return "".join(delta.text for delta in deltas if isinstance(delta, TextDelta))


async def test_text_and_usage_and_finish_arrive_in_order() -> None:
    async with model_of(reply("We ", "open ", "at 9.")) as (model, _):
        deltas = await read(model)
    assert deltas == [
        TextDelta("We "),
        TextDelta("open "),
        TextDelta("at 9."),
        Finish(reason="stop", input_tokens=7, output_tokens=3),
    ]


async def test_tokens_of_one_packet_are_one_batch() -> None:
    async with model_of(reply(*["x"] * 50)) as (model, _):
        batches = [batch async for batch in model.stream(PROMPT)]
    assert sum(len(batch) for batch in batches) == 51
    assert len(batches) <= 4


@pytest.mark.parametrize("field", ["reasoning", "reasoning_content"])
async def test_reasoning_is_told_apart_from_text(field: str) -> None:
    script = Script([chunk(reasoning="hm", field=field), chunk("9."), chunk(finish="length"), usage(1, 2), DONE])
    async with model_of(script) as (model, _):
        deltas = await read(model)
    assert deltas == [
        ReasoningDelta("hm"),
        TextDelta("9."),
        Finish(reason="length", input_tokens=1, output_tokens=2),
    ]


async def test_the_request_carries_messages_settings_and_key() -> None:
    config = ModelConfig(max_tokens=5, temperature=0, frequency_penalty=0.5, presence_penalty=-0.5, seed=0)
    prompt = replace(PROMPT, config=config)
    async with model_of(reply("ok")) as (model, upstream):
        await read(model, prompt)
    (request,) = upstream.completions
    assert request.path == "/v1/chat/completions"
    assert request.headers["authorization"] == f"Bearer {KEY}"
    assert request.headers["content-type"] == "application/json"
    assert request.json() == {
        "model": "m",
        "messages": [
            {"role": "system", "content": "We open at 9."},
            {"role": "user", "content": "When do you open?"},
        ],
        "stream": True,
        "stream_options": {"include_usage": True},
        "max_tokens": 5,
        "temperature": 0,
        "frequency_penalty": 0.5,
        "presence_penalty": -0.5,
        "seed": 0,
    }


async def test_without_a_key_no_authorization_is_sent() -> None:
    async with FakeUpstream(reply("ok")) as upstream:
        server = OpenAIServer(Endpoint(base_url=upstream.base_url + "/"))
        await read(OpenAIModel("m", server))
        await server.aclose()
    assert "authorization" not in upstream.completions[0].headers
    assert upstream.completions[0].path == "/v1/chat/completions"


async def test_a_prompt_of_megabytes_is_sent_whole() -> None:
    text = "é" * 1_500_000
    async with model_of(reply("ok")) as (model, upstream):
        await read(model, Prompt(system="", messages=[PromptMessage("user", text)]))
    assert upstream.completions[0].json()["messages"] == [{"role": "user", "content": text}]


async def test_connections_are_used_again() -> None:
    async with model_of(reply("a", "b")) as (model, upstream):
        for _ in range(5):
            assert text_of(await read(model)) == "ab"
            await asyncio.sleep(0.01)
    assert upstream.connected == 1


async def test_a_line_kept_open_after_the_last_event_does_not_delay_the_finish(stalls: Stalls) -> None:
    kept_open = Script([chunk("a", finish="stop"), DONE, Wait(5)])
    async with model_of(kept_open) as (model, _), stalls.within(2):
        assert isinstance((await read(model))[-1], Finish)


async def test_usage_that_is_not_told_is_estimated() -> None:
    async with model_of(reply("four", "five", counts=None)) as (model, _):
        finish = (await read(model))[-1]
    assert finish == Finish(reason="stop", input_tokens=4 + 4 + 5 + 4, output_tokens=2)


async def test_a_plain_json_answer_is_read_as_one_reply() -> None:
    body = {
        "choices": [{"message": {"role": "assistant", "content": "At 9.", "reasoning": "hm"}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 1, "completion_tokens": 2},
    }
    async with model_of(document(json.dumps(body, indent=2).encode())) as (model, _):
        deltas = await read(model)
    assert deltas == [ReasoningDelta("hm"), TextDelta("At 9."), Finish(reason="stop", input_tokens=1, output_tokens=2)]


# Functions

OFFERING = replace(PROMPT, functions=[FunctionSpec(name="hours", description="", parameters={"type": "object"})])


async def test_calls_arrive_whole_before_the_finish() -> None:
    async with model_of(calling(("hours", '{"day": "Monday"}'), ("hours", "{}"), text="One moment.")) as (model, _):
        deltas = await read(model, OFFERING)
    assert deltas == [
        TextDelta("One moment."),
        FunctionCall(id="call_1", name="hours", arguments='{"day": "Monday"}'),
        FunctionCall(id="call_2", name="hours", arguments="{}"),
        Finish(reason="calls", input_tokens=7, output_tokens=3),
    ]


async def test_text_before_calls_is_not_held_back() -> None:
    steps: list[Step] = [
        chunk("One moment."),
        Wait(0.1),
        calls(piece("{}", name="hours", id="a")),
        chunk(finish="stop"),
        DONE,
    ]
    async with model_of(Script(steps)) as (model, _), aclosing(model.stream(OFFERING)) as batches:
        assert await anext(batches) == [TextDelta("One moment.")]


async def test_a_reply_that_broke_off_within_a_call_is_asked_for_again() -> None:
    half = Script([calls(piece('{"day', name="hours", id="a")), Wait(0.02), Cut()])
    async with model_of(half, calling(("hours", "{}"))) as (model, upstream):
        deltas = await read(model, OFFERING)
    assert deltas[0] == FunctionCall(id="call_1", name="hours", arguments="{}")
    assert len(upstream.completions) == 2


async def test_a_server_that_takes_no_tool_choice_is_offered_the_one_function_alone() -> None:
    refusal = failure(400, "tool_choice does not support being set to an object in thinking mode")
    prompt = replace(OFFERING, force="hours")
    async with model_of(refusal, calling(("hours", "{}")), calling(("hours", "{}"))) as (model, upstream):
        await read(model, prompt)
        await read(model, prompt)
    assert ["tool_choice" in request.json() for request in upstream.completions] == [True, False, False]


# Failures, each told apart


@pytest.mark.parametrize("status", [401, 403])
async def test_a_refused_key_names_the_variable_and_not_the_key(status: int) -> None:
    said = f"Incorrect API key provided: {KEY}. Also sk-te********cdef, Bearer abcdef."
    async with model_of(failure(status, said)) as (model, upstream):
        error = await fail(model)
    assert (error.status, error.code) == (502, "BAD_GATEWAY")
    assert "OPENAI_API_KEY" in error.message
    assert "refused the key" in error.message
    assert "Incorrect API key provided" in error.message
    assert "sk-te" not in error.message
    assert "cdef" not in error.message
    assert len(upstream.completions) == 1


async def test_a_missing_key_is_said_to_be_missing() -> None:
    async with FakeUpstream(failure(401, "You didn't provide an API key.")) as upstream:
        server = OpenAIServer(Endpoint(base_url=upstream.base_url))
        error = await fail(OpenAIModel("m", server))
        await server.aclose()
    assert "OPENAI_API_KEY is not set" in error.message


async def test_a_missing_model_is_named() -> None:
    async with model_of(failure(404, "The model does not exist"), name="gpt-9") as (model, upstream):
        error = await fail(model)
    assert (error.status, error.code) == (502, "BAD_GATEWAY")
    assert "no model 'gpt-9'" in error.message
    assert len(upstream.completions) == 1


async def test_too_many_requests_is_tried_again_and_then_told_with_its_wait() -> None:
    async with model_of(failure(429, "Slow down", headers={"Retry-After": "0.02"})) as (model, upstream):
        error = await fail(model)
    assert (error.status, error.code, error.retry_after) == (429, "TOO_MANY_REQUESTS", 0.02)
    assert len(upstream.completions) == 3


async def test_a_wait_longer_than_the_patience_is_handed_on_at_once() -> None:
    async with model_of(failure(429, "Slow down", headers={"Retry-After": "3600"})) as (model, upstream):
        error = await fail(model)
    assert error.retry_after == 3600
    assert "Ask again in 3600 s" in error.message
    assert len(upstream.completions) == 1


async def test_an_account_out_of_credit_is_not_asked_again() -> None:
    async with model_of(failure(429, "You exceeded your quota", code="insufficient_quota")) as (model, upstream):
        error = await fail(model)
    assert "out of credit" in error.message
    assert len(upstream.completions) == 1


@pytest.mark.parametrize("status", [500, 502, 503])
async def test_a_failing_server_is_tried_again_and_then_told(status: int) -> None:
    async with model_of(failure(status, "CUDA out of memory")) as (model, upstream):
        error = await fail(model)
    assert (error.status, error.code) == (502, "BAD_GATEWAY")
    assert f"status {status}" in error.message
    assert "CUDA out of memory" in error.message
    assert len(upstream.completions) == 3


async def test_a_failure_that_passes_is_not_seen() -> None:
    scripts = failure(503), failure(429, headers={"Retry-After-Ms": "5"}), reply("at last")
    async with model_of(*scripts) as (model, upstream):
        assert text_of(await read(model)) == "at last"
    assert len(upstream.completions) == 3


async def test_a_wait_asked_for_is_kept() -> None:
    async with model_of(failure(429, headers={"Retry-After": "0.2"}), reply("ok")) as (model, _):
        began = time.monotonic()
        await read(model)
    assert time.monotonic() - began >= 0.2


async def test_a_refused_connection_names_the_address_and_the_variable() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    server = OpenAIServer(Endpoint(base_url=f"http://user:pass@127.0.0.1:{port}/v1"), patience=QUICK)
    error = await fail(OpenAIModel("m", server))
    await server.aclose()
    assert (error.status, error.code) == (503, "SERVICE_UNAVAILABLE")
    assert f"http://127.0.0.1:{port}/v1 refused the connection" in error.message
    assert "Start the model server, or set OPENAI_BASE_URL" in error.message
    assert "pass" not in error.message


async def test_a_name_that_does_not_resolve_is_told() -> None:
    server = OpenAIServer(Endpoint(base_url="http://nowhere.invalid/v1"), patience=QUICK)
    error = await fail(OpenAIModel("m", server))
    await server.aclose()
    assert error.status == 503
    assert "nowhere.invalid/v1 cannot be reached" in error.message


async def test_a_server_without_tls_where_the_url_says_https_is_told() -> None:
    async with FakeUpstream(reply("ok")) as upstream:
        endpoint = Endpoint(base_url=upstream.base_url.replace("http:", "https:"))
        server = OpenAIServer(endpoint, patience=QUICK)
        error = await fail(OpenAIModel("m", server))
        await server.aclose()
    assert (error.status, error.code) == (502, "BAD_GATEWAY")
    assert "failed the TLS handshake" in error.message


async def test_a_connection_that_is_not_taken_times_out(monkeypatch: pytest.MonkeyPatch) -> None:
    async def never(*_: object, **__: object) -> None:
        raise aiohttp.ConnectionTimeoutError("connect")

    monkeypatch.setattr(aiohttp.TCPConnector, "connect", never)
    server = OpenAIServer(Endpoint(base_url="http://127.0.0.1:1/v1"), patience=IMPATIENT)
    error = await fail(OpenAIModel("m", server))
    await server.aclose()
    assert (error.status, error.code) == (504, "GATEWAY_TIMEOUT")
    assert "did not take the connection within 1 s" in error.message


@pytest.mark.parametrize(
    "script",
    [Script([Wait(5)]), Script([chunk("We "), Wait(5)]), Script([Wait(5)], head=False)],
    ids=["before the reply", "in the reply", "before the head"],
)
async def test_silence_times_out(script: Script) -> None:
    async with model_of(script, patience=IMPATIENT) as (model, upstream):
        error = await fail(model)
        await asyncio.wait_for(upstream.disconnected.wait(), 60)
    assert (error.status, error.code) == (504, "GATEWAY_TIMEOUT")
    assert "sent nothing for 0.3 s" in error.message
    assert len(upstream.completions) == 1


@pytest.mark.parametrize("reset", [False, True])
async def test_a_cut_stream_is_an_error_after_what_arrived(reset: bool) -> None:
    async with model_of(Script([chunk("We "), Wait(0.05), Cut(reset)])) as (model, upstream):
        seen: list[Delta] = []
        error = await fail(model, seen)
    assert seen == [TextDelta("We ")]
    assert (error.status, error.code) == (502, "BAD_GATEWAY")
    assert "in the middle of the reply" in error.message
    assert len(upstream.completions) == 1


async def test_reading_on_from_a_connection_that_is_gone_is_a_cut_like_any_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def gone(*_: object) -> None:
        raise RuntimeError("Connection closed.")  # as aiohttp says it, in place of one of its own errors

    monkeypatch.setattr(aiohttp.StreamReader, "_wait", gone)
    async with model_of(Script([chunk("We "), Wait(0.05), Cut()])) as (model, _):
        error = await fail(model)
    assert (error.status, error.code) == (502, "BAD_GATEWAY")
    assert "broke the connection" in error.message


async def test_a_cut_before_the_first_token_is_tried_again() -> None:
    async with model_of(Script([Cut()]), Script([Cut()], head=False), reply("ok")) as (model, upstream):
        assert text_of(await read(model)) == "ok"
    assert len(upstream.completions) == 3


async def test_a_cut_after_the_finish_loses_nothing() -> None:
    async with model_of(Script([chunk("whole", finish="stop"), Wait(0.02), Cut()])) as (model, _):
        deltas = await read(model)
    assert text_of(deltas) == "whole"
    assert isinstance(deltas[-1], Finish)


@pytest.mark.parametrize("end", [[DONE], []], ids=["done", "end of the body"])
@pytest.mark.parametrize("chunked", [True, False])
async def test_an_end_without_a_finish_reason_is_an_error(end: list[bytes], chunked: bool) -> None:
    async with model_of(Script([chunk("We open"), *end], chunked=chunked)) as (model, _):
        seen: list[Delta] = []
        error = await fail(model, seen)
    assert text_of(seen) == "We open"
    assert error.code == "BAD_GATEWAY"
    assert "finish_reason" in error.message


async def test_an_empty_answer_is_an_error() -> None:
    async with model_of(Script([])) as (model, _):
        error = await fail(model)
    assert "no completion in it" in error.message


async def test_a_missing_done_after_the_finish_is_no_error() -> None:
    async with model_of(Script([chunk("ok", finish="stop"), usage(1, 2)])) as (model, _):
        assert (await read(model))[-1] == Finish(reason="stop", input_tokens=1, output_tokens=2)


@pytest.mark.parametrize(
    "data",
    [
        b'{"choices": [',
        b"<oops>",
        b'{"choices": 5}',
        b'{"choices": [{"delta": {"content": 5}}]}',
        b"\xff\xfe",
        b'{"choices": [{"delta": {"content": "\xff"}}]}',
        b'{"error": ' + b"[" * 100_000,
    ],
    ids=["half", "no JSON", "a number", "a number as text", "no text", "no UTF-8", "too deep"],
)
async def test_malformed_events_are_an_error_that_quotes_them(data: bytes) -> None:
    async with model_of(Script([chunk("We "), event(data), chunk("open", finish="stop"), DONE])) as (model, upstream):
        error = await fail(model)
    assert (error.status, error.code) == (502, "BAD_GATEWAY")
    assert "cannot be read" in error.message
    assert "OPENAI_BASE_URL" in error.message
    assert len(upstream.completions) == 1


@pytest.mark.parametrize(
    "script",
    [
        document(b"<html><body>Welcome</body></html>", content_type="text/html"),
        document(b"not json", content_type="application/json"),
        document(b'{"choices": ['),
        document({"hello": "world"}),
        document([1, 2]),
        document({"error": {"message": "no GPU"}}),
    ],
    ids=["html", "text", "half a document", "another object", "a list", "an error"],
)
async def test_an_answer_of_another_kind_is_an_error(script: Script) -> None:
    async with model_of(script) as (model, _):
        error = await fail(model)
    assert (error.status, error.code) == (502, "BAD_GATEWAY")
    assert "<html>" not in error.message


async def test_what_is_no_http_is_an_error() -> None:
    async with model_of(Script([b"SSH-2.0-OpenSSH_9.2\r\n"], head=False)) as (model, _):
        error = await fail(model)
    assert (error.status, error.code) == (502, "BAD_GATEWAY")
    assert "no HTTP" in error.message


@pytest.mark.parametrize(
    "data, status, words",
    [
        ({"error": {"message": "worker died", "code": 500}}, 502, "worker died"),
        ({"error": {"message": "overloaded", "code": "429"}}, 429, "overloaded"),
        ({"error": "llama runner exited"}, 502, "llama runner exited"),
        ({"object": "error", "message": "engine is dead", "code": 500}, 502, "engine is dead"),
        ({"error": {"message": "maximum context length is 8 tokens", "code": 400}}, 422, "too long"),
        ({"error": {"message": "no", "code": "context_length_exceeded"}}, 422, "too long"),
        ({"error": {"message": "no", "code": "rate_limit_exceeded"}}, 429, "429"),
        ({"error": {"message": "no top_k", "type": "invalid_request_error"}}, 422, "no top_k"),
        ({"error": {"message": f"bad key {KEY}", "code": "invalid_api_key"}}, 502, "bad key [key]"),
    ],
)
async def test_an_error_inside_the_stream_is_an_error(data: object, status: int, words: str) -> None:
    async with model_of(Script([chunk("We "), Wait(0.02), event(data), DONE])) as (model, upstream):
        seen: list[Delta] = []
        error = await fail(model, seen)
    assert text_of(seen) == "We "
    assert error.status == status
    assert words in error.message
    assert len(upstream.completions) == 1


@pytest.mark.parametrize("data", [{"error": "no GPU"}, b"<oops>"])
async def test_tokens_that_came_in_the_packet_of_an_error_are_not_lost(data: object) -> None:
    async with model_of(Script([chunk("We ") + chunk("open ") + event(data) + DONE])) as (model, upstream):
        seen: list[Delta] = []
        error = await fail(model, seen)
    assert text_of(seen) == "We open "
    assert error.status == 502
    assert len(upstream.completions) == 1


async def test_a_conversation_that_is_too_long_is_told_as_that() -> None:
    said = "This model's maximum context length is 4096 tokens. However, your messages resulted in 5000 tokens."
    async with model_of(failure(400, said, code="context_length_exceeded")) as (model, upstream):
        error = await fail(model)
    assert (error.status, error.code) == (422, "UNPROCESSABLE_ENTITY")
    assert "too long" in error.message
    assert "interactionMaxMessages" in error.message
    assert "4096" in error.message
    assert len(upstream.completions) == 1


async def test_another_refusal_of_the_request_is_quoted() -> None:
    async with model_of(failure(400, "temperature must be at most 2")) as (model, _):
        error = await fail(model)
    assert (error.status, error.code) == (422, "UNPROCESSABLE_ENTITY")
    assert "temperature must be at most 2" in error.message


@pytest.mark.parametrize(
    "status, expected", [(402, 502), (405, 502), (408, 504), (504, 504), (413, 422), (501, 502), (302, 502)]
)
async def test_other_statuses_are_errors_too(status: int, expected: int) -> None:
    async with model_of(failure(status, "no")) as (model, _):
        error = await fail(model)
    assert error.status == expected


async def test_a_redirect_is_told_and_the_key_goes_nowhere_else() -> None:
    async with FakeUpstream(reply("ok")) as other:
        moved = failure(307, headers={"Location": f"{other.base_url}/chat/completions"})
        async with model_of(moved) as (model, _):
            error = await fail(model)
    assert "has moved" in error.message
    assert other.requests == []


async def test_a_filtered_reply_is_an_error() -> None:
    async with model_of(reply("I ", finish="content_filter")) as (model, _):
        error = await fail(model)
    assert (error.status, error.code) == (422, "UNPROCESSABLE_ENTITY")
    assert "content filter" in error.message


async def test_an_unknown_finish_reason_is_an_error() -> None:
    async with model_of(reply("I ", finish="tool_calls")) as (model, _):
        error = await fail(model)
    assert "'tool_calls'" in error.message


async def test_an_error_body_of_any_kind_is_survived() -> None:
    for body in (b"", b"<html>nginx</html>", b'{"detail": [{"loc": 1}]}', b'{"detail": "Not here"}', b"\xff"):
        async with model_of(document(body, status=400)) as (model, _):
            error = await fail(model)
        assert error.status == 422
        assert "nginx" not in error.message


# Servers that want a field different


async def test_stream_options_are_left_out_where_they_are_refused_and_not_sent_again() -> None:
    refusal = failure(400, "Unrecognized request argument supplied: stream_options")
    async with model_of(refusal, reply("ok")) as (model, upstream):
        assert text_of(await read(model)) == "ok"
        await read(model)
    assert ["stream_options" in request.json() for request in upstream.completions] == [True, False, False]


async def test_a_server_that_refuses_stream_options_for_ever_is_asked_twice() -> None:
    async with model_of(failure(400, "stream_options is not permitted")) as (model, upstream):
        error = await fail(model)
    assert error.status == 422
    assert len(upstream.completions) == 2


async def test_max_tokens_is_renamed_where_the_server_wants_the_newer_name() -> None:
    refusal = failure(400, "Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead.")
    prompt = replace(PROMPT, config=ModelConfig(max_tokens=9))
    async with model_of(refusal, reply("ok")) as (model, upstream):
        await read(model, prompt)
    first, second = (request.json() for request in upstream.completions)
    assert (first["max_tokens"], second["max_completion_tokens"]) == (9, 9)
    assert "max_tokens" not in second


# Leaving


async def test_closing_the_iterator_ends_the_upstream_request_at_once(stalls: Stalls) -> None:
    async with model_of(Script([chunk("a"), Wait(5), chunk("b"), DONE]), patience=Patience()) as (model, upstream):
        async with aclosing(model.stream(PROMPT)) as batches:
            async for _ in batches:
                break
        async with stalls.within(1):  # the reply would go on for longer
            await upstream.disconnected.wait()


async def test_cancelling_the_reader_ends_the_upstream_request_at_once(stalls: Stalls) -> None:
    async with model_of(reply("a", delay=5), patience=Patience()) as (model, upstream):
        reader = asyncio.create_task(read(model))
        await asyncio.wait_for(upstream.asked.wait(), 60)
        reader.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reader
        async with stalls.within(1):  # the reply would go on for longer
            await upstream.disconnected.wait()


async def test_a_session_handed_in_is_used_and_left_open() -> None:
    async with FakeUpstream(reply("ok")) as upstream, aiohttp.ClientSession() as session:
        server = OpenAIServer(Endpoint(base_url=upstream.base_url), session=session)
        assert text_of(await read(OpenAIModel("m", server))) == "ok"
        await server.aclose()
        assert not session.closed


async def test_the_environments_proxy_is_used_but_not_on_loopback(monkeypatch: pytest.MonkeyPatch) -> None:
    async with FakeUpstream(reply("ok")) as proxy:
        monkeypatch.setenv("http_proxy", proxy.base_url.removesuffix("/v1"))
        for base_url in ("http://models.example/v1", proxy.base_url):
            server = OpenAIServer(Endpoint(base_url=base_url))
            assert text_of(await read(OpenAIModel("m", server))) == "ok"
            await server.aclose()
    assert [request.path for request in proxy.requests] == [
        "http://models.example/v1/chat/completions",
        "/v1/chat/completions",
    ]


async def test_many_streams_run_at_once(stalls: Stalls) -> None:
    async with model_of(reply("a", "b", delay=0.1), patience=Patience()) as (model, upstream):
        begun = time.monotonic()
        replies = await asyncio.gather(*(read(model) for _ in range(150)))
        assert time.monotonic() - begun < 10 + stalls.allowance  # one after the other they take thirty seconds
    assert {text_of(deltas) for deltas in replies} == {"ab"}
    assert upstream.connected == 150


def test_the_key_is_in_no_repr() -> None:
    endpoint = Endpoint(base_url="http://127.0.0.1:1/v1", api_key=KEY)
    server = OpenAIServer(endpoint)
    assert KEY not in repr(endpoint) + repr(server) + repr(OpenAIModel("m", server))


@pytest.mark.parametrize("url", ["", "localhost:11434", "ftp://x/v1"])
def test_a_base_url_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="OPENAI_BASE_URL"):
        OpenAIServer(Endpoint(base_url=url))


def test_aiohttp_is_not_imported_before_a_model_is_asked() -> None:
    code = "import sys, turnwise.server.models.openai; sys.exit('aiohttp' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_loading_the_http_client_keeps_nobody_waiting() -> None:
    code = """
import asyncio, sys, threading
from turnwise.server.models.base import ModelError, Prompt, PromptMessage
from turnwise.server.models.openai import OpenAIModel, OpenAIServer, Patience
from turnwise.server.models.openai_errors import Endpoint

class Finder:
    loaded_by = []

    def find_spec(self, name, path=None, target=None):
        if name == "aiohttp":
            self.loaded_by.append(threading.current_thread())

async def ask():
    server = OpenAIServer(Endpoint(base_url="http://127.0.0.1:1/v1"), patience=Patience(tries=1))
    try:
        async for _ in OpenAIModel("m", server).stream(Prompt(system="", messages=[PromptMessage("user", "Hi")])):
            pass
    except ModelError:
        pass
    await server.aclose()

sys.meta_path.insert(0, Finder())
asyncio.run(ask())
assert len(Finder.loaded_by) == 1, Finder.loaded_by
assert Finder.loaded_by[0] is not threading.main_thread()
"""
    subprocess.run([sys.executable, "-c", code], check=True)
