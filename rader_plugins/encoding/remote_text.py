"""The text that an embedding server gets, so that its tokenizer ends up with the tokens of the recipe."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rader_plugins import background
from rader_plugins.arguments import check_path
from rader_plugins.encoding.tokens import enough_of, format_texts
from rader_plugins.errors import InputError, import_extra
from rader_plugins.recipes import Recipe, Role
from rader_plugins.recipes.resolve import fetch

__all__ = ["RemoteText"]


class RemoteText:
    """Formats texts by a recipe, cuts them where a tokenizer is at hand, and appends the end-of-sequence token as text.

    Args:
        recipe: Templates, lengths, end-of-sequence handling.
        tokenizer: Directory or hub id with a ``tokenizer.json``, or that file; None cuts nothing.
        server_appends_eos: The served tokenizer appends the end-of-sequence token itself.
        max_tokens: Most tokens of a text, where that is fewer than the recipe's.

    Raises:
        InputError: There is no such tokenizer, or the recipe appends a token that nobody names.
    """

    def __init__(
        self,
        recipe: Recipe,
        *,
        tokenizer: str | os.PathLike[str] | None,
        server_appends_eos: bool,
        max_tokens: int | None = None,
    ) -> None:
        if max_tokens is not None and tokenizer is None:
            raise InputError("max_tokens cuts texts by their tokens: it needs tokenizer=, that of the served model.")
        self._recipe = recipe
        self._max_tokens = max_tokens
        self._lock = background.Lock()
        self._tokenizer: Any = None
        named = None
        if tokenizer is not None:
            file = _tokenizer_file(tokenizer)
            self._tokenizer = import_extra("tokenizers", "local").Tokenizer.from_file(str(file))
            self._tokenizer.no_truncation()
            self._tokenizer.no_padding()
            named = _named_eos(file.parent)
        self._eos = (recipe.eos_token or named) if recipe.append_eos else None
        if recipe.append_eos and self._eos is None and not server_appends_eos:
            raise InputError(
                f"Recipe {recipe.name!r} appends an end-of-sequence token, but does not name it. Set its eos_token, "
                "give tokenizer=, or, if the served tokenizer appends it itself, server_appends_eos=True."
            )
        self._appends = self._eos if not server_appends_eos else None
        self._overhead = self._count_overhead()

    def limit(self, role: Role) -> int:
        """Return how many tokens of a text are sent."""
        limit = self._recipe.max_length(role)
        return limit if self._max_tokens is None else min(limit, self._max_tokens)

    def prepare(self, role: Role, texts: Sequence[str], instruction: str | None) -> tuple[list[str], list[int]]:
        """Return what to send for each text, and the positions of those that were cut."""
        limit = self.limit(role) - self._overhead
        prepared: list[str] = []
        cut: list[int] = []
        for position, formatted in enumerate(format_texts(self._recipe, role, texts, instruction)):
            body = formatted
            while self._eos and body.endswith(self._eos):
                body = body[: -len(self._eos)]
            if self._tokenizer is not None:
                shortened = self._shorten(body, limit)
                if shortened is not body:
                    cut.append(position)
                body = shortened
            prepared.append(body + (self._appends or ""))
        return prepared, cut

    def _count_overhead(self) -> int:
        """Return how many tokens of the maximum are not text."""
        if self._tokenizer is None:
            return 0
        added = self._tokenizer.encode("a").ids
        special = int(self._tokenizer.num_special_tokens_to_add(False))
        appends_itself = self._eos is not None and added[-1:] == [self._tokenizer.token_to_id(self._eos)]
        if appends_itself:
            # Sent as text too, it would stand there twice.
            self._appends = None
        return special + int(self._recipe.append_eos and not appends_itself)

    def _shorten(self, text: str, limit: int) -> str:
        """Return the longest beginning of a text that has at most ``limit`` tokens, special ones not counted."""
        shortened = enough_of(text, limit, lambda part: len(self._offsets(part)))
        allowed = limit
        while True:
            offsets = self._offsets(shortened)
            if len(offsets) <= limit:
                return text if len(shortened) == len(text) else shortened
            # Tokenising the shortened text again may cut its last word differently, into more tokens.
            shortened = shortened[: offsets[allowed - 1][1]] if allowed > 0 else ""
            allowed -= 1

    def _offsets(self, text: str) -> list[tuple[int, int]]:
        with self._lock:
            return list(self._tokenizer.encode(text, add_special_tokens=False).offsets)


def _tokenizer_file(tokenizer: str | os.PathLike[str]) -> Path:
    path = check_path(tokenizer, "tokenizer")
    if not path.exists():
        path = fetch(os.fspath(tokenizer), None, configuration_only=True)
    file = path / "tokenizer.json" if path.is_dir() else path
    if not file.is_file():
        raise InputError(f"There is no tokenizer.json in {os.fspath(tokenizer)!r}.")
    return file


def _named_eos(folder: Path) -> str | None:
    try:
        token = json.loads((folder / "tokenizer_config.json").read_bytes()).get("eos_token")
    except (OSError, ValueError, AttributeError):
        return None
    content = token.get("content") if isinstance(token, dict) else token
    return content if isinstance(content, str) else None
