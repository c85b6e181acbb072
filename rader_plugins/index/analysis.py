"""The old place of :mod:`rader_plugins.analysis`."""

from rader_plugins.analysis import ANALYZER, STOP_WORDS, analyze

__all__ = ["ANALYZER", "STOP_WORDS", "analyze"]
