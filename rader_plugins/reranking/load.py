"""`load_reranker`: from a name to a reranker."""

from __future__ import annotations

import inspect
import os
from typing import Any

from rader_plugins.construction import announce_loading
from rader_plugins.encoding.backends import check_onnx_options, pick_backend
from rader_plugins.errors import InputError
from rader_plugins.recipes import Recipe
from rader_plugins.recipes.resolve import resolve
from rader_plugins.reranking.base import Reranker
from rader_plugins.reranking.onnx_reranker import OnnxReranker
from rader_plugins.reranking.pointwise import PointwiseReranker
from rader_plugins.reranking.scoring import ScoringReranker

__all__ = ["as_reranker", "load_reranker"]


def load_reranker(name_or_path: str | os.PathLike[str] | Recipe, **options: Any) -> ScoringReranker:
    """Return the reranker of a model that scores a query and a document by one number.

    Args:
        name_or_path: A registered name (``"rader-reranker-7b"``; see ``rader models``) or the hub id of one, a
            :class:`~rader_plugins.Recipe` of kind ``reranker``, a directory that carries one, or the directory or hub
            id of a cross-encoder of sentence-transformers (``"cross-encoder/ms-marco-MiniLM-L6-v2"``), which reads
            pairs as its own tokenizer joins them.
        **options: Keyword arguments of :class:`~rader_plugins.reranking.pointwise.PointwiseReranker`: ``device``,
            ``dtype``, ``attn_implementation``, ``batch_tokens``, ``activation``, ``trust_remote_code``,
            ``show_progress``, ``shared``. ``recipe`` states the template of a directory or hub id that does not say it
            itself. ``backend="onnx"`` runs the ``onnx/model.onnx`` of a directory or hub repository without torch, as
            :class:`~rader_plugins.reranking.onnx_reranker.OnnxReranker`; so does a directory without other weights.

    Raises:
        InputError: The model cannot be found, is no classifier of one label (a language model without a score head, a
            retriever), does not say which template it reads, or an option is unknown.
        MissingExtraError: The extra ``local``, or ``onnx``, is not installed.

    Example:
        >>> reranker = load_reranker("cross-encoder/ms-marco-MiniLM-L6-v2")  # doctest: +SKIP
        >>> reranker.score_pairs([("fewest guests", "Ramsey's theorem ..."), ("fewest guests", "Bayes ...")])
        ... # doctest: +SKIP
        array([ 2.31, -7.02], dtype=float32)
    """
    name = name_or_path if isinstance(name_or_path, Recipe) else os.fspath(name_or_path)
    if not isinstance(name, (str, Recipe)) or not name:
        raise InputError("load_reranker takes a name, a directory, a hub id or a Recipe.")
    backend = options.pop("backend", None)
    stated = options.pop("recipe", None)
    valid = {"backend", "recipe", *_options_of(PointwiseReranker), *_options_of(OnnxReranker)}
    if unknown := sorted(set(options) - valid):
        raise InputError(f"Unknown options {unknown}; load_reranker takes: {', '.join(sorted(valid))}.")
    resolved = resolve(name, stated, kind="reranker")
    announce_loading(name if isinstance(name, str) else name.name)
    if pick_backend(backend, resolved.location) == "onnx":
        check_onnx_options(options)
        return OnnxReranker(resolved.recipe, location=resolved.location, **options)
    return PointwiseReranker(resolved.recipe, location=resolved.location, **options)


def _options_of(reranker: type) -> set[str]:
    return set(inspect.signature(reranker).parameters) - {"recipe", "location", "classifier"}


def as_reranker(given: object) -> Reranker | None:
    """Return the reranker that something stands for: a name, directory, hub id or recipe is loaded, None stays None.

    Args:
        given: What :func:`load_reranker` takes, a :class:`~rader_plugins.reranking.Reranker`, or the reranker of an
            integration that has one as its ``reranker`` and keeps all documents.

    Raises:
        InputError: It is something else, or it cannot be loaded.
    """
    if given is None or isinstance(given, Reranker):
        return given
    if isinstance(given, str | os.PathLike | Recipe):
        return load_reranker(given)
    if isinstance(inner := getattr(given, "reranker", None), Reranker):
        if getattr(given, "top_n", None) is not None:
            raise InputError(
                f"The retriever decides how many documents come back: make the {type(given).__name__} without top_n."
            )
        return inner
    raise InputError(
        f"reranker must be a name, directory, hub id, Recipe or Reranker, not {type(given).__name__}. A chat model of "
        "a framework grades as LLMReranker(LangChainChat(llm)) or LLMReranker(LlamaIndexChat(llm))."
    )
