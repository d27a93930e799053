from __future__ import annotations

from pathlib import Path

import pytest

from turnwise.server.storage.open import storage_at


@pytest.mark.parametrize(
    "url, path",
    [
        ("sqlite:////absolute/path.db", "/absolute/path.db"),
        ("sqlite:///relative.db", "relative.db"),
        ("sqlite:///~/home.db", str(Path.home() / "home.db")),
    ],
)
def test_url_names_a_file(url: str, path: str) -> None:
    assert storage_at(url)._path == Path(path)  # type: ignore[attr-defined] # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType]


@pytest.mark.parametrize(
    "url, said",
    [
        ("/absolute/path.db", "is not a URL"),
        ("turnwise.db", "is not a URL"),
        ("", "is not a URL"),
        ("sqlite://", "names no file"),
        ("sqlite:///", "names no file"),
        ("sqlite://host/path.db", "names no file"),
        ("sqlite:////folder/", "names no file"),
        ("sqlite:///:memory:", "would be lost"),
        ("postgresql+asyncpg://localhost/turnwise", "not supported"),
        ("mysql://localhost/turnwise", "not supported"),
    ],
)
def test_what_names_no_file_is_refused_with_what_was_expected(url: str, said: str) -> None:
    with pytest.raises(ValueError, match=rf"{said}.*sqlite:////absolute/path\.db"):
        storage_at(url)


def test_password_of_a_url_is_never_repeated() -> None:
    for url in (
        "postgresql://user:hunter2@host",
        "postgresql://user:hunter2@host:port/db",
        "postgresql://user:hunter2@host/db?pool_size=0",
        "postgresql://user:hunter2@host/db?pooler=hunter2",
        "mysql://user:hunter2@host/db",
        "postgresql:user:hunter2@host/db",
        "user:hunter2@host/db",
        "user:hunter2@://host/db",
        "sqlite://user:hunter2@host/",
    ):
        with pytest.raises(ValueError, match="Expected") as caught:
            storage_at(url)
        assert "hunter2" not in str(caught.value)


def test_url_names_a_postgresql_database() -> None:
    for scheme in ("postgresql", "postgres"):
        storage = storage_at(f"{scheme}://user:hunter2@host:5433/db?pool_size=3&sslmode=require&password=hunter2")
        assert repr(storage) == "PostgresStorage('postgresql://host:5433/db')"
        assert repr(storage._address) == "PostgresAddress('postgresql://host:5433/db')"  # type: ignore[attr-defined] # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType, reportUnknownArgumentType]
