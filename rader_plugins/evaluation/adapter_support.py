"""What adapters of frameworks share: ids and scores of the documents that a system reports."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any

from rader_plugins.errors import InputError
from rader_plugins.evaluation.rankings import is_number
from rader_plugins.evaluation.systems import UnusableResultsError
from rader_plugins.files import canonical_json

__all__ = ["check_about", "in_order", "known_settings", "source_id"]

# Settings that say how much and by what rule a system searches. Others may hold keys, and are left alone.
_SETTINGS = ("k", "c", "top_k", "top_n", "similarity_top_k", "search_type", "search_kwargs", "weights", "num_queries")


def source_id(value: object, what: str, remedy: str) -> str:
    """Return the id of a document as a string; a whole number is one, too.

    Args:
        value: What stands where the id should.
        what: How to call the document.
        remedy: What to do where there is no id.

    Raises:
        UnusableResultsError: There is none.
    """
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if not isinstance(value, str) or not value:
        raise UnusableResultsError(f"{what} has no id to compare with the corpus ({value!r}). {remedy}")
    return value


def in_order(ids: Sequence[str], scores: Sequence[object]) -> list[tuple[str, float]]:
    """Pair ids with scores so that the order given is the ranking.

    The scores count where all of them are finite numbers that never rise down the list. Otherwise they are something
    else (distances, or of a stage before the last one), and the ranks count.

    Example:
        >>> in_order(["a", "b"], [0.9, 0.4])
        [('a', 0.9), ('b', 0.4)]
        >>> in_order(["a", "b"], [0.4, 0.9])
        [('a', 2.0), ('b', 1.0)]
    """
    numbers = [float(score) for score in scores if is_number(score)]  # type: ignore[arg-type]
    falling = all(before >= after for before, after in pairwise(numbers))
    if len(numbers) != len(ids) or not falling or not all(map(math.isfinite, numbers)):
        numbers = [float(len(ids) - rank) for rank in range(len(ids))]
    return list(zip(ids, numbers, strict=True))


def known_settings(system: object, names: Iterable[str] = _SETTINGS) -> dict[str, Any]:
    """Return those settings of a system that are known to be harmless and are JSON."""
    found = {}
    for name in names:
        value = getattr(system, name, None)
        if value is not None and not callable(value):
            try:
                canonical_json(value)
            except (TypeError, ValueError):
                continue
            found[name] = value
    return found


def check_about(about: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return what a user says of a system.

    Raises:
        InputError: It is no JSON object.
    """
    if about is not None and not isinstance(about, Mapping):
        raise InputError(f"about is a JSON object such as {{'prompt': 'v2'}}, not {type(about).__name__}.")
    found = dict(about or {})
    try:
        canonical_json(found)
    except (TypeError, ValueError) as error:
        raise InputError(f"about must be JSON, since it is written to the manifest: {error}.") from None
    return found
