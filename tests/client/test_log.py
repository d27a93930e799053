from __future__ import annotations

import logging
from collections.abc import Generator

import pytest
from tests.client.wire import complete_call, send_call

from turnwise._call import Call
from turnwise._errors import ConnectError
from turnwise._log import configure, logger
from turnwise._options import ClientOptions
from turnwise._runner import AsyncRunner, SyncRunner
from turnwise.testing import ScriptedTransport, reply
from turnwise.types.conversation import SendResult

TOKEN = "eyJhbGciOi.eyJzdWIi.c2lnbmF0dXJl"


@pytest.fixture(autouse=True)
def _quiet_again() -> Generator[None]:
    yield
    logger.setLevel(logging.NOTSET)
    for handler in list(logger.handlers):
        logger.removeHandler(handler)


async def use(monkeypatch: pytest.MonkeyPatch, level: str, bodies: str = "") -> None:
    """A call that is tried again, a stream, and an answer that holds secrets."""
    monkeypatch.setenv("TURNWISE_LOG", level)
    monkeypatch.setenv("TURNWISE_LOG_BODIES", bodies)
    script = ScriptedTransport()
    for _ in range(2):
        script.answer(error=ConnectError("refused"))
        script.answer(json={"id": "m1", "token": TOKEN, "echo": "hush-secret"})
        script.answer(error=ConnectError("refused"))
        script.answer(events=reply("spoken"))
    options = ClientOptions.of(secret="hush-secret", http_client=script, retry_delay=0.0)
    call: Call[SendResult] = send_call(extra_query={"q": "asked"}, extra_body={"text": "whispered"})
    runner, later = SyncRunner(options), AsyncRunner(options)
    runner.run(call)
    runner.stream(complete_call()).until_done()
    await later.run(call)
    await later.stream(complete_call()).until_done()


async def test_nothing_is_said_unless_asked(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    await use(monkeypatch, "")
    assert capsys.readouterr().err == ""


async def test_requests_statuses_retries_and_times_are_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    await use(monkeypatch, "info")
    said = capsys.readouterr().err
    assert said.count("POST /v1/conversation/c1/send: 200 after") == 2
    assert said.count("request scripted-2") == 2 - 1
    assert said.count("a stream, request") == 2
    assert said.count("ConnectError after") == 4
    assert said.count("again in 0.00 s, after ConnectError") == 4
    assert "api.chatbotkit.com" not in said
    _nothing_private(said)


async def test_debug_says_more_and_still_nothing_private(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    await use(monkeypatch, "DEBUG")
    said = capsys.readouterr().err
    assert "to https://api.chatbotkit.com" in said
    _nothing_private(said)


async def test_bodies_are_told_when_asked_but_never_secrets(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    await use(monkeypatch, "debug", bodies="1")
    said = capsys.readouterr().err
    assert "whispered" in said
    assert '"echo":"***"' in said
    assert TOKEN not in said
    assert "hush-secret" not in said


def _nothing_private(said: str) -> None:
    for private in ("whispered", "spoken", "hush-secret", TOKEN, "asked"):
        assert private not in said


def test_a_client_without_a_secret_logs_bodies_too(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("TURNWISE_SECRET", raising=False)
    monkeypatch.delenv("CHATBOTKIT_API_SECRET", raising=False)
    monkeypatch.setenv("TURNWISE_LOG", "debug")
    monkeypatch.setenv("TURNWISE_LOG_BODIES", "1")
    script = ScriptedTransport()
    script.answer(json={"id": "m1"})
    SyncRunner(ClientOptions.of(http_client=script)).run(send_call())
    assert '{"id":"m1"}' in capsys.readouterr().err


@pytest.mark.parametrize("gap", ["", " "])
def test_a_token_of_any_make_is_masked_in_a_body(
    gap: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TURNWISE_LOG", "debug")
    monkeypatch.setenv("TURNWISE_LOG_BODIES", "1")
    script = ScriptedTransport()
    script.answer(body=f'{{"id":"m1","token":{gap}"{"opaque" * 6}"}}'.encode())
    SyncRunner(ClientOptions.of(http_client=script)).run(send_call())
    assert f'"token":{gap}"***"}}' in capsys.readouterr().err


def test_the_handler_is_added_once_and_only_for_a_known_level(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TURNWISE_LOG", "loud")
    configure()
    assert logger.handlers == []
    monkeypatch.setenv("TURNWISE_LOG", "info")
    configure()
    configure()
    assert len(logger.handlers) == 1
