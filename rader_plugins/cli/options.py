"""Options that several commands share."""

from __future__ import annotations

import contextlib
import json
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rader_plugins.cli.index_place import IndexPlace
from rader_plugins.cli.llm_choice import parse_fields
from rader_plugins.errors import InputError
from rader_plugins.http_urls import is_url, shown_url
from rader_plugins.ingestion.stores import read_location

if TYPE_CHECKING:
    from rader_plugins.encoding import Encoder
    from rader_plugins.index import Index

__all__ = [
    "Backend",
    "Device",
    "ModelOptions",
    "OWN_MODEL",
    "OutFolder",
    "IndexFolder",
    "JsonOutput",
    "Model",
    "ModelChoice",
    "RecipeName",
    "SearchMode",
    "ServedModel",
    "SourcePath",
    "SourcePaths",
    "TrustRemoteCode",
    "Verbose",
    "check_ranking",
    "open_index",
    "parse_filter",
]


class SearchMode(str, Enum):
    """How documents are ranked."""

    hybrid = "hybrid"
    dense = "dense"
    bm25 = "bm25"


IndexFolder = Annotated[
    IndexPlace,
    typer.Argument(
        metavar="INDEX", help="Folder of the index, or its URL in an engine.", show_default=False, parser=IndexPlace
    ),
]
OutFolder = Annotated[
    IndexPlace,
    typer.Option(
        "--out",
        metavar="INDEX",
        help="Folder of the index, or its URL in an engine: postgresql://user@host/db?table=docs.",
        show_default=False,
        parser=IndexPlace,
    ),
]
_SOURCE_HELP = (
    "Folder of texts (.txt, .md, .rst), documents (PDF, Office, HTML, ...), tables (.csv, .tsv) and source code; a "
    "BEIR folder (corpus.jsonl); a .jsonl or .parquet file with 'text' in every row, or a folder of such Parquet "
    "files; or a single file. Also the URL of these in a store: s3://bucket/folder/."
)
SourcePath = Annotated[
    Any,  # a Location: typer takes no union
    typer.Argument(metavar="PATH", parser=str, callback=read_location, help=_SOURCE_HELP, show_default=False),
]


def _read_locations(paths: list[str]) -> list[Any]:
    return [read_location(path) for path in paths]


SourcePaths = Annotated[
    list[Any],
    typer.Argument(
        metavar="PATH...",
        parser=str,
        callback=_read_locations,
        help=f"{_SOURCE_HELP} With --ray, several of them.",
        show_default=False,
    ),
]


def complete_model(incomplete: str) -> list[str]:
    """Return the registered models whose names begin so."""
    from rader_plugins.recipes import RECIPES

    return [name for name in RECIPES if name.startswith(incomplete)]


Model = Annotated[
    str | None,
    typer.Option(
        "--model",
        metavar="NAME",
        autocompletion=complete_model,
        help="Registered name (see `rader models`), model directory, hub id, or URL of an embedding server.",
        show_default=False,
    ),
]
RecipeName = Annotated[
    str | None,
    typer.Option(
        "--recipe",
        metavar="NAME",
        autocompletion=complete_model,
        help="Registered name of the recipe by which --model (a directory, hub id or URL) makes vectors; "
        "'plain' for a server that takes plain text.",
        show_default=False,
    ),
]
ServedModel = Annotated[
    str | None,
    typer.Option("--served-model", metavar="NAME", help="What the server at a --model URL calls its model."),
]
Device = Annotated[
    str | None, typer.Option("--device", metavar="NAME", help="cpu, cuda, cuda:1, mps. Default: the best there is.")
]
Backend = Annotated[
    str | None,
    typer.Option(
        "--backend",
        metavar="NAME",
        help="What runs a model of this machine: torch or onnx (onnx/model.onnx of its directory; see `rader "
        "export-onnx`). Default: whichever can, torch where both can.",
    ),
]
TrustRemoteCode = Annotated[
    bool, typer.Option("--trust-remote-code", help="Let the model's repository run its own code.")
]
ModelOptions = Annotated[
    list[str] | None,
    typer.Option(
        "--model-option",
        metavar="NAME=VALUE",
        help="An option of the encoder, as in Python; repeatable. For a server: batch_size, batch_tokens, timeout, "
        "concurrency, api_key_env, tokenizer, max_tokens, 'headers.api-key=$AZURE_KEY', extra.dimensions=512; for a "
        "model here: dtype, batch_tokens, attn_implementation.",
    ),
]
Dimension = Annotated[
    int | None,
    typer.Option(
        "--dimension",
        metavar="N",
        min=1,
        help="Cut the model's vectors to their first N places, for a model trained with matryoshka: a smaller index.",
    ),
]
Verbose = Annotated[bool, typer.Option("--verbose", help="Name all files and rows that were left out or mended.")]
JsonOutput = Annotated[bool, typer.Option("--json", help="Write JSON.")]


@dataclass(frozen=True)
class ModelChoice:
    """Which model a user asked for: a group of options for :func:`with_option_groups`.

    Args:
        model: None for the index's own.
        recipe, served_model, device, backend, trust_remote_code: See the options above.
        model_option: Further options of the encoder, as ``NAME=VALUE``.
        dimension: Length that vectors are cut to; by default what the index records.
    """

    model: Model = None
    recipe: RecipeName = None
    served_model: ServedModel = None
    device: Device = None
    backend: Backend = None
    trust_remote_code: TrustRemoteCode = False
    model_option: ModelOptions = None
    dimension: Dimension = None

    @property
    def is_given(self) -> bool:
        """Whether anything departs from loading the index's own recipe as it is."""
        return self != ModelChoice()

    def load(self, index: Index | None = None) -> Encoder:
        """Load the encoder; without ``model``, that of ``index``.

        Raises:
            InputError: An option does not go with the model, or the index's model has to be named.
        """
        from rader_plugins.encoding import load_encoder
        from rader_plugins.encoding.backends import recorded_dtype

        source: Any = self.model
        recipe: Any = self.recipe
        if source is None:
            if index is None:
                raise InputError("Name a model with --model; `rader models` lists those known by name.")
            source = getattr(index, "recorded_model", index.recipe)
        remote = is_url(source)
        options: dict[str, Any] = {"show_progress": False}
        if remote:
            here = (self.device, self.backend, self.trust_remote_code)
            for name, value in zip(("--device", "--backend", "--trust-remote-code"), here, strict=True):
                if value:
                    raise InputError(f"{name} is for a model on this machine; {shown_url(source)} runs elsewhere.")
            served = self.served_model
            if recipe is None and index is not None:
                recipe = index.recipe
                if recipe is not None and recipe.name == "plain":
                    recipe, served = "plain", served or recipe.model
            if recipe is None:
                raise InputError(
                    "A server does not say how its model wants its texts: add --recipe with a registered name "
                    "(`rader models`), or --recipe plain if it takes plain text."
                )
            options["model"] = served
        else:
            if self.served_model is not None:
                raise InputError("--served-model goes with a --model that is a URL.")
            options |= {"device": self.device, "trust_remote_code": self.trust_remote_code}
            if self.backend is not None:
                options["backend"] = self.backend
        if recipe is not None:
            options["recipe"] = recipe
        options["dimension"] = self.dimension or (index.recipe.cut_to if index and index.recipe else None)
        further = parse_fields(self.model_option or (), "--model-option", nested=True)
        if doubled := sorted(name for name in further if options.get(name) is not None):
            raise InputError(f"--model-option {doubled[0]} has an option of its own, or is set already.")
        if index is not None and not remote and self.backend != "onnx" and "dtype" not in further:
            options |= recorded_dtype(source, getattr(index, "recorded_precision", None))
        return load_encoder(source, **{**options, **further})


OWN_MODEL = ModelChoice()
"""The default of a command's parameter: the model that the index remembers."""


def check_ranking(mode: SearchMode, alpha: float | None, instruction: str | None) -> None:
    """Refuse options of a ranking that would have no effect.

    Raises:
        InputError: There is such an option; the message names it.
    """
    if alpha is not None and mode is not SearchMode.hybrid:
        raise InputError(f"--alpha weighs the two scores of --mode hybrid; with {mode.value} it has no effect.")
    if instruction is not None and mode is SearchMode.bm25:
        raise InputError("--instruction is for a model; with --mode bm25 it has no effect.")


def open_index(place: IndexPlace, choice: ModelChoice | None = None) -> Index:
    """Open an index with the model that was asked for.

    Raises:
        InputError: There is no index, or its model lies in a directory and has to be named.
    """
    if choice is None or not choice.is_given:
        return place.open()
    with contextlib.closing(place.open(verify=False)) as index:
        encoder = choice.load(index)
    return place.open(encoder)


def parse_filter(text: str | None) -> dict[str, Any] | None:
    """Return the filter that was written as JSON.

    Raises:
        InputError: It is no JSON object.
    """
    if text is None:
        return None
    try:
        condition = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"--filter is not JSON ({error}): {text}") from None
    if not isinstance(condition, dict):
        raise InputError(f"""--filter must be a JSON object such as '{{"field": "logic"}}', not: {text}""")
    return condition
