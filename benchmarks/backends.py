"""What runs a model on a CPU: torch in float32 and bfloat16, ONNX Runtime; against sentence-transformers' defaults.

Where OpenVINO is installed, it runs the same ONNX file in float32, with our batches, tokenising and pooling.

`--sets FOLDER:SPLIT ...` also prints nDCG@10 of dense search in float32 and in bfloat16 over BEIR folders.
"""

from __future__ import annotations

import argparse
import importlib.util
import random
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from common import Limit, Report, Row, alternate, arguments, latencies, milliseconds, questions
from encoding import mixture
from reranking import cross_encoder, varied_documents
from sentence_transformers import CrossEncoder, SentenceTransformer

from rader_plugins import RaderIndex, RaderRetriever, load_encoder
from rader_plugins.encoding.onnx_encoder import OnnxEncoder
from rader_plugins.evaluation import RetrievalDataset, evaluate, index_corpus
from rader_plugins.processor import computes_bfloat16, shown_features
from rader_plugins.recipes.resolve import ONNX_FILE, resolve
from rader_plugins.reranking import load_reranker
from rader_plugins.reranking.onnx_export import export_model


def with_precisions(onnx: dict[str, Path], load: Any, original: str) -> dict[str, Any]:
    """Return name -> model for each way to run it."""
    ways = {"torch, float32": load(original, device="cpu", dtype="float32", show_progress=False)}
    if computes_bfloat16():
        ways["torch, bfloat16"] = load(original, device="cpu", dtype="bfloat16", show_progress=False)
    return ways | {f"ONNX, {name}": load(folder, show_progress=False) for name, folder in onnx.items()}


class OpenVino:
    """Runs an ONNX file in place of :class:`rader_plugins.encoding.onnx_model.OnnxModel`."""

    def __init__(self, file: Path, inputs: dict[str, Any]) -> None:
        import openvino

        core = openvino.Core()
        self._model = core.compile_model(core.read_model(file), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
        self._inputs = inputs

    def run(self, ids: Any, mask: Any, output: str) -> Any:
        features = {"input_ids": ids, "attention_mask": np.ones_like(ids) if mask is None else mask}
        feed = {name: features.get(name, np.zeros_like(ids)).astype(kind) for name, kind in self._inputs.items()}
        return self._model(feed)[output]


def with_openvino(folder: Path) -> OnnxEncoder | None:
    """Return an encoder that OpenVINO runs, or None, said, where it is not installed."""
    encoder = load_encoder(folder, backend="onnx", shared=False, show_progress=False)
    assert isinstance(encoder, OnnxEncoder)
    try:
        encoder._onnx = OpenVino(folder / ONNX_FILE, encoder._onnx.inputs)  # type: ignore[assignment]
    except ImportError:
        print("| OpenVINO | not run: it is not installed | | | |", flush=True)
        return None
    return encoder


def exported(model: str, kind: Any, folder: Path, precisions: list[str], report: Report) -> dict[str, Path]:
    resolved = resolve(model, kind=kind)
    made = {}
    for precision in precisions:
        out = folder / f"{kind}-{precision}"
        try:
            result = export_model(resolved.recipe, resolved.location, out, precision=precision)  # type: ignore[arg-type]
        except Exception as error:
            report.notes[f"{kind}, {precision}"] = str(error)
            continue
        report.notes[f"{kind}, {precision}"] = {"agreement": result.agreement, "bytes": result.bytes}
        made[precision] = out
    return made


def measure_encoders(report: Report, options: argparse.Namespace, folder: Path) -> None:
    peer = SentenceTransformer(resolve("mini").location, device="cpu")
    onnx = exported("mini", "retriever", folder, options.precisions, report)
    ways = with_precisions(onnx, load_encoder, "mini")
    if "fp32" in onnx and (other := with_openvino(onnx["fp32"])) is not None:
        ways["OpenVINO, fp32"] = other
    limits = {"ONNX, fp32": Limit(0.5)}
    asked = (questions() * 3)[: options.queries]
    contenders: dict[str, Any] = {"peer": lambda text: peer.encode([text])}
    contenders |= {name: lambda text, way=way: way.encode_queries([text]) for name, way in ways.items()}
    times = {name: milliseconds(values) for name, values in latencies(contenders, asked).items()}
    for name in ways:
        row = Row(
            f"one query: {name}", times[name], "ms", times["peer"], "SentenceTransformer.encode", limits.get(name)
        )
        report.add(row)
    texts = mixture(options.documents, lambda text: len(peer.tokenizer(text)["input_ids"]), options.seed)
    contenders = {"peer": lambda: peer.encode(texts)}
    contenders |= {name: lambda way=way: way.encode_documents(texts) for name, way in ways.items()}
    seconds = {name: milliseconds(values) / 1000 for name, values in alternate(contenders, options.rounds).items()}
    exact = ways["torch, float32"].encode_documents(texts)
    for name, way in ways.items():
        speed = [len(texts) / seconds[each] for each in (name, "peer")]
        report.add(Row(f"{len(texts)} texts: {name}", speed[0], "texts/s", speed[1], "SentenceTransformer.encode"))
        report.notes[f"smallest cosine, {name}"] = float((exact * way.encode_documents(texts)).sum(axis=1).min())


def measure_rerankers(report: Report, options: argparse.Namespace, folder: Path) -> None:
    model = cross_encoder(folder / "cross-encoder", options.seed)
    peer = CrossEncoder(str(model), device="cpu")
    onnx = exported(str(model), "reranker", folder, options.precisions, report)
    ways = with_precisions(onnx, load_reranker, str(model))

    def tokens(text: str) -> list[int]:
        return list(peer.tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"])

    pairs = [(questions()[0], text) for text in varied_documents(100, tokens, random.Random(options.seed))]
    identity = torch.nn.Identity()
    contenders: dict[str, Any] = {"peer": lambda: peer.predict(pairs, activation_fn=identity)}
    contenders |= {name: lambda way=way: way.score_pairs(pairs) for name, way in ways.items()}
    times = {name: milliseconds(values) for name, values in alternate(contenders, options.rounds).items()}
    exact = np.asarray(peer.predict(pairs, activation_fn=identity))
    for name, way in ways.items():
        limit = Limit(0.4) if name == "torch, bfloat16" else None
        row = Row(f"reranking 100 documents: {name}", times[name], "ms", times["peer"], "CrossEncoder.predict", limit)
        report.add(row)
        scores = way.score_pairs(pairs)
        report.notes[f"correlation of scores, {name}"] = float(np.corrcoef(exact, scores)[0, 1])


def measure_quality(report: Report, options: argparse.Namespace) -> None:
    for name in options.sets:
        dataset = RetrievalDataset.from_folder(*name.rsplit(":", 1))
        values = {}
        for dtype in ("float32", "bfloat16"):
            with RaderIndex.create(None, load_encoder("mini", dtype=dtype, show_progress=False)) as index:
                index_corpus(dataset, index)
                result = evaluate(RaderRetriever(index, mode="dense"), dataset, measures=["nDCG@10"])
            values[dtype] = 100 * result.mean["nDCG@10"]
        rows = " / ".join(f"{value:.2f} ({dtype})" for dtype, value in values.items())
        change = values["bfloat16"] - values["float32"]
        print(f"\nnDCG@10, {dataset.name}, {dataset.split}: {rows}, change {change:+.2f}", flush=True)
        report.notes[f"nDCG@10, {dataset.name}"] = values


def main() -> None:
    parser = arguments(__doc__ or "")
    parser.add_argument("--precisions", nargs="*", default=["fp32", "int8"], choices=["fp32", "fp16", "int8"])
    parser.add_argument("--queries", type=int, default=60)
    parser.add_argument("--documents", type=int, default=400)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--sets", nargs="*", default=[], metavar="FOLDER:SPLIT")
    parser.add_argument("--only-quality", action="store_true", help="only what --sets asks for")
    options = parser.parse_args()
    others = [name for name in ("openvino",) if importlib.util.find_spec(name)]
    report = Report("backends", options, ("torch", "sentence-transformers", "onnxruntime", *others))
    report.notes["features of the processor"] = shown_features()
    if not options.only_quality:
        if not computes_bfloat16():
            print("| torch, bfloat16 | not run: this processor has no AMX-BF16 | | | |", flush=True)
        with tempfile.TemporaryDirectory() as temporary:
            measure_encoders(report, options, Path(temporary))
            measure_rerankers(report, options, Path(temporary))
    measure_quality(report, options)
    report.write(options.json)


if __name__ == "__main__":
    main()
