from __future__ import annotations

import pytest
from tests.server.asgi import Api

from turnwise.server.settings import Settings

ORIGIN = {"origin": "https://shop.example"}
EXPOSED = "x-request-id, Retry-After, RateLimit, RateLimit-Policy"


async def test_any_page_may_read_answers_and_errors(api: Api) -> None:
    for reply in (
        await api("GET", "/api/v1/conversation/list", headers=ORIGIN),
        await api("GET", "/v1/conversation/list", secret="wrong", headers=ORIGIN),
        await api("PUT", "/v1/conversation/list", headers=ORIGIN),
        await api("GET", "/v1/nothing", headers=ORIGIN),
        await api("POST", "/v1/conversation/create", b"{", headers=ORIGIN),
        await api("GET", "/v1/conversation/list", accept="application/jsonl"),
        await api("GET", "/v1/spec"),
    ):
        assert reply.headers["access-control-allow-origin"] == "*"
        assert reply.headers["access-control-expose-headers"] == EXPOSED
        assert reply.headers["x-request-id"]


async def test_a_preflight_needs_no_secret(api: Api) -> None:
    for path in ("/api/v1/conversation/c/complete", "/v1/conversation/list", "/v1/nothing"):
        reply = await api("OPTIONS", path, secret="", headers=ORIGIN)
        assert (reply.status, reply.body) == (200, b"")
        assert reply.headers["access-control-allow-methods"] == "GET, POST"
        allowed = reply.headers["access-control-allow-headers"].split(", ")
        assert set(allowed) == {
            "Accept",
            "Authorization",
            "Content-Type",
            "Idempotency-Key",
            "X-Requested-With",
            "X-Timezone",
        }


class TestNarrowed:
    @pytest.fixture
    def settings(self) -> Settings:
        return Settings(cors_origins=("https://shop.example/", "http://localhost:3000"))

    async def test_only_named_origins_are_let_in(self, api: Api) -> None:
        reply = await api("GET", "/v1/conversation/list", headers=ORIGIN)
        assert reply.headers["access-control-allow-origin"] == "https://shop.example"
        assert reply.headers["vary"] == "Origin"
        for headers in ({"origin": "https://evil.example"}, {}):
            refused = await api("GET", "/v1/conversation/list", headers=headers)
            assert refused.status == 200
            assert "access-control-allow-origin" not in refused.headers
            assert refused.headers["vary"] == "Origin"
