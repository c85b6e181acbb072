"""Whatever is passed to an index or a retriever, an error is a `RaderError`, and what was stored stays usable."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rader_plugins import Document, RaderIndex, RaderRetriever
from rader_plugins.errors import InputError, RaderError
from rader_plugins.index import SearchRequest, open_index
from tests.support.encoders import HashEncoder

STRANGE: dict[str, Any] = {
    "none": None,
    "number": 7,
    "huge": 10**400,
    "negative": -1,
    "fraction": 0.5,
    "nan": float("nan"),
    "true": True,
    "bytes": b"x",
    "text": "x",
    "surrogate": "\ud800",
    "nul": "a\0b",
    "list": [1, None],
    "nested": [["x"], "y"],
    "surrogates": ["\ud800"],
    "dict": {"x": 1},
    "set": {1, "x"},
    "array": np.array([1.0, np.nan]),
    "matrix": np.ones((2, 3)),
    "ragged": [[1.0, 2.0], [3.0]],
    "texts": np.array(["a", "b"]),
    "objects": np.array([object()], dtype=object),
    "object": object(),
    "class": Document,
    "function": len,
    "document": Document("a", "x"),
    "half a document": Document("a", None),  # type: ignore[arg-type]
    "documents": [Document(3, "x")],  # type: ignore[arg-type]
    "metadata": [Document("b", "x", 5)],  # type: ignore[arg-type]
}


def generators() -> dict[str, Any]:
    return {
        "generator": (value for value in [1, 2]),
        "generator of documents": (document for document in [Document("z", "x"), 5]),
        "series": pytest.importorskip("pandas").Series(["a", "b"]),
    }


def calls(index: RaderIndex, folder: Path) -> dict[str, Callable[[Any], Any]]:
    retriever = RaderRetriever(index)
    good = [Document("n", "new")]
    searches: dict[str, Callable[[Any], Any]] = {
        f"search {name}": lambda value, name=name: retriever.search("prime", **{name: value})
        for name in ("k", "mode", "alpha", "instruction", "filter", "exclude_ids", "unknown")
    }
    batches: dict[str, Callable[[Any], Any]] = {
        f"batch {name}": lambda value, name=name: retriever.search_batch(["prime"], **{name: value})
        for name in ("k", "exclude_ids", "query_vectors", "rerank_queries", "filter")
    }
    requests: dict[str, Callable[[Any], Any]] = {
        f"request {name}": lambda value, name=name: index.search(
            SearchRequest(**{"queries": ["prime"], "mode": "bm25", name: value})
        )
        for name in SearchRequest.__dataclass_fields__
    }
    makes: dict[str, Callable[[Any], Any]] = {
        f"create {name}": lambda value, name=name: RaderIndex.create(
            folder / "made", **{"encoder": HashEncoder(), "exist_ok": True, name: value}
        )
        for name in ("encoder", "dtype", "ann", "bm25", "lock_timeout")
    }
    return {
        "add": index.add,
        "add one": lambda value: index.add([value]),
        "add text": lambda value: index.add([Document("n", value)]),
        "add id": lambda value: index.add([Document(value, "new")]),
        "add metadata": lambda value: index.add([Document("n", "new", value)]),
        "add value": lambda value: index.add([Document("n", "new", {"key": value})]),
        "add vectors": lambda value: index.add(good, vectors=value),
        "add commit_every": lambda value: index.add(good, commit_every=value),
        "add lock_timeout": lambda value: index.add(good, lock_timeout=value),
        "add unknown": lambda value: index.add(good, unknown=value),  # type: ignore[call-arg]
        "delete": index.delete,
        "delete filter": lambda value: index.delete([], filter=value),
        "get": index.get,
        "ids": lambda value: list(index.ids(value)),
        "filter value": lambda value: list(index.ids({"n": value})),
        "filter operand": lambda value: [list(index.ids({"n": {name: value}})) for name in ("$in", "$gt", "$size")],
        "vectors": index.vectors,
        "query": retriever.search,
        "queries": retriever.search_batch,
        "index": RaderRetriever,
        "retriever mode": lambda value: RaderRetriever(index, value),
        "retriever alpha": lambda value: RaderRetriever(index, "hybrid", value),
        "retriever candidates": lambda value: RaderRetriever(index, candidates=value),
        "retriever reasoning": lambda value: RaderRetriever(index, reasoning=value),
        "retriever rerank_top": lambda value: RaderRetriever(index, rerank_top=value),
        "open": lambda value: RaderIndex.open(value),
        "open encoder": lambda value: RaderIndex.open(folder / "i", value),
        "open_index": open_index,
        "copy_to": lambda value: None if isinstance(value, str) else index.copy_to(value),
        **searches,
        **batches,
        **requests,
        **makes,
    }


@pytest.mark.filterwarnings("ignore")
@pytest.mark.slow
def test_strange_values_raise_our_errors_and_break_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    index = RaderIndex.create(tmp_path / "i", HashEncoder())
    documents = [Document("kept", "prime heat", {"n": 1})]
    index.add(documents)
    foreign = []
    for name, strange in itertools.product(calls(index, tmp_path), [*STRANGE, *generators()]):
        value = {**STRANGE, **generators()}[strange]
        if strange in ("class", "function") and ("filter" in name or name == "ids"):
            continue  # a function of the user's: what it raises is his own
        try:
            calls(index, tmp_path)[name](value)
        except RaderError:
            pass
        except Exception as error:  # noqa: BLE001 - what the test is for
            foreign.append(f"{name}({strange}): {type(error).__name__}: {error}"[:150])
        if index.get(["kept"]) != documents:
            foreign.append(f"{name}({strange}) deleted what was stored")
            index.add(documents)
    assert not foreign, "\n".join(foreign)
    with RaderIndex.open(tmp_path / "i", HashEncoder()) as reopened:
        assert reopened.get(["kept"]) == documents
        reopened.optimize()
        reopened.verify()


def test_complex_vectors_and_instructions_that_are_no_text_are_refused() -> None:
    with RaderIndex.create(None, encoder=HashEncoder()) as index:
        index.add([Document("a", "x")])
        vectors = np.ones((1, index.dimension or 0), dtype=complex)
        with pytest.raises(InputError, match="complex"):
            index.add([Document("b", "y")], vectors=vectors)
        with pytest.raises(InputError, match="complex"):
            RaderRetriever(index).search_batch(["x"], query_vectors=vectors)
        with pytest.raises(InputError, match="instruction must be a string"):
            RaderRetriever(index).search("x", instruction=5)  # type: ignore[arg-type]
