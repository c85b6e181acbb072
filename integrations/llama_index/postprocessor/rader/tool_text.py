"""What an agent asked, out of the text that LlamaIndex's ``RetrieverTool`` makes of a call's arguments."""

from __future__ import annotations

import re

__all__ = ["asked_text"]

# Positional arguments, a line break, the others as "name is value", a line break: of one argument, one part is empty.
_ONE_NAMED = re.compile(r"\n[^\W\d]\w* is (.+)\n", re.DOTALL)
_ANOTHER = re.compile(r", [^\W\d]\w* is ")
_POSITIONAL = re.compile(r"(.+)\n\n", re.DOTALL)


def asked_text(text: str) -> str:
    r"""Return the one argument of a tool's call that a query text is; any other text, or several, as it is.

    Example:
        >>> asked_text("\ninput is how many guests?\n"), asked_text("how many guests?")
        ('how many guests?', 'how many guests?')
    """
    match = _ONE_NAMED.fullmatch(text) or _POSITIONAL.fullmatch(text)
    return text if match is None or not match[1].strip() or _ANOTHER.search(match[1]) else match[1]
