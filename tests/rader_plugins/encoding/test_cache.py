"""The on-disk cache of vectors."""

from __future__ import annotations

import multiprocessing
import sqlite3
import threading
from collections.abc import Sequence

import numpy as np
import pytest

from rader_plugins import Recipe
from rader_plugins.encoding import Encoder
from rader_plugins.encoding.cache import CachedEncoder, VectorCache
from rader_plugins.errors import InputError
from tests.support.embedding_server import text_vector


class Counting(Encoder):
    """Makes vectors of role and text and remembers what it was asked for."""

    def __init__(self, dimension: int = 4, **fields) -> None:
        fields = {"name": "c", "model": "c", "query_template": "{instruction}{text}", **fields}
        self.recipe = Recipe(**fields)
        self._dimension = dimension
        self.asked: list[str] = []

    @property
    def dimension(self) -> int:
        return self._dimension

    def _make(self, role: str, texts: Sequence[str], instruction: str | None) -> np.ndarray:
        self.asked.extend(texts)
        return np.stack([text_vector(f"{role}{instruction}{text}", self._dimension) for text in texts])

    def encode_queries(self, texts, *, instruction=None):
        return self._make("q", texts, instruction)

    def encode_documents(self, texts):
        return self._make("d", texts, None)

    async def aencode_queries(self, texts, *, instruction=None):
        return self._make("q", texts, instruction)

    async def aencode_documents(self, texts):
        return self._make("d", texts, None)


def test_only_misses_are_encoded(tmp_path):
    inner = Counting()
    encoder = CachedEncoder(inner, VectorCache(tmp_path / "new" / "cache.sqlite"))
    first = encoder.encode_documents(["a", "b", "a"])
    second = encoder.encode_documents(["b", "c", "a"])
    assert inner.asked == ["a", "b", "c"]
    assert (encoder.hits, encoder.misses, len(encoder.cache)) == (2, 3, 3)
    np.testing.assert_array_equal(first[[1, 0]], second[[0, 2]])
    np.testing.assert_array_equal(second, Counting().encode_documents(["b", "c", "a"]))
    assert second.dtype == np.float32
    second_encoder = Counting()
    rows = CachedEncoder(second_encoder, VectorCache(tmp_path / "new" / "cache.sqlite")).encode_documents(
        ["a", "b", "c"]
    )
    assert second_encoder.asked == []
    np.testing.assert_array_equal(rows[0], first[0])
    assert encoder.encode_documents([]).shape == (0, 4)


def test_queries_documents_and_instructions_are_not_mixed(tmp_path):
    encoder = CachedEncoder(Counting(), VectorCache(tmp_path / "cache"))
    document = encoder.encode_documents(["same"])
    query = encoder.encode_queries(["same"])
    other = encoder.encode_queries(["same"], instruction="Do: ")
    assert len({row.tobytes() for row in (document, query, other)}) == 3
    np.testing.assert_array_equal(encoder.encode_queries(["same"]), query)
    assert encoder.hits == 1


def test_another_recipe_or_variant_is_another_entry(tmp_path):
    cache = VectorCache(tmp_path / "cache")
    CachedEncoder(Counting(), cache).encode_documents(["a"])
    other = Counting(document_template="document: {text}")
    CachedEncoder(other, cache).encode_documents(["a"])
    assert other.asked == ["a"]


async def test_async(tmp_path):
    inner = Counting()
    encoder = CachedEncoder(inner, VectorCache(tmp_path / "cache"))
    rows = await encoder.aencode_documents(["a", "b"])
    np.testing.assert_array_equal(await encoder.aencode_documents(["b", "a"]), rows[::-1])
    queries = await encoder.aencode_queries(["a"])
    np.testing.assert_array_equal(await encoder.aencode_queries(["a"]), queries)
    assert inner.asked == ["a", "b", "a"]


def test_many_threads(tmp_path):
    cache = VectorCache(tmp_path / "cache")
    texts = [f"text {number}" for number in range(1200)]
    expected = Counting().encode_documents(texts)
    failures = []

    def work(seed: int) -> None:
        order = np.random.default_rng(seed).permutation(len(texts))
        rows = CachedEncoder(Counting(), cache).encode_documents([texts[number] for number in order])
        if not (rows == expected[order]).all():
            failures.append(seed)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    assert len(cache) == len(texts)


def _fill(path: str, part: int) -> None:
    texts = [f"text {number}" for number in range(part, 300, 2)]
    CachedEncoder(Counting(), VectorCache(path)).encode_documents(texts)


@pytest.mark.slow
def test_two_processes(tmp_path):
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=_fill, args=(str(tmp_path / "cache"), part)) for part in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
        assert worker.exitcode == 0
    assert len(VectorCache(tmp_path / "cache")) == 300


def test_damaged_file_says_to_delete_it(tmp_path):
    path = tmp_path / "cache"
    path.write_bytes(b"this is no database, it is a text " * 100)
    with pytest.raises(InputError, match="Delete it"):
        VectorCache(path)
    assert path.read_bytes().startswith(b"this is no database")


def test_damaged_vector_and_wrong_dimension(tmp_path):
    path = tmp_path / "cache"
    encoder = CachedEncoder(Counting(), VectorCache(path))
    encoder.encode_documents(["a"])
    with pytest.raises(InputError, match="dimension 4 was found, 5 expected.*Delete"):
        CachedEncoder(Counting(dimension=5), VectorCache(path)).encode_documents(["a"])
    encoder.cache.close()
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE vectors SET vector = zeroblob(16)")
    connection.close()
    with pytest.raises(InputError, match="checksum.*Delete"):
        encoder.encode_documents(["a"])


def test_other_files_are_left_alone(tmp_path):
    path = tmp_path / "mine.sqlite"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE precious (x)")
    connection.close()
    with pytest.raises(InputError, match="another program"):
        VectorCache(path)
    newer = tmp_path / "newer"
    VectorCache(newer).close()
    with sqlite3.connect(newer) as connection:
        connection.execute("PRAGMA user_version=99")
    connection.close()
    with pytest.raises(InputError, match="newer version"):
        VectorCache(newer)


def test_several_that_make_the_file_at_once(tmp_path):
    errors = []

    def make(path, together):
        together.wait()
        try:
            VectorCache(path).close()
        except InputError as error:
            errors.append(error)

    for number in range(40):
        together = threading.Barrier(4)
        threads = [threading.Thread(target=make, args=(tmp_path / str(number), together)) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert not errors
