"""What a reranker is trained from: a classifier of one label, whose head may have to be made."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rader_plugins.encoding.models import LoadOptions, loading_errors, local_folder, quiet
from rader_plugins.encoding.saving import self_ending
from rader_plugins.errors import InputError, RaderError, import_extra
from rader_plugins.recipes import Recipe
from rader_plugins.recipes.cross_encoder import has_plain_modules
from rader_plugins.recipes.recipe import RECIPE_FILE
from rader_plugins.recipes.resolve import content_digest, named_recipe, read_directory, resolve
from rader_plugins.reranking.models import Classifier, build_classifier, reads_last_token

__all__ = ["PAIR_TEMPLATE", "RerankerBase", "load_base"]

PAIR_TEMPLATE = "query: {query} document: {document}"
"""What RaDeR's rerankers read, followed by the end-of-sequence token."""
_LONGEST = 3900


@dataclass(frozen=True)
class RerankerBase:
    """A classifier to train.

    Args:
        classifier: The classifier to train, with its tokenizer.
        recipe: How pairs become token ids.
        heads: The modules of it that are trained in full, also where an adapter trains the rest.
        digest: Identity of base and recipe.
        has_own_head: Whether it was a reranker before; a new head is random numbers.
    """

    classifier: Classifier
    recipe: Recipe
    heads: tuple[str, ...]
    digest: str
    has_own_head: bool = False


def load_base(base: str | Recipe, options: LoadOptions) -> RerankerBase:
    """Load what a reranker is trained from.

    A reranker (what :func:`rader_plugins.reranking.load_reranker` takes) goes on with its recipe and head. Any other
    transformer gets a new head of random numbers; a language model's own head is left out. Decoders then read RaDeR's
    pair template and score at its last token; encoders read pairs as their tokenizer joins them. A
    :class:`~rader_plugins.Recipe` of kind ``reranker`` states another template.

    Raises:
        InputError: It cannot be had, is a classifier of several labels, or has no end-of-sequence token.
    """
    named = named_recipe(base) if isinstance(base, str) else base
    if named is None and isinstance(base, str) and (Path(base) / RECIPE_FILE).is_file():
        named = read_directory(base)
    if named is not None:
        resolved = resolve(named if not isinstance(base, str) or not Path(base).is_dir() else base, kind=named.kind)
        location, stated = resolved.location, resolved.recipe
    else:
        location, stated = str(base), None
    folder = local_folder(location, None if stated is None else stated.revision, remote_code=options.trust_remote_code)
    if _is_classifier(folder):
        if stated is None or stated.kind != "reranker":
            stated = resolve(str(base) if isinstance(base, str) else location, kind="reranker").recipe
        start = _of_reranker(stated, location, folder, options)
    else:
        start = _with_new_head(stated, location, folder, options)
    self_ending(start.classifier.tokenizer, start.recipe)  # what would fail at the end fails now
    return start


def _is_classifier(folder: Path) -> bool:
    if (folder / "adapter_config.json").is_file():
        return True
    config = json.loads((folder / "config.json").read_bytes()) if (folder / "config.json").is_file() else {}
    return any(str(name).endswith("ForSequenceClassification") for name in config.get("architectures") or [])


def _of_reranker(recipe: Recipe, location: str, folder: Path, options: LoadOptions) -> RerankerBase:
    if recipe.pair_template is None and not has_plain_modules(folder):
        raise InputError(f"{location!r} has modules or a chat template of its own, which training does not do yet.")
    classifier = build_classifier(recipe, location, options)
    heads = [name for name in ("score", "classifier") if hasattr(classifier.model, name)]
    if not heads:
        raise InputError(f"{type(classifier.model).__name__} keeps its head under a name that is not known here.")
    return RerankerBase(classifier, recipe, tuple(heads), recipe.fingerprint, has_own_head=True)


def _with_new_head(stated: Recipe | None, location: str, folder: Path, options: LoadOptions) -> RerankerBase:
    transformers = import_extra("transformers", "training")
    try:
        with quiet(), _without_report():
            tokenizer = transformers.AutoTokenizer.from_pretrained(
                str(folder), trust_remote_code=options.trust_remote_code
            )
            model, info = transformers.AutoModelForSequenceClassification.from_pretrained(
                str(folder), num_labels=1, output_loading_info=True, **options.model_kwargs()
            )
    except loading_errors() as error:
        if isinstance(error, RaderError):
            raise
        raise InputError(f"{location!r} cannot be made a sequence classifier: {error}") from error
    missing = {name.rpartition(".")[0] for name in info["missing_keys"]}
    body = model.base_model_prefix + "."
    if lost := sorted(name for name in missing if name.startswith(body) and "pooler" not in name):
        raise InputError(f"{location!r} lacks the tensors of {', '.join(lost[:3])}, which would be random numbers.")
    if model.config.is_encoder_decoder or not missing:
        raise InputError(f"{location!r} cannot be made a reranker: {type(model).__name__} has no head to be trained.")
    model.to(options.device)
    model.config.use_cache = False
    digest = content_digest(folder)
    if stated is not None and stated.kind == "reranker":
        recipe = stated
    else:
        name = Path(location).name if Path(location).is_dir() else location
        recipe = _default_recipe(model, tokenizer, name if stated is None else stated.name, digest, stated)
    return RerankerBase(Classifier(model, tokenizer), recipe, tuple(sorted(missing)), digest)


@contextlib.contextmanager
def _without_report() -> Iterator[None]:
    """Keep transformers from warning of the missing head, which is what is to be trained."""
    logging = import_extra("transformers.utils.logging", "training")
    before = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(before)


def _default_recipe(model: Any, tokenizer: Any, name: str, digest: str, stated: Recipe | None) -> Recipe:
    positions = getattr(model.config, "max_position_embeddings", None) or _LONGEST
    length = min(_LONGEST, positions, tokenizer.model_max_length)
    joined = not reads_last_token(model)
    return Recipe(
        name=name,
        model=f"sha256:{digest}",
        kind="reranker",
        pair_template=None if joined else PAIR_TEMPLATE,
        append_eos=not joined,
        eos_token=None if joined or stated is None else stated.eos_token,
        pooling="model" if joined else "lasttoken",
        normalize=False,
        max_query_length=length,
        max_document_length=length,
        licence=None if stated is None else stated.licence,
    )
