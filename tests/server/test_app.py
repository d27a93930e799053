from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import MutableMapping
from pathlib import Path

import pytest
from tests.server.asgi import Api, ScriptedModels

from turnwise.server.app import Adapters, create_app
from turnwise.server.log import LineFormatter
from turnwise.server.routes import OPERATIONS
from turnwise.server.settings import Settings
from turnwise.server.storage.open import storage_at

PATHS = sorted({(operation.path, operation.method) for operation in OPERATIONS})


@pytest.mark.parametrize("path, method", [*PATHS, ("/spec", "GET")])
async def test_a_wrong_method_is_405_and_head_and_options_are_200(api: Api, path: str, method: str) -> None:
    wrong = {"GET": "POST", "POST": "GET"}[method]
    for asked in (wrong, "PUT", "DELETE", "PATCH"):
        reply = await api(asked, f"/v1{path}", secret="")
        assert (reply.status, reply.code) == (405, "METHOD_NOT_ALLOWED")
        assert reply.headers["allow"] == f"{method}, HEAD, OPTIONS"
    for asked in ("HEAD", "OPTIONS"):
        reply = await api(asked, f"/v1{path}", secret="")
        assert (reply.status, reply.body) == (200, b"")
        assert reply.headers["allow"] == f"{method}, HEAD, OPTIONS"


@pytest.mark.parametrize("path", ["/", "/v1", "/api/v1/", "/v1/conversation", "/v2/conversation/list", "/api/healthz"])
async def test_an_unknown_path_is_404(api: Api, path: str) -> None:
    reply = await api("GET", path)
    assert (reply.status, reply.code) == (404, "NOT_FOUND")


async def test_health_needs_no_secret(api: Api) -> None:
    assert (await api("GET", "/healthz", secret="")).json == {"status": "ok"}
    assert (await api("GET", "/readyz", secret="")).json == {"status": "ready"}
    assert (await api("HEAD", "/healthz", secret="")).status == 200


async def test_a_database_that_is_silent_is_not_ready(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    async def silent() -> bool:
        await asyncio.sleep(60)
        return True

    monkeypatch.setattr(api.application.adapters.storage, "ready", silent)
    monkeypatch.setattr("turnwise.server.app.READY_WITHIN", 0.05)
    reply = await api("GET", "/readyz", secret="")
    assert (reply.status, reply.json["code"]) == (503, "SERVICE_UNAVAILABLE")


async def test_a_database_that_does_not_answer_is_not_ready(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    async def dead() -> bool:
        return False

    monkeypatch.setattr(api.application.adapters.storage, "ready", dead)
    reply = await api("GET", "/readyz", secret="")
    assert (reply.status, reply.code) == (503, "SERVICE_UNAVAILABLE")
    assert int(reply.headers["retry-after"]) >= 1


async def test_every_answer_has_a_request_id_of_its_own(api: Api) -> None:
    replies = [await api("GET", "/healthz") for _ in range(3)]
    assert len({reply.headers["x-request-id"] for reply in replies}) == 3


@pytest.mark.parametrize(
    "given, kept",
    [("abc-DEF_1.2", True), ("short", False), ("x" * 129, False), ("a b c d e f", False), ("", False)],
)
async def test_only_a_well_formed_request_id_is_taken_over(api: Api, given: str, kept: bool) -> None:
    reply = await api("GET", "/healthz", headers={"x-request-id": given})
    assert (reply.headers["x-request-id"] == given) is kept


async def test_a_fault_of_the_server_is_500_without_details(
    api: Api, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def fail(*_: object) -> None:
        raise ZeroDivisionError("secret detail")

    monkeypatch.setattr(api.application.adapters.storage, "fetch_conversation", fail)
    reply = await api.get("/conversation/c/fetch")
    assert (reply.status, reply.code) == (500, "INTERNAL_SERVER_ERROR")
    assert "secret detail" not in reply.text
    assert reply.headers["x-request-id"] in reply.message
    assert "ZeroDivisionError" in caplog.text


async def test_each_request_is_one_line_in_the_log_without_secret_or_text(
    api: Api, caplog: pytest.LogCaptureFixture
) -> None:
    conversation = await api.conversation()
    caplog.clear()
    with caplog.at_level(logging.INFO, "turnwise.server.request"):
        reply = await api.post(f"/conversation/{conversation}/send", {"text": "my private words"})
        await api.get("/conversation/list", secret="tw_wrong_secret")
    assert len(caplog.records) == 2
    sent, refused = (LineFormatter("json").format(record) for record in caplog.records)
    line = json.loads(sent)
    assert line["id"] == reply.headers["x-request-id"]
    assert line["route"] == "/conversation/{conversationId}/send"
    assert (line["method"], line["status"], line["level"]) == ("POST", 200, "info")
    assert line["ms"] > 0
    assert len(line["account"]) == 32
    assert json.loads(refused)["status"] == 401
    text = LineFormatter("text").format(caplog.records[0])
    assert f"info request id={line['id']} account={line['account']} method=POST" in text
    for written in (sent, refused, text):
        assert "private" not in written
        assert "secret" not in written


async def test_the_log_says_when_a_streamed_answer_began(api: Api, caplog: pytest.LogCaptureFixture) -> None:
    conversation = await api.conversation()
    with caplog.at_level(logging.INFO, "turnwise.server.request"):
        await api.post(f"/conversation/{conversation}/complete", {"text": "hi"}, accept="application/jsonl")
        await api.post(f"/conversation/{conversation}/complete", {"text": "hi"})
    streamed, whole = (record.__dict__["fields"] for record in caplog.records[-2:])
    assert 0 < streamed["first_ms"] <= streamed["ms"]
    assert "first_ms" not in whole


async def test_a_client_that_left_is_logged_as_499(api: Api, caplog: pytest.LogCaptureFixture) -> None:
    conversation = await api.conversation(model="silent")
    leave = asyncio.Event()
    with caplog.at_level(logging.INFO, "turnwise.server.request"):
        path = f"/api/v1/conversation/{conversation}/complete"
        asking = asyncio.create_task(api("POST", path, {"text": "hi"}, leave=leave))
        await asyncio.wait_for(api.models.scripted["silent"].waits.wait(), 60)
        leave.set()
        reply = await asking
    assert reply.status == 0
    assert caplog.records[-1].__dict__["fields"]["status"] == 499


def test_a_traceback_is_logged_in_both_forms() -> None:
    with pytest.raises(ValueError, match="broken") as caught:
        int("broken")
    info = (caught.type, caught.value, caught.tb)
    record = logging.LogRecord("turnwise", logging.ERROR, "f.py", 1, "failed %s", ("twice",), info)
    assert "ValueError: invalid literal" in json.loads(LineFormatter("json").format(record))["trace"]
    lines = LineFormatter("text").format(record).splitlines()
    assert lines[0].endswith(" error failed twice")
    assert lines[-1].startswith("ValueError: invalid literal")


async def test_an_asgi_server_opens_and_closes_the_application(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'life.db'}"
    application = create_app(Settings(), Adapters(storage=storage_at(url), models=ScriptedModels(), guest_secret="s"))
    api = Api(application, "s", ScriptedModels())
    with pytest.raises(RuntimeError, match="not open"):
        await api("GET", "/healthz")
    said: list[object] = []
    messages: asyncio.Queue[MutableMapping[str, object]] = asyncio.Queue()
    started = asyncio.Event()

    async def send(message: MutableMapping[str, object]) -> None:
        said.append(message["type"])
        started.set()

    life = asyncio.create_task(application({"type": "lifespan"}, messages.get, send))
    messages.put_nowait({"type": "lifespan.startup"})
    await started.wait()
    assert (await api("GET", "/readyz")).status == 200
    messages.put_nowait({"type": "lifespan.shutdown"})
    await life
    assert said == ["lifespan.startup.complete", "lifespan.shutdown.complete"]


async def test_a_database_that_cannot_be_opened_fails_the_start(tmp_path: Path) -> None:
    storage = storage_at(f"sqlite:///{tmp_path}")
    application = create_app(Settings(), Adapters(storage=storage, models=ScriptedModels()))
    said: list[MutableMapping[str, object]] = []

    async def send(message: MutableMapping[str, object]) -> None:
        said.append(message)

    async def receive() -> MutableMapping[str, object]:
        return {"type": "lifespan.startup"}

    with pytest.raises(Exception, match="cannot be opened"):
        await application({"type": "lifespan"}, receive, send)
    assert said[0]["type"] == "lifespan.startup.failed"
    await application.close()


async def test_closing_lets_a_running_turn_end(api: Api) -> None:
    conversation = await api.conversation(model="slow")
    asking = asyncio.create_task(api.post(f"/conversation/{conversation}/complete", {"text": "hi"}))
    await asyncio.wait_for(api.models.scripted["slow"].waits.wait(), 60)
    closing = asyncio.create_task(api.application.close(grace=60))
    await asyncio.sleep(0.05)
    api.models.scripted["slow"].go_on.set()
    await closing
    assert (await asking).json["text"] == "Well, yes"


async def test_closing_breaks_a_turn_off_that_does_not_end_in_time(api: Api) -> None:
    conversation = await api.conversation(model="slow")
    path = f"/conversation/{conversation}/complete"
    asking = asyncio.create_task(api.post(path, {"text": "hi"}, accept="application/jsonl"))
    await asyncio.wait_for(api.models.scripted["slow"].waits.wait(), 60)
    await api.application.close(grace=0.05)
    reply = await asking
    assert reply.events[-1]["type"] == "error"
    assert reply.data(-1)["code"] == "SERVICE_UNAVAILABLE"


async def test_what_expired_leaves_the_disk(tmp_path: Path) -> None:
    purged: list[int] = []
    enough = asyncio.Event()
    storage = storage_at(f"sqlite:///{tmp_path / 'purge.db'}")

    async def purge(*, now: int, limit: int = 1000) -> int:
        purged.append(now)
        if len(purged) == 2:
            raise OSError("the disk is full")
        if len(purged) == 4:
            enough.set()
        return 1 if len(purged) == 1 else 0

    storage.purge = purge  # type: ignore[method-assign]
    settings = Settings(purge_interval=0.01)
    application = create_app(settings, Adapters(storage=storage, models=ScriptedModels()))
    await application.open()
    async with asyncio.timeout(60):
        await enough.wait()
    await application.close()
