"""What a model server says it has: the answer to `GET /models`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

import msgspec

__all__ = ["ListedModel", "parse_model_list"]

NOT_CHAT: Final = re.compile(r"embed|rerank|whisper|(?:^|[/_-])(?:bge|e5|gte|tts|clip)[-_]", re.IGNORECASE)


class ModelMeta(msgspec.Struct, frozen=True):
    n_ctx: int | None = None
    n_ctx_train: int | None = None


class ListedModel(msgspec.Struct, frozen=True):
    """A model, with the several names servers have for its context window."""

    id: str
    owned_by: str | None = None
    max_model_len: int | None = None
    context_window: int | None = None
    context_length: int | None = None
    meta: ModelMeta | None = None

    @property
    def window(self) -> int | None:
        """Its context window in tokens, where the server says it."""
        meta = self.meta or ModelMeta()
        known = (self.max_model_len, self.context_window, self.context_length, meta.n_ctx, meta.n_ctx_train)
        return next((window for window in known if window is not None and window > 0), None)

    @property
    def chats(self) -> bool:
        """Whether its name is not one of a model that embeds, ranks, speaks or listens."""
        return NOT_CHAT.search(self.id) is None


class ModelList(msgspec.Struct, frozen=True):
    data: list[ListedModel] | None


def parse_model_list(body: bytes) -> Mapping[str, ListedModel]:
    """Return the listed models by name, in the server's order.

    Raises:
        One of `UNREADABLE`: it is no list of models.
    """
    listed = msgspec.json.decode(body, type=ModelList).data or ()
    return {model.id: model for model in listed if model.id}
