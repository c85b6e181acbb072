"""What the benchmarks share: interleaved timing, a table of rows, the bundled corpus."""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import platform
import random
import re
import statistics
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar

import rader_plugins
from rader_plugins.processor import shown_features

T = TypeVar("T")

PRINCIPLES = Path(rader_plugins.__file__).parent / "data" / "principles"
HEADER = "| row | ours | peer | ratio | limit |\n| --- | --- | --- | --- | --- |"


@dataclass(frozen=True)
class Limit:
    """What a row must reach: its ratio, or our own value where ``of`` says so."""

    bound: float
    direction: Literal["at most", "at least"] = "at most"
    of: Literal["ratio", "ours"] = "ratio"

    def met(self, ours: float, ratio: float | None) -> bool | None:
        value = ours if self.of == "ours" else ratio
        if value is None:
            return None
        return value <= self.bound if self.direction == "at most" else value >= self.bound


@dataclass
class Row:
    """One line of the table; ``peer`` and ``ratio`` (ours / peer) are None where there is nothing to compare with."""

    name: str
    ours: float
    unit: str
    peer: float | None = None
    peer_name: str = ""
    limit: Limit | None = None
    ratio: float | None = field(init=False)
    met: bool | None = field(init=False)

    def __post_init__(self) -> None:
        self.ratio = None if not self.peer else self.ours / self.peer
        self.met = self.limit.met(self.ours, self.ratio) if self.limit else None

    @classmethod
    def of(cls, fields: Mapping[str, Any]) -> Row:
        """Return the row that was written as JSON."""
        limit = fields["limit"] and Limit(**fields["limit"])
        return cls(*(fields[name] for name in ("name", "ours", "unit", "peer", "peer_name")), limit)

    def markdown(self) -> str:
        peer = "" if self.peer is None else f"{self._value(self.peer)} ({self.peer_name})"
        ratio = "" if self.ratio is None else f"{self.ratio:.2f}"
        limit = ""
        if self.limit is not None:
            unit = f" {self.unit}" if self.limit.of == "ours" else ""
            limit = f"{self.limit.direction} {self.limit.bound:g}{unit}: {'met' if self.met else 'not met'}"
        return f"| {self.name} | {self._value(self.ours)} | {peer} | {ratio} | {limit} |"

    def _value(self, value: float) -> str:
        number = f"{value:.3g}" if abs(value) < 100 else f"{value:,.0f}"
        return f"{number} {self.unit}".rstrip()


class Report:
    """Prints rows as they come and writes them to a JSON file, each time anew: a run that is ended leaves some."""

    def __init__(self, benchmark: str, arguments: argparse.Namespace, packages: Iterable[str]) -> None:
        self.benchmark = benchmark
        self.arguments = {name: str(value) for name, value in vars(arguments).items()}
        self.machine = machine(packages)
        self.rows: list[Row] = []
        self.notes: dict[str, Any] = {}
        self._path: Path | None = getattr(arguments, "json", None)
        print(f"{benchmark} on {self.machine['cpu']}, {self.machine['cores']} cores, {self.machine['versions']}")
        load = "" if self.machine["load"] is None else f"; load {self.machine['load'][0]:.1f}"
        print(f"processor: {', '.join(self.machine['features']) or 'no features known'}{load}\n")
        print(HEADER, flush=True)

    def add(self, row: Row) -> None:
        self.rows.append(row)
        print(row.markdown(), flush=True)
        self._save(self._path)

    def write(self, path: Path | None) -> None:
        for name, value in self.notes.items():
            print(f"\n{name}: {value}")
        self._save(path)

    def _save(self, path: Path | None) -> None:
        if path is None:
            return
        report = {
            "benchmark": self.benchmark,
            "machine": self.machine,
            "arguments": self.arguments,
            "rows": [asdict(row) for row in self.rows],
            "notes": self.notes,
        }
        path.write_text(json.dumps(report, indent=2, default=str) + "\n", encoding="utf-8")


def machine(packages: Iterable[str]) -> dict[str, Any]:
    """Describe the machine and the versions that a table belongs to."""
    cpu = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        found = re.search(r"^model name\s*:\s*(.+)$", info.read_text(encoding="utf-8"), re.MULTILINE)
        cpu = found.group(1) if found else cpu
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    versions = {name: importlib.metadata.version(name) for name in packages}
    return {
        "cpu": cpu,
        "features": shown_features(),
        "cores": cores,
        "python": platform.python_version(),
        "versions": ", ".join(f"{name} {version}" for name, version in versions.items()),
        "load": os.getloadavg() if hasattr(os, "getloadavg") else None,
    }


def resident() -> dict[str, int]:
    """Return how many bytes this process holds in memory, and how many of them are its own (Linux only)."""
    text = Path("/proc/self/smaps_rollup").read_text(encoding="utf-8")
    sizes = {name: 1024 * int(size) for name, size in re.findall(r"^(\w+):\s+(\d+) kB", text, re.MULTILINE)}
    return {"all": sizes["Rss"], "anonymous": sizes["Anonymous"]}


def timed(call: Callable[[], T]) -> tuple[float, T]:
    """Return how many seconds a call took, and its result."""
    start = time.perf_counter()
    result = call()
    return time.perf_counter() - start, result


def alternate(contenders: Mapping[str, Callable[[], Any]], rounds: int, warm_up: bool = True) -> dict[str, list[float]]:
    """Time whole calls in the order A B A B ..., reversed in every second round; seconds by contender."""
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    if warm_up:
        for call in contenders.values():
            call()
    for number in range(rounds):
        names = list(contenders) if number % 2 == 0 else list(contenders)[::-1]
        for name in names:
            seconds[name].append(timed(contenders[name])[0])
    return seconds


def latencies(
    contenders: Mapping[str, Callable[[T], Any]], inputs: Sequence[T], block: int = 10
) -> dict[str, list[float]]:
    """Time one call per input and contender; seconds by contender.

    Contenders take turns in blocks of inputs, and each block starts with an untimed call: the worker threads of one
    library go on spinning for some milliseconds after a call, and would otherwise be charged to the next library.
    """
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for number, first in enumerate(range(0, len(inputs), block)):
        names = list(contenders) if number % 2 == 0 else list(contenders)[::-1]
        for name in names:
            call = contenders[name]
            call(inputs[first - 1])
            for item in inputs[first : first + block]:
                start = time.perf_counter()
                call(item)
                seconds[name].append(time.perf_counter() - start)
    return seconds


def milliseconds(seconds: Sequence[float]) -> float:
    """Return the median in milliseconds."""
    return 1000 * statistics.median(seconds)


def read_jsonl(path: Path) -> list[dict[str, Any]]:
    with path.open(encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def pages() -> list[str]:
    """Return the documents of the bundled corpus: title and text."""
    return [f"{row['title']}. {row['text']}" for row in read_jsonl(PRINCIPLES / "corpus.jsonl")]


def questions() -> list[str]:
    """Return the test questions of the bundled corpus."""
    return [row["text"] for row in read_jsonl(PRINCIPLES / "queries.jsonl")]


def sentences() -> list[str]:
    """Return the sentences of the bundled corpus, each once."""
    found = [part for page in pages() for part in re.split(r"(?<=[.!?])\s+(?=[A-Z])", page)]
    return list(dict.fromkeys(text for text in found if len(text.split()) >= 4))


def varied_pages(count: int, seed: int = 0) -> list[str]:
    """Return ``count`` different texts: the bundled documents, then new ones of three to five of their sentences."""
    rng = random.Random(seed)
    known = sentences()
    texts = dict.fromkeys(pages()[:count])
    while len(texts) < count:
        texts.setdefault(" ".join(rng.sample(known, rng.randint(3, 5))))
    return list(texts)


def arguments(description: str) -> argparse.ArgumentParser:
    """Return a parser with what every benchmark takes."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the rows and their details to FILE")
    parser.add_argument("--seed", type=int, default=0)
    return parser
