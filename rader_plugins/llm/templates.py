"""Prompts with places for texts."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from rader_plugins.errors import InputError

__all__ = ["check_template", "fill_template"]


def check_template(template: str, names: Iterable[str]) -> str:
    """Return the template.

    Raises:
        InputError: A place, such as ``{query}``, is missing.
    """
    if not isinstance(template, str):
        raise InputError(f"A prompt must be a string, not {type(template).__name__}.")
    if missing := [f"{{{name}}}" for name in names if f"{{{name}}}" not in template]:
        raise InputError(f"The prompt lacks {' and '.join(missing)}: write it where the text is to stand.")
    return template


def fill_template(template: str, values: Mapping[str, str]) -> str:
    """Put texts into their places, all at once: braces in a text, or elsewhere in the template, mean nothing.

    Example:
        >>> fill_template("{query} in {1, 2} {document}", {"query": "{document}?", "document": "d"})
        '{document}? in {1, 2} d'
    """
    pattern = "|".join(re.escape(f"{{{name}}}") for name in values)
    return re.sub(pattern, lambda place: values[place.group()[1:-1]], template)
