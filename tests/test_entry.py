from __future__ import annotations

import runpy
import subprocess
import sys
import types

import pytest

from turnwise import _entry

# Run before anything else in a fresh interpreter: the named packages look as if they were never installed.
BLOCK = """
import sys
class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {blocked!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Missing())
sys.argv = ["turnwise", *{arguments!r}]
from turnwise._entry import main
main()
"""


def turnwise_without(blocked: set[str], *arguments: str) -> subprocess.CompletedProcess[str]:
    code = BLOCK.format(blocked=blocked, arguments=list(arguments))
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60)


def command_that(monkeypatch: pytest.MonkeyPatch, error: Exception | None) -> None:
    """Put a `turnwise.cli` in place whose `main` raises `error`."""

    def main() -> None:
        if error is not None:
            raise error

    cli = types.ModuleType("turnwise.cli")
    vars(cli)["main"] = main
    monkeypatch.setitem(sys.modules, "turnwise.cli", cli)


@pytest.mark.parametrize("package", ["typer", "rich", "prompt_toolkit", "platformdirs"])
def test_without_the_terminal_s_packages_the_command_says_what_to_install(package: str) -> None:
    ran = turnwise_without({"typer", "rich", "prompt_toolkit", "platformdirs"} | {package}, "--help")
    assert ran.returncode == 1
    assert "pip install 'turnwise[server]'" in ran.stderr
    assert "turnwise[cli]" in ran.stderr
    assert "Traceback" not in ran.stderr
    assert ran.stdout == ""


def test_without_the_server_s_packages_serve_says_what_to_install() -> None:
    ran = turnwise_without({"starlette", "uvicorn", "sqlalchemy", "alembic", "jwt", "httptools", "uvloop"}, "serve")
    assert ran.returncode == 1
    assert "pip install 'turnwise[server]'" in ran.stderr
    assert "Traceback" not in ran.stderr


@pytest.mark.parametrize(
    "module, extra",
    [
        ("typer", "turnwise[cli]"),
        ("prompt_toolkit.history", "turnwise[cli]"),
        ("starlette.applications", "turnwise[server]"),
        ("sqlalchemy", "turnwise[server]"),
    ],
)
def test_a_missing_package_names_its_extra(monkeypatch: pytest.MonkeyPatch, module: str, extra: str) -> None:
    command_that(monkeypatch, ModuleNotFoundError(f"No module named {module!r}", name=module))
    with pytest.raises(SystemExit) as exit_:
        _entry.main()
    assert extra in str(exit_.value)
    assert module.partition(".")[0] in str(exit_.value)


@pytest.mark.parametrize("name", ["turnwise.no_such_module", None])
def test_any_other_missing_module_is_not_hidden(monkeypatch: pytest.MonkeyPatch, name: str | None) -> None:
    command_that(monkeypatch, ModuleNotFoundError("No module", name=name))
    with pytest.raises(ModuleNotFoundError):
        _entry.main()


def test_with_everything_installed_the_command_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    command_that(monkeypatch, None)
    _entry.main()


def test_python_m_turnwise_is_the_same_command(monkeypatch: pytest.MonkeyPatch) -> None:
    command_that(monkeypatch, ModuleNotFoundError("No module named 'typer'", name="typer"))
    with pytest.raises(SystemExit, match="turnwise\\[cli\\]"):
        runpy.run_module("turnwise", run_name="__main__")


@pytest.mark.filterwarnings("ignore:.*found in sys.modules:RuntimeWarning")
def test_importing_the_main_module_runs_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    command_that(monkeypatch, AssertionError("the command ran"))
    runpy.run_module("turnwise.__main__", run_name="turnwise.__main__")
