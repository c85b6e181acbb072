"""`add`: only what changed is encoded and written, and a refused lock costs nothing."""

from __future__ import annotations

import datetime as dt
import decimal
import enum
import json
import threading
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rader_plugins import Document, RaderIndex, RaderRetriever
from rader_plugins.documents import json_form
from rader_plugins.encoding.base import Vectors
from rader_plugins.errors import EncodingError, IndexLockedError, InputError
from tests.support.encoders import HashEncoder
from tests.support.examples import examples

TEXTS = st.sampled_from(["prime heat", "wave", "orbit prime", ""])
METADATA = st.dictionaries(st.sampled_from("fg"), st.sampled_from([1, True, 1.0, None, [1], [True]]), max_size=2)
BATCH = st.dictionaries(st.sampled_from("abcde"), st.tuples(TEXTS, METADATA), max_size=5)


def exactly(metadata: Any) -> str:
    return json.dumps(dict(metadata), sort_keys=True)


@settings(max_examples=examples(60), deadline=None)
@given(st.lists(BATCH, max_size=5))
def test_an_index_holds_what_was_added_last_and_says_what_it_did(batches: list[dict[str, tuple[str, Any]]]) -> None:
    encoder = HashEncoder()
    index = RaderIndex.create(None, encoder)
    now: dict[str, tuple[str, str]] = {}
    for batch in batches:
        encoder.calls.clear()
        generation = index.snapshot().generation
        report = index.add([Document(id, text, metadata) for id, (text, metadata) in batch.items()])
        after = {id: (text, exactly(metadata)) for id, (text, metadata) in batch.items()}
        new = after.keys() - now.keys()
        changed = {id for id in after.keys() & now.keys() if after[id] != now[id]}
        assert (report.added, report.replaced) == (len(new), len(changed))
        assert report == len(new) + len(changed)
        assert report.unchanged == len(after) - len(new) - len(changed)
        retold = {after[id][0] for id in new} | {after[id][0] for id in changed if after[id][0] != now[id][0]}
        assert report.encoded == sum(encoder.calls) == len(retold)
        assert (index.snapshot().generation > generation) == (report > 0), "identical documents commit nothing"
        now |= after
        assert {document.id: (document.text, exactly(document.metadata)) for document in index.documents()} == now
    fresh = RaderIndex.create(None, HashEncoder())
    fresh.add([Document(id, text, json.loads(metadata)) for id, (text, metadata) in now.items()])
    for query in ("prime heat", "orbit"):
        assert RaderRetriever(index).search(query) == RaderRetriever(fresh).search(query)


def test_given_vectors_win(tmp_path: Path) -> None:
    index = RaderIndex.create(tmp_path / "i", HashEncoder(4))
    ones, last_axes = np.eye(4)[:2], np.eye(4)[2:]
    documents = [Document("a", "x"), Document("b", "y")]
    assert index.add(documents, vectors=ones).added == 2
    assert index.add(documents, vectors=ones * 3).unchanged == 2, "the length does not matter"
    mixed = np.stack([ones[0], last_axes[1]])
    report = index.add(documents, vectors=mixed)
    assert (report.replaced, report.unchanged, report.encoded) == (1, 1, 0)
    assert index.vectors(["a", "b"])["b"].tolist() == [0, 0, 0, 1]


def test_metadata_alone_leaves_rows_and_vectors_where_they_are(tmp_path: Path) -> None:
    index = RaderIndex.create(tmp_path / "i", HashEncoder())
    index.add([Document(str(n), f"prime {n}", {"views": 0}) for n in range(50)])
    size = sum(file.stat().st_size for file in (tmp_path / "i" / "vectors").iterdir())
    assert index.add([Document(str(n), f"prime {n}", {"views": 1}) for n in range(50)]).encoded == 0
    assert sum(file.stat().st_size for file in (tmp_path / "i" / "vectors").iterdir()) == size
    assert index.stats()["deleted_rows"] == 0
    with RaderIndex.open(tmp_path / "i", HashEncoder()) as other:
        assert {document.metadata["views"] for document in other.documents()} == {1}


class Interrupting(HashEncoder):
    """Lets something happen while it encodes."""

    def __init__(self) -> None:
        super().__init__()
        self.during: Any = lambda: None

    def encode_documents(self, texts: Sequence[str]) -> Vectors:
        vectors = super().encode_documents(texts)
        during, self.during = self.during, lambda: None
        during()
        return vectors


def test_a_writer_that_came_first_is_not_overwritten_with_less(tmp_path: Path) -> None:
    """What is unchanged when add() looks may be gone when it writes."""
    encoder = Interrupting()
    index = RaderIndex.create(tmp_path / "i", encoder)
    documents = [Document("old", "prime"), Document("new", "heat")]
    index.add(documents[:1])
    other = RaderIndex.open(tmp_path / "i", HashEncoder())
    encoder.during = lambda: other.delete(["old"])
    assert index.add(documents).added == 2
    assert {document.id for document in index.documents()} == {"old", "new"}
    assert len(RaderRetriever(index, "dense").search("prime")) == 2


def test_a_refused_lock_costs_no_encoding(tmp_path: Path) -> None:
    encoder = Interrupting()
    index = RaderIndex.create(tmp_path / "i", encoder, lock_timeout=0)
    other = RaderIndex.open(tmp_path / "i", HashEncoder())
    documents = [Document(str(n), f"prime {n}") for n in range(9)]
    with other._write_lock.held(0), pytest.raises(IndexLockedError, match="lock_timeout"):
        index.add(documents)
    assert encoder.calls == [], "a writer that is at work is seen before anything is paid"
    lock = other._write_lock.held(0)
    encoder.during = lock.__enter__
    with pytest.raises(IndexLockedError, match="9 vectors"):
        index.add(documents)
    lock.__exit__(None, None, None)
    assert encoder.calls == [9]
    assert index.add(documents).encoded == 0
    assert encoder.calls == [9], "what was encoded serves the next call"


def test_a_writer_waits_for_another(tmp_path: Path) -> None:
    index = RaderIndex.create(tmp_path / "i", HashEncoder(), lock_timeout=60)
    other = RaderIndex.open(tmp_path / "i", HashEncoder())
    done: list[int] = []
    with other._write_lock.held(0):
        thread = threading.Thread(target=lambda: done.append(index.add([Document("a", "prime")])))
        thread.start()
        assert not done
    thread.join()
    assert done == [1]
    with other._write_lock.held(0):
        for call in (index.optimize, lambda **options: index.delete(["a"], **options)):
            with pytest.raises(IndexLockedError):
                call(lock_timeout=0)
    for wrong in (-1, "3", True, float("nan")):
        with pytest.raises(InputError, match="lock_timeout"):
            index.add([], lock_timeout=wrong)  # type: ignore[arg-type]


def test_a_failing_encoder_leaves_everything_as_it_was(tmp_path: Path) -> None:
    class Failing(HashEncoder):
        def encode_documents(self, texts: Sequence[str]) -> Vectors:
            raise EncodingError("no")

    RaderIndex.create(tmp_path / "i", HashEncoder()).add([Document("a", "x")])
    index = RaderIndex.open(tmp_path / "i", Failing())
    with pytest.raises(EncodingError):
        index.add([Document("b", "y"), Document("a", "x", {"n": 1})])
    assert index.get(["a", "b"]) == [Document("a", "x")]
    index.add([Document("a", "x", {"n": 1})])
    assert index.get(["a"]) == [Document("a", "x", {"n": 1})]


class Colour(enum.Enum):
    RED = "red"


@pytest.mark.parametrize(
    ("value", "form"),
    [
        (dt.datetime(2024, 5, 1, 12, 30, tzinfo=dt.timezone.utc), "2024-05-01T12:30:00+00:00"),
        (dt.date(2024, 5, 1), "2024-05-01"),
        (dt.time(12, 30), "12:30:00"),
        (uuid.UUID(int=7), "00000000-0000-0000-0000-000000000007"),
        (decimal.Decimal("3"), 3),
        (decimal.Decimal("2.5"), 2.5),
        (np.float32(0.5), 0.5),
        (np.int64(7), 7),
        (np.bool_(True), True),
        (np.str_("a"), "a"),
        (np.datetime64("2024-05-01"), "2024-05-01"),
        (Colour.RED, "red"),
        (Path("a") / "b", str(Path("a") / "b")),
        ([{"n": np.int8(3)}], [{"n": 3}]),
    ],
)
def test_values_of_python_have_a_form_in_json_and_filter_as_such(value: Any, form: Any) -> None:
    index = RaderIndex.create(None, None)
    index.add([Document("a", "x", {"f": value}), Document("b", "x", {"f": "other"})])
    [document] = index.get(["a"])
    assert document.metadata == {"f": form}
    assert type(document.metadata["f"]) is type(form)
    assert list(index.ids({"f": value})) == list(index.ids({"f": form})) == ["a"]
    assert index.add([Document("a", "x", {"f": value})]).unchanged == 1
    assert json_form(form) == form


@pytest.mark.parametrize(
    "value",
    [
        (1, 2),
        {1},
        b"x",
        float("nan"),
        decimal.Decimal("NaN"),
        np.zeros(2),
        object(),
        1j,
        {1: 2},
        "\ud800",
        np.float64("inf"),
    ],
)
def test_what_json_cannot_hold_is_refused_by_key_and_document(value: Any) -> None:
    index = RaderIndex.create(None, None)
    with pytest.raises(InputError, match=r"'doc-7'.*'key'"):
        index.add([Document("doc-7", "x", {"fine": 1, "key": value})])
    recursive: list[Any] = []
    recursive.append(recursive)
    with pytest.raises(InputError, match=r"'doc-7'.*'key'"):
        index.add([Document("doc-7", "x", {"key": recursive})])
    assert len(index) == 0
