"""Cutting texts of mixed lengths into batches that waste little."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["halves", "plan_batches"]


def plan_batches(lengths: Sequence[int], budget: int) -> list[list[int]]:
    """Sort texts by length and cut them into batches of at most ``budget`` padded tokens.

    A batch has at least one text, however long. Once a batch is half full it ends where the length changes, since a
    batch of equal lengths needs neither padding nor an attention mask.

    Args:
        lengths: Number of tokens of each text.
        budget: Maximum of (texts in the batch) x (longest of them).

    Returns:
        Positions into ``lengths``, longest texts first: a batch that does not fit into memory shows at once.
    """
    order = sorted(range(len(lengths)), key=lambda position: -lengths[position])
    batches: list[list[int]] = []
    batch: list[int] = []
    for position in order:
        if batch:
            longest = lengths[batch[0]]
            full = (len(batch) + 1) * longest > budget
            changes = lengths[position] != lengths[batch[-1]] and 2 * len(batch) * longest > budget
            if full or changes:
                batches.append(batch)
                batch = []
        batch.append(position)
    if batch:
        batches.append(batch)
    return batches


def halves(batch: list[int]) -> tuple[list[int], list[int]]:
    """Split a batch of at least two in the middle."""
    middle = len(batch) // 2
    return batch[:middle], batch[middle:]
