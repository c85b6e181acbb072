"""`build`: Ray Data reads shares of a source, a pool of actors encodes and writes them; an engine holds the result.

Nothing is lost and nothing stands twice, whoever is killed: a share that was not reported as written is read and
written again, and what an engine holds with the same text is neither encoded nor written again.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import json
import logging
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, NoReturn

import numpy as np
import numpy.typing as npt

from rader_plugins.arguments import check_count
from rader_plugins.distributed.shares import Share
from rader_plugins.documents import Document
from rader_plugins.errors import EncodingError, EngineError, InputError, RaderError, import_extra
from rader_plugins.index import Index
from rader_plugins.ingestion.chunking import parent_id
from rader_plugins.ingestion.findings import KINDS, Findings
from rader_plugins.ingestion.storing import Outcome, add_batch
from rader_plugins.ingestion.survey import Progress, no_progress

__all__ = ["Building", "build"]

_BATCH = 512  # documents of one write; the encoder cuts them into batches by their tokens
_BLOCK = 1 << 20  # bytes of texts that go from those that read to those that encode
_NAMED = 3  # ids that stand more than once
_MEMORY = 512 << 20  # bytes of shared memory of a Ray that is started here
# Ray sends figures about its use home and listens on all interfaces unless it is told otherwise.
_LOCAL = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # a Ray of one machine: it has the address 127.0.0.1, on Linux too
    "RAY_BACKEND_LOG_LEVEL": "fatal",
}


@dataclass
class Building:
    """What a build did.

    Attributes:
        outcome: Counts, over all workers.
        findings: What was met while reading.
        read: How many documents were read.
        repeated: How many of them have an id that another has too: the text of one of these is stored.
        repeated_ids: Some of these ids.
    """

    outcome: Outcome = field(default_factory=Outcome)
    findings: Findings = field(default_factory=Findings)
    read: int = 0
    repeated: int = 0
    repeated_ids: list[str] = field(default_factory=list)


def build(
    index: Index,
    shares: Sequence[Share],
    *,
    address: str = "local",
    workers: int = 2,
    gpus: float = 0,
    progress: Progress = no_progress,
) -> Building:
    """Add the documents of some shares.

    Every worker opens the index by itself, with a model of its own, so that it must be one that an engine keeps. Its
    machine must have this library, reach the engine, and see the files under the same paths.

    Args:
        index: The index that the documents are added to; :meth:`optimize` is left to the caller.
        shares: The parts of the corpus that this call reads and adds.
        address: Address of a Ray cluster; ``local`` starts one on this machine, which listens on 127.0.0.1 alone.
        workers: How many encode and write.
        gpus: How many GPUs each has; a part of one where several share it.
        progress: Shows how far it is.

    Raises:
        InputError: A row is unusable, or an option.
        EncodingError, EngineError: A worker failed for another reason than that its machine or process ended.
    """
    check_count(workers, "workers", 1)
    with _connected(address, workers) as data:
        # With other resources than the writers, or both would be one task, and a share be encoded by one worker.
        read = data.from_items([{"share": number} for number in range(len(shares))]).map_batches(
            _Reader(shares), batch_size=1, batch_format="pyarrow", num_cpus=0.5
        )
        reports = read.map_batches(
            _Writer,
            fn_constructor_args=(index,),
            batch_size=_BATCH,
            batch_format="pyarrow",
            compute=data.ActorPoolStrategy(size=min(workers, max(1, len(shares)))),
            **({"num_gpus": gpus} if gpus else {}),
        )
        building, digests = Building(), []
        try:
            with progress("Encoding", None) as advance:
                for row in reports.iter_rows():
                    digests.append(_taken(building, json.loads(row["report"]), row["ids"]))
                    advance(len(digests[-1]))
        except RaderError:
            raise
        except Exception as error:
            raise EngineError(f"A worker of Ray failed: {_last_line(error)}") from error
    ids, counts = np.unique(np.concatenate([np.zeros(0, np.uint64), *digests]), return_counts=True)
    building.read, building.repeated = int(counts.sum()), int(counts.sum()) - len(ids)
    if building.repeated:
        repeated = frozenset(ids[counts > 1].tolist())
        names = (id for id in index.ids() if int.from_bytes(_digest(id), sys.byteorder) in repeated)
        building.repeated_ids = list(itertools.islice(names, _NAMED))
    return building


def _digest(id: str) -> bytes:
    return hashlib.blake2b(id.encode(), digest_size=8).digest()


def _taken(building: Building, report: dict[str, Any], ids: bytes) -> npt.NDArray[np.uint64]:
    if report.get("failed"):
        _raise_told(report["failed"])
    outcome = building.outcome
    for name in ("added", "replaced", "unchanged", "removed", "encoded"):
        setattr(outcome, name, getattr(outcome, name) + report[name])
    outcome.truncated += report["truncated"]
    outcome.refused |= report["refused"]
    for finding in report["findings"]:
        building.findings.update(Findings(finding["names"]), KINDS)
        building.findings.replaced += finding["replaced"]
    return np.frombuffer(ids, dtype=np.uint64)


@contextlib.contextmanager
def _connected(address: str, workers: int) -> Iterator[Any]:
    """Give the module ``ray.data`` while there is a connection."""
    if address == "local":
        os.environ.update(_LOCAL)  # before it is imported
    else:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    ray = import_extra("ray", "ray")
    data = import_extra("ray.data", "ray")
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    if address == "local":
        # Slots for tasks, not cores: those that read need some beside the workers.
        options |= {"num_cpus": workers + 2, "include_dashboard": False, "object_store_memory": _MEMORY}
    try:
        ray.init(address=address, **options)
    except (ConnectionError, RuntimeError, ValueError, OSError) as error:
        raise EngineError(f"Ray at {address!r} cannot be reached or started: {error}") from error
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    context = data.DataContext.get_current()
    context.enable_progress_bars = False
    context.target_max_block_size = _BLOCK  # a block is what one worker gets at a time
    try:
        yield data
    finally:
        ray.shutdown()


def _last_line(error: Exception) -> str:
    """Return what failed in a worker; Ray puts its whole trace into the message."""
    return next((line.strip() for line in reversed(str(error).splitlines()) if line.strip()), type(error).__name__)


def _told(error: RaderError) -> str:
    """Pack an error of ours: Ray would hand the driver one of its own, with ours somewhere in its text."""
    return json.dumps([type(error).__name__, str(error)])


def _raise_told(text: str) -> NoReturn:
    name, message = json.loads(text)
    kinds: dict[str, type[RaderError]] = {kind.__name__: kind for kind in (InputError, EncodingError)}
    raise kinds.get(name, EngineError)(message)


class _Reader:
    """Reads shares by their numbers; each row is a document, the end of one that was split, or what was met."""

    def __init__(self, shares: Sequence[Share]) -> None:
        self._shares = shares

    def __call__(self, table: Any) -> Iterator[Any]:
        import pyarrow

        for number in table.column("share").to_pylist():
            rows: list[tuple[str, str, str, str]] = []
            for row in self._rows(self._shares[number]):
                rows.append(row)
                if len(rows) == _BATCH:
                    yield pyarrow.table(dict(zip(_COLUMNS, map(list, zip(*rows, strict=True)), strict=True)))
                    rows = []
            if rows:
                yield pyarrow.table(dict(zip(_COLUMNS, map(list, zip(*rows, strict=True)), strict=True)))

    def _rows(self, share: Share) -> Iterator[tuple[str, str, str, str]]:
        findings = Findings()
        chunks: dict[str, int] = {}
        try:
            for document in share.documents(findings):
                if (parent := parent_id(document)) != document.id:
                    chunks[parent] = chunks.get(parent, 0) + 1
                yield "document", document.id, document.text, json.dumps(document.metadata)
        except RaderError as error:
            yield "failed", "", _told(error), ""
            return
        for parent, count in chunks.items():
            yield "end", parent, str(count), ""
        yield "findings", "", json.dumps(asdict(findings.under(share.origin))), ""


_COLUMNS = ("kind", "id", "text", "metadata")


def _answer(report: dict[str, Any], ids: bytes = b"") -> Any:
    import pyarrow

    return pyarrow.table({"report": [json.dumps(report)], "ids": [ids]})


class _Writer:
    """Encodes and writes batches; lives in a process of its own, with a model of its own."""

    def __init__(self, index: Index) -> None:
        self._index = index

    def __call__(self, table: Any) -> Any:
        outcome = Outcome()
        documents: dict[str, Document] = {}
        digests, findings, ends = [], [], {}
        for row in table.to_pylist():
            if row["kind"] == "failed":
                return _answer({"failed": row["text"]})
            if row["kind"] == "findings":
                findings.append(json.loads(row["text"]))
            elif row["kind"] == "end":
                ends[row["id"]] = int(row["text"])
            else:
                documents[row["id"]] = Document(row["id"], row["text"], json.loads(row["metadata"]))
                digests.append(_digest(row["id"]))
        try:
            if documents:
                add_batch(self._index, list(documents.values()), outcome)
            outcome.removed = self._remove_beyond(ends)
        except RaderError as error:
            return _answer({"failed": _told(error)})
        return _answer({**asdict(outcome), "findings": findings}, b"".join(digests))

    def _remove_beyond(self, ends: dict[str, int]) -> int:
        """Delete chunks that documents had when they were longer."""
        removed = 0
        while names := {f"{parent}#{count}": parent for parent, count in ends.items()}:
            surplus = [document.id for document in self._index.get(list(names))]
            removed += self._index.delete(surplus)
            ends = {names[name]: ends[names[name]] + 1 for name in surplus}
        return removed
