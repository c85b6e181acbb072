"""`LocalEncoder`: vectors from a checkpoint on this machine, through sentence-transformers."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from rader_plugins.background import Lock, in_thread
from rader_plugins.encoding.base import Encoder, Vectors
from rader_plugins.encoding.batching import CPU_TOKENS, GPU_TOKENS, padded, plan_batches, run_batches
from rader_plugins.encoding.lane import LoadedModel, shared_model
from rader_plugins.encoding.models import LoadOptions, build_model, pick_device, pick_dtype
from rader_plugins.encoding.texts import checked_texts, progress, wants_progress
from rader_plugins.encoding.tokens import format_texts, prompt_length, tokenize
from rader_plugins.encoding.truncation import report_truncated
from rader_plugins.errors import EncodingError, InputError, TruncationWarning, import_extra
from rader_plugins.recipes import Recipe, Role

if TYPE_CHECKING:
    import torch
    from sentence_transformers import SentenceTransformer

__all__ = ["LocalEncoder"]

# More queries than this are no question that somebody waits for.
_FEW = 64


class LocalEncoder(Encoder):
    """Encodes with a checkpoint on this machine. Safe to use from several threads and from asyncio.

    Texts are tokenised by :func:`rader_plugins.encoding.tokens.tokenize`, sorted by length, run in batches of a
    token budget and returned in the order given. Equal texts are encoded once. A batch that does not fit into
    memory is halved. Queries go before batches of documents that wait, so that a question waits for one batch of a
    large ``add`` at most, and queries that wait together are encoded together. Encoders of the same recipe and options
    share one model in a process.

    An empty text gets the vector of its template and special tokens.

    Args:
        recipe: How texts become vectors.
        location: Directory or hub id of the checkpoint; default ``recipe.model``.
        device: ``"cpu"``, ``"cuda"``, ``"cuda:1"``, ``"mps"``; default: the best there is.
        dtype: ``"float32"``, ``"bfloat16"``, ``"float16"``; default: the recipe's on CUDA, float32 elsewhere.
        attn_implementation: As in transformers: ``"sdpa"``, ``"flash_attention_2"``, ``"eager"``.
        batch_tokens: Padded tokens in a batch; default 2048 on a CPU, 32768 on a GPU.
        trust_remote_code: Let the checkpoint's repository run its own code.
        show_progress: True, False, or None for "if the standard error is a terminal".
        shared: Share the model with encoders of the same recipe and options in this process; False for a model that is
            going to be changed, as training does.
        model: An already loaded model with the modules that the recipe states, instead of ``location``.

    Raises:
        InputError: An option or the checkpoint is unusable.
        MissingExtraError: The extra ``local`` is not installed.

    Example:
        >>> from rader_plugins import load_encoder
        >>> load_encoder("mini").encode_queries(["fewest guests so that three share a hobby"]).shape
        (1, 384)
    """

    def __init__(
        self,
        recipe: Recipe,
        *,
        location: str | os.PathLike[str] | None = None,
        device: str | None = None,
        dtype: str | torch.dtype | None = None,
        attn_implementation: str | None = None,
        batch_tokens: int | None = None,
        trust_remote_code: bool = False,
        show_progress: bool | None = None,
        shared: bool = True,
        model: SentenceTransformer | None = None,
    ) -> None:
        if batch_tokens is not None and (not isinstance(batch_tokens, int) or batch_tokens < 1):
            raise InputError(f"batch_tokens must be a positive integer, not {batch_tokens!r}.")
        self.recipe = recipe
        where = os.fspath(location) if location is not None else recipe.model
        self.location: str = where
        if model is None:
            target = pick_device(device)
            options = LoadOptions(target, pick_dtype(dtype, recipe, target), attn_implementation, trust_remote_code)
            loaded = self._load(options, shared=shared)
        else:
            loaded = LoadedModel(model, model.device.type)
        self._loaded = loaded
        model = loaded.model
        self.batch_tokens = batch_tokens or (CPU_TOKENS if model.device.type == "cpu" else GPU_TOKENS)
        self.show_progress = show_progress
        self._torch = import_extra("torch", "local")
        self._count_lock = Lock()
        self._truncated = 0
        self._dimension = self._find_dimension()
        if recipe.dimension is not None and recipe.dimension != self._dimension:
            raise InputError(
                f"Recipe {recipe.name!r} states dimension {recipe.dimension}, but the model in {self.location!r} "
                f"gives {self._dimension}. It is another checkpoint, or the recipe is wrong."
            )

    def _load(self, options: LoadOptions, *, shared: bool) -> LoadedModel:
        def load() -> LoadedModel:
            model = build_model(self.recipe, self.location, options)
            return LoadedModel(model, model.device.type)

        if not shared:
            return load()
        # Of a directory the recipe's fingerprint holds the content.
        return shared_model(("encoder", self.recipe.fingerprint, str(Path(self.location).absolute()), options), load)

    def __reduce__(self) -> tuple[Any, ...]:
        if self._arguments[1].get("model") is not None:
            raise InputError(
                "This encoder was made of a model that was loaded already, so that no other process can load it: save "
                "it, and load that directory."
            )
        return super().__reduce__()

    @property
    def model(self) -> SentenceTransformer:
        """The model. Whoever takes it may change it, so that it is not shared with encoders that are loaded later."""
        self._loaded.take_off_the_shelf()
        return self._model

    @property
    def _model(self) -> SentenceTransformer:
        return self._loaded.model  # type: ignore[no-any-return]

    @property
    def dimension(self) -> int:
        """Length of the vectors."""
        return self._dimension

    @property
    def variant(self) -> str:
        """The precision of the weights."""
        return str(self._model.dtype)

    @property
    def truncated(self) -> int:
        """How many texts were cut so far (equal texts of one call count once)."""
        return self._truncated

    @property
    def tokenizer(self) -> Any:
        """The checkpoint's tokenizer."""
        return self._model.tokenizer

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

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write a Sentence Transformers directory; see :func:`rader_plugins.encoding.saving.save_encoder`."""
        from rader_plugins.encoding.saving import save_encoder

        save_encoder(self, path)

    def _encode(self, role: Role, texts: Sequence[str], instruction: str | None) -> Vectors:
        valid_texts = checked_texts(texts, role)
        if role == "query":
            self.recipe.query_prefix(instruction)  # an unusable instruction is an error even without a text
        unique: dict[str, int] = {}
        positions = [unique.setdefault(text, len(unique)) for text in valid_texts]
        distinct = list(unique)
        if not distinct:
            return np.zeros((0, self._dimension), dtype=np.float32)
        if self._reads_tokens():
            rows = self._encode_tokens(role, distinct, instruction)
        else:
            rows = self._encode_strings(role, distinct, instruction)
        self._check(rows)
        return rows if len(distinct) == len(valid_texts) else rows[positions]

    def _reads_tokens(self) -> bool:
        """Whether the model takes token ids of plain text; static embeddings, routers and chat inputs do not."""
        first: Any = self._model[0]
        return (
            type(first).__name__ == "Transformer"
            and getattr(self._model.tokenizer, "is_fast", False)
            and "message" not in first.modality_config
        )

    def _encode_tokens(self, role: Role, texts: list[str], instruction: str | None) -> Vectors:
        tokens = tokenize(self._model.tokenizer, self.recipe, role, texts, instruction=instruction)
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
            self._model.device,
            remedy=remedy,
        ):
            rows[batch] = vectors
            advance(len(batch))

    def _forward(self, batch: Sequence[list[int]], prompt: int) -> Vectors:
        """Run the model, in its thread."""
        torch = self._torch
        ids, mask = padded(batch, self._pad_id())
        features: dict[str, Any] = {"input_ids": torch.from_numpy(ids).to(self._model.device)}
        if mask is not None:
            features["attention_mask"] = torch.from_numpy(mask).to(self._model.device)
        if prompt:
            features["prompt_length"] = prompt
        with torch.inference_mode():
            pooled = self._model(features)["sentence_embedding"].float()
            if self.recipe.normalize:
                # Once more in float32: a bfloat16 vector that was normalised in bfloat16 is off by up to 1%.
                pooled = torch.nn.functional.normalize(pooled, p=2, dim=-1)
            return np.asarray(pooled.cpu().numpy(), dtype=np.float32)

    def _encode_strings(self, role: Role, texts: list[str], instruction: str | None) -> Vectors:
        formatted = format_texts(self.recipe, role, texts, instruction)
        rows = self._loaded.run(
            lambda: self._model.encode(
                formatted,
                prompt="",
                normalize_embeddings=self.recipe.normalize,
                show_progress_bar=wants_progress(self.show_progress, len(texts)),
                convert_to_numpy=True,
            )
        )
        return np.asarray(rows, dtype=np.float32)

    def _prompt_tokens(self, role: Role, instruction: str | None) -> int:
        if self.recipe.pool_prompt:
            return 0
        if role == "query":
            prefix = self.recipe.query_prefix(instruction)
        else:
            prefix = self.recipe.document_template.partition("{text}")[0]
        return prompt_length(self._model.tokenizer, self.recipe, prefix) if prefix else 0

    def _pad_id(self) -> int:
        # Padding is masked, so any token will do where the tokenizer has none of its own.
        pad_id = self._model.tokenizer.pad_token_id
        return int(pad_id) if pad_id is not None else 0

    def _find_dimension(self) -> int:
        dimension = self._model.get_embedding_dimension()
        if not isinstance(dimension, int):
            raise InputError(f"The model in {self.location!r} does not say how long its vectors are.")
        return dimension

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
                stacklevel=5,
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
