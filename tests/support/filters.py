"""What metadata and filters may look like, for hypothesis."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

values = st.one_of(
    st.none(), st.booleans(), st.integers(-3, 3), st.sampled_from([0.5, 1.0, 2**70]), st.sampled_from(["", "a", "b"]),
    st.lists(st.one_of(st.integers(0, 1), st.none()), max_size=2),
)  # fmt: skip
metadata = st.fixed_dictionaries(
    {}, optional={"x": values, "y": values, "z": st.fixed_dictionaries({}, optional={"x": values})}
)
keys = st.sampled_from(["x", "y", "z.x"])
comparable = st.one_of(st.integers(-3, 3), st.sampled_from(["", "a", 0.5]))
conditions: st.SearchStrategy[dict[str, Any]] = st.recursive(
    st.one_of(
        st.tuples(keys, values),
        st.tuples(keys, st.dictionaries(st.sampled_from(["$eq", "$ne"]), values, min_size=1)),
        st.tuples(keys, st.dictionaries(st.sampled_from(["$gt", "$gte", "$lt", "$lte"]), comparable, min_size=1)),
        st.tuples(keys, st.dictionaries(st.sampled_from(["$in", "$nin"]), st.lists(values, max_size=3), min_size=1)),
        st.tuples(keys, st.fixed_dictionaries({"$exists": st.booleans()})),
        st.tuples(keys, st.fixed_dictionaries({"$all": st.lists(values, max_size=2)})),
        st.tuples(keys, st.fixed_dictionaries({"$contains": st.one_of(st.integers(0, 2), st.none())})),
        st.tuples(keys, st.fixed_dictionaries({"$size": st.integers(0, 2)})),
        st.tuples(keys, st.fixed_dictionaries({"$type": st.sampled_from(["array", "number", "null"])})),
    ).map(lambda pair: {pair[0]: pair[1]}),
    lambda inner: st.one_of(
        st.tuples(st.sampled_from(["$and", "$or"]), st.lists(inner, min_size=1, max_size=3)).map(
            lambda p: {p[0]: p[1]}
        ),
        inner.map(lambda condition: {"$not": condition}),
    ),
    max_leaves=4,
)
