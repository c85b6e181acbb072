"""From what is committed to a :class:`Snapshot`: in full when an index is opened, by the difference afterwards."""

from __future__ import annotations

import io
import logging
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from rader_plugins.errors import IndexCorruptError
from rader_plugins.index.dense import Approximate
from rader_plugins.index.home import Home
from rader_plugins.index.lexical import LexicalView
from rader_plugins.index.postings import Postings
from rader_plugins.index.snapshot import Snapshot
from rader_plugins.index.store import Store
from rader_plugins.index.vectors import Shard

__all__ = ["load_snapshot", "read_shards"]

Array = npt.NDArray[Any]
_LOG = logging.getLogger(__name__)
_ATTEMPTS = 5


@dataclass
class _State:
    """Rows of the database that a snapshot is made from."""

    generation: int
    epoch: int
    rows: int
    first: int
    names: list[tuple[int, str]]
    dead: list[int]
    lexical: list[tuple[int, int, bytes]]
    terms: int
    shards: list[Shard]
    derived: dict[str, tuple[str, int, int]]


def read_shards(store: Store) -> list[Shard]:
    """Return the committed shards in order."""
    with store.reading() as database:
        return [Shard(*row) for row in database.execute("SELECT name, start, rows FROM shards ORDER BY start")]


def load_snapshot(home: Home, previous: Snapshot | None) -> Snapshot:
    """Return the newest committed state; ``previous`` itself if nothing was committed since.

    Raises:
        IndexCorruptError: A committed file is missing or truncated.
    """
    for _ in range(_ATTEMPTS):
        if previous is not None and home.store.generation() == previous.generation:
            return previous
        try:
            return _load(home, previous)
        except FileNotFoundError as error:
            missing = error  # an `optimize` elsewhere may have replaced the files between our two looks
    raise IndexCorruptError(
        f"A file of the index is missing: {missing.filename}. The documents are intact in the database; "
        "`rader index repair` encodes the lost vectors again."
    )


def _load(home: Home, previous: Snapshot | None) -> Snapshot:
    base: tuple[Postings, Array] | None = None
    with home.store.reading():
        if previous is not None and home.store.meta("epoch") != previous.epoch:
            previous = None
        if previous is None:
            base = _read_lexical(home)
        state = _read_state(home, previous, len(base[1]) if base else 0)
    if previous is not None:
        ids, parts, lengths = previous.ids, list(previous.postings), previous.lengths
        alive = np.concatenate([previous.alive, np.zeros(state.rows - state.first, dtype=np.bool_)])
    else:
        ids, alive = [], np.zeros(state.rows, dtype=np.bool_)
        parts, lengths = ([base[0]], base[1]) if base else ([], np.zeros(0, dtype=np.int32))
    # Older snapshots share the list of ids, but never look behind their own last row.
    ids[state.first :] = [""] * (state.rows - state.first)
    for row, name in state.names:
        ids[row] = name
    alive[[row for row, _ in state.names]] = True
    alive[state.dead] = False
    known = len(lengths)
    lengths = np.concatenate([lengths, np.zeros(state.rows - known, dtype=np.int32)])
    if state.lexical:
        rows, sizes, packed = zip(*state.lexical, strict=True)
        lengths[list(rows)] = sizes
        parts.append(Postings.build(rows, packed))
    parts = _merged(parts)
    return Snapshot(
        store=home.store,
        generation=state.generation,
        epoch=state.epoch,
        ids=ids,
        alive=alive,
        shards=home.shards.arrays(state.shards) if home.shards is not None else [],
        starts=[shard.start for shard in state.shards] if home.shards is not None else [],
        postings=parts,
        lengths=lengths,
        lexical=LexicalView(parts, lengths, alive, state.terms, home.settings.bm25),
        approximate=_read_approximate(home, state, previous),
    )


def _read_state(home: Home, previous: Snapshot | None, lexical_first: int) -> _State:
    with home.store.reading() as database:
        first = previous.rows if previous else 0
        if previous:
            lexical_first = first
            names = database.execute("SELECT row, id FROM documents WHERE row >= ?", (first,)).fetchall()
        else:  # the index over ids holds the rows too: the texts need not be read
            names = [(row, id) for id, row in database.execute("SELECT id, row FROM documents ORDER BY id")]
        since = previous.generation if previous else -1
        dead = database.execute("SELECT row FROM tombstones WHERE generation > ?", (since,))
        lexical = "SELECT row, length, terms FROM lexical WHERE row >= ? ORDER BY row"
        return _State(
            generation=home.store.generation(),
            epoch=home.store.meta("epoch"),
            rows=home.store.meta("rows"),
            first=first,
            names=names,
            dead=[row for (row,) in dead],
            lexical=database.execute(lexical, (lexical_first,)).fetchall(),
            terms=database.execute("SELECT COALESCE(MAX(id) + 1, 0) FROM terms").fetchone()[0],
            shards=read_shards(home.store),
            derived={
                kind: (file, rows, check) for kind, file, rows, check in database.execute("SELECT * FROM derived")
            },
        )


def _merged(parts: Sequence[Postings]) -> list[Postings]:
    """Join blocks of similar size, so that their number grows with the logarithm of the number of commits."""
    blocks = [part for part in parts if len(part)]
    while len(blocks) > 1 and 2 * len(blocks[-1]) >= len(blocks[-2]):
        blocks[-2:] = [Postings.merge(blocks[-2:])]
    return blocks


def _read_lexical(home: Home) -> tuple[Postings, Array] | None:
    with home.store.reading() as database:
        found = database.execute("SELECT file, rows, crc FROM derived WHERE kind = 'lexical'").fetchone()
    if found is None or home.derived is None:
        return None
    file, rows, check = found
    try:
        content = (home.derived / file).read_bytes()
        if zlib.crc32(content) != check:
            raise ValueError("its checksum differs")
        stream = io.BytesIO(content)
        postings, lengths = Postings.read(stream), np.lib.format.read_array(stream, allow_pickle=False)
        if len(lengths) != rows:
            raise ValueError(f"it covers {len(lengths)} rows, not {rows}")
    except (OSError, ValueError) as error:
        _LOG.warning("Rebuilding BM25 from the database, since %s cannot be used: %s", file, error)
        return None
    return postings, lengths


def _read_approximate(home: Home, state: _State, previous: Snapshot | None) -> Approximate | None:
    if home.settings.ann is None or home.derived is None or "ann" not in state.derived:
        return previous.approximate if previous and home.derived is None else None
    file, rows, check = state.derived["ann"]
    if previous and previous.approximate and previous.approximate.rows == rows:
        return previous.approximate
    path = home.derived / file
    try:
        if path.stat().st_size != check:
            raise RuntimeError(f"it has {path.stat().st_size} bytes, not {check}")
        approximate = Approximate.read(path, home.settings.ann)
        if approximate.rows != rows:
            raise RuntimeError(f"it covers {approximate.rows} rows, not {rows}")
    except (OSError, RuntimeError) as error:
        _LOG.warning("Searching exactly, since %s cannot be used (optimize() rebuilds it): %s", file, error)
        return None
    return approximate
