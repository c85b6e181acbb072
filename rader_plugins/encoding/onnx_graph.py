"""Writing a model of torch as an ONNX file: torch's own exporter, and fewer bits for its weights."""

from __future__ import annotations

import contextlib
import inspect
import io
import logging
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from rader_plugins.arguments import shown
from rader_plugins.encoding.onnx_model import PRECISION_KEY
from rader_plugins.errors import EncodingError, InputError, import_extra
from rader_plugins.recipes.resolve import ONNX_FILE

__all__ = [
    "LEAST_AGREEMENT",
    "Exported",
    "Precision",
    "check_agreement",
    "check_precision",
    "example_inputs",
    "write_graph",
]

Precision = Literal["fp32", "fp16", "int8"]

LEAST_AGREEMENT = 0.999
"""What an exported model must reach on the bundled corpus to be written."""

_NAMES = {"fp32": "float32", "fp16": "float16", "int8": "int8"}
_OPSET = 17
_EXTERNAL = 1_800_000_000  # bytes from which a file's tensors lie beside it: protobuf ends at 2 GiB
# Weights of 8 bits in blocks with a scale each. Larger blocks, and whole columns, lose ten times as much.
_BLOCK = 32
_ACTIVATIONS = 4  # products are computed in 8 bits too; with none of this they are slower than in float32


@dataclass(frozen=True)
class Exported:
    """What became of an export.

    Args:
        folder: The model directory that was written.
        kind: Kind of model, ``retriever`` or ``reranker``.
        precision: Precision of the exported weights.
        agreement: The smallest cosine between a vector of the original and its own, over the bundled corpus; of a
            reranker, the correlation of their scores.
        compared: How many texts, or pairs.
        bytes: Size of the ONNX file.
        fingerprint: The same as the original's.
    """

    folder: Path
    kind: str
    precision: Precision
    agreement: float
    compared: int
    bytes: int
    fingerprint: str


def check_precision(precision: object) -> None:
    """Raise :class:`InputError` unless it is one that weights are written in."""
    if not isinstance(precision, str) or precision not in get_args(Precision):
        raise InputError(f"precision is one of {', '.join(get_args(Precision))}, not {shown(precision)}.")


def check_agreement(agreement: float, precision: Precision, measure: str) -> None:
    """Refuse a model that does not do what the original does.

    Raises:
        EncodingError: It is too far from it, and nothing is written.
    """
    if agreement >= LEAST_AGREEMENT:
        return
    remedy = "Try --precision fp32." if precision != "fp32" else "Its architecture cannot be exported as it is."
    raise EncodingError(
        f"The model in {precision} is not the original any more: {measure} on the bundled corpus is {agreement:.4f}, "
        f"and at least {LEAST_AGREEMENT} is wanted. Nothing was written. {remedy}"
    )


def example_inputs() -> dict[str, Any]:
    """Return inputs of shape (3, 9) with padding, so that nothing of the mask is taken for a constant."""
    torch = import_extra("torch", "onnx-export")
    ids = torch.tensor([[1] * 9, [2] * 9, [3] * 9])
    mask = torch.ones_like(ids)
    mask[1, 5:] = 0
    return {"input_ids": ids, "attention_mask": mask}


def write_graph(
    module: Any, example: Mapping[str, Any], output: str, folder: Path, precision: Precision, *, pooled: bool
) -> Path:
    """Write a module as ``onnx/model.onnx`` of a directory.

    Args:
        module: Takes the tensors of ``example`` in their order, and returns one tensor.
        example: Inputs by name, each of shape (n, tokens); both sizes are free in the file.
        output: Name of the result.
        folder: The model directory to write into.
        precision: Precision of the weights in the file.
        pooled: The result has one row for each text, and not for each token.

    Raises:
        EncodingError: torch cannot export it.
        MissingExtraError: The extra ``onnx-export`` is not installed.
    """
    torch = import_extra("torch", "onnx-export")
    onnx = import_extra("onnx", "onnx-export")
    file = folder / ONNX_FILE
    file.parent.mkdir()
    raw = file.with_name("traced")
    raw.mkdir()
    axes = {name: {0: "batch", 1: "tokens"} for name in (*example, output)}
    if pooled:
        axes[output] = {0: "batch"}
    # The exporter by tracing: that by torch.export needs a package more and splits models by their batch size.
    how = {"dynamo": False} if "dynamo" in inspect.signature(torch.onnx.export).parameters else {}
    try:
        with _undisturbed(), torch.no_grad():
            torch.onnx.export(
                module.eval(),
                tuple(example.values()),
                str(raw / "model.onnx"),
                input_names=list(example),
                output_names=[output],
                dynamic_axes=axes,
                opset_version=_OPSET,
                **how,
            )
            model = _converted(onnx.load(str(raw / "model.onnx")), precision)
    except Exception as error:
        if isinstance(error, ImportError | OSError):  # a package that is not there, a full disk
            raise
        first = (str(error).strip().splitlines() or [""])[0]
        raise EncodingError(f"torch cannot export this model to ONNX: {type(error).__name__}: {first}") from error
    entry = model.metadata_props.add()
    entry.key, entry.value = PRECISION_KEY, _NAMES[precision]
    large = model.ByteSize() > _EXTERNAL if _fits(model) else True
    beside = {"save_as_external_data": True, "location": f"{file.name}_data"} if large else {}
    onnx.save_model(model, str(file), **beside)
    for leftover in raw.iterdir():
        leftover.unlink()
    raw.rmdir()
    return file


def _fits(model: Any) -> bool:
    try:
        model.ByteSize()
    except ValueError:  # protobuf cannot even count beyond its limit
        return False
    return True


def _converted(model: Any, precision: Precision) -> Any:
    if precision == "fp16":
        float16 = import_extra("onnxruntime.transformers.float16", "onnx-export")
        return float16.convert_float_to_float16(model, keep_io_types=True)
    if precision == "int8":
        quantizers = import_extra("onnxruntime.quantization.matmul_nbits_quantizer", "onnx-export")
        quantizer = quantizers.MatMulNBitsQuantizer(
            model, bits=8, block_size=_BLOCK, is_symmetric=True, accuracy_level=_ACTIVATIONS
        )
        quantizer.process()
        return quantizer.model.model
    return model


@contextlib.contextmanager
def _undisturbed() -> Iterator[None]:
    """Keep what exporters print, warn and log to themselves, and undo what they do to the logging of the process."""
    root = logging.getLogger()
    handlers, level, disabled = list(root.handlers), root.level, logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(disabled)
        root.handlers[:] = handlers
        root.setLevel(level)
