"""From text to token ids: the one function that training and inference share.

A vector depends on the last token of its text, so what is cut, and where the end-of-sequence token goes, is part
of a model. It is decided here and nowhere else.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rader_plugins.errors import InputError
from rader_plugins.recipes import Recipe, Role

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

__all__ = [
    "TokenizedTexts",
    "eos_id",
    "format_texts",
    "lock_of",
    "prompt_length",
    "tokenize",
    "tokenize_formatted",
]

# Texts handed to the tokenizer at once: it keeps offsets of everything it is given, which is large for long texts.
_CHUNK = 1024

_locks: weakref.WeakKeyDictionary[Any, threading.RLock] = weakref.WeakKeyDictionary()
_locks_guard = threading.Lock()


@dataclass(frozen=True)
class TokenizedTexts:
    """What :func:`tokenize` returns.

    Args:
        ids: One list of token ids for each text, none empty.
        truncated: Positions of the texts that were longer than the recipe allows.
    """

    ids: list[list[int]]
    truncated: list[int]


def format_texts(recipe: Recipe, role: Role, texts: Sequence[str], instruction: str | None = None) -> list[str]:
    """Apply the recipe's template to every text.

    Raises:
        InputError: An instruction is given for documents, or the recipe takes none.
    """
    if role == "query":
        prefix = recipe.query_prefix(instruction)
        suffix = recipe.query_template.partition("{text}")[2]
        return [prefix + text + suffix for text in texts]
    if instruction:
        raise InputError("Documents take no instruction.")
    return [recipe.format_document(text) for text in texts]


def eos_id(tokenizer: PreTrainedTokenizerBase, recipe: Recipe) -> int:
    """Return the id of the token that the recipe appends.

    Raises:
        InputError: The recipe's ``eos_token`` is not a token of this tokenizer, or neither of them names one.
    """
    if recipe.eos_token is None:
        found: Any = tokenizer.eos_token_id
        if found is None:
            raise InputError(
                f"Recipe {recipe.name!r} appends an end-of-sequence token, but the tokenizer of {recipe.model!r} "
                "has none. Name it: dataclasses.replace(recipe, eos_token='<|endoftext|>')."
            )
        return int(found)
    named: Any = tokenizer.convert_tokens_to_ids(recipe.eos_token)
    if named is None or (named == tokenizer.unk_token_id and recipe.eos_token != tokenizer.unk_token):
        raise InputError(
            f"Recipe {recipe.name!r} appends {recipe.eos_token!r}, which is not a token of {recipe.model!r} "
            f"(its own end-of-sequence token is {tokenizer.eos_token!r})."
        )
    return int(named)


def tokenize(
    tokenizer: PreTrainedTokenizerBase,
    recipe: Recipe,
    role: Role,
    texts: Sequence[str],
    *,
    instruction: str | None = None,
) -> TokenizedTexts:
    """Format texts by the recipe and turn them into token ids.

    With ``append_eos``: the whole text is tokenised; end-of-sequence tokens that already stand at its end (put there
    by the tokenizer or by the text) are dropped; what is left is cut to ``max_length - 1`` and one such token is
    appended. So every text ends in exactly one, and a text that is too long has exactly ``max_length`` tokens.
    Without it, the tokenizer adds its own special tokens and cuts at ``max_length``.

    A text without any token (an empty one, where neither template nor tokenizer adds something) becomes the single
    end-of-sequence token, or the padding token where there is none.

    Args:
        tokenizer: Of the checkpoint. Fast tokenizers are not thread-safe, so a lock is held while it works.
        recipe: Templates, lengths and end-of-sequence handling.
        role: ``"query"`` or ``"document"``.
        texts: Raw texts, any length.
        instruction: Replaces the recipe's instruction (queries only).

    Raises:
        InputError: The recipe's end-of-sequence token does not exist, or an instruction has no place.
    """
    formatted = format_texts(recipe, role, texts, instruction)
    return tokenize_formatted(tokenizer, recipe, formatted, recipe.max_length(role))


def tokenize_formatted(
    tokenizer: PreTrainedTokenizerBase, recipe: Recipe, formatted: Sequence[str], limit: int
) -> TokenizedTexts:
    """Turn texts that stand in their template already into at most ``limit`` token ids; see :func:`tokenize`."""
    end = eos_id(tokenizer, recipe) if recipe.append_eos else None
    ids: list[list[int]] = []
    truncated: list[int] = []
    with lock_of(tokenizer):
        for start in range(0, len(formatted), _CHUNK):
            chunk = list(formatted[start : start + _CHUNK])
            if end is None:
                rows, cut = _own_special_tokens(tokenizer, chunk, limit)
            else:
                rows, cut = _with_eos(tokenizer, chunk, limit, end)
            ids.extend(rows)
            truncated.extend(start + position for position in cut)
    if not all(ids):
        substitute = [_substitute_id(tokenizer)]
        ids = [row or list(substitute) for row in ids]
    return TokenizedTexts(ids, truncated)


def prompt_length(tokenizer: PreTrainedTokenizerBase, recipe: Recipe, prefix: str) -> int:
    """Return how many tokens a text's prefix takes, leading special tokens included.

    Used with ``pool_prompt=False``. Follows sentence-transformers: a special token that the tokenizer puts behind
    the lone prefix does not count.
    """
    with lock_of(tokenizer):
        row = list(tokenizer(prefix, add_special_tokens=True, truncation=False, verbose=False)["input_ids"])
    if row and row[-1] in set(tokenizer.all_special_ids):
        del row[-1]
    return len(row)


def _with_eos(
    tokenizer: PreTrainedTokenizerBase, texts: list[str], limit: int, end: int
) -> tuple[list[list[int]], list[int]]:
    encoded = tokenizer(texts, add_special_tokens=True, truncation=False, return_attention_mask=False, verbose=False)[
        "input_ids"
    ]
    rows: list[list[int]] = []
    cut: list[int] = []
    for position, row in enumerate(encoded):
        length = len(row)
        while length and row[length - 1] == end:
            length -= 1
        if length >= limit:
            cut.append(position)
        rows.append([*row[: min(length, limit - 1)], end])
    return rows, cut


def _own_special_tokens(
    tokenizer: PreTrainedTokenizerBase, texts: list[str], limit: int
) -> tuple[list[list[int]], list[int]]:
    encoded = tokenizer(
        texts,
        add_special_tokens=True,
        truncation=True,
        max_length=limit,
        return_attention_mask=False,
        verbose=False,
    )
    rows: list[list[int]] = [list(row) for row in encoded["input_ids"]]
    encodings = encoded.encodings
    if encodings is not None:
        # Only a row of full length can have been cut; asking every encoding for its rest would copy it.
        cut = [at for at, row in enumerate(rows) if len(row) >= limit and encodings[at].overflowing]
    else:
        full = [at for at, row in enumerate(rows) if len(row) >= limit]
        cut = [at for at in full if len(tokenizer(texts[at], truncation=False, verbose=False)["input_ids"]) > limit]
    return rows, cut


def _substitute_id(tokenizer: PreTrainedTokenizerBase) -> int:
    for candidate in (tokenizer.eos_token_id, tokenizer.pad_token_id):
        if candidate is not None:
            return int(candidate)
    return 0


def lock_of(tokenizer: PreTrainedTokenizerBase) -> threading.RLock:
    """Return the lock to hold while a tokenizer works: fast ones change state when lengths differ."""
    with _locks_guard:
        lock = _locks.get(tokenizer)
        if lock is None:
            lock = _locks[tokenizer] = threading.RLock()
        return lock
