"""Which library runs a model of this machine: torch, or ONNX Runtime."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any, Literal, get_args

from rader_plugins.arguments import shown
from rader_plugins.errors import InputError
from rader_plugins.recipes import Recipe
from rader_plugins.recipes.resolve import ONNX_FILE, has_only_onnx

__all__ = ["Backend", "check_onnx_options", "pick_backend", "recorded_dtype"]

Backend = Literal["torch", "onnx"]

_PRECISIONS = ("float32", "bfloat16", "float16", "float64")  # in which torch computes

# Of torch alone: value that asks for nothing -> what an ONNX file has in its place.
_OF_TORCH = {
    "dtype": (
        (None, "auto"),
        "An ONNX file has the precision that it was exported with (rader export-onnx --precision)",
    ),
    "attn_implementation": ((None,), "An ONNX file has the attention that it was exported with"),
    "trust_remote_code": ((None, False), "An ONNX file runs no code of its repository"),
}


def pick_backend(backend: object, location: str) -> Backend:
    """Return what was asked for; by default what can run the model.

    That is torch, but for a directory that holds the model in ONNX form alone, and for models that may hold both where
    ONNX Runtime is installed and torch is not.

    Raises:
        InputError: It is neither, or it is torch and there are no weights for it.
    """
    if backend is not None:
        if not isinstance(backend, str) or backend not in get_args(Backend):
            raise InputError(f"backend is {' or '.join(get_args(Backend))}, not {shown(backend)}.")
        if backend == "torch" and has_only_onnx(location):
            raise InputError(
                f"{location!r} holds its model in ONNX form alone, which torch does not load. Name the model that it "
                "was exported from."
            )
        return backend  # type: ignore[return-value]
    folder = Path(location)
    without_torch = not _is_installed("torch") and _is_installed("onnxruntime")
    if not folder.is_dir():  # of a hub repository, what is fetched shows whether it holds one
        return "onnx" if without_torch else "torch"
    return "onnx" if has_only_onnx(folder) or (without_torch and (folder / ONNX_FILE).is_file()) else "torch"


def recorded_dtype(source: Recipe | str, precision: str | None) -> dict[str, str]:
    """Return the options by which a model goes on in the precision that an index noted, if torch runs it.

    Args:
        source: What ``load_encoder`` takes; not an URL.
        precision: What was noted; None where nothing was.
    """
    location = source if isinstance(source, str) else source.model
    if precision not in _PRECISIONS or pick_backend(None, location) == "onnx":
        return {}
    return {"dtype": precision}


def _is_installed(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ImportError:  # something keeps it from being imported
        return False


def check_onnx_options(options: dict[str, Any]) -> None:
    """Take options of torch that ask for nothing out of ``options``, and refuse those that would have no effect.

    Raises:
        InputError: There is such an option; the message says why.
    """
    for name, (idle, reason) in _OF_TORCH.items():
        stated = options.get(name)
        if not any(stated is value or (isinstance(stated, str) and stated == value) for value in idle):
            raise InputError(f"{name}={shown(stated)} has no effect with backend='onnx'. {reason}.")
        options.pop(name, None)
