"""nginx as a load balancer, with the configuration that the page on deployment shows."""

from __future__ import annotations

import asyncio
import contextlib
import re
import shutil
import socket
from collections.abc import AsyncGenerator, Sequence
from pathlib import Path
from typing import Final

import pytest

__all__ = ["nginx_before"]

PAGE: Final = Path(__file__).resolve().parents[2] / "docs" / "how-to" / "deploy.md"
TEMPORARY: Final = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")


@contextlib.asynccontextmanager
async def nginx_before(ports: Sequence[int], folder: Path) -> AsyncGenerator[int]:
    """Run nginx before servers on these ports; its own port."""
    nginx = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
    if nginx is None:
        pytest.skip("nginx is not installed: clients have not been tried behind it")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = int(free.getsockname()[1])
    found = re.search(r"^```nginx\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    assert found is not None
    site = found[1].replace("listen 8080", f"listen 127.0.0.1:{port}")
    server = next(line for line in site.splitlines() if "127.0.0.1:8787" in line)
    site = site.replace(server, "\n".join(server.replace("8787", str(each)) for each in ports))
    paths = "".join(f"{kind}_temp_path {folder}/{kind};" for kind in TEMPORARY)
    (folder / "nginx.conf").write_text(
        f"daemon off; master_process off; pid {folder}/pid; error_log {folder}/error.log;\n"
        f"events {{}}\nhttp {{ access_log off; {paths}\n{site} }}\n"
    )
    process = await asyncio.create_subprocess_exec(
        nginx, "-p", folder, "-c", folder / "nginx.conf", stderr=asyncio.subprocess.DEVNULL
    )
    try:
        async with asyncio.timeout(60):
            while not await _listens(port):
                assert process.returncode is None, (folder / "error.log").read_text()
                await asyncio.sleep(0.02)
        yield port
    finally:
        process.terminate()
        await process.wait()


async def _listens(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    writer.close()
    await writer.wait_closed()
    return True
