"""A whole server inside a program: for `turnwise chat` without a server, for examples, and for tests."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Generator
from dataclasses import dataclass, field, replace

from turnwise.server.app import Adapters, create_app
from turnwise.server.listener import Listener
from turnwise.server.models.opening import open_models
from turnwise.server.models.registry import ModelRegistry
from turnwise.server.serve import run_in_loop
from turnwise.server.services.account import make_secret
from turnwise.server.settings import Settings, load_settings
from turnwise.server.sockets import bind, url_of
from turnwise.server.storage.journal import JournaledStorage
from turnwise.server.storage.open import storage_at

__all__ = ["EmbeddedServer", "embedded"]

HOST = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class EmbeddedServer:
    """A running server: where it listens, and the secret that opens its account `default`."""

    url: str
    secret: str = field(repr=False)
    model: str
    """The model that answers where a conversation names none."""
    notes: tuple[str, ...] = ()
    """Sentences for the user, about the model server that was found or is missing."""


@contextlib.contextmanager
def embedded(
    *,
    database_url: str | None = None,
    model: str | None = None,
    settings: Settings | None = None,
    models: ModelRegistry | None = None,
    storage: JournaledStorage | None = None,
) -> Generator[EmbeddedServer]:
    """Run a server on a free port of the loopback interface, in a thread of its own, as long as the block runs.

    `settings` are those of `turnwise serve`, read as it reads them unless given, but for address, secret and log: the
    secret is made anew each time and never stored. `database_url` and `model` override them; `models` and `storage`
    stand in for what they name.

    Raises what hinders the start.
    """
    chosen = settings or load_settings()
    if database_url is not None:
        chosen = replace(chosen, database_url=database_url)
    if model is not None:
        chosen = replace(chosen, model=model)
    thread = ServerThread(chosen, models, storage)
    thread.start()
    try:
        yield thread.wait_until_ready()
    finally:
        thread.stop()


class ServerThread(threading.Thread):
    def __init__(self, settings: Settings, models: ModelRegistry | None, storage: JournaledStorage | None) -> None:
        super().__init__(name="turnwise-server", daemon=True)
        self._settings = settings
        self._models = models
        self._storage = storage
        self._ready = threading.Event()
        self.notes: list[str] = []
        self._server: EmbeddedServer | None = None
        self._listener: Listener | None = None
        self._failure: BaseException | None = None
        self._stopping = False

    def run(self) -> None:
        try:
            run_in_loop(self._serve())
        except BaseException as error:  # noqa: BLE001 - raised again in the thread that asked for the server
            self._failure = error
        finally:
            self._ready.set()

    def wait_until_ready(self) -> EmbeddedServer:
        self._ready.wait()
        if self._failure is not None:
            raise self._failure
        if self._server is None:
            message = "the server stopped before it was ready"
            raise RuntimeError(message)
        return self._server

    def stop(self) -> None:
        self._stopping = True
        if self._listener is not None:
            self._listener.stop()
        self.join()

    async def _serve(self) -> None:
        storage = self._storage or storage_at(self._settings.database, migrate=self._settings.migrate)
        models = self._models or await open_models(self._settings, say=self.notes.append)
        secret = make_secret()
        application = create_app(self._settings, Adapters(storage=storage, models=models, guest_secret=secret))
        with bind(HOST, 0) as listening:
            try:
                await application.open()
                self._server = EmbeddedServer(url_of(HOST, listening), secret, models.default, tuple(self.notes))
                self._listener = Listener(application, self._settings, ready=self._ready.set)
                if self._stopping:
                    self._listener.stop()
                await self._listener.serve(sockets=[listening])
            finally:
                await application.close(grace=0)
