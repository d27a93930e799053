from __future__ import annotations

import asyncio
import logging

import pytest

from turnwise.server.errors import Unavailable
from turnwise.server.log import BufferedHandler, LineFormatter, LogFormat


@pytest.fixture
def handler() -> BufferedHandler:
    return BufferedHandler(LineFormatter("text"))


def record(level: int, message: str) -> logging.LogRecord:
    return logging.LogRecord("turnwise", level, "f.py", 1, message, (), None)


async def test_requests_are_written_soon_and_together(
    handler: BufferedHandler, capsys: pytest.CaptureFixture[str]
) -> None:
    for number in range(3):
        handler.emit(record(logging.INFO, f"request {number}"))
    assert capsys.readouterr().err == ""
    await asyncio.sleep(0.1)
    lines = capsys.readouterr().err.splitlines()
    assert [line[-9:] for line in lines] == ["request 0", "request 1", "request 2"]


async def test_what_is_out_of_order_is_written_at_once_after_what_came_before(
    handler: BufferedHandler, capsys: pytest.CaptureFixture[str]
) -> None:
    handler.emit(record(logging.INFO, "first"))
    handler.emit(record(logging.WARNING, "second"))
    assert [line.split()[-1] for line in capsys.readouterr().err.splitlines()] == ["first", "second"]


def failed(error: Exception, form: LogFormat) -> str:
    return LineFormatter(form).format(
        logging.LogRecord("turnwise", logging.WARNING, "f.py", 1, "It failed", (), (type(error), error, None))
    )


@pytest.mark.parametrize("form", ["text", "json"])
def test_a_database_that_is_away_is_told_in_one_line_and_anything_else_with_its_traceback(form: LogFormat) -> None:
    away = failed(Unavailable("The database is away."), form)
    assert "It failed: The database is away." in away
    assert "Unavailable" not in away
    assert "\n" not in away
    assert "ValueError: a bug" in failed(ValueError("a bug"), form)


def test_without_a_loop_everything_is_written_at_once(
    handler: BufferedHandler, capsys: pytest.CaptureFixture[str]
) -> None:
    handler.emit(record(logging.INFO, "alone"))
    assert capsys.readouterr().err.endswith(" info alone\n")


async def test_closing_writes_the_rest(handler: BufferedHandler, capsys: pytest.CaptureFixture[str]) -> None:
    handler.emit(record(logging.INFO, "last"))
    handler.close()
    assert capsys.readouterr().err.endswith(" info last\n")


async def test_many_lines_are_not_held_back(handler: BufferedHandler, capsys: pytest.CaptureFixture[str]) -> None:
    for _ in range(500):
        handler.emit(record(logging.INFO, "request"))
    assert len(capsys.readouterr().err.splitlines()) == 500


async def test_a_record_that_cannot_be_written_breaks_nothing(
    handler: BufferedHandler, capsys: pytest.CaptureFixture[str]
) -> None:
    handler.emit(logging.LogRecord("turnwise", logging.INFO, "f.py", 1, "%d", ("no number",), None))
    assert "Logging error" in capsys.readouterr().err


@pytest.mark.parametrize("form", ["text", "json"])
@pytest.mark.parametrize("common", [{}, {"pid": 7}])
@pytest.mark.parametrize("streamed", [False, True])
async def test_what_needs_no_record_is_written_as_a_record_would_be(
    form: LogFormat, common: dict[str, object], streamed: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    handler = BufferedHandler(LineFormatter(form, common))
    values: tuple[object, ...] = ("id", "account", "POST", "/conversation", 200, 1.5, *([0.5] if streamed else []))
    names = ["id", "account", "method", "route", "status", "ms", "first_ms"]
    told = logging.LogRecord("turnwise.server.request", logging.INFO, "f.py", 1, "request", (), None)
    told.__dict__["fields"] = dict(zip(names, values, strict=False))
    handler.emit(told)
    handler.tell((told.created, values))
    await asyncio.sleep(0.1)
    first, second = capsys.readouterr().err.splitlines()
    assert first == second
    assert "0.5" in first or not streamed


def test_a_log_that_cannot_be_written_breaks_nothing(monkeypatch: pytest.MonkeyPatch, handler: BufferedHandler) -> None:
    class Gone:
        def write(self, _text: str) -> None:
            raise BrokenPipeError

    monkeypatch.setattr("sys.stderr", Gone())
    monkeypatch.setattr(logging, "raiseExceptions", False)
    handler.tell((0.0, ("id", "account", "POST", "/conversation", 200, 1.5)))
    handler.emit(record(logging.WARNING, "second"))
