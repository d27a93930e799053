"""The least a server of Starlette and aiohttp can do for a streamed completion: pass the upstream's bytes on.

python -m benchmarks.servers.relay UPSTREAM_PORT
"""

from __future__ import annotations

import asyncio
import socket
import sys
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
import msgspec
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import StreamingResponse
from starlette.routing import Route

from benchmarks.servers.raw import run
from benchmarks.servers.upstream import MODEL


def create_app(upstream: str) -> Starlette:
    """Relay every POST to the upstream's chat completion."""
    sessions: list[aiohttp.ClientSession] = []

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncGenerator[None]:
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
            sessions.append(session)
            yield

    async def complete(request: Request) -> StreamingResponse:
        text = msgspec.json.decode(await request.body())["text"]
        body = msgspec.json.encode({"model": MODEL, "messages": [{"role": "user", "content": text}], "stream": True})
        headers = {"Content-Type": "application/json"}
        response = await sessions[0].post(upstream, data=body, headers=headers)

        async def relayed() -> AsyncIterator[bytes]:
            async with response:
                async for data in response.content.iter_any():
                    yield data

        return StreamingResponse(relayed(), media_type="text/event-stream")

    return Starlette(routes=[Route("/{path:path}", complete, methods=["POST"])], lifespan=lifespan)


async def main() -> None:
    app = create_app(f"http://127.0.0.1:{sys.argv[1]}/v1/chat/completions")
    listening = socket.create_server(("127.0.0.1", 0), backlog=1024)
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning", access_log=False))
    serving = asyncio.ensure_future(server.serve([listening]))
    while not server.started:  # noqa: ASYNC110 - uvicorn has no event for it
        await asyncio.sleep(0.01)
    print(listening.getsockname()[1], flush=True)
    # The parent's end of this pipe closes even when the parent is killed.
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.buffer.read)
    server.should_exit = True
    await serving


if __name__ == "__main__":
    run(main())
