"""The old place of :mod:`rader_plugins.text_matching`."""

from rader_plugins.text_matching import digest, ngrams, normal, shared_words, word_overlap, words

__all__ = ["digest", "ngrams", "normal", "shared_words", "word_overlap", "words"]
