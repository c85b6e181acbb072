"""One GPU, one command, at most eight minutes, nothing from a hub: a random model of Qwen2.5-7B's shape.

Encoding and reranking against sentence-transformers' defaults, vectors against the CPU's, LoRA training with the
paper's values. What a machine cannot run, or has no time left for, gets a row that says so. `--tiny` runs the same
code on a CPU.
"""

from __future__ import annotations

import argparse
import dataclasses
import gc
import json
import random
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from common import Report, Row, arguments, pages, sentences, timed
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast, Qwen2Config, Qwen2ForSequenceClassification, Qwen2Model

from rader_plugins import Recipe, load_encoder
from rader_plugins.errors import RaderError
from rader_plugins.recipes.resolve import write_recipe
from rader_plugins.reranking import load_reranker
from training import write_samples

_END, _PAD = "<|im_end|>", "<|endoftext|>"
_GIB = 2**30
# Rates of bfloat16 products without sparsity, as the vendor states them, operations a second.
_PEAKS = {"H200": 989e12, "H100": 989e12, "A100": 312e12, "L40S": 362e12, "L4": 121e12, "4090": 165e12}


@dataclasses.dataclass(frozen=True)
class Scale:
    """How large everything is."""

    config: dict[str, int]
    texts: int
    pairs: int
    steps: int
    tokens: int  # of a text in training
    dtype: str


_FULL = Scale(
    {"vocab_size": 152064, "hidden_size": 3584, "intermediate_size": 18944, "num_hidden_layers": 28}
    | {"num_attention_heads": 28, "num_key_value_heads": 4, "max_position_embeddings": 32768},
    texts=1024, pairs=400, steps=3, tokens=512, dtype="bfloat16",
)  # fmt: skip
_TINY = Scale(
    {"vocab_size": 512, "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2}
    | {"num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 1024},
    texts=24, pairs=16, steps=1, tokens=32, dtype="float32",
)  # fmt: skip


class Clock:
    """Says how much of the time is left."""

    def __init__(self, minutes: float) -> None:
        self._end = time.monotonic() + 60 * minutes

    def left(self) -> float:
        return self._end - time.monotonic()


def tokenizer() -> PreTrainedTokenizerFast:
    """Return a byte-level tokenizer of the bundled corpus: no file of Qwen's is needed for its shape."""
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=500, special_tokens=[_PAD, _END], initial_alphabet=alphabet, show_progress=False
    )
    backend.train_from_iterator(pages()[:100], trainer)
    backend.post_processor = processors.ByteLevel(trim_offsets=False)
    return PreTrainedTokenizerFast(tokenizer_object=backend, eos_token=_END, pad_token=_PAD, model_max_length=4096)


def write_model(folder: Path, scale: Scale, device: str, kind: str, seed: int = 0) -> Path:
    """Write a random checkpoint with its recipe."""
    torch.manual_seed(seed)
    config = Qwen2Config(**scale.config, pad_token_id=0, eos_token_id=1, bos_token_id=None, num_labels=1)
    config.dtype = getattr(torch, scale.dtype)
    with torch.device(device):
        default = torch.get_default_dtype()
        torch.set_default_dtype(getattr(torch, scale.dtype))
        try:
            model = (Qwen2ForSequenceClassification if kind == "reranker" else Qwen2Model)(config)
        finally:
            torch.set_default_dtype(default)
    model.save_pretrained(folder)
    tokenizer().save_pretrained(folder)
    recipe = Recipe(
        name="random-7b",
        model="random",
        kind="reranker" if kind == "reranker" else "retriever",
        query_template="query: {text}",
        document_template="document: {text}",
        pair_template="query: {query} document: {document}" if kind == "reranker" else None,
        append_eos=True,
        max_query_length=scale.tokens,
        max_document_length=scale.tokens,
    )
    write_recipe(folder, recipe, same_vectors=False)
    return folder


def texts_of(count: int, seed: int) -> list[str]:
    """Return different texts: half of them one sentence, half several documents of the bundled corpus."""
    rng = random.Random(seed)
    facts, whole = sentences(), pages()
    texts = [f"{rng.choice(facts)} {number}" for number in range(count // 2)]
    texts += [f"{' '.join(rng.sample(whole, 3))} {number}" for number in range(count - len(texts))]
    rng.shuffle(texts)
    return texts


def free() -> None:
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()


def peak_memory() -> float:
    """Return the most memory that tensors took on the GPU since `free`, in GiB; 0 without one."""
    return torch.cuda.max_memory_allocated() / _GIB if torch.cuda.is_available() else 0.0


def fastest(call: Callable[[], Any], rounds: int = 2) -> float:
    """Return the median seconds of a call, after one that warms up."""
    call()
    return statistics.median(timed(call)[0] for _ in range(rounds))


def flops(config: Any, lengths: list[int]) -> float:
    """Return the floating-point operations of a Qwen2 on texts, without padding."""
    h, heads = config.hidden_size, config.num_attention_heads
    narrow = h * config.num_key_value_heads // heads
    weights = config.num_hidden_layers * (2 * h * h + 2 * h * narrow + 3 * h * config.intermediate_size)
    n = np.asarray(lengths, dtype=np.float64)
    return float((2 * weights * n + config.num_hidden_layers * 2 * n * n * h).sum())  # causal: half of the matrix


def measure_encoding(report: Report, scale: Scale, device: str, folder: Path) -> None:
    texts = texts_of(scale.texts, 1)
    saved = folder.parent / "saved"
    free()
    seconds, memory, operations = our_encoding(texts, scale, device, folder, saved)
    free()
    theirs, their_memory = their_encoding(texts, scale, device, saved)
    free()
    shutil.rmtree(saved)
    name, peer = f"encoding {len(texts):,} texts, {scale.dtype}", "SentenceTransformer.encode"
    report.add(Row(name, len(texts) / seconds, "texts/s", len(texts) / theirs, peer))
    add_memory(report, "memory while encoding", memory, their_memory, peer)
    gpu = torch.cuda.get_device_name() if device == "cuda" else ""
    peak = next((rate for model, rate in _PEAKS.items() if model in gpu), None)
    if peak is None:
        skip(report, "share of the bfloat16 peak", "no stated peak of this device")
    else:
        report.add(Row("share of the bfloat16 peak", 100 * operations / seconds / peak, "%", 100.0, f"{peak:.3g}/s"))


def our_encoding(texts: list[str], scale: Scale, device: str, folder: Path, saved: Path) -> tuple[float, float, float]:
    """Return seconds, peak memory and operations, and save the model for the peer."""
    encoder: Any = load_encoder(folder, device=device, dtype=scale.dtype, show_progress=False, shared=False)
    seconds, memory = fastest(lambda: encoder.encode_documents(texts)), peak_memory()
    rows = encoder.tokenizer(texts, truncation=True, max_length=scale.tokens)["input_ids"]
    encoder.save(saved)
    return seconds, memory, flops(encoder.model[0].model.config, [len(row) for row in rows])


def their_encoding(texts: list[str], scale: Scale, device: str, saved: Path) -> tuple[float, float]:
    from sentence_transformers import SentenceTransformer

    kwargs = {"dtype": getattr(torch, scale.dtype)}
    peer = SentenceTransformer(str(saved), device=device, model_kwargs=kwargs)
    return fastest(lambda: peer.encode(texts, prompt_name="document")), peak_memory()


def add_memory(report: Report, name: str, memory: float, peer: float | None, peer_name: str) -> None:
    if torch.cuda.is_available():
        report.add(Row(name, memory, "GiB", peer, peer_name))
    else:
        skip(report, name, "no GPU here")


def measure_equality(report: Report, device: str, folder: Path) -> None:
    texts = texts_of(40, 2)
    write_model(folder / "tiny", _TINY, "cpu", "retriever")
    on_cpu, there = (
        load_encoder(folder / "tiny", device=where, dtype="float32", shared=False).encode_documents(texts)
        for where in ("cpu", device)
    )
    cosines = (on_cpu.astype(np.float64) * there).sum(axis=1)
    report.add(Row("smallest cosine to the CPU's vectors, tiny model, float32", float(cosines.min()), ""))


def measure_training(report: Report, scale: Scale, device: str, folder: Path) -> None:
    from rader_training import RetrieverConfig, train_retriever

    work = folder.parent / "training"
    write_samples(work / "samples", 4 * scale.steps, 11, 0, pages_each=4)
    config = RetrieverConfig(
        group_size=12, batch_size=2, accumulate=1, mini_batch=4, lora=True, temperature=0.01, learning_rate=1e-4,
        warmup_steps=0, max_steps=scale.steps, log_every=1, gradient_checkpointing=True,
    )  # fmt: skip
    free()
    refusal = ""
    try:
        train_retriever(str(work / "samples"), str(folder), work / "run", config, device=device, keep_adapter=True)
    except RaderError as error:  # random weights learn nothing in three steps, and what is not better is not exported
        refusal = str(error)
    file = work / "run" / "metrics.jsonl"
    rows = [json.loads(line) for line in file.read_text().splitlines()] if file.is_file() else []
    speed = [row["train_samples_per_second"] for row in rows if "train_samples_per_second" in row]
    if not speed:
        raise RuntimeError(refusal or "the trainer reported no speed")
    report.add(Row("LoRA training, groups of 12, gradients cached", speed[-1], "samples/s"))
    computed = (14.1e9 + 40.4e6 * 16 + 0.70e6 * 4 * scale.tokens) / _GIB
    add_memory(report, "peak memory of training", peak_memory(), computed, "computed as in docs/training.md")
    free()


def measure_reranking(report: Report, scale: Scale, device: str, folder: Path) -> None:
    pairs = [("How many guests must I invite?", text) for text in texts_of(scale.pairs, 3)]
    free()
    seconds, memory = our_reranking(pairs, scale, device, folder)
    free()
    theirs, their_memory = their_reranking(pairs, scale, device, folder)
    free()
    name, peer = f"reranking {len(pairs):,} documents, {scale.dtype}", "CrossEncoder.predict"
    report.add(Row(name, len(pairs) / seconds, "pairs/s", len(pairs) / theirs, peer))
    add_memory(report, "memory while reranking", memory, their_memory, peer)


def our_reranking(pairs: list[tuple[str, str]], scale: Scale, device: str, folder: Path) -> tuple[float, float]:
    reranker = load_reranker(folder, device=device, dtype=scale.dtype, show_progress=False, shared=False)
    return fastest(lambda: reranker.score_pairs(pairs)), peak_memory()


def their_reranking(pairs: list[tuple[str, str]], scale: Scale, device: str, folder: Path) -> tuple[float, float]:
    from sentence_transformers import CrossEncoder

    peer = CrossEncoder(str(folder), device=device, model_kwargs={"dtype": getattr(torch, scale.dtype)})
    peer.tokenizer.model_max_length = scale.tokens
    # It joins pairs by its tokenizer; here both read the same text.
    joined = [(f"query: {query} document: {document}{_END}", "") for query, document in pairs]
    return fastest(lambda: peer.predict(joined)), peak_memory()


def skip(report: Report, name: str, why: str) -> None:
    """Write a row of what was not measured."""
    report.notes.setdefault("not run", {})[name] = why
    print(f"| {name} | not run: {why} | | | |", flush=True)


@contextmanager
def checkpoint(scale: Scale, device: str, kind: str) -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as temporary:
        yield write_model(Path(temporary) / kind, scale, device, kind)


def run(report: Report, options: argparse.Namespace) -> None:
    scale, device = (_TINY, "cpu") if options.tiny else (_FULL, "cuda")
    clock = Clock(options.minutes)
    stages: list[tuple[str, str, float, Callable[[Path], None]]] = [
        ("vectors equal to the CPU's", "", 20, lambda folder: measure_equality(report, device, folder)),
        ("encoding", "retriever", 120, lambda folder: measure_encoding(report, scale, device, folder)),
        ("LoRA training", "retriever", 120, lambda folder: measure_training(report, scale, device, folder)),
        ("reranking", "reranker", 90, lambda folder: measure_reranking(report, scale, device, folder)),
    ]  # with the seconds that each is given
    for name, kind, seconds, measure in stages:
        if device == "cuda" and not torch.cuda.is_available():
            skip(report, name, "no GPU here")
        elif clock.left() < seconds:
            skip(report, name, f"{clock.left():.0f} s were left of {options.minutes:g} minutes")
        else:
            try:
                if kind:
                    with checkpoint(scale, device, kind) as folder:
                        measure(folder)
                else:
                    with tempfile.TemporaryDirectory() as temporary:
                        measure(Path(temporary))
            except Exception as error:
                skip(report, name, f"{type(error).__name__}: {' '.join(str(error).split())[:300]}")
                report.notes.setdefault("failed", []).append(name)
                free()


def main() -> None:
    parser = arguments(__doc__ or "")
    parser.add_argument("--tiny", action="store_true", help="a tiny model on the CPU, to try the benchmark itself")
    parser.add_argument("--minutes", type=float, default=8, help="start nothing that would end later")
    options = parser.parse_args()
    report = Report("gpu", options, ("torch", "sentence-transformers", "transformers"))
    if torch.cuda.is_available():
        report.notes["gpu"] = torch.cuda.get_device_name()
    run(report, options)
    report.write(options.json)
    if "failed" in report.notes:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
