from __future__ import annotations

import ast
import inspect
from dataclasses import fields
from pathlib import Path

import pytest

from turnwise.server import settings as module
from turnwise.server.settings import Settings, SettingsError, default_database_url, load_settings, variable_of


def test_the_defaults_need_nothing() -> None:
    settings = load_settings({}, {})
    assert settings == Settings()
    assert (settings.host, settings.turn_timeout, settings.grace) == ("127.0.0.1", 60.0, 30.0)
    assert settings.database == default_database_url()
    assert settings.database.startswith("sqlite:///")


def test_the_environment_is_read() -> None:
    settings = load_settings(
        None,
        {
            "TURNWISE_PORT": "0",
            "TURNWISE_DATABASE_URL": "sqlite:///a.db",
            "TURNWISE_CORS_ORIGINS": "https://a.example, https://b.example",
            "TURNWISE_MODELS": "a,b/c",
            "TURNWISE_GRACE": "1.5",
            "TURNWISE_DISCOVER": "false",
            "OPENAI_BASE_URL": "http://127.0.0.1:1/v1",
            "OPENAI_API_KEY": "sk-key",
            "TURNWISE_LOG_FORMAT": "json",
            "TURNWISE_MODEL": "",
        },
    )
    assert (settings.port, settings.database, settings.grace) == (0, "sqlite:///a.db", 1.5)
    assert settings.cors_origins == ("https://a.example", "https://b.example")
    assert settings.models == ("a", "b/c")
    assert settings.discover is False
    assert (settings.openai_base_url, settings.openai_api_key) == ("http://127.0.0.1:1/v1", "sk-key")
    assert settings.log_format == "json"
    assert settings.model == ""


def test_flags_win_over_the_environment_and_that_over_the_file(tmp_path: Path) -> None:
    file = tmp_path / "turnwise.toml"
    file.write_text('host = "file"\nport = 1\nmodel = "file"\nmodels = ["a", "b"]\n')
    environ = {"TURNWISE_CONFIG": str(file), "TURNWISE_PORT": "2", "TURNWISE_MODEL": "environment"}
    settings = load_settings({"model": "flag", "port": None}, environ)
    assert (settings.host, settings.port, settings.model, settings.models) == ("file", 2, "flag", ("a", "b"))


@pytest.mark.parametrize(
    "environ, named",
    [
        ({"TURNWISE_PORT": "many"}, "TURNWISE_PORT: "),
        ({"TURNWISE_PORT": "70000"}, "TURNWISE_PORT: "),
        ({"TURNWISE_BODY_TIMEOUT": "0"}, "TURNWISE_BODY_TIMEOUT: "),
        ({"TURNWISE_LOG_FORMAT": "xml"}, "TURNWISE_LOG_FORMAT: "),
        ({"TURNWISE_LOG_LEVEL": "loud"}, "TURNWISE_LOG_LEVEL: "),
        ({"TURNWISE_CONFIG": "/nowhere/t.toml"}, "TURNWISE_CONFIG: "),
    ],
)
def test_a_value_that_cannot_be_is_refused_with_its_variable(environ: dict[str, str], named: str) -> None:
    with pytest.raises(SettingsError, match=named):
        load_settings(None, environ)


def test_an_unknown_setting_in_the_file_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "turnwise.toml"
    file.write_text("prot = 1\n")
    with pytest.raises(SettingsError, match=r"prot: there is no such setting\. There are .*port"):
        load_settings(None, {"TURNWISE_CONFIG": str(file)})
    file.write_text("port = \n")
    with pytest.raises(SettingsError, match="cannot be read"):
        load_settings(None, {"TURNWISE_CONFIG": str(file)})


def test_secrets_are_not_shown() -> None:
    settings = Settings(secret="tw_hidden", openai_api_key="sk-hidden")
    assert "hidden" not in repr(settings)


def test_every_setting_is_documented() -> None:
    tree = ast.parse(inspect.getsource(module))
    cls = next(node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == "Settings")
    documented = {
        ast.unparse(field.target)
        for field, text in zip(cls.body, cls.body[1:], strict=False)
        if isinstance(field, ast.AnnAssign) and isinstance(text, ast.Expr)
    }
    assert documented == {setting.name for setting in fields(Settings)}


def test_variables_are_named_after_their_settings() -> None:
    assert variable_of("database_url") == "TURNWISE_DATABASE_URL"
    assert variable_of("openai_api_key") == "OPENAI_API_KEY"
