"""Texts as SQuAD compares them."""

from __future__ import annotations

import re
import string

__all__ = ["normalized"]

_ARTICLES = re.compile(r"\b(?:a|an|the)\b")
_PUNCTUATION = str.maketrans("", "", string.punctuation + "。，、；：！？「」『』（）【】《》“”‘’…।؟،؛")


def normalized(text: str) -> str:
    """Return a text as SQuAD compares it: lower case, without punctuation, articles and superfluous white space.

    Example:
        >>> normalized("The  Earth's axis.")
        'earths axis'
    """
    return " ".join(_ARTICLES.sub(" ", text.lower().translate(_PUNCTUATION)).split())
