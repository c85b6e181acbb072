"""Moving house: from a folder or memory into an engine and back, without encoding anything."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rader_plugins import Document, RaderIndex, RaderRetriever, create_index, open_index
from rader_plugins.errors import FingerprintMismatchError, InputError
from rader_plugins.index import Bm25Config, read_documents
from tests.support.encoders import HashEncoder, random_text

pytestmark = pytest.mark.real
Fresh = Callable[[], str]


def corpus(count: int) -> list[Document]:
    rng = np.random.default_rng(5)
    return [Document(f"d{n:03d}", random_text(rng), {"n": n}) for n in range(count)]


def by_id(documents: Iterable[Document]) -> list[Document]:
    return sorted(documents, key=lambda document: document.id)


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_moving_house_and_back_encodes_nothing(fresh: Fresh, tmp_path: Path, dtype: Any) -> None:
    encoder, url = HashEncoder(), fresh()
    index = RaderIndex.create(None, encoder, dtype=dtype, bm25=Bm25Config(k1=1.2))
    index.add(corpus(50))
    encoder.calls.clear()
    try:
        index.copy_to(url)
    except InputError as error:
        if dtype == "float32":
            raise
        pytest.skip(f"no float16 vectors: {error}")
    with contextlib.closing(open_index(url, encoder)) as there:
        assert by_id(read_documents(there)) == corpus(50)
        assert there.stats()["dtype"] == dtype
        there.copy_to(tmp_path / "back")  # type: ignore[attr-defined]  # every index of ours has it
    index.delete(["d003"])
    index.copy_to(url)  # brought up to date
    with contextlib.closing(open_index(url, encoder)) as there:
        assert len(there) == 49
    assert not encoder.calls
    back = RaderIndex.open(tmp_path / "back", encoder)
    assert by_id(back.documents()) == corpus(50)
    names = [document.id for document in corpus(50)]
    index.add([corpus(50)[3]])
    ours, theirs = index.vectors(names), back.vectors(names)
    assert all(np.array_equal(ours[name], theirs[name]) for name in names)
    hits = RaderRetriever(back).search("prime heat")
    assert [(hit.document.id, hit.scores) for hit in hits] == [
        (hit.document.id, hit.scores) for hit in RaderRetriever(index).search("prime heat")
    ]
    with pytest.raises(FingerprintMismatchError):
        RaderIndex.create(None, HashEncoder(8)).copy_to(url)


def test_an_index_without_vectors_moves_too(fresh: Fresh) -> None:
    index, url = create_index(None, None), fresh()
    index.add(corpus(9))
    index.copy_to(url)  # type: ignore[attr-defined]
    with contextlib.closing(open_index(url)) as there:
        assert RaderRetriever(there, "bm25").search("prime", 3)
