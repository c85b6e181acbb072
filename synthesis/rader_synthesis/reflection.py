"""Reading what a language model says about a document: does it help, and why?"""

from __future__ import annotations

import re

__all__ = ["parse_reflection"]

_LABEL = re.compile(r"\brelevant\W{0,6}(true|false|yes|no)\b", re.IGNORECASE)
_BARE_LABEL = re.compile(r"\W*(true|false|yes|no)\b", re.IGNORECASE)
_REASON = re.compile(r"^\W*reason\W{0,4}:\s*", re.IGNORECASE)
_QUOTED = 200


def parse_reflection(answer: str) -> tuple[bool | None, str]:
    """Read what a reflection says.

    Args:
        answer: A reason and ``Relevant: True`` or ``Relevant: False``, in either order; or a text that begins with
            the label. Yes and no count too.

    Returns:
        The label and the reason. None, with the answer's beginning, if there is no label or two that contradict each
        other: such a document becomes neither a node nor a negative.

    Example:
        >>> parse_reflection("It states the formula.\\nRelevant: True")
        (True, 'It states the formula.')
    """
    labels = list(_LABEL.finditer(answer))
    bare = _BARE_LABEL.match(answer)
    if not labels and bare is not None:
        labels = [bare]
    values = {label.group(1).lower() in ("true", "yes") for label in labels}
    if len(values) != 1:
        return None, f"Unreadable reflection: {' '.join(answer.split())[:_QUOTED]}"
    before, after = answer[: labels[0].start()], _LABEL.sub("", answer[labels[0].end() :])
    reason = before if before.strip() else after.strip(" \n\t.,;:-*")
    return values.pop(), " ".join(_REASON.sub("", reason.strip()).split())
