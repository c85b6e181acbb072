"""Encoding of mixed-length texts: documents per second against `SentenceTransformer.encode` with its defaults."""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from common import Limit, Report, Row, alternate, arguments, pages, sentences
from sentence_transformers import SentenceTransformer

from rader_plugins import load_encoder
from rader_plugins.encoding.local import LocalEncoder

_LONG_SHARE = 0.18  # of the mixture on which the limit was set: 354 pages among 1,954 texts
_LONGEST = 256


def mixture(count: int, tokens: Callable[[str], int], seed: int) -> list[str]:
    """Return different texts in random order: four fifths one sentence, the rest a document or several joined.

    Args:
        count: How many.
        tokens: Counts the tokens of a text.
        seed: Of the choice and of the order.
    """
    rng = random.Random(seed)
    facts = sentences()
    rng.shuffle(facts)
    long = round(_LONG_SHARE * count)
    if count - long > len(facts):
        raise SystemExit(f"The bundled corpus has {len(facts)} sentences: at most {int(len(facts) / 0.82)} texts.")
    whole = pages()
    texts = dict.fromkeys(facts[: count - long])
    while len(texts) < count:
        target = rng.randint(80, _LONGEST)
        text = rng.choice(whole)
        while tokens(text) < target:
            text = f"{text} {rng.choice(whole)}"
        while tokens(text) > _LONGEST:
            text = text.rpartition(" ")[0]
        texts.setdefault(text)
    mixed = list(texts)
    rng.shuffle(mixed)
    return mixed


def encoder_flops(config: Any, lengths: Sequence[int]) -> float:
    """Return the floating-point operations of a BERT encoder's matrix products, without padding.

    Per layer and text of n tokens: projections 8 n h^2, feed-forward 4 n h i, attention 4 n^2 h.
    """
    n = np.asarray(lengths, dtype=np.float64)
    h, i = config.hidden_size, config.intermediate_size
    return float(config.num_hidden_layers * (8 * n * h * h + 4 * n * h * i + 4 * n * n * h).sum())


def matmul_rates(config: Any, seconds: float = 0.3) -> dict[str, float]:
    """Return float32 operations per second of matrix products: the encoder's own shapes, and a large square."""
    h, i = config.hidden_size, config.intermediate_size
    rates = {}
    for rows, inner, columns in ((2048, h, h), (2048, h, i), (2048, i, h), (2048, 2048, 2048)):
        a, b = torch.randn(rows, inner), torch.randn(inner, columns)
        torch.mm(a, b)
        best = float("inf")
        end = time.perf_counter() + seconds
        while time.perf_counter() < end:
            start = time.perf_counter()
            torch.mm(a, b)
            best = min(best, time.perf_counter() - start)
        rates[f"{rows}x{inner} by {inner}x{columns}"] = 2 * rows * inner * columns / best
    return rates


def main() -> None:
    parser = arguments(__doc__ or "")
    parser.add_argument("--documents", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()

    encoder = load_encoder("mini", device="cpu", show_progress=False)
    if not isinstance(encoder, LocalEncoder):
        raise SystemExit("`mini` is expected to run on this machine.")
    peer = SentenceTransformer(encoder.location, device="cpu")
    tokenizer = peer.tokenizer
    texts = mixture(options.documents, lambda text: len(tokenizer(text)["input_ids"]), options.seed)
    lengths = [len(ids) for ids in tokenizer(texts, truncation=True, max_length=_LONGEST)["input_ids"]]
    transformer: Any = peer[0]
    config = transformer.auto_model.config
    report = Report("encoding", options, ("torch", "sentence-transformers", "transformers"))

    rates = matmul_rates(config)
    seconds = alternate(
        {"ours": lambda: encoder.encode_documents(texts), "peer": lambda: peer.encode(texts)}, options.rounds
    )
    for shape, rate in matmul_rates(config).items():  # again: the machine may have been busy the first time
        rates[shape] = max(rate, rates[shape])
    speed = {name: len(texts) / statistics.median(values) for name, values in seconds.items()}
    flops = encoder_flops(config, lengths)
    reached = {name: flops * value / len(texts) for name, value in speed.items()}

    name = "SentenceTransformer.encode"
    limit = Limit(1.25, "at least")
    report.add(Row(f"encoding {len(texts):,} texts", speed["ours"], "documents/s", speed["peer"], name, limit))
    best = max(rates.values())
    share = {name: 100 * value / best for name, value in reached.items()}
    report.add(Row("share of the matrix-multiply rate reached", share["ours"], "%", share["peer"], name))
    difference = float(np.abs(encoder.encode_documents(texts) - peer.encode(texts)).max())
    report.notes = {
        "largest difference between two vectors' components": difference,
        "tokens": sum(lengths),
        "tokens of a text, deciles": np.quantile(lengths, np.linspace(0, 1, 11)).astype(int).tolist(),
        "GFLOP without padding": round(flops / 1e9, 1),
        "GFLOP/s of a matrix product": {shape: round(rate / 1e9, 1) for shape, rate in rates.items()},
        "GFLOP/s reached": {name: round(rate / 1e9, 1) for name, rate in reached.items()},
        "threads": torch.get_num_threads(),
        "seconds per round": seconds,
    }
    report.write(options.json)


if __name__ == "__main__":
    main()
