"""Loading the model of a pointwise reranker, insisting that its score head was loaded too."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rader_plugins.encoding.adapters import Adapter, merge_adapter, read_adapter
from rader_plugins.encoding.models import LoadOptions, base_folder, loading_errors, local_folder, quiet
from rader_plugins.errors import InputError, RaderError, import_extra
from rader_plugins.recipes import Recipe
from rader_plugins.recipes.cross_encoder import check_classifier, has_plain_modules
from rader_plugins.reranking.pairs import last_token

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

__all__ = [
    "Classifier",
    "build_classifier",
    "build_cross_encoder",
    "has_own_modules",
    "keep_head_exact",
    "last_place",
    "last_token_logits",
    "reads_last_token",
]

# Names under which sequence classifiers of transformers keep their head; peft looks for the same.
_HEADS = ("score", "classifier")


@dataclass(frozen=True)
class Classifier:
    """A sequence classifier of one label and its tokenizer."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase


def reads_last_token(model: Any) -> bool:
    """Whether a classifier reads its score at one token, as decoders do; encoders know themselves where to look."""
    return isinstance(getattr(model, "score", None), import_extra("torch", "local").nn.Linear)


def last_place(row: Sequence[int], recipe: Recipe, model: Any) -> int:
    """Return the place of the token of a pair that :func:`last_token_logits` reads."""
    return last_token(row, recipe, model.config.get_text_config().pad_token_id)


def last_token_logits(model: Any, features: Mapping[str, Tensor], last: Tensor) -> Tensor:
    """Score the states of a decoder at the last token of each pair; training and inference share this.

    transformers looks for the last token that is not padding, and so one too early where the end-of-sequence token is
    the padding token as well; and it needs a padding token, which published rerankers do not name.

    Args:
        model: A decoder for which :func:`reads_last_token` holds.
        features: Token ids and attention mask, shape (n, tokens).
        last: The place of the last token of each, shape (n,).

    Returns:
        float32 logits, shape (n, 1).
    """
    torch = import_extra("torch", "local")
    states = model.base_model(**features, use_cache=False).last_hidden_state
    head = model.score
    bias = None if head.bias is None else head.bias.float()
    read = states[torch.arange(len(last), device=states.device), last]
    # In float32: a logit rounded to bfloat16 has three digits, and many documents would tie.
    with torch.autocast(states.device.type, enabled=False):
        return torch.nn.functional.linear(read.float(), head.weight.float(), bias)  # type: ignore[no-any-return]


def keep_head_exact(model: Any) -> None:
    """Let an encoder's classifier compute its last layers in float32, whatever precision the others have.

    A logit that is rounded to bfloat16 has three digits, and many documents would tie. (Decoders: see
    :func:`last_token_logits`.)
    """
    torch = import_extra("torch", "local")
    head = getattr(model, "classifier", None)
    if not isinstance(head, torch.nn.Module) or model.dtype not in (torch.bfloat16, torch.float16):
        return
    head.float()
    head.register_forward_pre_hook(
        lambda module, inputs: tuple(each.float() if torch.is_tensor(each) else each for each in inputs)
    )


def has_own_modules(recipe: Recipe, location: str) -> bool:
    """Whether a cross-encoder has modules or a chat template that only sentence-transformers can run."""
    return recipe.pair_template is None and not has_plain_modules(local_folder(location, recipe.revision))


def build_classifier(recipe: Recipe, location: str, options: LoadOptions) -> Classifier:
    """Load a checkpoint, or a LoRA adapter with its score head merged into its base model.

    Raises:
        InputError: The files cannot be had, it is no classifier of one label, or tensors are missing.
        MissingExtraError: transformers (or peft) is not installed.
    """
    folder = _folder(recipe, location, options)
    try:
        with quiet():
            if (folder / "adapter_config.json").is_file():
                classifier = _with_adapter(recipe, folder, options)
            else:
                check_classifier(folder, location)
                classifier = Classifier(_load(folder, options, may_lack_head=False), _tokenizer(folder, options))
    except loading_errors() as error:
        raise _unloadable(error, recipe, location) from error
    if recipe.pair_template is None and not (folder / "modules.json").is_file():
        _check_separates(classifier.tokenizer, location)
    model: Any = classifier.model
    model.config.use_cache = False  # a cache of keys and values serves generation; here it only takes memory
    model.to(options.device).eval().requires_grad_(False)
    return classifier


def build_cross_encoder(recipe: Recipe, location: str, options: LoadOptions) -> Any:
    """Load a cross-encoder that sentence-transformers itself has to run."""
    st = import_extra("sentence_transformers", "local")
    folder = _folder(recipe, location, options)
    try:
        with quiet():
            model = st.CrossEncoder(
                str(folder),
                device=options.device,
                trust_remote_code=options.trust_remote_code,
                local_files_only=True,
                model_kwargs=options.model_kwargs(),
            )
    except loading_errors() as error:
        raise _unloadable(error, recipe, location) from error
    if model.num_labels != 1:
        raise InputError(f"{location!r} gives {model.num_labels} labels. A reranker gives one: its score.")
    _check_stored_head(model.transformers_model, folder, location)
    model.eval()
    model.requires_grad_(False)
    return model


def _folder(recipe: Recipe, location: str, options: LoadOptions) -> Path:
    if recipe.needs_remote_code and not options.trust_remote_code:
        raise InputError(
            f"{recipe.model!r} runs code from its repository. If you trust it: "
            f"load_reranker({recipe.name!r}, trust_remote_code=True)."
        )
    return local_folder(location, recipe.revision, remote_code=options.trust_remote_code)


def _unloadable(error: Exception, recipe: Recipe, location: str) -> Exception:
    if isinstance(error, RaderError):
        return error
    return InputError(
        f"{location!r} cannot be loaded as the model of recipe {recipe.name!r}: {error} (Weights must be safetensors "
        "files; a checkpoint with code of its own needs trust_remote_code=True.)"
    )


def _with_adapter(recipe: Recipe, folder: Path, options: LoadOptions) -> Classifier:
    adapter = read_adapter(recipe, folder)
    base = base_folder(adapter.base, remote_code=options.trust_remote_code)
    heads = _heads_of(adapter)
    if not heads:
        check_classifier(base, f"{adapter.base} (base model of {recipe.name}, whose adapter holds no score head)")
    model = _load(base, options, may_lack_head=bool(heads))
    merged = merge_adapter(model, adapter, whole_modules=tuple(heads))
    for head, weight in heads.items():
        loaded = merged.get_submodule(head).weight
        if loaded.shape != weight.shape or not loaded.cpu().equal(weight.to(loaded.dtype)):
            raise InputError(f"The score head of the adapter in {str(folder)!r} did not find its place.")
    return Classifier(merged, _tokenizer(folder if adapter.has_tokenizer else base, options))


def _heads_of(adapter: Adapter) -> dict[str, Any]:
    """Return the weight of every head that an adapter holds, by module name."""
    heads = {}
    for head in _HEADS:
        weight = adapter.state.get(f"base_model.model.{head}.weight")
        if weight is not None:
            if weight.shape[0] != 1:
                raise InputError(
                    f"The adapter in {str(adapter.folder)!r} is a classifier of {weight.shape[0]} labels. A reranker "
                    "has one: its score."
                )
            heads[head] = weight
    return heads


def _load(folder: Path, options: LoadOptions, *, may_lack_head: bool) -> Any:
    auto = import_extra("transformers", "local").AutoModelForSequenceClassification
    labels = {"num_labels": 1} if may_lack_head else {}
    model, info = auto.from_pretrained(str(folder), output_loading_info=True, **labels, **options.model_kwargs())
    missing = sorted(info["missing_keys"])
    if may_lack_head:
        missing = [name for name in missing if name.split(".")[0] not in _HEADS]
    if missing:
        raise InputError(
            f"{str(folder)!r} lacks {len(missing)} tensors of a {type(model).__name__} ({', '.join(missing[:3])}), "
            "which would be random numbers. Is it the classifier, or the model that it was trained from?"
        )
    return model


def _tokenizer(folder: Path, options: LoadOptions) -> Any:
    auto = import_extra("transformers", "local").AutoTokenizer
    return auto.from_pretrained(str(folder), trust_remote_code=options.trust_remote_code)


def _check_separates(tokenizer: PreTrainedTokenizerBase, location: str) -> None:
    """Raise where query and document would run into each other: no such model was trained like that."""
    if tokenizer.num_special_tokens_to_add(pair=True) <= tokenizer.num_special_tokens_to_add(pair=False):
        raise InputError(
            f"{location!r} does not say which template its pairs stand in, and its tokenizer puts nothing between "
            "query and document. State the template: load_reranker(path, recipe=Recipe(name='mine', model=path, "
            "kind='reranker', pair_template='query: {query} document: {document}', append_eos=True, "
            "max_query_length=3900, max_document_length=3900))."
        )


def _check_stored_head(model: Any, folder: Path, location: str) -> None:
    """Raise if a classifier's head is not among the stored tensors, where transformers only logs that."""
    if model is None or not type(model).__name__.endswith("ForSequenceClassification"):
        return
    safe_open = import_extra("safetensors", "local").safe_open
    names: set[str] = set()
    for file in folder.glob("*.safetensors"):
        with safe_open(str(file), framework="pt") as tensors:
            names |= set(tensors.keys())
    body = model.base_model_prefix + "."
    missing = [name for name, _ in model.named_parameters() if not name.startswith(body) and name not in names]
    if missing:
        raise InputError(f"{location!r} lacks the tensors {', '.join(missing[:3])}, which would be random numbers.")
