"""From a text to the terms that BM25 counts."""

from rader_plugins.analysis.analyzer import ANALYZER, Analyzer, analyze
from rader_plugins.analysis.counting import TermCounts
from rader_plugins.analysis.languages import ENGLISH_STOP_WORDS as STOP_WORDS
from rader_plugins.analysis.languages import LANGUAGES

__all__ = ["ANALYZER", "LANGUAGES", "STOP_WORDS", "Analyzer", "TermCounts", "analyze"]
