from __future__ import annotations

import pickle
from collections.abc import Mapping
from typing import Unpack

import pytest

from turnwise import __version__
from turnwise._call import CallOptions, Exchange, Timeout
from turnwise._options import (
    DEFAULT_LIMITS,
    NO_LIMITS,
    PATIENT_LIMITS,
    ClientOptions,
    OptionChanges,
    Secret,
    build,
    fill,
    policy_of,
    timeout_of,
)
from turnwise._transport.base import WireRequest
from turnwise.types._base import OMIT
from turnwise.types.conversation import ConversationSendRequest, EmptyRequest

PATH = "/api/v1/conversation/{conversationId}/send"


@pytest.fixture(autouse=True)
def _bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("TURNWISE_SECRET", "CHATBOTKIT_API_SECRET", "TURNWISE_BASE_URL"):
        monkeypatch.delenv(name, raising=False)


def options(**given: Unpack[OptionChanges]) -> ClientOptions:
    given.setdefault("base_url", "http://h:8000")
    return ClientOptions.of(**given)


def get(path: str = "/api/v1/x", query: Mapping[str, object] | None = None, **extra: Unpack[CallOptions]) -> Exchange:
    return Exchange(method="GET", path=path, query=query or {}, options=extra)


def post(body: object = None, **extra: Unpack[CallOptions]) -> Exchange:
    return Exchange(method="POST", path=PATH, ids=("c1",), body=body, options=extra)  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]


def test_secret_and_origin_come_from_the_environment_unless_given(monkeypatch: pytest.MonkeyPatch) -> None:
    assert ClientOptions.of().secret is None
    assert ClientOptions.of().base_url == "https://api.chatbotkit.com"
    monkeypatch.setenv("CHATBOTKIT_API_SECRET", "second")
    assert ClientOptions.of().secret == "second"
    monkeypatch.setenv("TURNWISE_SECRET", "first")
    monkeypatch.setenv("TURNWISE_BASE_URL", "http://mine:1")
    assert ClientOptions.of().secret == "first"
    assert ClientOptions.of().base_url == "http://mine:1"
    assert ClientOptions.of(secret="own", base_url="http://own").secret == "own"
    assert ClientOptions.of(secret="").secret is None


def test_a_secret_is_masked_everywhere() -> None:
    made = options(secret="hush", headers={"x-key": "hush"})
    assert made.secret == "hush"
    assert pickle.loads(pickle.dumps(made.secret)) == "hush"  # noqa: S301 - our own
    for shown in (repr(made), repr(Secret("hush")), repr(build(made, get()))):
        assert "hush" not in shown


@pytest.mark.parametrize(
    "host, protocol, expected",
    [
        ("other", None, "http://other:8000"),
        ("other:9", None, "http://other:9"),
        (None, "https:", "https://h:8000"),
        ("other", "https", "https://other:8000"),
        (None, None, "http://h:8000"),
    ],
)
def test_host_and_protocol_replace_parts_of_the_origin(host: str | None, protocol: str | None, expected: str) -> None:
    assert options(host=host, protocol=protocol).base_url == expected


def test_a_host_takes_the_place_of_one_without_a_port() -> None:
    assert ClientOptions.of(host="mine").base_url == "https://mine"


@pytest.mark.parametrize(
    "given, message",
    [
        ({"base_url": "http://user:hush@h"}, "secret="),
        ({"base_url": "h:8000"}, "expected something like"),
        ({"base_url": "ftp://h"}, "expected something like"),
        ({"secret": "hush\n"}, "authorization"),
        ({"secret": "h\u00fcsh"}, "authorization"),
        ({"headers": {"x y": "hush"}}, "x y"),
        ({"retries": -1}, "negative"),
        ({"retry_delay": -1}, "negative"),
        ({"timeout": 0}, "more than 0"),
        ({"timeout": Timeout(idle=-1)}, "more than 0"),
    ],
)
def test_options_that_make_no_sense_are_refused_without_showing_a_secret(given: OptionChanges, message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        options(**given)
    assert "hush" not in str(caught.value)


def test_an_unknown_option_names_the_nearest_one() -> None:
    with pytest.raises(TypeError, match="did you mean 'timeout'"):
        options(timeuot=3)  # type: ignore[call-arg] # pyright: ignore[reportCallIssue]


def test_extending_merges_maps_and_replaces_the_rest() -> None:
    made = options(secret="s", endpoints={"/a": "/b"}, headers={"x": "1", "y": "2"}, retries=1)
    again = made.extend(endpoints={"/c": "/d"}, headers={"y": "3"}, retries=2)
    assert again.endpoints == {"/a": "/b", "/c": "/d"}
    assert again.headers == {"x": "1", "y": "3"}
    assert (again.retries, again.secret, again.base_url) == (2, "s", "http://h:8000")
    assert made.extend(headers=None).headers == made.headers
    assert made.extend(secret=None).secret is None


def test_headers_say_who_asks_and_for_whom() -> None:
    made = options(
        secret="s", run_as_user_id="u", run_as_child_user_email="e@x", timezone="Europe/Rome", headers={"X-Mine": "1"}
    )
    headers = build(made, get()).headers
    assert headers == {
        "accept": "*/*",
        "user-agent": f"turnwise/{__version__}",
        "x-mine": "1",
        "authorization": "Bearer s",
        "x-runas-user-id": "u",
        "x-runas-child-user-email": "e@x",
        "x-timezone": "Europe/Rome",
    }
    external = build(made, Exchange(method="GET", path="/x", external=True)).headers
    assert external.keys() == {"accept", "user-agent", "x-mine", "x-timezone"}
    assert build(made, get("https://elsewhere/x")).headers == external


def test_the_clients_headers_win_over_the_general_ones_and_the_calls_over_all() -> None:
    made = options(secret="s", headers={"authorization": "other", "User-Agent": "mine"})
    headers = build(made, get(extra_headers={"X-Timezone": "UTC", "Accept": "text/csv"})).headers
    assert headers["authorization"] == "Bearer s"
    assert (headers["user-agent"], headers["x-timezone"], headers["accept"]) == ("mine", "UTC", "text/csv")
    assert build(options(), get(), stream=True).headers["accept"] == "application/jsonl"


def test_every_post_has_a_key_of_its_own() -> None:
    made = options()
    keys = [build(made, post()).headers["idempotency-key"] for _ in range(2)]
    assert len({*keys}) == 2
    assert all(len(key) == 32 for key in keys)
    assert "idempotency-key" not in build(made, get()).headers
    assert build(made, post(extra_headers={"Idempotency-Key": "k"})).headers["idempotency-key"] == "k"


@pytest.mark.parametrize(
    "base_url, path, address",
    [
        ("https://api.chatbotkit.com", "/api/v1/x", "https://api.chatbotkit.com/v1/x"),
        ("https://API.chatbotkit.com:443/old/path", "/api/v1/x", "https://api.chatbotkit.com/v1/x"),
        ("https://api.chatbotkit.com", "/other", "https://api.chatbotkit.com/other"),
        ("http://h:80", "/api/v1/x", "http://h/api/v1/x"),
        ("http://h:8000", "/api/v1/x", "http://h:8000/api/v1/x"),
        ("http://h:8000", "api/v1/x", "http://h:8000/api/v1/x"),
        ("http://h", "https://e/x?a=1", "https://e/x?a=1"),
        ("http://h", "https://e", "https://e/"),
    ],
)
def test_only_the_hosted_origin_drops_the_api_prefix(base_url: str, path: str, address: str) -> None:
    assert build(options(base_url=base_url), get(path)).url == address


def test_endpoints_are_replaced_by_template_or_by_path() -> None:
    made = options(endpoints={PATH: "/mine", "/api/v1/x": "/y?a=1", "/api/v1/t/{id}": "/u/{id}/v", "/z": "/zz"})
    assert build(made, post()).target == "/mine"
    assert build(made, get(query={"b": 2})).target == "/y?a=1&b=2"
    assert build(made, Exchange(method="GET", path="/api/v1/t/{id}", ids=("a b",))).target == "/u/a%20b/v"
    assert build(made, Exchange(method="GET", path="/q", template="/z")).target == "/zz"
    assert build(made, get("/api/v1/w")).target == "/api/v1/w"


def test_ids_are_percent_encoded() -> None:
    assert fill(PATH, ("a/b ?#%\u00fc",)) == "/api/v1/conversation/a%2Fb%20%3F%23%25%C3%BC/send"
    assert fill("/{a}/{b}", ("1", "2")) == "/1/2"


@pytest.mark.parametrize("value", ["", ".", ".."])
def test_an_id_that_would_be_another_path_is_refused(value: str) -> None:
    with pytest.raises(ValueError, match="an id cannot be"):
        fill(PATH, (value,))


def test_queries_are_flattened_and_absent_values_left_out() -> None:
    query = {
        "meta": {"plan": "pro", "n": None, "deep": {"x": True}},
        "take": 5,
        "half": 0.5,
        "whole": 2.0,
        "ids": ["a", "b"],
        "on": True,
        "off": False,
        "none": None,
        "omit": OMIT,
        "text": "a b~*&\u00fc",
    }
    assert build(options(), get(query=query)).target == (
        "/api/v1/x?meta.plan=pro&meta.deep.x=true&take=5&half=0.5&whole=2&ids=a%2Cb&on=true&off=false"
        "&text=a+b%7E*%26%C3%BC"
    )
    assert build(options(), get(query={"a": 1}, extra_query={"a": 2, "b": 3})).target == "/api/v1/x?a=2&b=3"
    assert build(options(), get(query={"a": None})).target == "/api/v1/x"


def test_bodies_are_encoded_once_and_absent_fields_left_out() -> None:
    def sent(exchange: Exchange) -> WireRequest:
        return build(options(), exchange)

    assert sent(post(ConversationSendRequest(text="\u00fc"))).body == '{"text":"\u00fc"}'.encode()
    assert sent(post(EmptyRequest())).body == b"{}"
    assert sent(post({"a": None, "b": OMIT})).body == b'{"a":null}'
    assert sent(post({"a": 1}, extra_body={"a": 2, "b": 3})).body == b'{"a":2,"b":3}'
    assert sent(post(ConversationSendRequest(text="a"), extra_body={"x": 1})).body == b'{"text":"a","x":1}'
    assert sent(post(extra_body={"x": 1})).body == b'{"x":1}'
    assert sent(post()).body is None
    assert "content-type" not in sent(post()).headers
    assert sent(post({})).headers["content-type"] == "application/json"
    raw = sent(Exchange(method="PUT", path="/x", content=b"\x00", content_type="image/png"))
    assert (raw.body, raw.headers["content-type"]) == (b"\x00", "image/png")


def test_time_limits_come_from_the_call_then_the_client_then_the_defaults() -> None:
    patient = Exchange(method="POST", path="/x", patient=True)
    assert timeout_of(options(), get()) == DEFAULT_LIMITS == Timeout(connect=10, idle=60, total=None)
    assert timeout_of(options(), patient) == PATIENT_LIMITS == Timeout(connect=10, idle=600, total=None)
    assert timeout_of(options(), patient, stream=True) == DEFAULT_LIMITS
    assert timeout_of(options(timeout=3), patient) == Timeout(connect=10, idle=None, total=3)
    assert timeout_of(options(timeout=None), get()) == NO_LIMITS == Timeout(connect=None, idle=None)
    assert timeout_of(options(timeout=3), get(timeout=Timeout(idle=1))) == Timeout(idle=1)


def test_only_a_server_that_knows_the_key_is_sent_a_post_again() -> None:
    hosted = ClientOptions.of()

    def repeats(made: ClientOptions, exchange: Exchange) -> bool:
        return policy_of(made, exchange, build(made, exchange)).repeatable

    assert not repeats(hosted, post())
    assert repeats(hosted, get())
    assert repeats(hosted.extend(retry_unsafe=True), post())
    assert repeats(options(), post())
    assert not repeats(options(), Exchange(method="POST", path="https://elsewhere/x"))
    policy = policy_of(options(retries=5, retry_delay=1, retry_timeout=False), get(retries=2), build(options(), get()))
    assert (policy.retries, policy.delay, policy.timeouts) == (2, 1, False)
