"""Completions with Python callables as functions, from the first word to the last result."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Unpack

from turnwise._call import CallOptions
from turnwise._dispatch import ToolCall, with_tools
from turnwise._params import (
    AttachmentParam,
    ContactParam,
    EntityParam,
    ExtensionsParam,
    FunctionParam,
    LimitsParam,
    MessageParam,
    ModelParam,
)
from turnwise.resources.exchange import complete_conversation, complete_stateless
from turnwise.types._base import OMIT, Omit
from turnwise.types.conversation import CompleteResult, StatelessCompleteResult

if TYPE_CHECKING:
    from turnwise.tools import RunEvent, StatelessRunEvent

__all__ = ["run_conversation", "run_stateless"]


def run_stateless(
    conversation_id: None,
    /,
    *,
    messages: Sequence[MessageParam],
    tools: Sequence[Callable[..., object]],
    tool_timeout: float | None = 60.0,
    bot_id: str | None | Omit = OMIT,
    model: ModelParam | None | Omit = OMIT,
    backstory: str | None | Omit = OMIT,
    dataset_id: str | None | Omit = OMIT,
    skillset_id: str | None | Omit = OMIT,
    privacy: bool | None | Omit = OMIT,
    moderation: bool | None | Omit = OMIT,
    attachments: Sequence[AttachmentParam] | None | Omit = OMIT,
    contact_id: ContactParam | None | Omit = OMIT,
    functions: Sequence[FunctionParam] | None | Omit = OMIT,
    extensions: ExtensionsParam | None | Omit = OMIT,
    limits: LimitsParam | None | Omit = OMIT,
    resumable: bool = False,
    **options: Unpack[CallOptions],
) -> ToolCall[StatelessCompleteResult, StatelessRunEvent]:
    """With `None` for an id: reply to `messages`, at least one, with the help of `tools`, and store nothing."""
    from turnwise.tools import Toolbox, checked_limit

    box = Toolbox(tools, functions)
    completion = complete_stateless(
        conversation_id,
        messages=messages,
        bot_id=bot_id,
        model=model,
        backstory=backstory,
        dataset_id=dataset_id,
        skillset_id=skillset_id,
        privacy=privacy,
        moderation=moderation,
        attachments=attachments,
        contact_id=contact_id,
        functions=box.definitions,
        extensions=extensions,
        limits=limits,
        resumable=resumable,
        **options,
    )
    return with_tools(completion, box, checked_limit(tool_timeout))


def run_conversation(
    conversation_id: str,
    /,
    *,
    tools: Sequence[Callable[..., object]],
    tool_timeout: float | None = 60.0,
    text: str | None | Omit = OMIT,
    entities: Sequence[EntityParam] | None | Omit = OMIT,
    functions: Sequence[FunctionParam] | None | Omit = OMIT,
    extensions: ExtensionsParam | None | Omit = OMIT,
    limits: LimitsParam | None | Omit = OMIT,
    resumable: bool = False,
    **options: Unpack[CallOptions],
) -> ToolCall[CompleteResult, RunEvent]:
    """With a conversation's id: complete it, and let the bot call `tools`, which run here.

    A tool is a function, async or not, with types and a docstring, or what `turnwise.tools.tool` makes of one. Calls of
    several tools run side by side, those of one tool one after another; functions that are not async run in threads.
    What a tool raises is told to the model, which may mend its call or do without, and never ends the exchange; so is a
    call that takes longer than `tool_timeout`, in seconds (`None` is for ever), unless the tool says otherwise.
    `functions` are further ones, answered elsewhere. The other arguments are those of `complete`.

    Streamed, `ToolCallStarted`, `ToolCallFinished` and `ToolCallFailed` come among the other events. Leaving the stream
    early waits until no tool runs any more.

    With `resumable` it is a dispatch and a subscription, see `dispatch`: it survives cut connections and restarts of
    the server, while tools run on here. A server that takes the work over may ask for a call again; where it has an id,
    as Turnwise's server gives it, the tool is called once and what it came to is published again. Leaving the stream
    early leaves the work running there, and no call is answered here any more: the bot is told that the tool did not
    answer.
    """
    from turnwise.tools import Toolbox, checked_limit

    box = Toolbox(tools, functions)
    completion = complete_conversation(
        conversation_id,
        text=text,
        entities=entities,
        functions=box.definitions,
        extensions=extensions,
        limits=limits,
        resumable=resumable,
        **options,
    )
    return with_tools(completion, box, checked_limit(tool_timeout))
