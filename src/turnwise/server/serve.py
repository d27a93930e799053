"""`turnwise serve`: one server process, from its settings to its last answer."""

from __future__ import annotations

import asyncio
import gc
import signal
import sys
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Final

from turnwise.server.app import Adapters, Application, create_app
from turnwise.server.ids import new_id, now
from turnwise.server.listener import Listener
from turnwise.server.log import configure_logging
from turnwise.server.models.opening import open_models
from turnwise.server.services.account import DEFAULT_ACCOUNT, AccountService, is_weak
from turnwise.server.settings import Settings
from turnwise.server.sockets import bind, url_of
from turnwise.server.storage.base import Storage
from turnwise.server.storage.open import storage_at

__all__ = ["opened", "run", "run_in_loop", "say_on_stderr"]

OBJECTS_BETWEEN_COLLECTIONS: Final = 10_000

WELCOME: Final = """\
Made the account `{account}`. Its secret, shown this once:

    {secret}

Talk to a bot with it:

    TURNWISE_SECRET={secret} turnwise chat --base-url {url}

"""


def run(settings: Settings) -> None:
    """Serve until SIGTERM, SIGINT or SIGHUP. Prints `listening on URL` on stdout once requests are answered.

    Raises:
        OSError: the address cannot be listened on.
        ValueError: the database's URL names none.
    """
    configure_logging(form=settings.log_format, level=settings.log_level)
    run_in_loop(_serve(settings))


def run_in_loop(work: Coroutine[None, None, None]) -> None:
    """Run `work` in an event loop of uvloop's, or Python's own where there is none."""
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        runner.run(work)


async def _serve(settings: Settings) -> None:
    with bind(settings.host, settings.port) as listening:
        url = url_of(settings.host, listening)
        async with opened(settings, url=url) as application:
            listener = Listener(application, settings, ready=lambda: print(f"listening on {url}", flush=True))  # noqa: T201
            _stop_on_hangup(listener)
            await listener.serve(sockets=[listening])


def _stop_on_hangup(listener: Listener) -> None:
    """Let SIGHUP do what SIGTERM does, where a unit is reloaded or a terminal closed; under nohup it does nothing."""
    if sys.platform != "win32" and signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, listener.stop)


def say_on_stderr(sentence: str) -> None:
    """Tell the operator something at the start."""
    sys.stderr.write(f"{sentence}\n")


@asynccontextmanager
async def opened(
    settings: Settings, *, url: str, first: bool = True, say: Callable[[str], None] = say_on_stderr
) -> AsyncGenerator[Application]:
    """Open the application that `settings` describe, which is reached at `url`, and close it in the end.

    `first` sees to it that there is a secret; of several processes one does. `say` is told sentences for the operator.
    """
    storage = storage_at(settings.database, migrate=settings.migrate)
    application = create_app(settings, Adapters(storage=storage, models=await open_models(settings, say=say)))
    try:
        await application.open()
        if first:
            await _ensure_secret(storage, settings, url)
        _settle_memory()
        yield application
    finally:
        await application.close(grace=0)


def _settle_memory() -> None:
    """Let the collector pass over what stays as long as the process, and look less often at what does not."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(OBJECTS_BETWEEN_COLLECTIONS)


async def _ensure_secret(storage: Storage, settings: Settings, url: str) -> None:
    """See to it that somebody can use the server."""
    accounts = AccountService(storage, new_id=new_id, clock=now)
    if settings.secret:
        if is_weak(settings.secret):
            say_on_stderr("TURNWISE_SECRET is short enough to be guessed: `turnwise secret create` makes a good one.")
        await accounts.create_secret(DEFAULT_ACCOUNT, settings.secret)
    elif made := await accounts.first_secret():
        sys.stderr.write(WELCOME.format(account=made.account.name, secret=made.secret, url=url))
        sys.stderr.flush()


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop]:
    try:
        import uvloop
    except ImportError:
        return asyncio.new_event_loop
    return uvloop.new_event_loop
