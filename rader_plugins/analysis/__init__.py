"""From a text to the terms that BM25 counts."""

from rader_plugins.analysis.english import ANALYZER, STOP_WORDS, analyze

__all__ = ["ANALYZER", "STOP_WORDS", "analyze"]
