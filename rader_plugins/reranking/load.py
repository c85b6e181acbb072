"""`load_reranker`: from a name to a reranker."""

from __future__ import annotations

import inspect
import os
from typing import Any

from rader_plugins.errors import InputError
from rader_plugins.recipes import Recipe
from rader_plugins.recipes.resolve import resolve
from rader_plugins.reranking.pointwise import PointwiseReranker

__all__ = ["load_reranker"]


def load_reranker(name_or_path: str | os.PathLike[str] | Recipe, **options: Any) -> PointwiseReranker:
    """Return the reranker of a model that scores a query and a document by one number.

    Args:
        name_or_path: A registered name (``"rader-reranker-7b"``; see ``rader models``) or the hub id of one, a
            :class:`~rader_plugins.Recipe` of kind ``reranker``, a directory that carries one, or the directory or hub
            id of a cross-encoder of sentence-transformers (``"cross-encoder/ms-marco-MiniLM-L6-v2"``), which reads
            pairs as its own tokenizer joins them.
        **options: Of :class:`~rader_plugins.reranking.pointwise.PointwiseReranker`: ``device``, ``dtype``,
            ``attn_implementation``, ``batch_tokens``, ``activation``, ``trust_remote_code``, ``show_progress``.
            ``recipe`` states the template of a directory or hub id that does not say it itself.

    Raises:
        InputError: The model cannot be found, is no classifier of one label (a language model without a score head, a
            retriever), does not say which template it reads, or an option is unknown.
        MissingExtraError: The extra ``local`` is not installed.

    Example:
        >>> reranker = load_reranker("cross-encoder/ms-marco-MiniLM-L6-v2")  # doctest: +SKIP
        >>> reranker.score_pairs([("fewest guests", "Ramsey's theorem ..."), ("fewest guests", "Bayes ...")])
        ... # doctest: +SKIP
        array([ 2.31, -7.02], dtype=float32)
    """
    name = name_or_path if isinstance(name_or_path, Recipe) else os.fspath(name_or_path)
    if not isinstance(name, (str, Recipe)) or not name:
        raise InputError("load_reranker takes a name, a directory, a hub id or a Recipe.")
    names = inspect.signature(PointwiseReranker).parameters
    valid = sorted({option for option in names if option != "location"} | {"recipe"})
    if unknown := sorted(set(options) - set(valid)):
        raise InputError(f"Unknown options {unknown}; load_reranker takes: {', '.join(valid)}.")
    resolved = resolve(name, options.pop("recipe", None), kind="reranker")
    return PointwiseReranker(resolved.recipe, location=resolved.location, **options)
