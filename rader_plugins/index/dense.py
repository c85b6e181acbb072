"""Dense search: exact over memory-mapped shards, or approximate through FAISS with exact scores for what it finds.

Exact search multiplies the shards where they lie, without copying them, and then computes the scores of the best rows
again in double precision. So a text has the same score wherever it stands, alone or in a batch, and equal texts tie.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from rader_plugins.errors import InputError, import_extra
from rader_plugins.index.products import inner_products

__all__ = ["AnnConfig", "Approximate", "exact_scores", "gather_scores"]

Array = npt.NDArray[Any]

# Single precision sums of unit vectors differ by less than this between two orders of summation.
ROUNDING = 4e-6
_GATHER = 4096
_MINIMUM_ROWS = 1000
_GPU_MOST = 2048  # what FAISS returns at most from a GPU


@dataclass(frozen=True)
class AnnConfig:
    """An approximate structure of FAISS.

    Args:
        kind: ``hnsw`` (fast, keeps a float32 copy of the vectors in memory), ``ivfpq`` (compressed) or ``flat``
            (exact; worth it on a GPU only).
        links: HNSW: neighbours per node.
        ef_construction, ef_search: HNSW: breadth of the search while building and while searching.
        lists: IVF: number of clusters; None takes 4 * sqrt(rows).
        probes: IVF: clusters looked into per query.
        code_bytes: PQ: bytes per vector; None takes a quarter of the dimension. Must divide the dimension.
        gpu: Search on all GPUs (``flat`` and ``ivfpq``); needs the extra ``gpu``.
    """

    kind: Literal["hnsw", "ivfpq", "flat"]
    links: int = 32
    ef_construction: int = 200
    ef_search: int = 128
    lists: int | None = None
    probes: int = 32
    code_bytes: int | None = None
    gpu: bool = False

    def __post_init__(self) -> None:
        if self.kind not in ("hnsw", "ivfpq", "flat"):
            raise InputError(f"ann is 'hnsw', 'ivfpq', 'flat' or None (exact), not {self.kind!r}.")
        if self.gpu and self.kind == "hnsw":
            raise InputError("FAISS has no HNSW on GPUs: use ann={'kind': 'flat', 'gpu': True} or 'ivfpq'.")


def exact_scores(shards: Sequence[Array], starts: Sequence[int], queries: Array, rows: int) -> Array:
    """Inner product of every query with every row.

    Args:
        shards: Arrays of shape (n_i, dimension), float32 or float16.
        starts: First row of each shard.
        queries: float32 array of shape (q, dimension).
        rows: Number of rows in all.

    Returns:
        float32 array of shape (q, rows), exact to :data:`ROUNDING`.
    """
    scores = np.empty((len(queries), rows), dtype=np.float32)
    for shard, start in zip(shards, starts, strict=True):
        if len(queries) == 1:
            inner_products(shard, queries[0], out=scores[0, start : start + len(shard)])
            continue
        # Half precision is widened in blocks that stay in the cache.
        step = len(shard) if shard.dtype == np.float32 else 8192
        for first in range(0, len(shard), max(1, step)):
            part = shard[first : first + step]
            part = part if part.dtype == np.float32 else part.astype(np.float32)
            np.matmul(queries, part.T, out=scores[:, start + first : start + first + len(part)])
    return scores


def gather(shards: Sequence[Array], starts: Sequence[int], rows: Array) -> Array:
    """Return the vectors of some rows as an array of shape (len(rows), dimension)."""
    if len(shards) == 1:
        only: Array = shards[0][rows]
        return only
    if (rows[1:] < rows[:-1]).any():
        order = np.argsort(rows)
        vectors = np.empty((len(rows), shards[0].shape[1]), dtype=shards[0].dtype)
        vectors[order] = gather(shards, starts, rows[order])
        return vectors
    ends = np.searchsorted(rows, [*starts[1:], rows[-1] + 1 if len(rows) else 0])
    firsts = [0, *ends[:-1].tolist()]
    return np.concatenate(
        [shard[rows[first:end] - start] for shard, start, first, end in zip(shards, starts, firsts, ends, strict=True)]
    )


def gather_scores(shards: Sequence[Array], starts: Sequence[int], query: Array, rows: Array) -> Array:
    """Inner product of one query with some rows, summed in double precision; float32 array of shape (len(rows),)."""
    scores = np.empty(len(rows), dtype=np.float32)
    wide = query.astype(np.float64)
    order = np.argsort(rows)  # neighbours share pages
    for first in range(0, len(rows), _GATHER):
        places = order[first : first + _GATHER]
        # Not by BLAS: see rader_plugins.index.products.
        scores[places] = np.einsum("ij,j->i", gather(shards, starts, rows[places]).astype(np.float64), wide)
    return scores


class Approximate:
    """A FAISS structure over the first ``rows`` rows of an index; the rows behind them are searched exactly."""

    def __init__(self, index: Any, config: AnnConfig) -> None:
        self._faiss = import_extra("faiss", "faiss", "faiss-gpu")
        self.config = config
        self.rows = int(index.ntotal)
        self._index = index
        self._searched = self._on_gpus(index) if config.gpu else index

    def _on_gpus(self, index: Any) -> Any:
        if not hasattr(self._faiss, "index_cpu_to_all_gpus") or self._faiss.get_num_gpus() == 0:
            raise InputError(
                "gpu=True needs a GPU and FAISS with GPU support: pip install 'rader-plugins[faiss-gpu]'. An index "
                "that was built so opens without one if its derived/*.faiss file is removed."
            )
        return self._faiss.index_cpu_to_all_gpus(index)

    @classmethod
    def build(cls, shards: Sequence[Array], config: AnnConfig, seed: int = 0) -> Approximate | None:
        """Build over all rows; None if there are too few for it to be worth having (exact search is as fast)."""
        faiss = import_extra("faiss", "faiss", "faiss-gpu")
        count = sum(len(shard) for shard in shards)
        if count < _MINIMUM_ROWS:
            return None
        dimension = shards[0].shape[1]
        if config.kind == "hnsw":
            index = faiss.IndexHNSWFlat(dimension, config.links, faiss.METRIC_INNER_PRODUCT)
            index.hnsw.efConstruction = config.ef_construction
        elif config.kind == "flat":
            index = faiss.IndexFlatIP(dimension)
        else:
            code_bytes = config.code_bytes or max(
                size for size in range(1, dimension // 4 + 2) if dimension % size == 0
            )
            if dimension % code_bytes:
                raise InputError(f"code_bytes={code_bytes} must divide the dimension {dimension}.")
            lists = min(config.lists or int(4 * count**0.5), max(1, count // 39))
            quantizer = faiss.IndexFlatIP(dimension)
            # Codes of fewer bits where there are fewer vectors than a full codebook needs for training.
            index = faiss.IndexIVFPQ(quantizer, dimension, lists, code_bytes, 8 if count >= 9984 else 4)
            index.metric_type = faiss.METRIC_INNER_PRODUCT
            index.cp.seed = index.pq.cp.seed = 1234 + seed
            sample = np.random.default_rng(seed).permutation(count)[: max(100_000, 64 * lists)]
            starts = np.cumsum([0, *(len(shard) for shard in shards[:-1])])
            index.train(gather(shards, starts.tolist(), np.sort(sample)).astype(np.float32))
        for shard in shards:
            for first in range(0, len(shard), 65536):
                index.add(np.ascontiguousarray(shard[first : first + 65536], dtype=np.float32))
        return cls(index, config)

    def candidates(self, query: Array, k: int, mask: npt.NDArray[np.bool_] | None) -> Array:
        """Return up to ``k`` promising rows (with PQ a few times more, to be scored exactly), in no order."""
        if self.config.kind == "ivfpq":
            k = 4 * k
        if self.config.gpu:
            return self._gpu_candidates(query, k, mask)
        faiss = self._faiss
        options: dict[str, Any] = {}
        if mask is not None:
            options["sel"] = faiss.IDSelectorBitmap(np.packbits(mask[: self.rows], bitorder="little"))
        if self.config.kind == "hnsw":
            parameters = faiss.SearchParametersHNSW(efSearch=max(self.config.ef_search, 2 * k), **options)
        elif self.config.kind == "ivfpq":
            parameters = faiss.SearchParametersIVF(nprobe=self.config.probes, **options)
        else:
            parameters = faiss.SearchParameters(**options)
        _, rows = self._searched.search(query[None, :], min(k, self.rows), params=parameters)
        found: Array = rows[0][rows[0] >= 0]
        return found

    def _gpu_candidates(self, query: Array, k: int, mask: npt.NDArray[np.bool_] | None) -> Array:
        # GPU structures know no selectors: more rows are asked for, and where too few pass the caller searches exactly.
        asked = min(k if mask is None else 4 * k, self.rows, _GPU_MOST)
        _, rows = self._searched.search(query[None, :], asked)
        found: Array = rows[0][rows[0] >= 0]
        return found if mask is None else found[mask[found]]

    def write(self, path: Path) -> None:
        """Write FAISS's own format."""
        self._faiss.write_index(self._index, str(path))

    @classmethod
    def read(cls, path: Path, config: AnnConfig) -> Approximate:
        """Read what :meth:`write` wrote; raises RuntimeError on damage."""
        faiss = import_extra("faiss", "faiss", "faiss-gpu")
        return cls(faiss.read_index(str(path)), config)
