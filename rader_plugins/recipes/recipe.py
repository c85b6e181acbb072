"""`Recipe`: everything that decides what vector a text gets, and the formatter that training and inference share."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

from rader_plugins.arguments import check_string, shown
from rader_plugins.errors import InputError
from rader_plugins.files import fingerprint

__all__ = ["RECIPE_FILE", "Kind", "Pooling", "Recipe", "Role"]

Pooling = Literal["lasttoken", "mean", "cls", "model"]
Kind = Literal["retriever", "reranker"]
Role = Literal["query", "document"]

RECIPE_FILE = "rader_recipe.json"
"""Name under which a model directory carries its recipe."""

_RUNTIME_FIELDS = {
    "name",
    "dtype",
    "licence",
    "source",
    "dimension",
    "needs_remote_code",
    "package",
    "sha256",
}


@dataclass(frozen=True, kw_only=True)
class Recipe:
    r"""How one model turns queries and documents into vectors.

    Args:
        name: Short name, unique in the registry.
        model: Hub id or directory of the checkpoint.
        query_template: Holds ``{text}`` once and may hold ``{instruction}`` before it, as in
            ``"query: {instruction}{text}"``. The placeholders are replaced literally; other braces stay as they are.
        document_template: Holds ``{text}`` once.
        pair_template: Template of a reranker's input: holds ``{query}`` and ``{document}`` once each, in this order.
        pooling: ``lasttoken``, ``mean``, ``cls``, or ``model`` where the modules of a Sentence Transformers directory
            decide (and all of them are kept).
        append_eos: Append the end-of-sequence token after truncation, unless it is the last token already.
        normalize: Scale vectors to length 1 (L2).
        max_query_length, max_document_length: Greatest lengths in tokens; prefix, special tokens and EOS count.
        revision: Commit of the hub repository; None follows its main branch.
        base_model: Checkpoint that a LoRA adapter repository is merged into.
        eos_token: The end-of-sequence token as text; None takes the tokenizer's own.
        instruction: What ``{instruction}`` becomes when a call gives none.
        pool_prompt: Whether the tokens before the text take part in the mean, where the pooling is a mean.
        dimension: Length of the vectors, where known.
        cut_to: The model's vectors are cut to this length and scaled to length 1 again; None leaves them whole.
        dtype: Precision the checkpoint is published in; encoders may be told another one.
        licence: Licence of the weights, where known.
        source: Which publication the entry follows where they differ.
        kind: Kind of model, ``retriever`` or ``reranker``.
        needs_remote_code: The checkpoint's architecture lives in its repository and loads only with
            ``trust_remote_code=True``.
        package: Import name of an installed package that carries the model.
        sha256: Digest of ``model.safetensors`` that the package must have.

    Raises:
        InputError: A template lacks its placeholder, a length is not positive, or a field has an unknown value.

    Example:
        >>> recipe = Recipe(name="tiny", model="./tiny", query_template="query: {text}")
        >>> recipe.format_query("Why is the sky blue?")
        'query: Why is the sky blue?'
    """

    name: str
    model: str
    query_template: str = "{text}"
    document_template: str = "{text}"
    pair_template: str | None = None
    pooling: Pooling = "lasttoken"
    append_eos: bool = False
    normalize: bool = True
    max_query_length: int = 512
    max_document_length: int = 512
    revision: str | None = None
    base_model: str | None = None
    eos_token: str | None = None
    instruction: str = ""
    pool_prompt: bool = True
    dimension: int | None = None
    dtype: str | None = None
    licence: str | None = None
    source: str = ""
    kind: Kind = "retriever"
    needs_remote_code: bool = False
    package: str | None = None
    sha256: str | None = None
    cut_to: int | None = None

    def __post_init__(self) -> None:
        for field in ("name", "model", "query_template", "document_template", "source"):
            check_string(getattr(self, field), f"{field} of a recipe")
        for field, allowed in (("pooling", get_args(Pooling)), ("kind", get_args(Kind))):
            if not isinstance(getattr(self, field), str) or getattr(self, field) not in allowed:
                raise InputError(
                    f"Recipe {self.name!r}: {field} is {shown(getattr(self, field))}; "
                    f"it must be one of {', '.join(allowed)}."
                )
        for field in ("query_template", "document_template"):
            if getattr(self, field).count("{text}") != 1:
                raise InputError(f"Recipe {self.name!r}: {field} must hold {{text}} exactly once.")
        if "{instruction}" in self.query_template.partition("{text}")[2] + self.document_template:
            raise InputError(f"Recipe {self.name!r}: {{instruction}} belongs before {{text}}, in query_template only.")
        if self.instruction and not self.takes_instruction:
            raise InputError(f"Recipe {self.name!r} has an instruction, but its query_template has no {{instruction}}.")
        if self.pair_template is not None and not (
            self.pair_template.count("{query}") == self.pair_template.count("{document}") == 1
            and self.pair_template.index("{query}") < self.pair_template.index("{document}")
        ):
            raise InputError(f"Recipe {self.name!r}: pair_template must hold {{query}}, then {{document}}, once each.")
        for field in ("max_query_length", "max_document_length"):
            length = getattr(self, field)
            if not isinstance(length, int) or isinstance(length, bool) or length < 2:
                raise InputError(
                    f"Recipe {self.name!r}: {field} must be an integer of at least 2, not {shown(length)}."
                )

        if self.cut_to is not None and (
            isinstance(self.cut_to, bool) or not isinstance(self.cut_to, int) or self.cut_to < 1
        ):
            raise InputError(f"Recipe {self.name!r}: cut_to must be a whole number from 1, not {shown(self.cut_to)}.")

    @property
    def takes_instruction(self) -> bool:
        """Whether queries may carry an instruction."""
        return "{instruction}" in self.query_template

    @property
    def fingerprint(self) -> str:
        """32 hexadecimal digits over every field that changes a vector.

        Precision, licence, name and the like do not count: an index built on a GPU in bfloat16 may be
        queried on a CPU in float32.
        """
        return fingerprint({key: value for key, value in self.to_dict().items() if key not in _RUNTIME_FIELDS})

    def query_prefix(self, instruction: str | None = None) -> str:
        """Return what stands before the query text.

        Raises:
            InputError: An instruction is given, but the template has no place for one.
        """
        prefix = self.query_template.partition("{text}")[0]
        if instruction and not self.takes_instruction:
            raise InputError(
                f"Recipe {self.name!r} takes no instruction: its query template is {self.query_template!r}. "
                "Leave the instruction out, or use dataclasses.replace(recipe, query_template=...)."
            )
        return prefix.replace("{instruction}", self.instruction if instruction is None else instruction)

    def format_query(self, text: str, instruction: str | None = None) -> str:
        """Return the query as the model reads it, without EOS (that is appended after truncation).

        Args:
            text: The query, without prefix and instruction.
            instruction: Replaces the recipe's own instruction; ``""`` leaves it out.
        """
        return self.query_prefix(instruction) + text + self.query_template.partition("{text}")[2]

    def format_document(self, text: str) -> str:
        """Return the document as the model reads it, without EOS."""
        prefix, _, suffix = self.document_template.partition("{text}")
        return prefix + text + suffix

    def format_pair(self, query: str, document: str) -> str:
        """Return a query and a document as a reranker reads them, without EOS."""
        if self.pair_template is None:
            raise InputError(f"Recipe {self.name!r} is a {self.kind} without a pair_template: it cannot rerank.")
        before, _, tail = self.pair_template.partition("{query}")
        between, _, after = tail.partition("{document}")
        return before + query + between + document + after

    def max_length(self, role: Role) -> int:
        """Return the maximum number of tokens for a query or a document."""
        return self.max_query_length if role == "query" else self.max_document_length

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as a JSON object; ``cut_to`` only where it is stated, so that older fingerprints hold."""
        fields = dataclasses.asdict(self)
        return fields if self.cut_to is not None else {key: value for key, value in fields.items() if key != "cut_to"}

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> Recipe:
        """Build a recipe from :meth:`to_dict`'s result.

        Raises:
            InputError: A field is unknown (perhaps written by a newer version) or missing.
        """
        field_names = {field.name for field in dataclasses.fields(cls)}
        if unknown := sorted(set(fields) - field_names):
            raise InputError(f"Unknown recipe fields {unknown}; this version knows {sorted(field_names)}.")
        if missing := sorted({"name", "model"} - set(fields)):
            raise InputError(f"A recipe needs the fields {missing}.")
        return cls(**fields)
