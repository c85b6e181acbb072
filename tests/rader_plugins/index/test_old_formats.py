"""Indexes of version 0.1 (format 1): they open, are searched as they are, and the first change converts them.

data/format-1.tar.xz holds three, made by that version from the documents below: one as added, one optimized with
half precision, and one of ``bm25_only``, which had a placeholder for a recipe.
"""

from __future__ import annotations

import hashlib
import tarfile
from pathlib import Path

import pytest

from rader_plugins import Document, RaderIndex, RaderRetriever
from tests.support.encoders import HashEncoder

DATA = Path(__file__).parent / "data" / "format-1.tar.xz"
DOCUMENTS = [
    Document("d0", "prime divisor graph", {"year": 1900, "tags": ["a", "b"]}),
    Document("d1", "heat wave market", {"year": 2000, "author": {"name": "Ramsey"}}),
    Document("d3", "proof tree hash", {"year": "2000", "draft": True}),
    Document("d4", "prime heat", {"a.b": 1}),
    Document("d2", "orbit matrix limit replaced", {"year": 1950}),
]


def contents(folder: Path) -> dict[str, str]:
    return {str(file): hashlib.sha256(file.read_bytes()).hexdigest() for file in folder.rglob("*") if file.is_file()}


def opened(folder: Path, name: str) -> RaderIndex:
    return RaderIndex.open(folder / name, None if name == "words" else HashEncoder(4))


@pytest.mark.filterwarnings("ignore::rader_plugins.errors.FilterWarning")
@pytest.mark.filterwarnings("ignore::rader_plugins.errors.OutdatedTermsWarning")
@pytest.mark.parametrize("name", ["vectors", "optimized", "words"])
def test_an_index_of_the_version_before(tmp_path: Path, name: str) -> None:
    with tarfile.open(DATA) as archive:
        # Early releases of Python 3.10 and 3.11 know no filters.
        archive.extractall(tmp_path, **({"filter": "data"} if hasattr(tarfile, "data_filter") else {}))
    fresh = RaderIndex.create(
        None, None if name == "words" else HashEncoder(4), dtype="float16" if name == "optimized" else None
    )
    fresh.add(DOCUMENTS)
    queries = ["prime", "heat wave", "limit"]
    filters = [None, {"year": {"$gte": 1900}}, {"tags": "a"}, {"author.name": "Ramsey"}, {"draft": True}, {"a.b": 1}]

    def results(index: RaderIndex) -> list[object]:
        retriever = RaderRetriever(index, "bm25" if name == "words" else "hybrid")
        return [retriever.search(query, 5, filter=condition) for query in queries for condition in filters]

    before = contents(tmp_path)
    with opened(tmp_path, name) as index:
        assert (index.recipe is None) == (name == "words")
        assert sorted(index.documents(), key=lambda document: document.id) == sorted(DOCUMENTS, key=lambda d: d.id)
        assert results(index) == results(fresh)
        assert contents(tmp_path) == before, "opening and searching write nothing"
        with opened(tmp_path, name) as reader:
            assert index.add(DOCUMENTS).unchanged == 5
            for target in (index, fresh):
                assert target.add([Document("d0", "prime divisor graph", {"year": 1800}), Document("d9", "prime")]) == 2
            assert results(index) == results(reader) == results(fresh)
    with opened(tmp_path, name) as index:
        assert results(index) == results(fresh)
        index.optimize()
        assert results(index) == results(fresh)
        index.verify()
    with opened(tmp_path, name) as index:
        assert results(index) == results(fresh)
        assert len(index) == 6
