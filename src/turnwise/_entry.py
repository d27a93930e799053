"""The `turnwise` command as it starts: it needs packages that the client alone does not install.

`import turnwise` stays small, so the terminal and the server are extras. Where one is missing, the command says
which to install instead of showing a traceback.
"""

from __future__ import annotations

import sys

_CLI = frozenset({"click", "platformdirs", "prompt_toolkit", "rich", "typer"})
_SERVER = frozenset(
    {"alembic", "asyncpg", "greenlet", "httptools", "jwt", "sqlalchemy", "starlette", "uvicorn", "uvloop"}
)


def main() -> None:
    """Run the command line, or say which extra it lacks and exit with status 1."""
    try:
        from turnwise.cli import main as run

        run()
    except ModuleNotFoundError as error:
        advice = _advice(error.name or "")
        if advice is None:
            raise
        sys.exit(advice)


def _advice(module: str) -> str | None:
    """What to install when `module` is missing; None when it belongs to no extra of ours."""
    package = module.partition(".")[0]
    if package in _SERVER:
        return (
            f"turnwise: running a server needs the package {package!r}, which is not installed. "
            "Install it with: pip install 'turnwise[server]'"
        )
    if package in _CLI:
        return (
            f"turnwise: the command line needs the package {package!r}, which is not installed. "
            "Install it with: pip install 'turnwise[server]' "
            "(or 'turnwise[cli]', enough to talk to a server that runs elsewhere)"
        )
    return None
