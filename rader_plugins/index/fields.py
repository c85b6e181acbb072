"""The fields of an index's metadata: read when a filter first asks for one, and kept from then on.

They are held in memory, not on disk: metadata costs no more there than its own JSON.
"""

from __future__ import annotations

import bisect
import json
import threading
import warnings
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import chain
from typing import Any

import numpy as np
import numpy.typing as npt

from rader_plugins.background import after_fork
from rader_plugins.errors import FilterWarning
from rader_plugins.files import canonical_json
from rader_plugins.index.filters import AllOf, AnyOf, Comparison, Kind, Node, Not, instant, kind_of, path_of
from rader_plugins.index.snapshot import Snapshot
from rader_plugins.index.storage import Store

__all__ = ["FieldColumns", "StaleSnapshotError"]

Mask = npt.NDArray[np.bool_]
Path = tuple[str, ...]
_MOST_COLUMNS = 64
_POSITIVE = ("$eq", "$in", "$gt", "$gte", "$lt", "$lte", "$contains", "$all", "$size")


class StaleSnapshotError(Exception):
    """Something was committed since a snapshot was taken; to be caught where a newer one can be had."""


class Column:
    """Which rows hold which value in one field. Rows of deleted documents may be among them."""

    def __init__(self) -> None:
        self.present: list[int] = []
        self.types: defaultdict[Kind, list[int]] = defaultdict(list)
        self.sizes: defaultdict[int, list[int]] = defaultdict(list)
        # Kind -> value -> rows; the values of a list are among the first, and alone in the second.
        self.values: defaultdict[Kind, dict[Any, list[int]]] = defaultdict(dict)
        self.elements: defaultdict[Kind, dict[Any, list[int]]] = defaultdict(dict)
        self._sorted: dict[Kind, tuple[list[Any], list[Any]]] = {}

    def add(self, row: int, values: Iterable[Any]) -> None:
        """Take the values that a document has in this field."""
        self._sorted.clear()
        there = False
        for value in values:
            there = True
            self.types[kind_of(value)].append(row)
            _put(self.values, value, row)
            if isinstance(value, list):
                self.sizes[len(value)].append(row)
                for element in value:
                    _put(self.values, element, row)
                    _put(self.elements, element, row)
        if there:
            self.present.append(row)

    def equal(self, value: Any, *, elements: bool = False) -> Iterable[int]:
        """Return the rows that hold a value, or have it as an element."""
        kind, name = _named(value)
        if kind == "date":
            moments, texts = self._order("date")
            first, last = bisect.bisect_left(moments, value), bisect.bisect_right(moments, value)
            table = self.elements if elements else self.values
            return chain.from_iterable(table["string"].get(text, ()) for text in texts[first:last])
        return (self.elements if elements else self.values)[kind].get(name, ())

    def between(self, operator: str, value: Any) -> Iterable[int]:
        """Return the rows that hold something smaller or greater than a value of the same kind."""
        kind = kind_of(value)
        keys, names = self._order(kind)
        if operator in ("$lt", "$lte"):
            end = (bisect.bisect_left if operator == "$lt" else bisect.bisect_right)(keys, value)
            names = names[:end]
        else:
            start = (bisect.bisect_right if operator == "$gt" else bisect.bisect_left)(keys, value)
            names = names[start:]
        table = self.values["string" if kind == "date" else kind]
        return chain.from_iterable(table[name] for name in names)

    def kinds(self, *, elements: bool = False) -> set[Kind]:
        """Return the kinds of what stands in the field, elements of lists included (or alone)."""
        kinds: set[Kind] = {kind for kind, table in (self.elements if elements else self.values).items() if table}
        if "string" in kinds and self._order("date")[0]:
            kinds.add("date")
        return kinds

    def _order(self, kind: Kind) -> tuple[list[Any], list[Any]]:
        """Return the different values of a kind in order, and what they are stored under."""
        if kind not in self._sorted:
            if kind == "date":
                moments = [(moment, text) for text in self.values["string"] if (moment := instant(text)) is not None]
                moments.sort()
                self._sorted[kind] = [moment for moment, _ in moments], [text for _, text in moments]
            else:
                names = sorted(self.values[kind])
                self._sorted[kind] = names, names
        return self._sorted[kind]


def _named(value: Any) -> tuple[Kind, Any]:
    kind = kind_of(value)
    return kind, canonical_json(value) if kind in ("array", "object") else value


def _put(table: defaultdict[Kind, dict[Any, list[int]]], value: Any, row: int) -> None:
    kind, name = _named(value)
    rows = table[kind].setdefault(name, [])
    if not rows or rows[-1] != row:
        rows.append(row)


def _reached(value: Any, path: Path) -> Iterator[Any]:
    """Yield what a path leads to, through objects in lists too."""
    if not path:
        yield value
    elif isinstance(value, Mapping):
        if path[0] in value:
            yield from _reached(value[path[0]], path[1:])
    elif isinstance(value, list):
        for element in value:
            if isinstance(element, Mapping):
                yield from _reached(element, path)


class FieldColumns:
    """The fields that filters have asked for, brought up to date with every commit.

    Args:
        store: The database that holds the metadata.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._columns: dict[Path, Column] = {}
        self._generation, self._epoch, self._rows = -1, -1, 0
        self._start_anew()
        after_fork(self._start_anew)

    def _start_anew(self) -> None:
        self._lock = threading.RLock()

    def mask(self, node: Node, snapshot: Snapshot) -> Mask:
        """Return which rows of a snapshot a filter admits, shape (rows,).

        A filter that compares a field with something that no document has there, or that asks for a key that none has,
        and so admits none, is warned of (:class:`FilterWarning`).

        Raises:
            StaleSnapshotError: Something was committed since the snapshot was taken.
        """
        keys = list(dict.fromkeys(_keys(node)))
        # In this order: a search that keeps writers waiting holds the database before it comes here.
        with self._store.reading(), self._lock:
            self._load([path for key in keys for path in (path_of(key), (key,))], snapshot.generation)
            evaluation = _Evaluation(self._columns, snapshot.alive)
            mask = evaluation.mask(node)
        evaluation.warn(empty=bool(snapshot.alive.any()) and not mask.any())
        return mask

    def _load(self, paths: Sequence[Path], generation: int) -> None:
        if self._store.generation() != generation:
            raise StaleSnapshotError
        epoch, rows = self._store.meta("epoch"), self._store.meta("rows")
        if self._generation != generation:
            if epoch != self._epoch or self._store.relabelled(self._generation):
                self._columns.clear()
            elif self._columns:
                self._read(self._columns, self._rows)
            self._generation, self._epoch, self._rows = generation, epoch, rows
        missing = {path: Column() for path in paths if path not in self._columns}
        if missing:
            self._read(missing, 0)
            if len(self._columns) + len(missing) > _MOST_COLUMNS:
                self._columns = {path: self._columns[path] for path in paths if path in self._columns}
            self._columns |= missing

    def _read(self, columns: Mapping[Path, Column], first: int) -> None:
        # Parsing is what it costs: most documents of a large index have all keys, or none.
        signs = {path: json.dumps(path[-1], ensure_ascii=False) for path in columns}
        for row, text in self._store.metadata(first):
            paths = [path for path, sign in signs.items() if sign in text]
            if not paths:
                continue
            metadata = json.loads(text)
            for path in paths:
                columns[path].add(row, _reached(metadata, path))


def _keys(node: Node) -> Iterator[str]:
    if isinstance(node, Comparison):
        yield node.key
    elif isinstance(node, Not):
        yield from _keys(node.part)
    else:
        for part in node.parts:
            yield from _keys(part)


class _Evaluation:
    """One evaluation of a filter over the columns of one state."""

    def __init__(self, columns: Mapping[Path, Column], alive: Mask) -> None:
        self._columns = columns
        self._alive = alive
        self._missing: list[str] = []
        self._mismatches: list[str] = []
        self._certain: list[str] = []

    def mask(self, node: Node) -> Mask:
        if isinstance(node, Not):
            return self._alive & ~self.mask(node.part)
        mask: Mask
        if isinstance(node, AllOf):
            mask = self._alive.copy()
            for part in node.parts:
                mask &= self.mask(part)
            return mask
        if isinstance(node, AnyOf):
            mask = np.zeros_like(self._alive)
            branches = [_Evaluation(self._columns, self._alive) for _ in node.parts]
            for branch, part in zip(branches, node.parts, strict=True):
                mask |= branch.mask(part)
            for branch in branches:
                self._certain += branch._certain
                if all(other._missing or other._mismatches for other in branches):  # none of them can be met
                    self._missing += branch._missing
                    self._mismatches += branch._mismatches
            return mask
        return self._comparison(node)

    def _comparison(self, node: Comparison) -> Mask:
        column = self._column(node.key)
        self._inspect(node, column)
        first = node.operands[0] if node.operands else None
        if node.operator in ("$eq", "$ne", "$in", "$nin"):
            mask = self._rows(chain.from_iterable(column.equal(operand) for operand in node.operands))
            if any(operand is None for operand in node.operands):
                mask |= self._alive & ~self._rows(column.present)
            return mask if node.operator in ("$eq", "$in") else self._alive & ~mask
        if node.operator == "$exists":
            mask = self._rows(column.present)
            return mask if first else self._alive & ~mask
        if node.operator == "$all":
            mask = self._alive.copy() if node.operands else np.zeros_like(self._alive)
            for operand in node.operands:
                mask &= self._rows(column.equal(operand))
            return mask
        select: dict[str, Callable[[Any], Iterable[int]]] = {
            "$contains": lambda value: column.equal(value, elements=True),
            "$size": lambda value: column.sizes.get(value, ()),
            "$type": lambda value: column.types.get(value, ()),
        }
        rows = select[node.operator](first) if node.operator in select else column.between(node.operator, first)
        return self._rows(rows)

    def _rows(self, rows: Iterable[int]) -> Mask:
        mask: Mask = np.zeros_like(self._alive)
        mask[np.fromiter(rows, dtype=np.int64)] = True
        mask &= self._alive
        return mask

    def _column(self, key: str) -> Column:
        nested, literal = self._columns[path_of(key)], self._columns[(key,)]
        if nested is literal or not literal.present:
            return nested
        if not nested.present:
            return literal
        escaped = key.replace(".", "\\.")
        self._certain.append(
            f"{key!r} is the name of a field and also leads to one inside an object: the latter is meant. "
            f"Write {escaped!r} for the former"
        )
        return nested

    def _inspect(self, node: Comparison, column: Column) -> None:
        """Note what a user may have meant otherwise."""
        if not column.present:
            if node.operator in _POSITIVE and any(operand is not None for operand in node.operands):
                self._missing.append(f"no document has the key {node.key!r}")
            return
        if node.operator in ("$exists", "$type") or not node.operands:
            return
        elements = node.operator in ("$contains", "$size")
        kinds = column.kinds(elements=elements)
        if elements and not column.types["array"]:
            self._mismatches.append(f"{node.operator} looks into lists, and {node.key!r} holds {_listed(kinds)}")
            return
        if node.operator == "$size" or any(kind_of(operand) in (*kinds, "null") for operand in node.operands):
            return
        operands: set[Kind] = {kind_of(operand) for operand in node.operands}
        notes = self._certain if node.operator in ("$ne", "$nin") else self._mismatches
        notes.append(f"{node.key!r} is compared with {_listed(operands)}, but holds {_listed(kinds)}")

    def warn(self, *, empty: bool) -> None:
        """Warn of what was noted; of most of it only if the filter admits nothing."""
        notes = [*self._certain, *(self._mismatches + self._missing if empty else ())]
        if notes:
            outcome = "The filter admits no document: " if empty else "The filter may not do what was meant: "
            warnings.warn(FilterWarning(f"{outcome}{'; '.join(dict.fromkeys(notes))}."), stacklevel=2)


def _listed(kinds: Iterable[Kind]) -> str:
    plural = {"null": "null", "date": "dates"}
    return " and ".join(plural.get(kind, f"{kind}s") for kind in sorted(kinds)) or "nothing"
