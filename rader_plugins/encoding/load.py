"""`load_encoder`: from a name to an encoder."""

from __future__ import annotations

import dataclasses
import inspect
import os
from typing import Any

from rader_plugins.arguments import shown
from rader_plugins.construction import announce_loading
from rader_plugins.encoding.backends import check_onnx_options, pick_backend
from rader_plugins.encoding.base import Encoder
from rader_plugins.encoding.cut import cut
from rader_plugins.errors import InputError
from rader_plugins.http_urls import check_scheme, is_url
from rader_plugins.recipes import Recipe
from rader_plugins.recipes.resolve import resolve

__all__ = ["load_encoder"]


def load_encoder(name_or_path_or_url: str | os.PathLike[str] | Recipe, **options: Any) -> Encoder:
    """Return the encoder of a model.

    Args:
        name_or_path_or_url: A registered name (``"mini"``, ``"rader-7b"``; see ``rader models``) or the hub id of
            one, a :class:`~rader_plugins.Recipe`, a model directory, another hub id with a Sentence Transformers
            configuration, or the URL of an OpenAI-compatible embedding server.
        **options: Keyword arguments of :class:`~rader_plugins.encoding.local.LocalEncoder` (``device``, ``dtype``,
            ``batch_tokens``, ``attn_implementation``, ``trust_remote_code``, ``show_progress``, ``shared``) or, for a
            URL, of :class:`~rader_plugins.encoding.http.HTTPEncoder` (``recipe``, ``model``, ``concurrency``, ...).
            ``backend="onnx"`` runs the ``onnx/model.onnx`` of a directory or hub repository without torch, as
            :class:`~rader_plugins.encoding.onnx_encoder.OnnxEncoder` (``device``, ``batch_tokens``, ...); so does a
            directory that holds no other weights. ``recipe`` states how a directory or hub id makes vectors. ``cache``
            is the path of an on-disk cache. ``dimension`` cuts vectors to a length (see
            :class:`~rader_plugins.encoding.cut.CutEncoder`), for models that were trained with ``matryoshka``.

    Raises:
        InputError: The model cannot be found, does not say how it makes vectors, or an option is unknown.
        MissingExtraError: A local model needs the extra ``local``, or ``onnx``.

    Example:
        >>> load_encoder("mini").dimension
        384
    """
    cache = options.pop("cache", None)
    source, dimension = _take_cut(name_or_path_or_url, options)
    encoder = _load(source, options)
    if cache is not None:
        from rader_plugins.encoding.cache import CachedEncoder, VectorCache

        encoder = CachedEncoder(encoder, VectorCache(cache))
    return cut(encoder, dimension)


def _take_cut(source: Any, options: dict[str, Any]) -> tuple[Any, int | None]:
    """Take what is said of the length of vectors out of options and recipes; return the source without it."""
    lengths = {options.pop("dimension", None)}
    if isinstance(source, Recipe):
        lengths.add(source.cut_to)
        source = _whole(source)
    if isinstance(options.get("recipe"), Recipe):
        lengths.add(options["recipe"].cut_to)
        options["recipe"] = _whole(options["recipe"])
    stated = lengths - {None}
    if len(stated) > 1:
        raise InputError(f"Two lengths of vectors are stated: {' and '.join(map(shown, sorted(stated, key=str)))}.")
    return source, next(iter(stated), None)


def _whole(recipe: Recipe) -> Recipe:
    return recipe if recipe.cut_to is None else dataclasses.replace(recipe, cut_to=None, dimension=None)


def _load(source: str | os.PathLike[str] | Recipe, options: dict[str, Any]) -> Encoder:
    name = os.fspath(source) if isinstance(source, os.PathLike) else source
    if not isinstance(name, str | Recipe) or name == "":
        raise InputError(f"load_encoder takes a name, a directory, a hub id, a URL or a Recipe, not {shown(source)}.")
    if isinstance(name, str) and is_url(name):
        from rader_plugins.encoding.http import HTTPEncoder

        _check_options(options, HTTPEncoder, leave_out=("url",))
        return HTTPEncoder(name, **options)
    if isinstance(name, str):
        check_scheme(name)
    backend = options.pop("backend", None)
    resolved = resolve(name, options.pop("recipe", None))
    announce_loading(name if isinstance(name, str) else name.name)
    if pick_backend(backend, resolved.location) == "onnx":
        from rader_plugins.encoding.onnx_encoder import OnnxEncoder

        check_onnx_options(options)
        _check_options(options, OnnxEncoder, leave_out=("location",))
        return OnnxEncoder(resolved.recipe, location=resolved.location, **options)
    from rader_plugins.encoding.local import LocalEncoder

    _check_options(options, LocalEncoder, leave_out=("location", "model"))
    return LocalEncoder(resolved.recipe, location=resolved.location, **options)


def _check_options(options: dict[str, Any], encoder: type, *, leave_out: tuple[str, ...]) -> None:
    names = list(inspect.signature(encoder).parameters)
    own = set() if "url" in leave_out else {"backend"}
    valid = sorted({name for name in names if name not in leave_out} | {"cache", "dimension", "recipe"} | own)
    if unknown := sorted(set(options) - set(valid)):
        raise InputError(f"Unknown options {unknown}; {encoder.__name__} takes: {', '.join(valid)}.")
