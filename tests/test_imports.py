"""Imports point inward: the rules of docs/explanation/architecture.md, read off the source.

Each rule is a function of (module, imported name, whether it is imported when the module is), so that the rules
themselves are tested on imports that they must refuse.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

SOURCE = Path(__file__).resolve().parents[1] / "src"
HTTP_LIBRARIES = ("aiohttp", "urllib3", "http.client", "httpx", "requests")
WEB_LIBRARIES = ("starlette", "uvicorn")
DATABASE_LIBRARIES = ("sqlite3", "sqlalchemy", "alembic", "asyncpg")
# Beside the port: the estimate of a text's tokens.
RATES = "turnwise.server.storage.rates"
FRONTS = ("turnwise.server.models.tokens",)
# Further ports of storage's: turns and channels, and what processes tell each other.
JOURNAL = "turnwise.server.storage.journal"
NOTICES = "turnwise.server.storage.notices"
ADAPTERS = ("storage", "models", "retrieval", "privacy", "channels", "blobs")


@dataclass(frozen=True)
class Import:
    module: str
    """Who imports."""
    name: str
    """What is imported, in full: `a.b.c` for `from a.b import c` too."""
    at_once: bool = True
    """When the module itself is imported, and not only inside a function or for type checkers."""
    for_types: bool = False
    """By type checkers alone: it never happens when the program runs."""


def within(name: str, *packages: str) -> bool:
    return any(name == package or name.startswith(package + ".") for package in packages)


def in_server(module: str) -> bool:
    return within(module, "turnwise.server")


def adapter_package(name: str) -> str | None:
    """`storage` for `turnwise.server.storage` and everything in it."""
    parts = name.split(".")
    return parts[2] if parts[:2] == ["turnwise", "server"] and len(parts) > 2 and parts[2] in ADAPTERS else None


def only_server_and_terminal_import_the_server(found: Import) -> bool:
    return not in_server(found.name) or within(found.module, "turnwise.server", "turnwise.cli")


def the_server_imports_only_types_of_the_client_half(found: Import) -> bool:
    if not in_server(found.module) or not within(found.name, "turnwise"):
        return True
    return within(found.name, "turnwise.server", "turnwise.types", "turnwise.__version__")


def nothing_but_the_entry_imports_the_terminal(found: Import) -> bool:
    return not within(found.name, "turnwise.cli") or within(found.module, "turnwise.cli", "turnwise._entry")


def services_know_neither_http_nor_sql(found: Import) -> bool:
    if not within(found.module, "turnwise.server.services"):
        return True
    return not within(found.name, "turnwise.server.routes", *WEB_LIBRARIES, *DATABASE_LIBRARIES)


def services_know_ports_and_not_adapters(found: Import) -> bool:
    package = adapter_package(found.name)
    if package is None or not within(found.module, "turnwise.server.services"):
        return True
    return within(found.name, f"turnwise.server.{package}.base", JOURNAL, NOTICES, RATES, *FRONTS)


def ports_know_no_adapters(found: Import) -> bool:
    package = adapter_package(found.module)
    if package is None or not found.module.endswith((".base", ".tokens", JOURNAL, NOTICES, RATES)):
        return True
    return not within(found.name, f"turnwise.server.{package}") or found.name.split(".")[3] in {
        "base",
        "notices",
        "rates",
    }


def routes_know_no_storage_engine(found: Import) -> bool:
    return not within(found.module, "turnwise.server.routes") or not within(found.name, *DATABASE_LIBRARIES)


def adapters_know_neither_services_nor_routes(found: Import) -> bool:
    if adapter_package(found.module) is None:
        return True
    return not within(found.name, "turnwise.server.services", "turnwise.server.routes")


def only_transports_import_http_libraries_in_the_client(found: Import) -> bool:
    if within(found.module, "turnwise.server", "turnwise.cli", "turnwise._transport"):
        return True
    return found.for_types or not within(found.name, *HTTP_LIBRARIES)


def http_libraries_are_imported_on_first_use(found: Import) -> bool:
    """The transport's own modules may import theirs at once: they are themselves imported on first use."""
    if within(found.module, "turnwise._transport.urllib3", "turnwise._transport.aiohttp"):
        return True
    return not found.at_once or not within(found.name, "aiohttp", "urllib3")


def transports_are_imported_on_first_use(found: Import) -> bool:
    if not within(found.name, "turnwise._transport.urllib3", "turnwise._transport.aiohttp"):
        return True
    return not found.at_once


def only_storage_and_its_migrations_import_a_database(found: Import) -> bool:
    if not within(found.name, *DATABASE_LIBRARIES):
        return True
    return within(found.module, "turnwise.server.storage")


RULES: list[Callable[[Import], bool]] = [
    only_server_and_terminal_import_the_server,
    the_server_imports_only_types_of_the_client_half,
    nothing_but_the_entry_imports_the_terminal,
    services_know_neither_http_nor_sql,
    services_know_ports_and_not_adapters,
    routes_know_no_storage_engine,
    adapters_know_neither_services_nor_routes,
    only_transports_import_http_libraries_in_the_client,
    http_libraries_are_imported_on_first_use,
    transports_are_imported_on_first_use,
    only_storage_and_its_migrations_import_a_database,
    ports_know_no_adapters,
]


def module_name(path: Path) -> str:
    parts = list(path.relative_to(SOURCE).with_suffix("").parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports_of(module: str, source: str, *, package: bool = False) -> Iterator[Import]:
    """Every import in `source`, relative ones resolved."""
    yield from _walk(ast.parse(source), Import(module, ""), package=package)


def _walk(node: ast.AST, place: Import, *, package: bool) -> Iterator[Import]:
    """The imports below `node`; `place` tells of each who imports and when."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import):
            for alias in child.names:
                yield replace(place, name=alias.name)
        elif isinstance(child, ast.ImportFrom):
            origin = _origin(child, place.module, package=package)
            for alias in child.names:
                yield replace(place, name=f"{origin}.{alias.name}")
        elif isinstance(child, ast.If) and ast.unparse(child.test).endswith("TYPE_CHECKING"):
            for_types = not ast.unparse(child.test).startswith("not ")
            types_only = replace(place, at_once=False, for_types=True)
            yield from _walk(ast.Module(child.body, []), types_only if for_types else place, package=package)
            yield from _walk(ast.Module(child.orelse, []), place if for_types else types_only, package=package)
        else:
            later = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
            yield from _walk(child, replace(place, at_once=False) if later else place, package=package)


def _origin(node: ast.ImportFrom, module: str, *, package: bool) -> str:
    if not node.level:
        return node.module or ""
    parts = module.split(".")
    base = parts[: len(parts) - node.level + (1 if package else 0)]
    return ".".join([*base, node.module] if node.module else base)


def all_imports() -> Iterator[Import]:
    for path in sorted(SOURCE.rglob("*.py")):
        yield from imports_of(module_name(path), path.read_text(), package=path.name == "__init__.py")


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_imports_point_inward(rule: Callable[[Import], bool]) -> None:
    broken = sorted({f"{found.module} imports {found.name}" for found in all_imports() if not rule(found)})
    assert not broken, "\n".join(broken)


@pytest.mark.parametrize(
    "rule, module, source",
    [
        (RULES[0], "turnwise._client", "from turnwise.server import app"),
        (RULES[0], "turnwise.testing", "def later():\n    import turnwise.server.app"),
        (RULES[1], "turnwise.server.app", "from turnwise._errors import APIError"),
        (RULES[2], "turnwise.server.app", "from turnwise.cli import main"),
        (RULES[3], "turnwise.server.services.turn", "from ..routes import conversation"),
        (RULES[3], "turnwise.server.services.turn", "import sqlite3"),
        (RULES[3], "turnwise.server.services.turn", "from starlette.requests import Request"),
        (RULES[4], "turnwise.server.services.turn", "from turnwise.server.storage import sqlite"),
        (RULES[4], "turnwise.server.services.turn", "from turnwise.server.models.openai import OpenAI"),
        (RULES[5], "turnwise.server.routes.message", "from sqlalchemy import select"),
        (RULES[6], "turnwise.server.storage.sqlite", "from turnwise.server.services import turn"),
        (RULES[7], "turnwise._runner", "def send():\n    import urllib3"),
        (RULES[8], "turnwise.server.models.openai", "import aiohttp"),
        (RULES[9], "turnwise._runner", "from turnwise._transport.aiohttp import AiohttpTransport"),
        (RULES[10], "turnwise.server.app", "import sqlite3"),
        (RULES[11], "turnwise.server.models.base", "from turnwise.server.models.openai import OpenAI"),
    ],
)
def test_a_rule_refuses_what_it_is_there_for(rule: Callable[[Import], bool], module: str, source: str) -> None:
    assert not any(rule(found) for found in imports_of(module, source))


@pytest.mark.parametrize(
    "module, source",
    [
        ("turnwise.cli.serve", "from turnwise.server import app"),
        ("turnwise.server.services.turn", "from turnwise.server.models.base import Model"),
        ("turnwise.server.models.openai", "async def ask():\n    import aiohttp"),
        ("turnwise._transport.urllib3", "import urllib3"),
        ("turnwise._runner", "if TYPE_CHECKING:\n    from turnwise._transport.aiohttp import AiohttpTransport"),
        ("turnwise._options", "if TYPE_CHECKING:\n    import urllib3"),
        ("turnwise.server.storage.sqlite", "import sqlite3"),
    ],
)
def test_every_rule_allows_what_the_architecture_asks_for(module: str, source: str) -> None:
    assert all(rule(found) for rule in RULES for found in imports_of(module, source))


def test_importing_the_client_imports_no_http_library_and_nothing_of_the_server() -> None:
    heavy = ("aiohttp", "urllib3", "starlette", "typer", "rich", "sqlalchemy", "turnwise.server", "turnwise.cli")
    code = f"import sys, turnwise; print(*[name for name in {heavy!r} if name in sys.modules])"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert ran.stdout.split() == []
