"""The ``rader`` command."""

from rader_plugins.cli.app import build_app, main

__all__ = ["build_app", "main"]
