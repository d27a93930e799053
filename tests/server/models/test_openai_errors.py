from __future__ import annotations

import email.utils
import time

import pytest

from turnwise.server.models.openai_errors import Endpoint, error_detail, retry_after

KEY = "sk-proj-abcdefghijklmnopqrstuvwxyz"


@pytest.mark.parametrize(
    "body, message",
    [
        (b'{"error": {"message": "bad", "code": "x"}}', "bad"),
        (b'{"error": "bad"}', "bad"),
        (b'{"object": "error", "message": "bad"}', "bad"),
        (b'{"detail": "bad"}', "bad"),
        (b'{"detail": [1]}', '{"detail": [1]}'),
        (b"bad gateway", "bad gateway"),
        (b" <html>bad</html>", ""),
        (b"", ""),
    ],
)
def test_what_a_server_said_is_found_in_every_known_form(body: bytes, message: str) -> None:
    assert error_detail(body).message == message


@pytest.mark.parametrize(
    "text",
    [
        f"Incorrect API key provided: {KEY}.",
        "Incorrect API key provided: sk-pro*********wxyz.",
        f"Authorization: Bearer {KEY}",
        "the header was bearer s3cr3t",
        "gsk_abcdefghijkl is invalid",
        "AIzaSyabcdefghijklmn is invalid",
        "token eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.x is expired",
    ],
)
def test_nothing_that_looks_like_a_key_is_quoted(text: str) -> None:
    quote = Endpoint(base_url="http://x/v1", api_key=KEY).quote(text)
    assert "[key]" in quote
    for secret in (KEY, "sk-pro", "wxyz", "s3cr3t", "gsk_", "AIza", "eyJ"):
        assert secret not in quote


def test_a_short_key_is_not_quoted_either() -> None:
    assert Endpoint(base_url="http://x/v1", api_key="hunter2").quote("no: hunter2!") == ' It said: "no: [key]!"'


def test_a_long_quote_is_shortened() -> None:
    quote = Endpoint(base_url="http://x/v1").quote("word " * 1000)
    assert len(quote) < 600
    assert quote.endswith('..."')


def test_the_address_has_no_password_and_no_query() -> None:
    assert Endpoint(base_url="https://me:pw@host:1/v1/?key=k").address == "https://host:1/v1"


def test_the_wait_a_server_asks_for_is_read_in_every_form() -> None:
    assert retry_after({"Retry-After": "1.5"}) == 1.5
    assert retry_after({"Retry-After-Ms": "250", "Retry-After": "9"}) == 0.25
    assert retry_after({"Retry-After": "soon"}) is None
    assert retry_after({"Retry-After": "-1"}) is None
    assert retry_after({"Retry-After": "inf"}) is None
    assert retry_after({}) is None
    wait = retry_after({"Retry-After": email.utils.formatdate(time.time() + 30, usegmt=True)})
    assert wait is not None
    assert 25 < wait <= 31
    assert retry_after({"Retry-After": "Wed, 21 Oct 2015 07:28:00 GMT"}) == 0
