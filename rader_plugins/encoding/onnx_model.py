"""`OnnxModel`: a model in ONNX form, run by ONNX Runtime in whichever process it is used. Imports no torch."""

from __future__ import annotations

import ctypes
import hashlib
import os
import shlex
import threading
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from rader_plugins import background
from rader_plugins.arguments import check_string, shown
from rader_plugins.encoding.lane import LoadedModel, shared_model
from rader_plugins.errors import InputError, import_extra
from rader_plugins.files import sampled_digest
from rader_plugins.processor import threads
from rader_plugins.recipes import Recipe, recipe_names
from rader_plugins.recipes.resolve import ONNX_FILE, fetch

__all__ = ["ONNX_PROVIDERS", "PRECISION_KEY", "OnnxModel", "load_onnx", "onnx_folder", "pick_onnx_device"]

PRECISION_KEY = "rader_precision"
"""Under which a file's metadata tell the precision of its weights."""

_READS = ("input_ids", "attention_mask", "token_type_ids", "position_ids")
ONNX_PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}
"""Device -> what ONNX Runtime calls it."""

Array = npt.NDArray[Any]


class OnnxModel:
    """A file and the session that runs it. A forked process makes a session of its own: it has none of the threads.

    Args:
        file: Path of the ``.onnx`` file.
        device: ``cpu``, ``cuda`` or ``cuda:1``.

    Raises:
        InputError: It is no model, or reads what texts do not give.
    """

    def __init__(self, file: Path, device: str) -> None:
        self._file = file
        self._device = device
        self._sessions: dict[int, Any] = {}  # one for each process that this object has come to by forking
        self._start_anew()
        background.after_fork(self._start_anew)
        session = self._session()
        types = {entry.name: str(entry.type) for entry in session.get_inputs()}
        unknown = sorted(set(types) - set(_READS))
        if unknown or "input_ids" not in types:
            raise InputError(
                f"{str(file)!r} reads {', '.join(unknown or types)}; a model of texts reads {', '.join(_READS)} and "
                "nothing else. `rader export-onnx` writes one that does."
            )
        self.inputs = {name: np.int32 if "int32" in kind else np.int64 for name, kind in types.items()}
        self.outputs: dict[str, list[Any]] = {entry.name: list(entry.shape) for entry in session.get_outputs()}
        metadata = session.get_modelmeta().custom_metadata_map
        self.precision: str | None = metadata.get(PRECISION_KEY)
        self.digest = _weights_digest(file)[:16]

    def _start_anew(self) -> None:
        self._lock = threading.Lock()

    def _session(self) -> Any:
        forks = background.forks()
        with self._lock:
            if forks not in self._sessions:
                for inherited in self._sessions.values():
                    # Its end would wait for threads that do not exist here.
                    ctypes.pythonapi.Py_IncRef(ctypes.py_object(inherited))
                self._sessions = {forks: _open(self._file, self._device)}
            return self._sessions[forks]

    def run(self, ids: Array, mask: Array | None, output: str, types: Array | None = None) -> Array:
        """Return one output for token ids of shape (n, tokens).

        Args:
            ids: Padded on the right.
            mask: 1 for tokens, 0 for padding; None where nothing is padded.
            output: Name of the output.
            types: Token types, where the model reads them; 0 otherwise.

        Raises:
            RuntimeError: The model failed or had no memory, as torch would say it.
        """
        features: dict[str, Array] = {"input_ids": ids}
        features["attention_mask"] = np.ones_like(ids) if mask is None else mask
        features["token_type_ids"] = np.zeros_like(ids) if types is None else types
        features["position_ids"] = np.broadcast_to(np.arange(ids.shape[1]), ids.shape)
        feed = {name: np.ascontiguousarray(features[name], dtype=kind) for name, kind in self.inputs.items()}
        try:
            values = self._session().run([output], feed)[0]
        except Exception as error:  # noqa: BLE001 - its errors have no base of their own, and come from native code
            raise RuntimeError(f"ONNX Runtime: {error}") from error
        return np.asarray(values)


def _open(file: Path, device: str) -> Any:
    runtime = import_extra("onnxruntime", "onnx")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = threads()
    if os.environ.get("OMP_WAIT_POLICY", "").upper() == "PASSIVE":
        # Threads that wait leave their core to others.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3
    kind, _, number = device.partition(":")
    providers: list[Any] = [(ONNX_PROVIDERS[kind], {"device_id": int(number or 0)} if kind == "cuda" else {})]
    if kind != "cpu":
        providers.append(ONNX_PROVIDERS["cpu"])
    try:
        session = runtime.InferenceSession(str(file), options, providers=providers)
    except Exception as error:  # noqa: BLE001 - its errors have no base of their own
        raise InputError(f"{str(file)!r} cannot be loaded by ONNX Runtime: {error}") from error
    if ONNX_PROVIDERS[kind] not in session.get_providers():  # without CUDA's libraries it goes on on the CPU
        raise InputError(
            f"ONNX Runtime cannot run {str(file)!r} on {device}: the libraries of the device cannot be loaded. "
            "Install the CUDA and cuDNN that onnxruntime-gpu was built for, or use device='cpu'."
        )
    return session


def _weights_digest(file: Path) -> str:
    """Return a digest of a file and of the tensors of a large model, which lie beside it."""
    parts = [sampled_digest(part) for part in sorted(file.parent.glob(f"{file.name}*")) if part.is_file()]
    return parts[0] if len(parts) == 1 else hashlib.sha256("".join(parts).encode()).hexdigest()


def pick_onnx_device(device: str | None) -> str:
    """Return the device asked for, by default the CPU.

    Raises:
        InputError: ONNX Runtime as it is installed here does not run on it.
    """
    if device is None:
        return "cpu"
    kind, colon, number = check_string(device, "device").partition(":")
    available = import_extra("onnxruntime", "onnx").get_available_providers()
    numbered = kind == "cuda" and number.isdecimal()
    if ONNX_PROVIDERS.get(kind) not in available or (colon and not numbered):
        here = [name for name, provider in ONNX_PROVIDERS.items() if provider in available]
        raise InputError(
            f"device is {shown(device)}; with backend='onnx' it is one of {', '.join(here)} here (a GPU needs the "
            "package onnxruntime-gpu)."
        )
    return device


def onnx_folder(location: str, recipe: Recipe) -> Path:
    """Return the folder of a model that is given as a directory or a hub id, insisting on its ONNX file.

    Raises:
        InputError: There is no ``onnx/model.onnx``; the message says how to make one.
    """
    path = Path(location)
    folder = path if path.is_dir() else fetch(location, recipe.revision, onnx=True)
    if not (folder / ONNX_FILE).is_file():
        source = recipe.name if recipe.name in recipe_names() else shlex.quote(location)
        raise InputError(
            f"{location!r} holds no {ONNX_FILE}. Where torch is installed, `rader export-onnx {source} --out DIR` "
            "makes a directory that does."
        )
    return folder


def load_onnx(folder: Path, device: str, *, shared: bool) -> LoadedModel:
    """Load the model of a directory, or return it where it is loaded already.

    Args:
        folder: The model directory, which holds ``onnx/model.onnx``.
        device: Device that runs it: ``cpu`` or ``cuda``.
        shared: Whether one that is loaded already is used.

    Raises:
        InputError: It cannot be loaded.
    """
    file = folder / ONNX_FILE

    def load() -> LoadedModel:
        return LoadedModel(OnnxModel(file, device), device)

    if not shared:
        return load()
    return shared_model(("onnx", str(file.resolve()), _weights_digest(file), device), load)
