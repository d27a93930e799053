"""What our clients send is what the official Node client sends for the same call."""

from __future__ import annotations

import email
import json
import shutil
import subprocess
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from email.policy import HTTP
from pathlib import Path
from typing import Any, cast

import pytest
from tests.client.recorder import Recorder, Request, recording

from turnwise import AsyncConversationClient, ConversationClient, Timeout
from turnwise._transport.base import WireRequest

Json = dict[str, object]

COMPARED = (
    "accept",
    "authorization",
    "content-type",
    "x-runas-child-user-email",
    "x-runas-user-id",
    "x-timezone",
    "x-own",
)
TURN: Json = {"type": "user", "text": "When do you open? ☕ \U0001f600"}
FUNCTION: Json = {
    "name": "open_door",
    "description": "Opens it",
    "parameters": {"type": "object", "properties": {}},
    "result": {"data": {"ok": True}},
    "call": {"start": True},
}
ENTITY: Json = {
    "type": "name",
    "begin": 0,
    "end": 3,
    "text": "Ada",
    "replacement": {"begin": 0, "end": 5, "text": "PER_1"},
}
EXTENSIONS: Json = {
    "backstory": "Be brief.",
    "datasets": [{"name": "d", "records": [{"text": "At nine.", "meta": {"a": 1}}]}],
    "skillsets": [{"abilities": [{"name": "a", "description": "d", "instruction": "i"}]}],
    "features": [{"name": "f", "options": {"x": True}}],
}
LIMITS: Json = {"iterations": 3, "continuations": 2, "calls": 1}
CONFIG: Json = {
    "maxTokens": 200,
    "temperature": 0.7,
    "frequencyPenalty": 0.5,
    "presencePenalty": -1.0,
    "seed": 7,
    "interactionMaxMessages": 10,
    "region": "eu",
    "topP": True,
}
CONVERSATION: Json = {
    "name": "n",
    "description": "d",
    "meta": {"plan": "pro", "n": 1, "none": None},
    "botId": "b",
    "model": {"name": "vendor/large", "config": CONFIG},
    "backstory": "You run a café.",
    "datasetId": "ds",
    "skillsetId": "sk",
    "privacy": False,
    "moderation": True,
    "contactId": "ct",
    "taskId": "t",
    "spaceId": "s",
    "expiresAt": 1790000000000,
}


@dataclass(frozen=True)
class Case:
    method: str
    args: tuple[object, ...] = ()
    resource: str = "conversation"
    streamed: bool = False
    options: Json = field(default_factory=dict[str, object])

    def __str__(self) -> str:
        stream = ".stream" if self.streamed else ""
        return f"{self.resource}.{self.method}{stream}{json.dumps([*self.args, self.options])[:60]}"


OPTIONS: dict[str, Json] = {
    "nothing": {"secret": ""},
    "run as user": {"runAsUserId": "user-1"},
    "run as child": {"runAsChildUserEmail": "child@x.example"},
    "time zone": {"timezone": "Europe/Sofia"},
    "headers": {"headers": {"x-own": "1"}},
    "endpoint by path": {"endpoints": {"/api/v1/conversation/list": "/elsewhere/list"}},
    "endpoint by template": {"endpoints": {"/api/v1/conversation/{conversationId}/fetch": "/elsewhere/fetch"}},
    "everything": {
        "runAsUserId": "user-1",
        "runAsChildUserEmail": "child@x.example",
        "timezone": "UTC",
        "headers": {"x-own": "1"},
        "timeout": 60000,
        "retries": 1,
        "retryDelay": 10,
        "retryTimeout": False,
    },
}
PLAIN = [
    Case("list"),
    Case("list", ({},)),
    Case("list", ({"cursor": "c1", "order": "asc", "take": 5},)),
    Case("list", ({"meta": {"plan": "pro & more", "flag": True, "off": False, "none": None}, "take": 1},)),
    Case("list", ({"botId": "b1,b2", "contactId": "ct", "taskId": "t", "spaceId": "s", "none": None},)),
    Case("fetch", ("c-1_x",)),
    Case("create", ({},)),
    Case("create", (CONVERSATION,)),
    Case("create", ({"model": "gpt-4o/temperature=1", "messages": [TURN, {**TURN, "meta": {"a": None}}]},)),
    Case("create", ({"model": {"name": "m", "config": {}}, "name": None, "unknown": {"a": [1]}},)),
    Case("create", ({"model": {"name": "m"}},)),
    Case("update", ("c", CONVERSATION)),
    Case("update", ("c", {"meta": {"plan": None}, "expiresAt": None})),
    Case("delete", ("c",)),
    Case("complete", (None, {"messages": [TURN]})),
    Case(
        "complete",
        (
            None,
            {
                **{key: value for key, value in CONVERSATION.items() if key not in {"meta", "name", "description"}},
                "messages": [TURN, {"type": "activity", "text": "", "meta": {"activity": {"type": "trigger"}}}],
                "attachments": [{"url": "data:,x"}],
                "functions": [FUNCTION],
                "extensions": EXTENSIONS,
                "limits": LIMITS,
            },
        ),
    ),
    Case("complete", ("c", {})),
    Case(
        "complete",
        (
            "c",
            {"text": "hi", "entities": [ENTITY], "functions": [FUNCTION], "extensions": EXTENSIONS, "limits": LIMITS},
        ),
    ),
    Case("send", ("c", {"text": " hi \u2028 there "})),
    Case("send", ("c", {"text": "hi", "entities": [ENTITY], "functions": [FUNCTION], "extensions": EXTENSIONS})),
    Case("receive", ("c", {})),
    Case("receive", ("c", {"functions": [FUNCTION], "extensions": EXTENSIONS, "limits": LIMITS})),
    Case("upvote", ("c", {})),
    Case("upvote", ("c", {"value": 5, "reason": "good"})),
    Case("downvote", ("c", {"value": -5, "reason": None})),
    Case("list", ("c",), "message"),
    Case("list", ("c", {"cursor": "m1", "order": "desc", "take": 100}), "message"),
    Case("fetch", ("c", "m"), "message"),
    Case("create", ("c", TURN), "message"),
    Case("create", ("c", {**TURN, "name": "n", "description": "", "meta": {}, "entities": [ENTITY]}), "message"),
    Case("update", ("c", "m", {"text": "new", "meta": {"a": None}}), "message"),
    Case("delete", ("c", "m"), "message"),
    Case("upvote", ("c", "m", {"value": 1}), "message"),
    Case("downvote", ("c", "m", {"reason": "wrong"}), "message"),
    Case("create", ("c", {"durationInSeconds": 1800}), "session"),
    Case("create", ("c", {}), "session"),
]
STREAMED = [
    Case("list", ({"take": 2},), streamed=True),
    Case("complete", (None, {"messages": [TURN], "model": {"name": "m", "config": {"seed": 1}}}), streamed=True),
    Case("complete", ("c", {"text": "hi"}), streamed=True),
    Case("send", ("c", {"text": "hi"}), streamed=True),
    Case("receive", ("c", {}), streamed=True),
    Case("list", ("c", {"take": 2, "order": "desc"}), "message", streamed=True),
]
OPTIONED = [
    Case(method, args, options=options)
    for options in OPTIONS.values()
    for method, args in (("list", ()), ("fetch", ("c",)), ("send", ("c", {"text": "hi"})))
]
CASES = [*PLAIN, *STREAMED, *OPTIONED]


@dataclass(frozen=True)
class Sent:
    """A request without what may differ: the order of parameters and keys, and the way bytes are written as JSON."""

    method: str
    path: str
    query: list[tuple[str, str]]
    headers: dict[str, str]
    body: object

    @classmethod
    def of(cls, request: Request) -> Sent:
        return cls(request.method, request.path, request.query, cls.headers_of(request), request.json)

    @staticmethod
    def headers_of(request: Request) -> dict[str, str]:
        return {name: value for name, value in request.headers.items() if name in COMPARED}


def node_outcomes(root: Path, url: str, cases: list[Case], *, captured: bool = False) -> list[object]:
    """Let one process perform all the calls; where they are `captured`, return the requests it would have sent."""
    table = [
        {
            "options": {"secret": "s-1", "baseUrl": url, **case.options},
            "resource": case.resource,
            "method": case.method,
            "args": case.args,
            "streamed": case.streamed,
            "captured": captured,
        }
        for case in cases
    ]
    done = subprocess.run(
        ["node", root / "tests/node/calls.mjs"], input=json.dumps(table), capture_output=True, text=True, check=True
    )
    outcomes: list[object] = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(outcomes) == len(cases), done.stderr
    assert not [outcome for outcome in outcomes if isinstance(outcome, dict) and "error" in outcome]
    return outcomes


def our_options(url: str, options: Json) -> Json:
    ours = {"secret": "s-1", "baseUrl": url, **options}
    names = {
        "baseUrl": "base_url",
        "runAsUserId": "run_as_user_id",
        "runAsChildUserEmail": "run_as_child_user_email",
        "retryDelay": "retry_delay",
        "retryTimeout": "retry_timeout",
    }
    milliseconds = {"timeout", "retryDelay"}
    return {
        names.get(name, name): cast("float", value) / 1000 if name in milliseconds else value
        for name, value in ours.items()
    }


def our_method(client: object, case: Case) -> Callable[..., Any]:
    target = client if case.resource == "conversation" else getattr(client, case.resource)
    method: Callable[..., Any] = getattr(target, f"{case.method}_stream" if case.streamed else case.method)
    return method


def call_ours(recorder: Recorder, case: Case) -> Sent:
    with ConversationClient(**our_options(recorder.url, case.options)) as client:  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
        answer = our_method(client, case)(*case.args)
        if case.streamed:
            answer.until_done()
    (request,) = recorder.take()
    return Sent.of(request)


async def call_ours_async(recorder: Recorder, case: Case) -> Sent:
    async with AsyncConversationClient(**our_options(recorder.url, case.options)) as client:  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
        answer = our_method(client, case)(*case.args)
        await (answer.until_done() if case.streamed else answer)
    (request,) = recorder.take()
    return Sent.of(request)


@pytest.fixture(scope="module")
def node(root: Path) -> Path:
    if shutil.which("node") is None:
        pytest.skip("node is not installed: the Node client cannot be asked")
    if not (root / "tests/node/node_modules/@chatbotkit/sdk").exists():
        pytest.skip("the Node client is not installed: run `make node`")
    return root


@pytest.fixture(scope="module")
def recorder() -> Generator[Recorder]:
    with recording() as recorder:
        yield recorder


@pytest.fixture(scope="module")
def node_sent(node: Path, recorder: Recorder) -> list[Request]:
    """What the Node client sent, in the order of the table; one process performs them all."""
    node_outcomes(node, recorder.url, CASES)
    requests = recorder.take()
    assert len(requests) == len(CASES)
    return requests


@pytest.mark.parametrize("number", range(len(CASES)), ids=[str(case) for case in CASES])
async def test_both_clients_send_what_the_node_client_sends(
    number: int, node_sent: list[Request], recorder: Recorder
) -> None:
    expected = Sent.of(node_sent[number])
    assert call_ours(recorder, CASES[number]) == expected
    assert await call_ours_async(recorder, CASES[number]) == expected


FETCHES: list[tuple[str, Json]] = [
    ("/api/v1/bot/list", {"query": {"take": 2, "meta": {"plan": "pro", "none": None}, "none": None}}),
    ("/api/v1/bot/create", {"record": {"name": "é"}}),
    ("/api/v1/bot/create", {"record": {}, "method": "PUT", "headers": {"x-own": "2"}}),
    ("/api/v1/bot/create", {"record": {}, "headers": {"content-type": "application/json; charset=utf-8"}}),
    ("/up", {"buffer": "bytes"}),
    ("/up", {"buffer": "bytes", "method": "PUT", "headers": {"content-type": "image/png"}, "external": True}),
    ("/up", {"method": "POST"}),
    ("/api/v1/bot/b/fetch", {"endpoint": "/api/v1/bot/{botId}/fetch"}),
]
FETCH_OPTIONS: Json = {
    "runAsUserId": "u",
    "runAsChildUserEmail": "u@x.example",
    "timezone": "UTC",
    "headers": {"x-own": "1"},
    "endpoints": {"/api/v1/bot/{botId}/fetch": "/elsewhere"},
}


def test_requests_by_hand_are_the_same(node: Path, recorder: Recorder) -> None:
    cases = [Case("clientFetch", fetch, options=FETCH_OPTIONS) for fetch in FETCHES]
    node_outcomes(node, recorder.url, cases)
    theirs = recorder.take()
    with ConversationClient(**our_options(recorder.url, FETCH_OPTIONS)) as client:  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
        for path, request in FETCHES:
            ours = {key: str(value).encode() if key == "buffer" else value for key, value in request.items()}
            client.client_fetch(path, **ours)  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType, reportCallIssue]
    for mine, their in zip(recorder.take(), theirs, strict=True):
        assert (mine.method, mine.path, mine.query, mine.body.replace(b" ", b"")) == (
            their.method,
            their.path,
            their.query,
            their.body.replace(b" ", b""),
        )
        assert Sent.headers_of(mine) == Sent.headers_of(their)


def test_a_file_is_the_same_form(node: Path, recorder: Recorder) -> None:
    file = {"data": "text ☕", "name": "a b.txt", "type": "text/plain"}
    node_outcomes(node, recorder.url, [Case("clientFetch", ("/up", {"file": file}))])
    with ConversationClient(base_url=recorder.url, secret="s-1") as client:
        client.client_fetch("/up", file={"data": "text ☕", "name": "a b.txt", "type": "text/plain"})
    theirs, ours = (parts(request) for request in recorder.take())
    assert ours == theirs == [("file", "a b.txt", "text/plain", "text ☕".encode())]


def parts(request: Request) -> list[tuple[object, ...]]:
    head = f"content-type: {request.headers['content-type']}\r\n\r\n".encode()
    message = email.message_from_bytes(head + request.body, policy=HTTP)
    return [
        (
            part.get_param("name", header="content-disposition"),
            part.get_filename(),
            part.get_content_type(),
            part.get_payload(decode=True),
        )
        for part in message.iter_parts()
    ]


class Capture:
    """A transport that sends nothing."""

    def __init__(self) -> None:
        self.requests: list[WireRequest] = []
        self.status = 200
        self.headers = {"content-type": "application/json"}

    def send(self, request: WireRequest, timeout: Timeout, /, *, stream: bool) -> Capture:
        self.requests.append(request)
        return self

    def read(self) -> bytes:
        return b'{"id": "c", "createdAt": 1, "updatedAt": 1, "items": [], "cursor": ""}'

    def chunks(self) -> Generator[bytes]:
        yield self.read()

    def close(self) -> None:
        """Nothing is open."""


ORIGINS: list[Json] = [
    {},
    {"baseUrl": "https://api.chatbotkit.com/ignored/path"},
    {"host": "chat.example.com"},
    {"host": "chat.example.com:8443", "protocol": "http"},
    {"baseUrl": "http://localhost:3000"},
    {"baseUrl": "http://localhost:3000", "host": "api.chatbotkit.com", "protocol": "https"},
    {"baseUrl": "https://chat.example.com:443"},
    {"endpoints": {"/api/v1/conversation/list": "/api/v2/list"}},
    {"endpoints": {"/api/v1/conversation/list": "https://other.example/list?x=1"}},
]


@pytest.mark.parametrize("options", ORIGINS, ids=[json.dumps(options) for options in ORIGINS])
def test_both_call_the_same_address(options: Json, node: Path) -> None:
    hosted = {"baseUrl": "https://api.chatbotkit.com", **options}
    case = Case("list", ({"take": 1},), options=hosted)
    (captured,) = node_outcomes(node, "https://api.chatbotkit.com", [case], captured=True)
    transport = Capture()
    ConversationClient(**our_options("", hosted), http_client=transport).list({"take": 1})  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    assert [request.url for request in transport.requests] == [cast("list[Json]", captured)[0]["url"]]


# What follows differs from the Node client, and is meant to.


def both_bodies(node: Path, recorder: Recorder, case: Case) -> tuple[Request, Request]:
    node_outcomes(node, recorder.url, [case])
    with ConversationClient(base_url=recorder.url, secret="s-1") as client:
        our_method(client, case)(*case.args)
    theirs, ours = recorder.take()
    return theirs, ours


def test_falsy_settings_of_a_model_travel(node: Path, recorder: Recorder) -> None:
    model: Json = {"name": "m", "config": {"temperature": 0, "seed": 0, "flag": False, "none": None, "maxTokens": 5}}
    theirs, ours = both_bodies(node, recorder, Case("create", ({"model": model},)))
    assert theirs.json == {"model": "m/maxTokens=5"}
    assert ours.json == {"model": "m/temperature=0/seed=0/flag=false/maxTokens=5"}


def test_a_model_that_is_null_travels(node: Path, recorder: Recorder) -> None:
    theirs, ours = both_bodies(node, recorder, Case("update", ("c", {"model": None})))
    assert theirs.json == {}
    assert ours.json == {"model": None}


def test_ids_are_percent_encoded(node: Path, recorder: Recorder) -> None:
    theirs, ours = both_bodies(node, recorder, Case("fetch", ("a/b?c",)))
    assert theirs.target == "/api/v1/conversation/a/b?c/fetch"
    assert ours.target == "/api/v1/conversation/a%2Fb%3Fc/fetch"


def test_posts_carry_an_idempotency_key_of_their_own(node: Path, recorder: Recorder) -> None:
    theirs, ours = both_bodies(node, recorder, Case("send", ("c", {"text": "hi"})))
    _, again = both_bodies(node, recorder, Case("send", ("c", {"text": "hi"})))
    assert "idempotency-key" not in theirs.headers
    assert len(ours.headers["idempotency-key"]) >= 16
    assert ours.headers["idempotency-key"] != again.headers["idempotency-key"]
    _, read = both_bodies(node, recorder, Case("fetch", ("c",)))
    assert "idempotency-key" not in read.headers
