"""What a training is judged on where no data set is named: samples that it does not see."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rader_plugins.documents import Document
from rader_plugins.errors import InputError
from rader_plugins.sample_files import sample_files
from rader_plugins.samples import Passage, Sample
from rader_training.data.rows import SampleRows, load_samples

if TYPE_CHECKING:
    from rader_plugins.evaluation import RetrievalDataset

__all__ = ["VALIDATION", "Development", "development_set", "development_split"]

VALIDATION = "validation"
"""The split of a sample folder that is not trained on."""
_PART = 10
"""One problem of so many is held out; with fewer problems none is."""
_MOST_QUERIES = 400


@dataclass(frozen=True)
class Development:
    """Queries that are not trained on, to choose the best weights by.

    Args:
        dataset: The queries and a corpus of samples' passages.
        problems: Query -> the problem that it came from: queries of one problem are no independent observations.
        origin: Where the queries are from, in words.
        held_out: Problems that must not be trained on.
    """

    dataset: RetrievalDataset
    problems: Mapping[str, str]
    origin: str
    held_out: frozenset[str] = frozenset()


def development_split(folder: Path, split: str | None) -> str | None:
    """Return the split of a data set's folder to choose weights by: the one named, else ``dev`` or ``validation``."""
    if split is not None:
        return split
    names = {file.stem for file in (folder / "qrels").glob("*.tsv")}
    names |= {file.name.split(".", 1)[0].split("-", 1)[0] for file in (folder / "data").glob("*.parquet")}
    return next((name for name in ("dev", VALIDATION) if name in names), None)


def development_set(
    paths: Sequence[str | os.PathLike[str]], rows: SampleRows, cache: Path, *, seed: int, most_documents: int
) -> Development | None:
    """Return the validation split of the sample folders, or a tenth of their problems; None if these are too few.

    Args:
        paths: The sample sets to hold out from.
        rows: Rows of their ``train`` splits.
        cache: Folder of memory-mapped copies, as :func:`load_samples` takes it.
        seed: Seed of the choice.
        most_documents: Searched: those of the chosen queries, and others of the samples up to this number.
    """
    folders = [path for path in paths if _has_validation(path)]
    if folders:
        validation = load_samples(folders, cache, VALIDATION)
        names = " and ".join(str(path) for path in folders)
        return _development(validation, rows, f"the validation split of {names}", frozenset(), seed, most_documents)
    problems = list(dict.fromkeys(sample.problem_id or sample.query_id for sample in rows))
    count = len(problems) // _PART
    if not count:
        return None
    held_out = frozenset(sorted(problems, key=lambda problem: _rank(seed, problem))[:count])
    origin = f"{count:,} of {len(problems):,} problems, held out"
    return _development(rows, rows, origin, held_out, seed, most_documents)


def _has_validation(path: str | os.PathLike[str]) -> bool:
    if not Path(path).is_dir():
        return False
    try:
        return bool(sample_files(path, VALIDATION))
    except InputError:
        return False


def _rank(seed: int, name: str) -> bytes:
    return hashlib.blake2b(f"{seed}/{name}".encode("utf-8", "surrogatepass"), digest_size=8).digest()


def _development(
    source: SampleRows, rows: SampleRows, origin: str, held_out: frozenset[str], seed: int, most_documents: int
) -> Development | None:
    from rader_plugins.evaluation import RetrievalDataset

    trained = {_normal(sample.query) for sample in rows if (sample.problem_id or sample.query_id) not in held_out}
    candidates = [
        sample
        for sample in source
        if (not held_out or (sample.problem_id or sample.query_id) in held_out)
        and sample.positives
        and sample.query.strip()
        and _normal(sample.query) not in trained
    ]
    if len(candidates) > _MOST_QUERIES:
        candidates = sorted(candidates, key=lambda sample: _rank(seed, sample.query_id))[:_MOST_QUERIES]
        origin += f" ({_MOST_QUERIES} queries of them)"
    if not candidates:
        return None
    texts: dict[str, str] = {}
    for sample in candidates:
        for name, text in _texts(sample):
            texts.setdefault(_document_id(texts, name, text), text)
    texts |= _others(rows, texts, seed, most_documents - len(texts))
    queries = {sample.query_id: sample.query for sample in candidates}
    if len(queries) < len(candidates):
        raise InputError("Several samples that would be held out have the same query_id. Give each its own.")
    dataset = RetrievalDataset(
        corpus={name: Document(name, text) for name, text in texts.items()},
        queries=queries,
        qrels={
            sample.query_id: {_document_id(texts, *text): 1 for text in _nonempty(sample.positives)}
            for sample in candidates
        },
        name="samples",
        split="held out" if held_out else VALIDATION,
    )
    problems = {sample.query_id: sample.problem_id or sample.query_id for sample in candidates}
    return Development(dataset, problems, origin, held_out)


def _normal(text: str) -> str:
    return " ".join(text.casefold().split())


def _document_id(texts: Mapping[str, str], name: str, text: str) -> str:
    """Return the id of a text: another than its own where that stands for another text (counted anew in each row)."""
    if texts.get(name, text) == text:
        return name
    return f"{name} {hashlib.blake2b(text.encode('utf-8', 'surrogatepass'), digest_size=8).hexdigest()}"


def _texts(sample: Sample) -> Iterator[tuple[str, str]]:
    return _nonempty((*sample.positives, *sample.negatives))


def _nonempty(passages: Sequence[Passage]) -> Iterator[tuple[str, str]]:
    for passage in passages:
        if passage.full_text.strip():
            yield passage.id, passage.full_text


def _others(rows: SampleRows, taken: Mapping[str, str], seed: int, count: int) -> dict[str, str]:
    """Return the texts of other passages, an even choice by the hash of their ids."""
    passages: dict[str, tuple[bytes, str]] = {}
    bound = b"\xff" * 9
    for sample in rows if count > 0 else ():
        for name, text in _texts(sample):
            rank = _rank(seed, name)
            if name in taken or rank > bound:
                continue
            passages[name] = (rank, text)
            if len(passages) > 2 * count:
                best = sorted(passages.items(), key=lambda item: item[1][0])[:count]
                passages, bound = dict(best), best[-1][1][0]
    best = sorted(passages.items(), key=lambda item: item[1][0])[: max(0, count)]
    return {name: text for name, (_, text) in best}
