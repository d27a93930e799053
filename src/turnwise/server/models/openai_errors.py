"""What an OpenAI-compatible server's failures mean, and what its operator or the caller can do about them.

Every failure becomes one `UpstreamError`. What the server said is quoted, without anything that looks like a key.
"""

from __future__ import annotations

import email.utils
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import msgspec

from turnwise.server.models.base import ModelError

__all__ = ["UNREADABLE", "Endpoint", "ErrorDetail", "UpstreamError", "error_detail", "retry_after", "status_error"]

UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""What reading JSON raises that is none, not in UTF-8, or nested without end."""

MAX_QUOTE = 500
SECRET = re.compile(
    r"\bbearer\s+\S+|\b(?:sk|pk|rk|gsk|xai|hf|nvapi|key|api)[-_][\w.*+/=-]{6,}|\bAIza[\w-]{10,}|\beyJ[\w.-]{20,}",
    re.IGNORECASE,
)
TOO_LONG = re.compile(
    r"context.{0,12}(?:length|window|size)|maximum context|too many tokens|prompt is too long", re.IGNORECASE
)


class UpstreamError(ModelError):
    """A model server's failure; `retryable` where asking again may help."""

    def __init__(
        self, message: str, *, status: int, code: str, retry_after: float | None = None, retryable: bool = False
    ) -> None:
        super().__init__(message, status=status, code=code, retry_after=retry_after)
        self.retryable = retryable


@dataclass(frozen=True, kw_only=True)
class Endpoint:
    """Where a model server is, and how to name it and its settings in a message."""

    base_url: str
    """Up to and with the version: `https://api.openai.com/v1`."""
    api_key: str | None = field(default=None, repr=False)
    url_variable: str = "OPENAI_BASE_URL"
    key_variable: str = "OPENAI_API_KEY"

    @property
    def address(self) -> str:
        """The base URL without user, password and query: fit for messages and logs."""
        parts = urlsplit(self.base_url)
        return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}".rstrip("/")

    def quote(self, text: str) -> str:
        """Return ` It said: "..."` with what the server said, shortened, without keys; nothing for nothing."""
        said = " ".join(self.scrub(text).split())
        if not said:
            return ""
        return f' It said: "{said[:MAX_QUOTE]}{"..." if len(said) > MAX_QUOTE else ""}"'

    def scrub(self, text: str) -> str:
        """Return `text` without the key, pieces of it, or anything that looks like one."""
        key = self.api_key
        if key:
            text = text.replace(key, "[key]")
        if key and len(key) >= 12:  # servers echo keys with their middle masked
            text = re.sub(rf"\S*(?:{re.escape(key[:6])}|{re.escape(key[-4:])})\S*", "[key]", text)
        return SECRET.sub("[key]", text)

    # Failures that have no status

    def refused(self) -> UpstreamError:
        """Nobody listens there."""
        return self._unavailable("refused the connection", "Start the model server")

    def unreachable(self, why: str) -> UpstreamError:
        """The name does not resolve, or the network has no way."""
        return self._unavailable(f"cannot be reached ({self.scrub(why)})", "Check the network and the address")

    def untrusted(self, why: str) -> UpstreamError:
        """The TLS handshake failed."""
        message = f"The model server at {self.address} failed the TLS handshake ({self.scrub(why)}). Check "
        return _bad_gateway(message + f"its certificate, or {self.url_variable}.")

    def connect_timeout(self, seconds: float) -> UpstreamError:
        """No connection in time."""
        message = f"The model server at {self.address} did not take the connection within {seconds:g} s. "
        return UpstreamError(
            message + f"Check that it runs and that {self.url_variable} points to it.",
            status=504,
            code="GATEWAY_TIMEOUT",
        )

    def idle_timeout(self, seconds: float) -> UpstreamError:
        """Connected, and then silent."""
        message = f"The model server at {self.address} sent nothing for {seconds:g} s. "
        return UpstreamError(
            message + "Ask again; if the model needs longer, raise TURNWISE_MODEL_IDLE_TIMEOUT.",
            status=504,
            code="GATEWAY_TIMEOUT",
        )

    def cut(self, *, begun: bool) -> UpstreamError:
        """The connection broke."""
        where = "in the middle of the reply" if begun else "before it replied"
        message = f"The model server at {self.address} broke the connection {where}. Ask again."
        return _bad_gateway(message, retryable=not begun)

    def unfinished(self) -> UpstreamError:
        """The stream ended in good order, and the reply did not."""
        message = f"The model server at {self.address} ended its stream without saying that the reply is complete "
        return _bad_gateway(message + "(no finish_reason). The reply may be cut short: ask again.")

    def malformed(self, why: str, *, excerpt: str = "") -> UpstreamError:
        """The answer is not what the OpenAI-compatible wire has."""
        message = f"The model server at {self.address} sent an answer that cannot be read ({self.scrub(why)})."
        message += f"{self.quote(excerpt)} Check that {self.url_variable} is the base of an OpenAI-compatible API; "
        return _bad_gateway(message + "it usually ends in /v1.")

    def filtered(self) -> UpstreamError:
        """The server's content filter ended the reply."""
        message = f"The content filter of the model server at {self.address} stopped the reply. Ask differently."
        return UpstreamError(message, status=422, code="UNPROCESSABLE_ENTITY")

    def odd_finish(self, reason: str) -> UpstreamError:
        """A finish reason that leaves no complete reply."""
        message = (
            f"The model server at {self.address} ended the reply with finish_reason {self.scrub(reason)!r}, where "
        )
        return _bad_gateway(message + "stop or length was expected. Ask again, or choose another model.")

    def _unavailable(self, what: str, do: str) -> UpstreamError:
        message = f"The model server at {self.address} {what}. {do}, or set {self.url_variable} to where it runs."
        return UpstreamError(message, status=503, code="SERVICE_UNAVAILABLE")


class ErrorDetail(msgspec.Struct, frozen=True):
    """What servers put into `error`, and some at the top of the body."""

    message: str = ""
    type: str | None = None
    param: str | None = None
    code: str | int | None = None

    @property
    def words(self) -> str:
        """All of it, to search for known causes."""
        return f"{self.message} {self.type} {self.param} {self.code}"

    @property
    def status(self) -> int:
        """The status it would have had before the stream began."""
        if re.fullmatch("[45][0-9][0-9]", str(self.code)):
            return int(str(self.code))
        if "invalid_request" in self.words or TOO_LONG.search(self.words):
            return 400
        return 429 if "rate_limit" in self.words else 500


class ErrorDocument(msgspec.Struct, frozen=True):
    """The bodies of errors seen: OpenAI's object, Ollama's string, FastAPI's detail, old vLLM's flat object."""

    error: ErrorDetail | str | None = None
    message: str | None = None
    detail: object = None


def error_detail(body: bytes) -> ErrorDetail:
    """Return what an error's body says; its text as it stands where it is no known form."""
    try:
        document = msgspec.json.decode(body, type=ErrorDocument)
    except UNREADABLE:
        text = body.decode(errors="replace")
        return ErrorDetail(message="" if text.lstrip().startswith("<") else text)
    match document:
        case ErrorDocument(error=ErrorDetail() as detail):
            return detail
        case ErrorDocument(error=str() as text) | ErrorDocument(message=str() as text):
            return ErrorDetail(message=text)
        case ErrorDocument(detail=str() as text):
            return ErrorDetail(message=text)
        case _:
            return ErrorDetail(message=body.decode(errors="replace"))


def status_error(
    endpoint: Endpoint, model: str, status: int, detail: ErrorDetail, *, wait: float | None = None
) -> UpstreamError:
    """Return the failure that a status other than 200 stands for; `wait` is its Retry-After in seconds."""
    at, said = f"The model server at {endpoint.address}", endpoint.quote(detail.message)
    match status:
        case 401 | 403:
            state = "" if endpoint.api_key else f" {endpoint.key_variable} is not set."
            message = f"{at} refused the key (status {status}).{state} Set {endpoint.key_variable} to a key it accepts."
            return _bad_gateway(message + said)
        case 404:
            message = f"{at} has no model {model!r} (status 404). Choose one that it lists, or install it there; if it "
            return _bad_gateway(message + f"lists none, check {endpoint.url_variable} (it usually ends in /v1).{said}")
        case 429:
            spent = "insufficient_quota" in detail.words
            message = f"{at} takes no more requests now (status 429). "
            message += "Its account is out of credit: add some." if spent else _later(wait)
            return UpstreamError(
                message + said, status=429, code="TOO_MANY_REQUESTS", retry_after=wait, retryable=not spent
            )
        case 400 | 413 | 422 if status == 413 or TOO_LONG.search(detail.words):
            message = f"The conversation is too long for the model {model!r}. Send fewer messages to it "
            message += "(interactionMaxMessages in the model's configuration), or set the model's context window."
            return UpstreamError(message + said, status=422, code="UNPROCESSABLE_ENTITY")
        case 408 | 504:
            message = f"{at} gave up waiting for the model (status {status}). Ask again."
            return UpstreamError(message + said, status=504, code="GATEWAY_TIMEOUT", retryable=status == 504)
        case _ if status >= 500:
            message = f"{at} failed (status {status}). {_later(wait)}"
            return _bad_gateway(message + said, retry_after=wait, retryable=status in {500, 502, 503})
        case _ if 300 <= status < 400:
            return _bad_gateway(f"{at} has moved (status {status}). Set {endpoint.url_variable} to its new address.")
        case 400 | 422:
            message = (
                f"{at} refused the request for model {model!r} (status {status}). Check the model's configuration."
            )
            return UpstreamError(message + said, status=422, code="UNPROCESSABLE_ENTITY")
        case _:
            return _bad_gateway(f"{at} refused the request (status {status}).{said}")


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Return how many seconds a server asks to wait: `Retry-After-Ms`, or `Retry-After` in seconds or as a date."""
    milliseconds = _number(headers.get("Retry-After-Ms"))
    if milliseconds is not None:
        return milliseconds / 1000
    value = headers.get("Retry-After")
    seconds = _number(value)
    if seconds is not None or value is None:
        return seconds
    try:
        return max(0.0, email.utils.parsedate_to_datetime(value).timestamp() - time.time())
    except ValueError:
        return None


def _number(value: str | None) -> float | None:
    try:
        number = float(value or "")
    except ValueError:
        return None
    return number if 0 <= number < float("inf") else None


def _later(wait: float | None) -> str:
    return "Ask again later." if wait is None else f"Ask again in {wait:g} s."


def _bad_gateway(message: str, *, retry_after: float | None = None, retryable: bool = False) -> UpstreamError:
    return UpstreamError(message, status=502, code="BAD_GATEWAY", retry_after=retry_after, retryable=retryable)
