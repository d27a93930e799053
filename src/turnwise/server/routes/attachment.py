from __future__ import annotations

from typing import Final

from turnwise.server.operation import Operation, unbuilt

__all__ = ["OPERATIONS"]

ATTACHMENTS: Final = "/conversation/{conversationId}/attachment"
UPLOAD_TO: Final = "Store a file for a conversation."

OPERATIONS: Final[tuple[Operation, ...]] = (
    unbuilt("GET", f"{ATTACHMENTS}/list", "listConversationAttachments", "List a conversation's files."),
    unbuilt("POST", f"{ATTACHMENTS}/upload", "uploadConversationAttachment", UPLOAD_TO, session=True),
    # The official Node client asks for a file's upload here.
    unbuilt("POST", "/Attachment/{conversationId}/upload", "uploadAttachment", UPLOAD_TO, session=True),
)
