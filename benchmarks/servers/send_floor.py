"""The least a server can do for `send`: bare HTTP, then the same durable write through the same group commit.

It reads the idempotency key and stores it with the message and the answer, as our server does; it checks no secret,
validates nothing beyond the body's one field, and writes no log.

    python -m benchmarks.servers.send_floor DATABASE CONVERSATIONS
"""

from __future__ import annotations

import asyncio
import hashlib
import re
import sys
from pathlib import Path
from typing import ClassVar

import msgspec

from benchmarks.servers.raw import RawHttp, json_answer, run, serve
from turnwise.server.ids import new_id, now
from turnwise.server.storage.base import Account, Once
from turnwise.server.storage.sqlite import SqliteStorage
from turnwise.types.conversation import Conversation, SendResult
from turnwise.types.message import Message

KEY = re.compile(rb"\r\nidempotency-key: *([^\r]+)", re.IGNORECASE)
ACCOUNT = "a0123456789abcdefghij"


class SendBody(msgspec.Struct, frozen=True):
    text: str


DECODER = msgspec.json.Decoder(SendBody)


class SendFloor(RawHttp):
    """Takes `POST /.../CONVERSATION/send`."""

    storage: ClassVar[SqliteStorage]
    tasks: ClassVar[set[asyncio.Task[None]]] = set()

    def answer(self, head: bytes, body: bytes) -> None:
        task = asyncio.get_running_loop().create_task(self._store(head, body))
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    async def _store(self, head: bytes, body: bytes) -> None:
        path = head[head.index(b" ") + 1 : head.index(b" HTTP/")].decode()
        key = KEY.search(head)
        assert key is not None
        moment = now()
        text = DECODER.decode(body).text
        message = Message(id=new_id(), type="user", text=text, created_at=moment, updated_at=moment)
        answer = msgspec.json.encode(SendResult(id=message.id))
        digest = hashlib.sha256(body).digest()
        once = Once(path=path, key=key[1].decode(), body=digest, now=moment, answer=answer)
        await self.storage.add_messages(ACCOUNT, path.split("/")[-2], [message], once=once)
        self.transport.write(json_answer(answer))


async def main() -> None:
    storage = SqliteStorage(Path(sys.argv[1]))
    await storage.open()
    moment = now()
    await storage.ensure_account(Account(id=ACCOUNT, name="benchmark"), now=moment)
    for number in range(int(sys.argv[2])):
        conversation = Conversation(id=f"c{number:04d}", created_at=moment, updated_at=moment)
        await storage.create_conversation(ACCOUNT, conversation, [])
    SendFloor.storage = storage
    await serve(SendFloor)
    await storage.close()


if __name__ == "__main__":
    run(main())
