"""Client-side sessions: tokens that open one conversation to a browser."""

from __future__ import annotations

from typing import Unpack

from turnwise._bind import async_, sync
from turnwise._call import Call, CallOptions
from turnwise._resource import AsyncResource, Resource
from turnwise.types._base import OMIT, Omit
from turnwise.types.session import Session, SessionCreateRequest

__all__ = ["AsyncSessionClient", "SessionClient"]


def create_session(
    conversation_id: str, /, *, duration_in_seconds: float | None | Omit = OMIT, **options: Unpack[CallOptions]
) -> Call[Session]:
    """Make a token that opens this conversation alone, to be handed to a browser.

    `duration_in_seconds` is 3600 unless given and at most 86400; the hosted service also refuses less than 1800.
    """
    return Call(
        method="POST",
        path="/api/v1/conversation/{conversationId}/session/create",
        ids=(conversation_id,),
        body=SessionCreateRequest(duration_in_seconds=duration_in_seconds),
        options=options,
        result=Session,
    )


class SessionClient(Resource):
    """Sessions of conversations."""

    create = sync(create_session)


class AsyncSessionClient(AsyncResource):
    """Sessions of conversations; every method is awaited."""

    create = async_(create_session)
