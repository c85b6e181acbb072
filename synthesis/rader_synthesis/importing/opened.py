"""What was opened of the results of a search, and how much reasoning followed: LRAT's signals (arXiv 2604.04949)."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace

from rader_plugins.text_matching import words
from rader_plugins.trajectories import Step

__all__ = ["reading_weight", "with_opened"]

_HALF_WEIGHT_WORDS = 100


def reading_weight(following: int) -> float:
    """Return how much an opened document counts, by how many words of reasoning followed: from 0.1 to nearly 2.

    It grows with the reasoning and saturates, as LRAT (arXiv 2604.04949) weights its loss; 100 words count 1.

    Example:
        >>> reading_weight(0), reading_weight(100), reading_weight(300)
        (0.1, 1.0, 1.5)
    """
    return max(0.1, round(2 * following / (following + _HALF_WEIGHT_WORDS), 3))


def with_opened(steps: Sequence[Step], unread: Collection[str] = ()) -> list[Step]:
    """Return the steps, documents marked with whether they were opened and how much reasoning followed.

    Args:
        steps: The steps of a turn.
        unread: Documents that somebody tried to open in vain: they were neither read nor passed over.
    """
    opened: dict[int, dict[str, int]] = {}
    texts: dict[str, str] = {}
    reasoned = False
    for number, step in enumerate(steps):
        if step.kind != "open" or step.document_id is None:
            continue
        search = next(
            (
                n
                for n in range(number - 1, -1, -1)
                if any(document.id == step.document_id for document in steps[n].considered)
            ),
            None,
        )
        if search is None:
            continue
        following = 0
        for after in steps[number + 1 :]:
            if after.kind not in ("thought", "answer"):
                break
            following += len(words(after.text)) if after.kind == "thought" else 0
        reasoned = reasoned or following > 0
        counts = opened.setdefault(search, {})
        counts[step.document_id] = counts.get(step.document_id, 0) + following
        texts[step.document_id] = step.text
    marked = list(steps)
    for search, counts in opened.items():
        marked[search] = replace(
            steps[search],
            considered=tuple(
                replace(
                    document,
                    opened=document.id in counts or (None if document.id in unread else False),
                    weight=reading_weight(counts[document.id]) if reasoned and document.id in counts else 1.0,
                    text=document.text or texts.get(document.id, ""),
                )
                for document in steps[search].considered
            ),
        )
    return marked
