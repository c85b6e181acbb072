"""From a query and a document to the token ids that a reranker reads."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from rader_plugins.encoding.tokens import enough_of, lock_of, tokenize_formatted
from rader_plugins.recipes import Recipe

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

__all__ = ["TokenizedPairs", "last_token", "tokenize_pairs"]

# Pairs, and characters of them, handed to the tokenizer at once: it keeps ids, words and offsets of all that it gets.
_CHUNK = 1024
_CHUNK_CHARACTERS = 1 << 18
# What a query must leave of a pair to its document: one so long that nothing else fits would score all alike.
_DOCUMENT_SHARE = 4
_NO_LIMIT = 10**7  # tokenizers without one store a larger number


@dataclass(frozen=True)
class TokenizedPairs:
    """What :func:`tokenize_pairs` returns.

    Args:
        ids: One list of token ids for each pair, none empty.
        types: The token types (0 query, 1 document) of each, if the tokenizer makes them.
        truncated: How many pairs were longer than the model reads.
        limit: The maximum number of tokens.
    """

    ids: list[list[int]]
    types: list[list[int]] | None
    truncated: int
    limit: int


def last_token(row: Sequence[int], recipe: Recipe, padding: int | None) -> int:
    """Return the place of the token of a pair at which the score of a decoder is read.

    Args:
        row: The ids of the pair.
        recipe: How pairs become scores.
        padding: The padding token of the model's configuration, if it has one.
    """
    position = len(row) - 1
    if recipe.pair_template is None:
        # A cross-encoder was trained with transformers' own reading.
        while position > 0 and row[position] == padding:
            position -= 1
    return position


def tokenize_pairs(
    tokenizer: PreTrainedTokenizerBase, recipe: Recipe, pairs: Sequence[tuple[str, str]], positions: int | None
) -> TokenizedPairs:
    """Turn (query, document) pairs into token ids.

    With a ``pair_template``, the whole pair is tokenised as one text, cut to ``max_document_length`` (the
    end-of-sequence token counts) and closed by that token once. The document is what is cut. The query stays whole
    unless it is longer than ``max_query_length``, or would leave less than a quarter of the pair to a longer document;
    then its end is cut to that size first.

    Without one, the tokenizer joins the two by its own template, and cuts the longer of them first, as
    sentence-transformers does.

    Of long texts only the beginnings are tokenised, which gives the same tokens. (Without a template, and where query
    and document are both longer than the model reads, an odd token may go to the one or to the other.)

    Args:
        tokenizer: Tokenizer of the checkpoint; a lock is held while it works.
        recipe: Template, lengths and end-of-sequence handling.
        pairs: The pairs of a query and a document.
        positions: How many tokens the model has positions for, if it is limited.
    """
    if recipe.pair_template is None:
        return _joined(tokenizer, pairs, positions)
    limit = recipe.max_document_length
    fitted_pairs = _with_short_queries(tokenizer, recipe, pairs, limit)
    cut = {position for position, (short, pair) in enumerate(zip(fitted_pairs, pairs, strict=True)) if short != pair}
    formatted = (recipe.format_pair(query, document) for query, document in fitted_pairs)  # together they may be large
    tokens = tokenize_formatted(tokenizer, recipe, formatted, limit)
    behind = recipe.pair_template.partition("{document}")[2]
    if behind and tokens.truncated:
        # The end of the template must stay: shorten the documents themselves and tokenise these pairs again.
        retries = [
            _with_short_document(tokenizer, recipe, fitted_pairs[position], limit) for position in tokens.truncated
        ]
        rows = tokenize_formatted(tokenizer, recipe, [recipe.format_pair(*pair) for pair in retries], limit).ids
        for position, row in zip(tokens.truncated, rows, strict=True):
            tokens.ids[position] = row
    return TokenizedPairs(tokens.ids, None, len(cut.union(tokens.truncated)), limit)


def _with_short_queries(
    tokenizer: PreTrainedTokenizerBase, recipe: Recipe, pairs: Sequence[tuple[str, str]], limit: int
) -> list[tuple[str, str]]:
    """Shorten the queries that leave no room; all others stay as they are."""
    queries = dict.fromkeys(query for query, _ in pairs)
    allowed = min(recipe.max_query_length, limit - limit // _DOCUMENT_SHARE)
    lengths = {query: _count(tokenizer, recipe.format_pair(query, ""), limit) for query in queries}
    long = {query for query, length in lengths.items() if length > allowed}
    if not long:
        return list(pairs)
    frame = _count(tokenizer, recipe.format_pair("", ""), limit)
    fitted_pairs: list[tuple[str, str]] = []
    for query, document in pairs:
        if query in long:
            # A short document needs no more room than it has tokens.
            share = limit - min(limit // _DOCUMENT_SHARE, _count(tokenizer, document, limit) + 1)
            room = min(recipe.max_query_length, share) - frame
            query = _first_tokens(tokenizer, query, max(1, room)) if lengths[query] > room + frame else query
        fitted_pairs.append((query, document))
    return fitted_pairs


def _with_short_document(
    tokenizer: PreTrainedTokenizerBase, recipe: Recipe, pair: tuple[str, str], limit: int
) -> tuple[str, str]:
    query, document = pair
    room = limit - _count(tokenizer, recipe.format_pair(query, ""), limit) - 2  # the end token, and a token that splits
    return query, _first_tokens(tokenizer, document, max(1, room))


def _count(tokenizer: PreTrainedTokenizerBase, text: str, most: int) -> int:
    """Return how many tokens a text has; of one that has more than ``most``, any number above that."""
    return _length(tokenizer, enough_of(text, most, partial(_length, tokenizer)))


def _length(tokenizer: PreTrainedTokenizerBase, text: str) -> int:
    with lock_of(tokenizer):
        return len(tokenizer(text, truncation=False, verbose=False)["input_ids"])


def _first_tokens(tokenizer: PreTrainedTokenizerBase, text: str, count: int) -> str:
    """Return the start of a text that has ``count`` tokens."""
    text = enough_of(text, count, partial(_length, tokenizer))
    with lock_of(tokenizer):
        if not tokenizer.is_fast:
            ids = tokenizer(text, add_special_tokens=False, truncation=False, verbose=False)["input_ids"]
            return str(tokenizer.decode(list(ids)[:count]))
        spans = tokenizer(text, add_special_tokens=False, truncation=False, return_offsets_mapping=True, verbose=False)[
            "offset_mapping"
        ]
        return text if len(spans) <= count else text[: spans[count - 1][1]]


def _joined(
    tokenizer: PreTrainedTokenizerBase, pairs: Sequence[tuple[str, str]], positions: int | None
) -> TokenizedPairs:
    limit = min(tokenizer.model_max_length, positions or tokenizer.model_max_length)
    limited: dict[str, Any] = {"truncation": False}
    if limit < _NO_LIMIT:
        limited = {"truncation": "longest_first", "max_length": limit}
    ids: list[list[int]] = []
    types: list[list[int]] = []
    truncated = 0
    for queries, documents in _chunks(tokenizer, pairs, limit if limited["truncation"] else None):
        with lock_of(tokenizer):
            encoded = tokenizer(queries, documents, return_attention_mask=False, verbose=False, **limited)
        rows = [list(row) for row in encoded["input_ids"]]
        ids += rows
        types += [list(row) for row in encoded.get("token_type_ids", ())]
        truncated += _cut(encoded, rows, limit)
    return TokenizedPairs(ids, types or None, truncated, int(limit))


def _chunks(
    tokenizer: PreTrainedTokenizerBase, pairs: Sequence[tuple[str, str]], limit: int | None
) -> Iterator[tuple[list[str], list[str]]]:
    """Yield queries and documents in parts, of each as much as the model may read."""
    queries: list[str] = []
    documents: list[str] = []
    characters = 0
    count = partial(_length, tokenizer)
    for query, document in pairs:
        queries.append(query if limit is None else enough_of(query, limit, count))
        documents.append(document if limit is None else enough_of(document, limit, count))
        characters += len(queries[-1]) + len(documents[-1])
        if len(queries) >= _CHUNK or characters >= _CHUNK_CHARACTERS:
            yield queries, documents
            queries, documents, characters = [], [], 0
    if queries:
        yield queries, documents


def _cut(encoded: Any, rows: list[list[int]], limit: int) -> int:
    full = [position for position, row in enumerate(rows) if len(row) >= limit]
    if encoded.encodings is None:
        return len(full)
    return sum(bool(encoded.encodings[position].overflowing) for position in full)
