"""Cutting texts of mixed lengths into batches that waste little, and running them in the memory that there is."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from rader_plugins.arguments import shown
from rader_plugins.errors import EncodingError, InputError

__all__ = ["CPU_TOKENS", "GPU_TOKENS", "check_batch_tokens", "pad_id", "padded", "plan_batches", "run_batches"]

T = TypeVar("T")
Ids = npt.NDArray[np.int64]

# Where memory bandwidth rules (CPU), small batches win; a GPU wants to be filled.
CPU_TOKENS = 2048
GPU_TOKENS = 32768
_OUT_OF_MEMORY = ("out of memory", "not enough memory", "can't allocate memory", "failed to allocate")


def check_batch_tokens(batch_tokens: object) -> None:
    """Raise :class:`InputError` unless a budget is None, for the default, or a positive integer."""
    if batch_tokens is not None and (not isinstance(batch_tokens, int) or batch_tokens < 1):
        raise InputError(f"batch_tokens must be a positive integer, not {shown(batch_tokens)}.")


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


def pad_id(tokenizer: Any) -> int:
    """Return the token that fills rows up; any will do where a tokenizer has none, since padding is masked."""
    own = tokenizer.pad_token_id
    return int(own) if own is not None else 0


def padded(rows: Sequence[Sequence[int]], filler: int) -> tuple[Ids, Ids | None]:
    """Fill token ids up to the longest row.

    Returns:
        The ids, shape (n, longest), and the attention mask of that shape; None where all rows have one length.
    """
    lengths = [len(row) for row in rows]
    width = max(lengths)
    if min(lengths) == width:
        return np.array(rows, dtype=np.int64), None
    ids = np.full((len(rows), width), filler, dtype=np.int64)
    mask = np.zeros((len(rows), width), dtype=np.int64)
    for position, row in enumerate(rows):
        ids[position, : len(row)] = row
        mask[position, : len(row)] = 1
    return ids, mask


def run_batches(
    batches: Sequence[list[int]],
    lengths: Sequence[int],
    forward: Callable[[list[int]], T],
    device: str,
    *,
    remedy: str,
) -> Iterator[tuple[list[int], T]]:
    """Run batches one after the other; one that does not fit into memory is halved.

    Args:
        batches: The batches, each a list of positions into ``lengths``.
        lengths: Number of tokens of each text.
        forward: Runs the model on the texts at these positions.
        device: Where the model is: ``cpu``, ``cuda``, ...
        remedy: What to do about a text that does not fit alone, for the message.

    Yields:
        Every batch that was run, with what ``forward`` returned.

    Raises:
        EncodingError: A single text does not fit, or the model failed.
    """
    ceiling = sys.maxsize
    stack = list(batches[::-1])
    while stack:
        batch = stack.pop()
        size = len(batch) * max(lengths[position] for position in batch)
        if size > ceiling and len(batch) > 1:
            middle = len(batch) // 2
            stack += [batch[middle:], batch[:middle]]
            continue
        outcome = _attempt(forward, batch, lengths, device)
        if outcome is not None:
            yield batch, outcome[0]
            continue
        if len(batch) == 1:
            raise EncodingError(f"A single text of {size} tokens does not fit into the memory of {device}. {remedy}")
        # What did not fit will not fit a moment later: later batches are cut before they are tried.
        ceiling = max(1, size // 2)
        stack.append(batch)


def _attempt(
    forward: Callable[[list[int]], T], batch: list[int], lengths: Sequence[int], device: str
) -> tuple[T] | None:
    """Run one batch; None if it does not fit into memory."""
    torch = sys.modules.get("torch")  # a model that runs without it needs nothing of it
    full: tuple[type[Exception], ...] = (MemoryError,) if torch is None else (torch.OutOfMemoryError, MemoryError)
    try:
        return (forward(batch),)
    except full:
        pass
    except (RuntimeError, IndexError) as error:
        if not any(sign in str(error).lower() for sign in _OUT_OF_MEMORY):
            raise EncodingError(
                f"The model failed on a batch of {len(batch)} texts, the longest of "
                f"{max(lengths[position] for position in batch)} tokens: {error} "
                "(A model with fewer positions than the recipe's maximum length fails like this.)"
            ) from error
    if torch is not None and device.startswith("cuda"):
        torch.cuda.empty_cache()
    return None
