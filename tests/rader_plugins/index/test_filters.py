"""Metadata filters, against a plain evaluation in Python and in searches."""

from __future__ import annotations

import datetime as dt
import json
import random
import warnings
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rader_plugins import Document, RaderIndex, RaderRetriever
from rader_plugins.errors import FilterWarning, InputError
from tests.support.encoders import HashEncoder
from tests.support.examples import examples
from tests.support.filters import conditions, metadata

pytestmark = pytest.mark.filterwarnings("ignore::rader_plugins.errors.FilterWarning")
MISSING = object()


def lookup(document: dict[str, Any], key: str) -> Any:
    value: Any = document
    for part in key.split("."):
        value = value.get(part, MISSING) if isinstance(value, dict) else MISSING
    return value


def kind(value: Any) -> str:
    if isinstance(value, bool) or value is None:
        return repr(type(value))
    return "number" if isinstance(value, int | float) else repr(type(value))


def same(one: Any, other: Any) -> bool:
    if other is None and one is MISSING:
        return True
    if isinstance(one, list) and any(same(element, other) for element in one):
        return True
    return (
        one is not MISSING
        and kind(one) == kind(other)
        and one == other
        and (not isinstance(one, list) or repr(one) == repr(other))
    )


def holds(document: dict[str, Any], condition: dict[str, Any]) -> bool:
    for key, value in condition.items():
        if key == "$and":
            ok = all(holds(document, part) for part in value)
        elif key == "$or":
            ok = any(holds(document, part) for part in value)
        elif key == "$not":
            ok = not holds(document, value)
        else:
            operators = value if isinstance(value, dict) else {"$eq": value}
            ok = all(operator_holds(lookup(document, key), *item) for item in operators.items())
        if not ok:
            return False
    return True


def operator_holds(value: Any, operator: str, operand: Any) -> bool:
    if operator in ("$eq", "$ne"):
        return same(value, operand) == (operator == "$eq")
    if operator in ("$in", "$nin"):
        return any(same(value, choice) for choice in operand) == (operator == "$in")
    if operator == "$exists":
        return (value is not MISSING) == operand
    if operator == "$all":
        return value is not MISSING and bool(operand) and all(same(value, choice) for choice in operand)
    if operator == "$contains":
        return isinstance(value, list) and any(same(element, operand) for element in value)
    if operator == "$size":
        return isinstance(value, list) and len(value) == operand
    if operator == "$type":
        names = {"array": repr(list), "number": "number", "null": repr(type(None))}
        return kind(value) == names[operand]
    if isinstance(value, list):
        return any(operator_holds(element, operator, operand) for element in value)
    if value is MISSING or kind(value) != kind(operand) or kind(operand) not in ("number", repr(str)):
        return False
    return {"$gt": value > operand, "$gte": value >= operand, "$lt": value < operand, "$lte": value <= operand}[
        operator
    ]


@settings(max_examples=examples(150), deadline=None)
@given(st.lists(metadata, min_size=1, max_size=8), st.lists(conditions, min_size=1, max_size=3))
def test_filters_agree_with_plain_evaluation(rows: list[dict[str, Any]], filters: list[dict[str, Any]]) -> None:
    index = RaderIndex.create(None, encoder=HashEncoder())
    index.add([Document(id=str(n), text="x", metadata=row) for n, row in enumerate(rows)])
    retriever = RaderRetriever(index, mode="dense")
    for condition in filters:
        matching = {hit.document.id for hit in retriever.search("x", k=10, filter=condition)}
        assert matching == {str(n) for n, row in enumerate(rows) if holds(row, condition)}
        by_function = retriever.search("x", k=10, filter=lambda d, c=condition: holds(dict(d.metadata), c))
        assert {hit.document.id for hit in by_function} == matching
    index.close()


@pytest.mark.parametrize("mode", ["dense", "bm25", "hybrid"])
@pytest.mark.parametrize("path", [None, "disk"])
def test_k_hits_come_back_if_k_exist(mode: str, path: str | None, tmp_path: Any) -> None:
    """The filter comes before the ranking: the one hundred best are all of the wrong year."""
    index = RaderIndex.create(tmp_path / "i" if path else None, encoder=HashEncoder())
    index.add([Document(id=f"old{n}", text="prime prime", metadata={"year": 1900}) for n in range(100)])
    index.add([Document(id=f"new{n}", text="prime heat wave", metadata={"year": 2000}) for n in range(5)])
    retriever = RaderRetriever(index, mode=mode, candidates=10)  # type: ignore[arg-type]
    for condition in ({"year": {"$gt": 1950}}, lambda document: document.metadata["year"] > 1950):
        hits = retriever.search("prime", k=5, filter=condition)
        assert {hit.document.id for hit in hits} == {f"new{n}" for n in range(5)}


def test_filters_follow_replacement_deletion_and_optimize(tmp_path: Any) -> None:
    index = RaderIndex.create(tmp_path / "i", encoder=HashEncoder())
    index.add([Document(id=str(n), text="x", metadata={"n": n}) for n in range(20)])
    index.delete([str(n) for n in range(0, 20, 2)])
    index.add([Document(id="1", text="x", metadata={"n": 100})])
    retriever = RaderRetriever(index, mode="dense")
    for _ in range(2):
        matching = {hit.document.id for hit in retriever.search("x", k=50, filter={"n": {"$gte": 15}})}
        assert matching == {"15", "17", "19", "1"}
        index.optimize()


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"x": {"$near": 1}}, r"\$near"),
        ({"$nor": []}, r"\$nor"),
        ({"$or": []}, "non-empty list"),
        ({"$or": {"x": 1}}, "non-empty list"),
        ({"x": {"$in": "abc"}}, "list of values"),
        ({"x": {"$gt": [1]}}, "numbers, strings or dates"),
        ({"x": {"$gt": float("nan")}}, "nan"),
        ({"x": {"$exists": 1}}, "true or false"),
        ({"x": object()}, "no object"),
        ({"x": "\ud800"}, "surrogates"),
        ({"$not": 3}, "dict or a function"),
        ([("x", 1)], "dict or a function"),
    ],
)
def test_wrong_filters(wrong: Any, message: str) -> None:
    index = RaderIndex.create(None, encoder=HashEncoder())
    index.add([Document(id="a", text="x", metadata={"x": 1})])
    with pytest.raises(InputError, match=message):
        RaderRetriever(index).search("x", filter=wrong)


def ids(index: RaderIndex, condition: dict[str, Any]) -> list[str]:
    matching = sorted(index.ids(condition))
    assert matching == sorted(
        hit.document.id for hit in RaderRetriever(index, "bm25").search("x", 99, filter=condition)
    )
    return matching


def made(**rows: dict[str, Any]) -> RaderIndex:
    index = RaderIndex.create(None, None)
    index.add([Document(id=name, text="x", metadata=row) for name, row in rows.items()])
    return index


def test_elements_of_lists() -> None:
    index = made(a={"tags": ["algebra", "logic"]}, b={"tags": ["logic"]}, c={"tags": "algebra"}, d={}, e={"tags": []})
    assert ids(index, {"tags": "algebra"}) == ids(index, {"tags": {"$in": ["algebra", "none"]}}) == ["a", "c"]
    assert ids(index, {"tags": {"$contains": "algebra"}}) == ["a"]
    assert ids(index, {"tags": {"$all": ["logic", "algebra"]}}) == ["a"]
    assert ids(index, {"tags": {"$nin": ["algebra"]}}) == ["b", "d", "e"]
    assert ids(index, {"tags": ["logic"]}) == ["b"]
    assert ids(index, {"tags": {"$size": 0}}) == ["e"]
    assert ids(index, {"tags": {"$type": "array", "$not": {"$size": 0}}}) == ["a", "b"]


def test_nested_keys_and_keys_with_dots_do_not_collide() -> None:
    index = made(flat={"a.b": 1}, nested={"a": {"b": 1}}, both={"a.b": 1, "a": {"b": 2}}, listed={"a": [{"b": 3}, 4]})
    with pytest.warns(FilterWarning, match="name of a field"):
        assert ids(index, {"a.b": 1}) == ["nested"]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert ids(index, {r"a\.b": 1}) == ["both", "flat"]
    assert ids(index, {"a.b": 2}) == ["both"]
    assert ids(index, {"a.b": {"$gte": 3}}) == ["listed"]
    alone = made(x={"service.name": "web"}, y={"service.name": "db"})
    assert ids(alone, {"service.name": "web"}) == ["x"], "without nesting there is nothing to confuse it with"


def test_dates_compare_as_moments() -> None:
    utc = dt.timezone.utc
    index = made(
        day={"at": dt.date(2024, 5, 1)},
        naive={"at": dt.datetime(2024, 5, 1, 12)},
        zoned={"at": dt.datetime(2024, 5, 1, 12, tzinfo=dt.timezone(dt.timedelta(hours=5)))},
        text={"at": "2024-05-02T00:00:00Z"},
        other={"at": "spring"},
    )
    assert index.get(["zoned"])[0].metadata == {"at": "2024-05-01T12:00:00+05:00"}
    assert ids(index, {"at": {"$lt": dt.datetime(2024, 5, 1, 12, tzinfo=utc)}}) == ["day", "zoned"]
    assert ids(index, {"at": {"$gte": dt.datetime(2024, 5, 1, 12)}}) == ["naive", "text"]
    assert ids(index, {"at": dt.datetime(2024, 5, 1, 7, tzinfo=utc)}) == ["zoned"]
    assert ids(index, {"at": {"$gt": dt.date(2024, 5, 1), "$lt": dt.date(2024, 5, 2)}}) == ["naive", "zoned"]
    assert ids(index, {"at": {"$gte": "2024-05-02", "$lt": "2024-06"}}) == ["text"], "a string compares as a string"


@pytest.mark.parametrize(
    ("condition", "message"),
    [
        ({"year": {"$gte": "2024"}}, "'year' is compared with strings, but holds numbers"),
        ({"year": "2024"}, "compared with strings"),
        ({"year": {"$ne": "2024"}}, "compared with strings"),
        ({"year": {"$in": ["2024", True]}}, "booleans and strings"),
        ({"year": {"$contains": 2024}}, "looks into lists"),
        ({"name": {"$gt": 3}}, "holds strings"),
        ({"name": {"$gt": dt.date(2024, 1, 1)}}, "dates"),
        ({"yaer": 2024}, "no document has the key 'yaer'"),
        ({"$and": [{"name": "x"}, {"year": {"$lt": "3"}}]}, "compared with strings"),
    ],
)
def test_what_cannot_be_meant_is_said(condition: dict[str, Any], message: str) -> None:
    index = made(a={"year": 2024, "name": "x"}, b={"year": 2025, "name": "y"})
    with pytest.warns(FilterWarning, match=message):
        list(index.ids(condition))


@pytest.mark.parametrize(
    "condition",
    [{"year": 1}, {"year": {"$in": [1, "1"]}}, {"z": None}, {"z": {"$exists": True}}, {"year": {"$ne": 1}}],
)
def test_what_may_well_be_meant_is_not_warned_of(condition: dict[str, Any]) -> None:
    index = made(a={"year": 2024}, b={"year": 2025})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        list(index.ids(condition))


def test_filters_see_each_commit() -> None:
    index = made(a={"n": 1}, b={"n": 2}, c={"m": 1})
    assert ids(index, {"n": {"$gte": 1}}) == ["a", "b"]
    index.add([Document("d", "x", {"n": 3}), Document("a", "x", {"n": 0}), Document("c", "x", {"n": 9})])
    assert ids(index, {"n": {"$gte": 1}}) == ["b", "c", "d"]
    index.delete(["b"])
    assert ids(index, {"n": {"$gte": 1}}) == ["c", "d"]
    index.optimize()
    assert ids(index, {"n": {"$gte": 1}}) == ["c", "d"]
    assert ids(index, {"m": 1}) == []


def nested(depth: int, leaf: Any) -> Any:
    return leaf if depth == 0 else {"inner": nested(depth - 1, leaf), "n": depth}


@pytest.mark.parametrize(
    "row",
    [
        {"a": 1},
        {"views": 0, "source": "report.pdf", "page": 12},
        {"tags": list(range(40))},
        {"tags": ["algebra", "logic", "proof"] * 5},
        nested(30, ["deep", 1, 2.5]),
        {"text": "a long value " * 60},
        {f"key{number}": number for number in range(50)},
    ],
)
def test_metadata_costs_little_more_than_its_json(row: dict[str, Any], tmp_path: Path) -> None:
    rng = random.Random(7)
    sizes, json_bytes = [], 0
    for name in ("with", "without"):
        documents = [
            Document(f"{number:05d}", "x", {**row, "id": rng.random()} if name == "with" else {})
            for number in range(500)
        ]
        json_bytes += sum(len(json.dumps(document.metadata)) for document in documents if name == "with")
        with RaderIndex.create(tmp_path / name, None) as index:
            index.add(documents)
            list(index.ids({"id": {"$gte": 0.5}}) if name == "with" else ())
        sizes.append(sum(file.stat().st_size for file in (tmp_path / name).rglob("*") if file.is_file()))
    assert sizes[0] - sizes[1] <= 2.5 * json_bytes
