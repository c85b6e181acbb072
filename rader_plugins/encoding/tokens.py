"""From text to token ids: the one function that training and inference share.

A vector depends on the last token of its text, so what is cut, and where the end-of-sequence token goes, is part
of a model. It is decided here and nowhere else.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rader_plugins import background
from rader_plugins.errors import InputError
from rader_plugins.recipes import Recipe, Role

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

__all__ = [
    "TokenizedTexts",
    "enough_of",
    "eos_id",
    "format_texts",
    "lock_of",
    "prompt_length",
    "tokenize",
    "tokenize_formatted",
]

# Texts, and characters of them, handed to the tokenizer at once: it keeps ids, words and offsets of all that it gets.
_CHUNK = 1024
_CHUNK_CHARACTERS = 1 << 18
_HELD_CHARACTERS = 1 << 22
# Of a long text so many characters for each token that is read are enough, as a rule; where they are not, more are
# taken. Behind the tokens that are read so many have to follow: the last words of a beginning may be cut otherwise.
_CHARACTERS = 12
_MARGIN = 16


class _Locks:
    """One lock for each tokenizer."""

    def __init__(self) -> None:
        self._on_fork()
        background.after_fork(self._on_fork)

    def _on_fork(self) -> None:
        self._locks: weakref.WeakKeyDictionary[Any, threading.RLock] = weakref.WeakKeyDictionary()
        self._guard = threading.Lock()

    def of(self, tokenizer: Any) -> threading.RLock:
        with self._guard:
            return self._locks.setdefault(tokenizer, threading.RLock())


_locks = _Locks()


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
    return list(_formatted(recipe, role, texts, instruction))


def _formatted(recipe: Recipe, role: Role, texts: Sequence[str], instruction: str | None) -> Iterator[str]:
    """Yield texts in the template, one after another: together they may be large."""
    if role == "query":
        prefix = recipe.query_prefix(instruction)
        suffix = recipe.query_template.partition("{text}")[2]
        return (prefix + text + suffix for text in texts)
    if instruction:
        raise InputError("Documents take no instruction.")
    return (recipe.format_document(text) for text in texts)


def eos_id(tokenizer: PreTrainedTokenizerBase, recipe: Recipe) -> int:
    """Return the id of the token that the recipe appends.

    Raises:
        InputError: The recipe's ``eos_token`` is not a token of this tokenizer, or neither of them names one.
    """
    if recipe.eos_token is None:
        default_id: Any = tokenizer.eos_token_id
        if default_id is None:
            raise InputError(
                f"Recipe {recipe.name!r} appends an end-of-sequence token, but the tokenizer of {recipe.model!r} "
                "has none. Name it: dataclasses.replace(recipe, eos_token='<|endoftext|>')."
            )
        return int(default_id)
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

    Of a text much longer than what the model reads only the beginning is tokenised, which gives the same tokens.
    With ``append_eos``: end-of-sequence tokens that already stand at its end (put there by the tokenizer or by the
    text) are dropped; what is left is cut to ``max_length - 1`` and one such token is appended.
    So every text ends in exactly one, and a text that is too long has exactly ``max_length`` tokens.
    Without it, the tokenizer adds its own special tokens and cuts at ``max_length``.

    A text without any token (an empty one, where neither template nor tokenizer adds something) becomes the single
    end-of-sequence token, or the padding token where there is none.

    Args:
        tokenizer: Tokenizer of the checkpoint. Fast ones are not thread-safe, so a lock is held while it works.
        recipe: Templates, lengths and end-of-sequence handling.
        role: ``"query"`` or ``"document"``.
        texts: Raw texts, any length.
        instruction: Replaces the recipe's instruction (queries only).

    Raises:
        InputError: The recipe's end-of-sequence token does not exist, or an instruction has no place.
    """
    formatted = _formatted(recipe, role, texts, instruction)
    return tokenize_formatted(tokenizer, recipe, formatted, recipe.max_length(role))


def tokenize_formatted(
    tokenizer: PreTrainedTokenizerBase, recipe: Recipe, formatted: Iterable[str], limit: int
) -> TokenizedTexts:
    """Turn texts that stand in their template already into at most ``limit`` token ids; see :func:`tokenize`."""
    end = eos_id(tokenizer, recipe) if recipe.append_eos else None
    ids: list[list[int]] = []
    truncated: list[int] = []
    for chunk in _chunks(formatted, limit * _CHARACTERS):
        rows, cut = _rows(tokenizer, chunk, limit, end)
        truncated.extend(len(ids) + position for position in cut)
        ids.extend(rows)
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


def enough_of(text: str, tokens: int, count: Callable[[str], int]) -> str:
    """Return a beginning of a text whose first tokens are those of the whole text, or the text where that is short.

    Args:
        text: The text to cut, of any length.
        tokens: How many of them have to be the same. A beginning that is returned has more.
        count: Returns how many tokens a text has.
    """
    characters = max(1, tokens) * _CHARACTERS
    while len(beginning := _beginning(text, characters)) < len(text):
        if count(beginning) >= tokens + _MARGIN:
            return beginning
        characters *= 8
    return text


def _chunks(texts: Iterable[str], most: int) -> Iterator[list[str]]:
    """Yield texts in parts of which at most ``most`` characters each are going to be tokenised."""
    chunk: list[str] = []
    read = total = 0
    for text in texts:
        chunk.append(text)
        read += min(len(text), most)
        total += len(text)
        if len(chunk) >= _CHUNK or read >= _CHUNK_CHARACTERS or total >= _HELD_CHARACTERS:
            yield chunk
            chunk, read, total = [], 0, 0
    if chunk:
        yield chunk


def _rows(
    tokenizer: PreTrainedTokenizerBase, texts: list[str], limit: int, end: int | None
) -> tuple[list[list[int]], list[int]]:
    """Return the token ids of texts and the positions of those that were cut, from as much of each as it takes."""
    characters = limit * _CHARACTERS
    beginnings = [_beginning(text, characters) for text in texts]
    rows: list[list[int]] = [[] for _ in texts]
    cut: set[int] = set()
    pending = list(range(len(texts)))
    while pending:
        batch = [beginnings[position] for position in pending]
        with lock_of(tokenizer):
            tokenized = (
                _own_special_tokens(tokenizer, batch, limit) if end is None else _with_eos(tokenizer, batch, limit, end)
            )
        retries = []
        for position, (row, behind) in zip(pending, tokenized, strict=True):
            rows[position] = row
            if behind > 0:
                cut.add(position)
            if behind < _MARGIN and len(beginnings[position]) < len(texts[position]):
                retries.append(position)
        characters *= 8
        for position in retries:
            beginnings[position] = _beginning(texts[position], characters)
        pending = retries
    return rows, sorted(cut)


def _beginning(text: str, most: int) -> str:
    """Return at most so many characters of a text, up to a blank if there is one near."""
    if len(text) <= most:
        return text
    blank = text.rfind(" ", most - 200, most)
    return text[: blank if blank > 0 else most]


def _with_eos(
    tokenizer: PreTrainedTokenizerBase, texts: list[str], limit: int, end: int
) -> list[tuple[list[int], int]]:
    """Return the ids of each text, and how many tokens of it are left out."""
    encoded = tokenizer(texts, add_special_tokens=True, truncation=False, return_attention_mask=False, verbose=False)[
        "input_ids"
    ]
    rows = []
    for row in encoded:
        length = len(row)
        while length and row[length - 1] == end:
            length -= 1
        rows.append(([*row[: min(length, limit - 1)], end], max(0, length - (limit - 1))))
    return rows


def _own_special_tokens(
    tokenizer: PreTrainedTokenizerBase, texts: list[str], limit: int
) -> list[tuple[list[int], int]]:
    """Return the ids of each text with the tokenizer's special tokens, and how many tokens of it are left out."""
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
    special = tokenizer.num_special_tokens_to_add(pair=False)
    left_out = [0] * len(rows)
    # Only a row of full length can have been cut; asking every encoding for its rest would copy it.
    for position in (position for position, row in enumerate(rows) if len(row) >= limit):
        if encodings is not None:
            left_out[position] = sum(len(overflow.ids) - special for overflow in encodings[position].overflowing)
        else:
            left_out[position] = len(tokenizer(texts[position], truncation=False, verbose=False)["input_ids"]) - limit
    return list(zip(rows, left_out, strict=True))


def _substitute_id(tokenizer: PreTrainedTokenizerBase) -> int:
    for candidate in (tokenizer.eos_token_id, tokenizer.pad_token_id):
        if candidate is not None:
            return int(candidate)
    return 0


def lock_of(tokenizer: PreTrainedTokenizerBase) -> threading.RLock:
    """Return the lock to hold while a tokenizer works: fast ones change state when lengths differ."""
    return _locks.of(tokenizer)
