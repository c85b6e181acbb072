"""Facts about metadata: conditions on tokens and bounds admit what the embedded index's filters admit."""

from __future__ import annotations

import datetime as dt
import json
import operator as operators
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rader_plugins import Document, RaderIndex
from rader_plugins.engines.facts import Bound, Condition, Conjunction, Facts, Has, facts_of, split, translate
from rader_plugins.errors import InputError
from rader_plugins.index.filters import parse_filter
from tests.support.examples import examples
from tests.support.filters import conditions, metadata

pytestmark = pytest.mark.filterwarnings("ignore::rader_plugins.errors.FilterWarning")
COMPARE = {"$gt": operators.gt, "$gte": operators.ge, "$lt": operators.lt, "$lte": operators.le}


def admits(condition: Condition, facts: Facts) -> bool:
    if isinstance(condition, Has):
        return (condition.token in facts.tokens) == condition.holds
    if isinstance(condition, Bound):
        bounds = facts.bounds.get(condition.name, {}).get(condition.kind)
        # A missing field is reported as neither true nor false: no condition may rest on it.
        return bounds is not None and COMPARE[condition.operator](
            bounds[condition.end == "greatest"], condition.operand
        )
    parts = (admits(part, facts) for part in condition.parts)
    return all(parts) if isinstance(condition, Conjunction) else any(parts)


def admitted(documents: list[dict[str, Any]], condition: dict[str, Any]) -> list[str]:
    facts = [facts_of(document) for document in documents]
    tree = translate(parse_filter(condition))
    return [f"d{number}" for number, each in enumerate(facts) if admits(tree, each)]


def embedded(documents: list[dict[str, Any]], condition: dict[str, Any]) -> list[str]:
    index = RaderIndex.create(None, None)
    index.add([Document(f"d{number}", "x", document) for number, document in enumerate(documents)])
    return list(index.ids(condition))


@settings(max_examples=examples(150), deadline=None)
@given(documents=st.lists(metadata, min_size=1, max_size=6), condition=conditions)
def test_facts_admit_what_the_embedded_index_admits(documents: list[dict[str, Any]], condition: dict[str, Any]) -> None:
    assert admitted(documents, condition) == embedded(documents, condition)


LONG = "x" * 256
NOON = dt.datetime(2024, 5, 1, 12, tzinfo=dt.timezone.utc)


@pytest.mark.parametrize(
    "condition",
    [
        {"a.b": 1}, {r"a\.b": 1}, {"a.b": {"$ne": 1}}, {r"c\.d": {"$exists": True}},
        {"authors.name": "Ann"},
        {"authors.born": {"$gt": 1950, "$lt": 1920}}, {"at": {"$gte": NOON}},
        {"at": dt.date(2024, 5, 1)}, {"at": {"$lt": dt.date(2024, 5, 2)}}, {"at": {"$contains": dt.date(2024, 5, 3)}},
        {"at": {"$ne": dt.date(2024, 5, 1)}}, {"long": {"$gt": LONG}}, {"long": {"$lte": LONG}}, {"long": LONG + "y"},
        {"n": {"$gt": 2**53 - 1}}, {"n": 2**53 + 1}, {"n": 2**53}, {"nest": [[1], {"b": 2}]}, {"nest.b": 2},
        {"n": {"$type": "number"}},
        {"nest": {"b": 2}}, {"authors": {"name": "Ann", "born": 1900}}, {"": {"$exists": True}}, {'q"\\ü': 1},
        {"long": {"$gt": "x"}},
        {"at": {"$type": "string"}}, {"n": {"$not": {"$gt": 3}}}, {"$not": {"authors.born": {"$gt": 1950}}},
    ],
)  # fmt: skip
def test_what_fields_may_look_like(condition: dict[str, Any]) -> None:
    documents: list[dict[str, Any]] = [
        {"a": {"b": 1}, "a.b": 2, "c.d": 2, "": None},
        {"authors": [{"name": "Ann", "born": 1900}, {"name": "Bob", "born": 1960}], "a": [{"b": [1, 2]}]},
        {"at": "2024-05-01T14:00:00+02:00", "long": LONG, "n": 2**53, "nest": {"b": 2}},
        {"at": ["2024-05-03", "2024-05-01"], "long": LONG + "y", "n": 2**53 + 1, "nest": [[1], {"b": 2}], 'q"\\ü': 1},
        {"at": "soon", "n": 10**400, "nest": [[[1], {"b": 2}]], "long": ["a", LONG + "z"]},
        {},
    ]
    assert admitted(documents, condition) == embedded(documents, condition)


@pytest.mark.parametrize("operator", sorted(COMPARE))
@pytest.mark.parametrize("points", [(2, 3, 4), ("2024-02-02", "2024-02-03", "2024-02-04"), ("b", "c", "d")])
def test_a_range_and_its_negation_part_the_documents_at_the_boundary(operator: str, points: tuple[Any, ...]) -> None:
    documents = [*({"x": point} for point in points), {"x": list(points)}, {"x": None}, {}]
    for condition in ({"x": {operator: points[1]}}, {"x": {"$not": {operator: points[1]}}}):
        assert admitted(documents, condition) == embedded(documents, condition)


@pytest.mark.parametrize("operator", ["$in", "$nin"])
def test_many_values_are_looked_for_at_once(operator: str) -> None:
    condition = translate(parse_filter({"n": {operator: list(range(1000))}}))
    assert not isinstance(condition, Has | Bound)
    tokens, others = split(condition)
    assert (len(tokens), others) == (1000, [])


def test_facts_are_small_and_say_nothing_twice() -> None:
    facts = facts_of({"text": "word " * 5000, "tags": ["a", "a"], "author": {"name": "Noether"}, "a b": 1})
    assert facts.tokens == sorted(set(facts.tokens))
    assert max(len(token.encode()) for token in facts.tokens) <= 96
    assert '=["author","name","Noether"]' in facts.tokens
    assert all(name.isidentifier() for name in facts.bounds)
    assert len(json.dumps(facts.bounds)) < 1500


def test_an_order_that_is_not_kept_is_refused() -> None:
    with pytest.raises(InputError, match="256 characters"):
        translate(parse_filter({"a": {"$gt": "x" * 257}}))
    for operand in (2**53, -(2**60), 10**400):
        with pytest.raises(InputError, match=r"2\*\*53"):
            translate(parse_filter({"a": {"$lte": operand}}))
    assert admitted([{"a": 2**53}, {"a": 2**53 + 1}, {"a": 5}], {"a": 2**53 + 1}) == ["d1"]
    assert admitted([{"a": 2**53 + 1}, {"a": 5}], {"a": {"$gt": 2**53 - 1}}) == ["d0"]
