"""Throughput of a synthesis run against a plain client that keeps the same server saturated with the same requests.

The scripted server answers after a fixed time, so many requests at once; it runs in a process of its own. With
``--url`` the same is measured against a real server.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from common import PRINCIPLES, Limit, Report, Row, arguments, read_jsonl
from llm_load import plain, recorded, scripted, serve
from rader_synthesis.config import SearchConfig
from rader_synthesis.run import synthesize
from rader_synthesis.run_config import RunConfig

from rader_plugins import Document, RaderIndex, RaderRetriever, load_encoder
from rader_plugins.answers import load_checker
from rader_plugins.llm import OpenAIChat
from rader_plugins.problems import Problem, read_problems

WORD_PROBLEMS = Path(__file__).resolve().parents[1] / "examples" / "word_problems.jsonl"


def said(body: dict[str, Any], dice: random.Random) -> str:
    """Return an answer that the request calls for, by its last line."""
    cue = body["messages"][-1]["content"].rpartition("\n")[2]
    number = dice.randrange(1000)
    if cue.startswith("Reason"):
        return f"It is about {number}.\nRelevant: {number % 3 == 0}"
    if cue.startswith("Rest"):
        return f"This gives {number}. The answer is \\boxed{{{number % 3}}}."
    if cue.startswith("Search"):
        return f"A theorem about sums, number {number}."
    return f"We know {number}, and go on from there."


def ours(url: str, model: str, options: argparse.Namespace, retriever: RaderRetriever, number: int) -> Any:
    """Run a synthesis into a fresh folder; return its report and the requests that it sent."""
    problems = [
        Problem(f"{one.id}-{at}-{number}", one.question, one.answer)
        for at in range(options.repeats)
        for one in read_problems(WORD_PROBLEMS)
    ][: options.problems]
    config = SearchConfig(rollouts=options.rollouts, style=options.style, seed=options.seed + number)
    with (
        tempfile.TemporaryDirectory() as folder,
        recorded() as sent,
        OpenAIChat(url, model, concurrency=options.slots, timeout=600.0) as llm,
    ):
        report = synthesize(
            problems,
            retriever,
            llm,
            load_checker("numeric"),
            Path(folder) / "run",
            config=config,
            pack=options.prompts,
            run=RunConfig(problems_at_once=2 * options.slots),
        )
    return report, sent


def main() -> None:
    parser = arguments(__doc__ or "")
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--latency", type=float, default=0.1, help="seconds per request of the scripted server")
    parser.add_argument("--slots", type=int, default=8)
    parser.add_argument("--problems", type=int, default=64)
    parser.add_argument("--rollouts", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--url", help="of a real server, in place of the scripted one")
    parser.add_argument("--model", default="served")
    parser.add_argument("--style", default="chat", choices=["chat", "completion"])
    parser.add_argument("--prompts", default="math")
    options = parser.parse_args()
    if options.serve:
        asyncio.run(serve(options.latency, options.slots, said))
        return
    options.repeats = -(-options.problems // 20)
    report = Report("synthesis", options, ("httpx", "sentence-transformers"))
    index = RaderIndex.create(None, load_encoder("mini", show_progress=False))
    index.add(
        [Document(row["_id"], f"{row['title']} {row['text']}") for row in read_jsonl(PRINCIPLES / "corpus.jsonl")]
    )
    retriever = RaderRetriever(index)
    rates: dict[str, list[float]] = {"ours": [], "plain": []}
    with scripted(__file__, options.latency, options.slots) if options.url is None else _given(options.url) as url:
        for number in range(options.rounds):
            found, sent = ours(url, options.model, options, retriever, number)
            rates["ours"].append(len(sent) / found.seconds)
            # In another order than ours, in which a real server has the beginnings of the prompts in its cache.
            rates["plain"].append(len(sent) / plain(url, sent, options.slots))
            report.notes[f"round {number + 1}"] = {"requests": len(sent), "seconds": found.seconds, **found.totals}
    mean = {name: sum(values) / len(values) for name, values in rates.items()}
    report.add(
        Row(
            f"synthesis, {options.slots} slots, {'scripted' if options.url is None else 'real'} server",
            mean["ours"],
            "requests/s",
            mean["plain"],
            "plain client",
            Limit(0.9, "at least"),
        )
    )
    report.notes["requests per second, each round"] = rates
    report.write(options.json)


@contextmanager
def _given(url: str) -> Iterator[str]:
    yield url


if __name__ == "__main__":
    main()
