"""The commands of ``rader train``."""

from rader_training.cli.train import app

__all__ = ["app"]
