"""`ModelEncoder`: what encoders that run a model in this process share, whatever runs it."""

from __future__ import annotations

import warnings
from abc import abstractmethod
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

from rader_plugins.background import Lock, in_thread
from rader_plugins.encoding.base import Encoder, Vectors
from rader_plugins.encoding.batching import plan_batches, run_batches
from rader_plugins.encoding.lane import LoadedModel
from rader_plugins.encoding.texts import checked_texts, progress, wants_progress
from rader_plugins.encoding.tokens import prompt_length, tokenize
from rader_plugins.encoding.truncation import report_truncated
from rader_plugins.errors import EncodingError, InputError, TruncationWarning
from rader_plugins.recipes import Recipe, Role

__all__ = ["ModelEncoder"]

# More queries than this are no question that somebody waits for.
_FEW = 64


class ModelEncoder(Encoder):
    """Encodes with a model in this process. Safe to use from several threads and from asyncio.

    Texts are tokenised by :func:`rader_plugins.encoding.tokens.tokenize`, sorted by length, run in batches of a
    token budget and returned in the order given. Equal texts are encoded once. A batch that does not fit into
    memory is halved. Queries go before batches of documents that wait, so that a question waits for one batch of a
    large ``add`` at most, and queries that wait together are encoded together.

    An empty text gets the vector of its template and special tokens.

    Args:
        recipe: How texts become vectors.
        location: Directory or hub id of the checkpoint.
        loaded: The model and the thread that runs it.
        dimension: Length of its vectors.
        batch_tokens: Padded tokens in a batch.
        show_progress: True, False, or None for "if the standard error is a terminal".

    Raises:
        InputError: The model has another dimension than the recipe states.
    """

    def __init__(
        self,
        recipe: Recipe,
        *,
        location: str,
        loaded: LoadedModel,
        dimension: int,
        batch_tokens: int,
        show_progress: bool | None,
    ) -> None:
        self.recipe = recipe
        self.location: str = location
        self.batch_tokens = batch_tokens
        self.show_progress = show_progress
        self._loaded = loaded
        self._dimension = dimension
        self._count_lock = Lock()
        self._truncated = 0
        if recipe.dimension is not None and recipe.dimension != dimension:
            raise InputError(
                f"Recipe {recipe.name!r} states dimension {recipe.dimension}, but the model in {location!r} "
                f"gives {dimension}. It is another checkpoint, or the recipe is wrong."
            )

    @property
    @abstractmethod
    def tokenizer(self) -> Any:
        """The checkpoint's tokenizer."""

    @property
    def _reader(self) -> Any:
        """The tokenizer that texts are read with: it gives the ids of the checkpoint's."""
        return self.tokenizer

    @abstractmethod
    def _forward(self, batch: Sequence[list[int]], prompt: int) -> Vectors:
        """Run the model on token ids, in its thread; the first ``prompt`` tokens are not pooled."""

    @property
    def dimension(self) -> int:
        """Length of the vectors."""
        return self._dimension

    @property
    def truncated(self) -> int:
        """How many texts were cut so far (equal texts of one call count once)."""
        return self._truncated

    def encode_queries(self, texts: Sequence[str], *, instruction: str | None = None) -> Vectors:
        """Encode queries; see :meth:`Encoder.encode_queries`."""
        return self._encode("query", texts, instruction)

    def encode_documents(self, texts: Sequence[str]) -> Vectors:
        """Encode documents; see :meth:`Encoder.encode_documents`."""
        return self._encode("document", texts, None)

    async def aencode_queries(self, texts: Sequence[str], *, instruction: str | None = None) -> Vectors:
        """As :meth:`encode_queries`, in a thread."""
        return await in_thread(self._encode, "query", texts, instruction)

    async def aencode_documents(self, texts: Sequence[str]) -> Vectors:
        """As :meth:`encode_documents`, in a thread."""
        return await in_thread(self._encode, "document", texts, None)

    def _encode(self, role: Role, texts: Sequence[str], instruction: str | None) -> Vectors:
        valid_texts = checked_texts(texts, role)
        if role == "query":
            self.recipe.query_prefix(instruction)  # an unusable instruction is an error even without a text
        unique: dict[str, int] = {}
        positions = [unique.setdefault(text, len(unique)) for text in valid_texts]
        distinct = list(unique)
        if not distinct:
            return np.zeros((0, self._dimension), dtype=np.float32)
        rows = self._encode_distinct(role, distinct, instruction)
        self._check(rows)
        return rows if len(distinct) == len(valid_texts) else rows[positions]

    def _encode_distinct(self, role: Role, texts: list[str], instruction: str | None) -> Vectors:
        return self._encode_tokens(role, texts, instruction)

    def _encode_tokens(self, role: Role, texts: list[str], instruction: str | None) -> Vectors:
        tokens = tokenize(self._reader, self.recipe, role, texts, instruction=instruction)
        if tokens.truncated:
            self._report_truncated([texts[position] for position in tokens.truncated], role)
        skipped = self._prompt_tokens(role, instruction)
        lengths = [len(row) for row in tokens.ids]
        if role == "query" and len(texts) <= _FEW and min(lengths) > skipped and sum(lengths) <= self.batch_tokens:
            kind = (self.recipe.fingerprint, skipped)
            run = partial(self._forward, prompt=skipped)
            return np.stack(self._loaded.ask(tokens.ids, lengths, run, kind=kind, budget=self.batch_tokens))
        # A text that its prompt left no room for has nothing else to pool: the prompt stays in.
        groups = [(skipped, [index for index, length in enumerate(lengths) if length > skipped])]
        if skipped:
            groups.append((0, [index for index, length in enumerate(lengths) if length <= skipped]))
        rows = np.empty((len(texts), self._dimension), dtype=np.float32)
        with progress(len(texts), wants_progress(self.show_progress, len(texts)), f"Encoding {role}s") as advance:
            for prompt, members in groups:
                plan = plan_batches([lengths[index] for index in members], self.batch_tokens)
                batches = [[members[offset] for offset in batch] for batch in plan]
                self._run(batches, tokens.ids, prompt, rows, advance)
        return rows

    def _run(
        self,
        batches: list[list[int]],
        ids: list[list[int]],
        prompt: int,
        rows: Vectors,
        advance: Callable[[int], None],
    ) -> None:
        remedy = (
            "Shorten max_query_length or max_document_length of the recipe, load with dtype='bfloat16', or free memory."
        )
        lengths = [len(row) for row in ids]
        for batch, vectors in run_batches(
            batches,
            lengths,
            lambda batch: self._loaded.run(partial(self._forward, [ids[position] for position in batch], prompt)),
            self._loaded.device,
            remedy=remedy,
        ):
            rows[batch] = vectors
            advance(len(batch))

    def _prompt_tokens(self, role: Role, instruction: str | None) -> int:
        if self.recipe.pool_prompt:
            return 0
        if role == "query":
            prefix = self.recipe.query_prefix(instruction)
        else:
            prefix = self.recipe.document_template.partition("{text}")[0]
        return prompt_length(self._reader, self.recipe, prefix) if prefix else 0

    def _report_truncated(self, texts: Sequence[str], role: Role) -> None:
        report_truncated(texts)
        with self._count_lock:
            first = self._truncated == 0
            self._truncated += len(texts)
        if first:
            warnings.warn(
                f"{len(texts)} of the {'queries' if role == 'query' else 'documents'} were longer than the "
                f"{self.recipe.max_length(role)} tokens of recipe {self.recipe.name!r} and were cut. Split long texts, "
                "or raise the recipe's maximum. (Shown once for this encoder; its `truncated` counts on.)",
                TruncationWarning,
                stacklevel=6,
            )

    def _check(self, rows: Vectors) -> None:
        if rows.ndim != 2 or rows.shape[1] != self._dimension:
            raise EncodingError(
                f"The model gave vectors of shape {rows.shape}; dimension {self._dimension} was expected."
            )
        finite = np.isfinite(rows).all(axis=1)
        if not finite.all():
            raise EncodingError(
                f"The model gave NaN or infinite numbers for {int((~finite).sum())} of {len(rows)} texts. "
                "float16 overflows in many models: use dtype='bfloat16' or 'float32'. Or the weights are damaged."
            )
        if self.recipe.normalize and not rows.any(axis=1).all():
            raise EncodingError("The model gave a zero vector, which has no direction. The weights are damaged.")
