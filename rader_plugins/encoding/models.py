"""Building the sentence-transformers model of a recipe."""

from __future__ import annotations

import contextlib
import dataclasses
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rader_plugins.arguments import check_flag, check_string, shown
from rader_plugins.encoding.adapters import merge_adapter, read_adapter
from rader_plugins.errors import InputError, RaderError, import_extra
from rader_plugins.processor import computes_bfloat16
from rader_plugins.recipes import Recipe
from rader_plugins.recipes.resolve import fetch, named_recipe, resolve

if TYPE_CHECKING:
    import torch
    from sentence_transformers import SentenceTransformer

__all__ = [
    "CPU_DTYPE",
    "LoadOptions",
    "auto_dtype",
    "base_folder",
    "build_model",
    "loading_errors",
    "local_folder",
    "pick_device",
    "pick_dtype",
    "quiet",
]

CPU_DTYPE = "RADER_CPU_DTYPE"
"""Environment variable that states the precision of models on the CPU."""

# sentence-transformers 6 sends plain strings through a tokenizer's chat template where there is one; the published
# checkpoints carry one and were not trained with it.
_PLAIN_TEXT: dict[str, Any] = {
    "modality_config": {"text": {"method": "forward", "method_output_name": "last_hidden_state"}},
    "module_output_name": "token_embeddings",
}


@dataclasses.dataclass(frozen=True)
class LoadOptions:
    """How to load a checkpoint; nothing here is part of a recipe."""

    device: str
    dtype: torch.dtype
    attn_implementation: str | None = None
    trust_remote_code: bool = False

    def __post_init__(self) -> None:
        if self.attn_implementation is not None:
            check_string(self.attn_implementation, "attn_implementation")
        check_flag(self.trust_remote_code, "trust_remote_code")

    def model_kwargs(self) -> dict[str, Any]:
        """Return what transformers' ``from_pretrained`` gets; weights in pickle files are never opened."""
        kwargs: dict[str, Any] = {
            "dtype": self.dtype,
            "use_safetensors": True,
            "trust_remote_code": self.trust_remote_code,
        }
        if self.attn_implementation is not None:
            kwargs["attn_implementation"] = self.attn_implementation
        return kwargs


def pick_device(device: str | None) -> str:
    """Return the device asked for, else the best one there is.

    Raises:
        InputError: It is none, or there is none like that here.
    """
    torch = import_extra("torch", "local")
    if device is not None:
        try:
            kind, index = (parsed := torch.device(check_string(device, "device"))).type, parsed.index or 0
        except RuntimeError:
            raise InputError(f"device is cpu, cuda, cuda:1, mps or the like, not {shown(device)}.") from None
        gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if (kind == "cuda" and index >= gpus) or (kind == "mps" and not torch.backends.mps.is_available()):
            number = f"{gpus} GPUs are" if kind == "cuda" and gpus else "no such device is"
            raise InputError(f"device is {device!r}, but {number} available here.")
        return device
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def pick_dtype(dtype: str | torch.dtype | None, recipe: Recipe, device: str) -> torch.dtype:
    """Return the precision asked for; for ``"auto"`` or None the one that is fast on a device.

    That is the recipe's (or bfloat16) on CUDA, bfloat16 on a CPU with matrix units for it (AMX), and float32 elsewhere:
    on other CPUs bfloat16 is the slower one. The environment variable ``RADER_CPU_DTYPE`` states it for the CPUs of a
    fleet.

    Raises:
        InputError: It is no precision.
    """
    torch = import_extra("torch", "local")
    setting, source = dtype, "dtype"
    if setting is None or (isinstance(setting, str) and setting == "auto"):
        setting = auto_dtype(recipe, device)
        if device == "cpu" and setting == os.environ.get(CPU_DTYPE):
            source = CPU_DTYPE
    precision = getattr(torch, setting, None) if isinstance(setting, str) else setting
    allowed = (torch.float32, torch.bfloat16, torch.float16, torch.float64)
    if not isinstance(precision, torch.dtype) or precision not in allowed:
        raise InputError(f"{source} is {shown(setting)}; it must be auto, float32, bfloat16, float16 or float64.")
    return precision  # type: ignore[no-any-return]


def auto_dtype(recipe: Recipe | None, device: str) -> str:
    """Return the name of the precision that ``"auto"`` stands for."""
    if device.startswith("cuda"):
        return (recipe.dtype if recipe is not None else None) or "bfloat16"
    if device != "cpu":
        return "float32"
    return os.environ.get(CPU_DTYPE) or ("bfloat16" if computes_bfloat16() else "float32")


def local_folder(location: str, revision: str | None, *, remote_code: bool = False) -> Path:
    """Return the folder of a model that is given as a directory or a hub id."""
    path = Path(location)
    return path if path.is_dir() else fetch(location, revision, remote_code=remote_code)


def base_folder(base: str, *, remote_code: bool = False) -> Path:
    """Return the folder of the model that an adapter is put on; a registered one may come with a package."""
    recipe = None if Path(base).is_dir() else named_recipe(base)
    if recipe is None:
        return local_folder(base, None, remote_code=remote_code)
    return local_folder(resolve(recipe, kind=recipe.kind).location, recipe.revision, remote_code=remote_code)


def build_model(recipe: Recipe, location: str, options: LoadOptions) -> SentenceTransformer:
    """Load a checkpoint into the modules that its recipe states.

    Args:
        recipe: The recipe of the checkpoint. Where its pooling is ``"model"``, a Sentence Transformers directory is
            loaded as it is; otherwise the modules are Transformer, Pooling and, for normalised vectors, Normalize.
        location: Directory or hub id. One with ``adapter_config.json`` is a LoRA adapter and merged into its base.
        options: Device, precision and so on.

    Raises:
        InputError: The files cannot be had, need remote code that is switched off, or are not a model.
        MissingExtraError: sentence-transformers (or peft) is not installed.
    """
    st = import_extra("sentence_transformers", "local")
    if recipe.needs_remote_code and not options.trust_remote_code:
        raise InputError(
            f"{recipe.model!r} runs code from its repository. If you trust it: "
            f"load_encoder({recipe.name!r}, trust_remote_code=True)."
        )
    folder = local_folder(location, recipe.revision, remote_code=options.trust_remote_code)
    try:
        with quiet():
            model = _load(st, recipe, folder, options)
    except loading_errors() as error:
        if isinstance(error, RaderError):
            raise
        raise InputError(
            f"{location!r} cannot be loaded as the model of recipe {recipe.name!r}: {error} (Weights must be "
            "safetensors files; a checkpoint with code of its own needs trust_remote_code=True.)"
        ) from error
    model.eval()
    model.requires_grad_(False)
    return model  # type: ignore[no-any-return]


def loading_errors() -> tuple[type[Exception], ...]:
    """Return what reading a checkpoint that is damaged, incomplete or of another kind may raise."""
    damaged: type[Exception] = import_extra("safetensors", "local").SafetensorError
    return (OSError, KeyError, ValueError, RuntimeError, damaged)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Switch the progress bars of transformers off: they count tensors, which says nothing to a user."""
    logging = import_extra("transformers.utils.logging", "local")
    switch = logging.is_progress_bar_enabled()
    if switch:
        logging.disable_progress_bar()
    try:
        yield
    finally:
        if switch:
            logging.enable_progress_bar()


def _load(st: Any, recipe: Recipe, folder: Path, options: LoadOptions) -> Any:
    if recipe.pooling != "model":
        return st.SentenceTransformer(modules=_modules(recipe, folder, options), device=options.device)
    return st.SentenceTransformer(
        str(folder),
        device=options.device,
        trust_remote_code=options.trust_remote_code,
        local_files_only=True,
        model_kwargs=options.model_kwargs(),
    )


def _modules(recipe: Recipe, folder: Path, options: LoadOptions) -> list[Any]:
    modules = import_extra("sentence_transformers.sentence_transformer.modules", "local")
    if (folder / "adapter_config.json").is_file():
        transformer = _merged_adapter(recipe, folder, options)
    else:
        transformer = _transformer(folder, options)
    pooling = modules.Pooling(
        transformer.get_embedding_dimension(), pooling_mode=recipe.pooling, include_prompt=recipe.pool_prompt
    )
    return [transformer, pooling, *([modules.Normalize()] if recipe.normalize else [])]


def _transformer(folder: Path, options: LoadOptions) -> Any:
    modules = import_extra("sentence_transformers.sentence_transformer.modules", "local")
    remote = {"trust_remote_code": options.trust_remote_code}
    return modules.Transformer(
        str(folder),
        model_kwargs=options.model_kwargs(),
        processor_kwargs=dict(remote),
        config_kwargs=dict(remote),
        **_PLAIN_TEXT,
    )


def _merged_adapter(recipe: Recipe, folder: Path, options: LoadOptions) -> Any:
    """Load a LoRA adapter's base model and merge the adapter into it."""
    adapter = read_adapter(recipe, folder)
    base = base_folder(adapter.base, remote_code=options.trust_remote_code)
    transformer = _transformer(base, options)
    transformer.model = merge_adapter(transformer.model, adapter)
    if adapter.has_tokenizer:
        auto = import_extra("transformers", "local").AutoTokenizer
        transformer.processor = auto.from_pretrained(str(folder), trust_remote_code=options.trust_remote_code)
    return transformer
