"""From what is committed to a :class:`Snapshot`: in full when an index is opened, by the difference afterwards."""

from __future__ import annotations

import io
import logging
import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from rader_plugins.errors import IndexCorruptError
from rader_plugins.index.dense import Approximate
from rader_plugins.index.home import Home
from rader_plugins.index.lexical import LexicalView, Postings
from rader_plugins.index.maintenance import codes_file
from rader_plugins.index.quantised import QuantisedRows
from rader_plugins.index.snapshot import Snapshot
from rader_plugins.index.storage import IndexState

__all__ = ["load_snapshot"]

Array = npt.NDArray[Any]
_LOG = logging.getLogger(__name__)
_ATTEMPTS = 5


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
            home.store.forget_terms()
        if previous is not None:
            first = previous.rows
            state = home.store.state(first=first, since=previous.generation, lexical_first=first)
        else:
            first = 0
            base = _read_lexical(home)
            state = home.store.state(lexical_first=len(base[1]) if base else 0)
    if previous is not None:
        ids, parts, lengths = previous.ids, list(previous.postings), previous.lengths
        alive = np.concatenate([previous.alive, np.zeros(state.rows - first, dtype=np.bool_)])
    else:
        ids, alive = [], np.zeros(state.rows, dtype=np.bool_)
        parts, lengths = ([base[0]], base[1]) if base else ([], np.zeros(0, dtype=np.int32))
    # Older snapshots share the list of ids, but never look behind their own last row.
    ids[first:] = [""] * (state.rows - first)
    for row, name in zip(state.named_rows, state.names, strict=True):
        ids[row] = name
    alive[np.asarray(state.named_rows)] = True
    alive[state.dead] = False
    length_count = len(lengths)
    lengths = np.concatenate([lengths, np.zeros(state.rows - length_count, dtype=np.int32)])
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
        quantised=_quantised(home, state.epoch) if previous is None else previous.quantised,
    )


def _quantised(home: Home, epoch: int) -> QuantisedRows | None:
    dimension = home.settings.dimension
    if dimension is None or home.shards is None:
        return None
    return QuantisedRows(dimension, None if home.derived is None else lambda: codes_file(home, epoch))


def _merged(parts: Sequence[Postings]) -> list[Postings]:
    """Join blocks of similar size, so that their number grows with the logarithm of the number of commits."""
    blocks = [part for part in parts if len(part)]
    while len(blocks) > 1 and 2 * len(blocks[-1]) >= len(blocks[-2]):
        blocks[-2:] = [Postings.merge(blocks[-2:])]
    return blocks


def _read_lexical(home: Home) -> tuple[Postings, Array] | None:
    derived = home.store.derived().get("lexical")
    if derived is None or home.derived is None:
        return None
    try:
        content = (home.derived / derived.file).read_bytes()
        if zlib.crc32(content) != derived.check:
            raise ValueError("its checksum differs")
        stream = io.BytesIO(content)
        postings, lengths = Postings.read(stream), np.lib.format.read_array(stream, allow_pickle=False)
        if len(lengths) != derived.rows:
            raise ValueError(f"it covers {len(lengths)} rows, not {derived.rows}")
    except (OSError, ValueError) as error:
        _LOG.warning("Rebuilding BM25 from the database, since %s cannot be used: %s", derived.file, error)
        return None
    return postings, lengths


def _read_approximate(home: Home, state: IndexState, previous: Snapshot | None) -> Approximate | None:
    if home.settings.ann is None or home.derived is None or "ann" not in state.derived:
        return previous.approximate if previous and home.derived is None else None
    derived = state.derived["ann"]
    if previous and previous.approximate and previous.approximate.rows == derived.rows:
        return previous.approximate
    path = home.derived / derived.file
    try:
        if (size := path.stat().st_size) != derived.check:
            raise RuntimeError(f"it has {size} bytes, not {derived.check}")
        approximate = Approximate.read(path, home.settings.ann)
        if approximate.rows != derived.rows:
            raise RuntimeError(f"it covers {approximate.rows} rows, not {derived.rows}")
    except (OSError, RuntimeError) as error:
        _LOG.warning("Searching exactly, since %s cannot be used (optimize() rebuilds it): %s", derived.file, error)
        return None
    return approximate
