"""`FileTokenizer`: a model directory's tokenizer, run by the `tokenizers` library alone."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rader_plugins.errors import InputError, import_extra

__all__ = ["FileTokenizer", "agrees", "holds_bert_tokenizer", "read_tokenizer"]

_NAMED = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")
_FURTHER = ("additional_special_tokens", "extra_special_tokens")
# Settings under which transformers makes of a directory BERT's tokenizer; one that is absent has the first value.
_BERT_SETTINGS: dict[str, tuple[Any, ...]] = {
    "tokenizer_class": ("BertTokenizer", "BertTokenizerFast", "TokenizersBackend", "PreTrainedTokenizerFast"),
    "truncation_side": ("right",),
    "padding_side": ("right",),
    "split_special_tokens": (False,),
    "add_bos_token": (False,),
    "add_eos_token": (False,),
    "additional_special_tokens": (None, []),
    "extra_special_tokens": (None, [], {}),
    "auto_map": (None,),
    "chat_template": (None,),
}


class FileTokenizer:
    """Does what :mod:`rader_plugins.encoding.tokens` asks of a tokenizer of transformers, and gives the same ids.

    Not thread-safe: hold :func:`~rader_plugins.encoding.tokens.lock_of` while it works.

    Args:
        backend: The tokenizer of the directory, without padding and truncation.
        settings: ``tokenizer_config.json``, completed by ``special_tokens_map.json``.
    """

    is_fast = True

    def __init__(self, backend: Any, settings: dict[str, Any]) -> None:
        self._backend = backend
        self._limit: int | None = None
        names = {name: _content(settings.get(name)) for name in _NAMED}
        self.eos_token = names["eos_token"]
        self.unk_token = names["unk_token"]
        self.eos_token_id = self._id(self.eos_token)
        self.unk_token_id = self._id(self.unk_token)
        self.pad_token_id = self._id(names["pad_token"])
        self.pad_token_type_id = int(settings.get("pad_token_type_id") or 0)
        special = [*names.values(), *(_content(token) for key in _FURTHER for token in _list(settings.get(key)))]
        self.all_special_ids = [number for token in special if (number := self._id(token)) is not None]
        limit = settings.get("model_max_length")
        self.model_max_length = int(limit) if isinstance(limit, int | float) else 10**30

    def __call__(
        self,
        texts: str | Sequence[str],
        pairs: Sequence[str] | None = None,
        *,
        add_special_tokens: bool = True,
        truncation: bool | str = False,
        max_length: int | None = None,
        **_: Any,
    ) -> _Encoded:
        """Tokenise texts, or pairs of them; one string gives plain lists, as in transformers."""
        self._truncate(max_length if truncation else None)
        single = isinstance(texts, str)
        inputs: list[Any] = [texts] if isinstance(texts, str) else list(texts)
        if pairs is not None:
            inputs = list(zip(inputs, pairs, strict=True))
        return _Encoded(self._backend.encode_batch(inputs, add_special_tokens=add_special_tokens), single=single)

    def num_special_tokens_to_add(self, pair: bool = False) -> int:
        """Return how many tokens are put around a text, or around and between two."""
        return int(self._backend.num_special_tokens_to_add(pair))

    def convert_tokens_to_ids(self, token: str) -> int | None:
        """Return the id of a token; that of the unknown one, or None, where there is none."""
        number = self._id(token)
        return self.unk_token_id if number is None else number

    def _id(self, token: str | None) -> int | None:
        return None if token is None else self._backend.token_to_id(token)

    def _truncate(self, limit: int | None) -> None:
        if limit == self._limit:
            return
        if limit is None:
            self._backend.no_truncation()
        else:
            self._backend.enable_truncation(limit, strategy="longest_first")
        self._limit = limit


class _Encoded:
    """Results under the names that transformers gives them."""

    def __init__(self, encodings: list[Any], *, single: bool) -> None:
        self.encodings = encodings
        self._single = single

    def __getitem__(self, name: str) -> Any:
        attribute = {"input_ids": "ids", "token_type_ids": "type_ids", "offset_mapping": "offsets"}[name]
        rows = [getattr(encoding, attribute) for encoding in self.encodings]
        return rows[0] if self._single else rows

    def get(self, name: str, default: Any = None) -> Any:
        """Return results by name; there are always all."""
        return self[name]


def read_tokenizer(folder: Path) -> FileTokenizer:
    """Read the tokenizer of a model directory.

    Raises:
        InputError: There is no ``tokenizer.json``, or it is damaged.
        MissingExtraError: The extra ``onnx`` is not installed.
    """
    tokenizers = import_extra("tokenizers", "onnx", "local")
    file = folder / "tokenizer.json"
    if not file.is_file():
        raise InputError(
            f"{str(folder)!r} holds no tokenizer.json, without which its model cannot be run by ONNX Runtime alone. "
            "`rader export-onnx` writes one."
        )
    try:
        backend = tokenizers.Tokenizer.from_str(file.read_text(encoding="utf-8"))
    except Exception as error:  # noqa: BLE001 - the library raises plain exceptions
        raise InputError(f"{str(file)!r} is no tokenizer: {error}") from error
    backend.no_padding()
    backend.no_truncation()
    return FileTokenizer(backend, {**_settings(folder / "special_tokens_map.json"), **_stated(folder)})


def agrees(settings: Mapping[str, Any], expected: Mapping[str, Sequence[Any]]) -> bool:
    """Whether every setting has one of the values expected of it; one that is absent has the first of them."""
    return all(settings.get(name, values[0]) in values for name, values in expected.items())


def holds_bert_tokenizer(folder: Path) -> bool:
    """Whether transformers makes of a directory's tokenizer the one that its ``tokenizer.json`` describes.

    It builds that of BERT anew from the vocabulary and a few settings, and adds the tokens that the settings name.
    """
    settings = {**_settings(folder / "special_tokens_map.json"), **_stated(folder)}
    content = _settings(folder / "tokenizer.json")
    names = ("cls", "sep", "unk", "pad", "mask")
    special = [_content(settings.get(f"{name}_token", f"[{name.upper()}]")) for name in names]
    first, last, unknown = special[:3]
    template = [_part("SpecialToken", first), _part("Sequence", "A"), _part("SpecialToken", last)]
    pair = [*template, _part("Sequence", "B", 1), _part("SpecialToken", last, 1)]
    joining = content.get("post_processor") or {}
    model, tokens = content.get("model") or {}, content.get("added_tokens") or []
    parts = {
        "normalizer": {
            "type": "BertNormalizer",
            "clean_text": True,
            "handle_chinese_chars": settings.get("tokenize_chinese_chars", True),
            "strip_accents": settings.get("strip_accents"),
            "lowercase": settings.get("do_lower_case", True),
        },
        "pre_tokenizer": {"type": "BertPreTokenizer"},
    }
    words = {
        "type": "WordPiece",
        "unk_token": unknown,
        "continuing_subword_prefix": "##",
        "max_input_chars_per_word": 100,
    }
    return (
        agrees(settings, _BERT_SETTINGS)
        and all(content.get(name) == part for name, part in parts.items())
        and all(model.get(name) == value for name, value in words.items())
        and (joining.get("single"), joining.get("pair")) == (template, pair)
        and {token.get("content") for token in tokens} == set(special)
        and all(_is_plain(token, model.get("vocab") or {}) for token in tokens)
    )


def _part(kind: str, name: str | None, type_id: int = 0) -> dict[str, Any]:
    return {kind: {"id": name, "type_id": type_id}}


def _is_plain(token: Mapping[str, Any], vocabulary: Mapping[str, int]) -> bool:
    marks = any(token.get(name) for name in ("single_word", "lstrip", "rstrip", "normalized"))
    return not marks and token.get("special") is True and vocabulary.get(str(token.get("content"))) == token.get("id")


def _stated(folder: Path) -> dict[str, Any]:
    # A token that one file leaves at null may be named by the other.
    return {name: value for name, value in _settings(folder / "tokenizer_config.json").items() if value is not None}


def _settings(file: Path) -> dict[str, Any]:
    if not file.is_file():
        return {}
    try:
        settings = json.loads(file.read_bytes())
    except ValueError as error:
        raise InputError(f"{str(file)!r} is not JSON: {error}") from None
    return settings if isinstance(settings, dict) else {}


def _content(token: Any) -> str | None:
    """Return the text of a token, which may be an object with its properties."""
    content = token.get("content") if isinstance(token, dict) else token
    return content if isinstance(content, str) else None


def _list(tokens: Any) -> list[Any]:
    if isinstance(tokens, dict):
        return list(tokens.values())
    return list(tokens) if isinstance(tokens, list) else []
