"""What a single request may add to a bot, and how far it may go."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from turnwise.types._base import OMIT, Omit, Request

__all__ = ["Ability", "Dataset", "DatasetRecord", "Extensions", "Feature", "Limits", "Skillset"]


class DatasetRecord(Request, frozen=True, kw_only=True):
    """A piece of knowledge."""

    text: str
    meta: dict[str, object] | None | Omit = OMIT


class Dataset(Request, frozen=True, kw_only=True):
    """Knowledge that travels with the request."""

    records: list[DatasetRecord]
    name: str | Omit = OMIT
    description: str | Omit = OMIT


class Ability(Request, frozen=True, kw_only=True):
    """Something a bot can do."""

    name: str
    description: str
    instruction: str
    secret_id: str | Omit = OMIT
    meta: dict[str, object] | None | Omit = OMIT


class Skillset(Request, frozen=True, kw_only=True):
    """Abilities that travel with the request."""

    abilities: list[Ability]
    name: str | Omit = OMIT
    description: str | Omit = OMIT


class Feature(Request, frozen=True, kw_only=True):
    """A capability to switch on."""

    name: str
    options: dict[str, object] | None | Omit = OMIT


class Extensions(Request, frozen=True, kw_only=True):
    """Additions for one request. Honoured for account secrets, ignored from session tokens."""

    backstory: str | None | Omit = OMIT
    datasets: list[Dataset] | None | Omit = OMIT
    skillsets: list[Skillset] | None | Omit = OMIT
    features: list[Feature] | None | Omit = OMIT


class Limits(Request, frozen=True, kw_only=True):
    """Hard bounds of one completion, each at least 1."""

    iterations: Annotated[int, Meta(ge=1)] | None | Omit = OMIT
    continuations: Annotated[int, Meta(ge=1)] | None | Omit = OMIT
    calls: Annotated[int, Meta(ge=1)] | None | Omit = OMIT
