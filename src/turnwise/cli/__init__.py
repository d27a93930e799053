"""The `turnwise` command."""

from __future__ import annotations

from turnwise.cli.app import main

__all__ = ["main"]
