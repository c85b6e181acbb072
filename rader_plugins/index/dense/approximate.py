"""Approximate dense search through FAISS; the rows that it proposes are scored exactly by the caller."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from rader_plugins.errors import InputError, import_extra
from rader_plugins.index.dense.exact import Array, gather

__all__ = ["AnnConfig", "Approximate", "ann_config"]

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
        if not isinstance(self.kind, str) or self.kind not in ("hnsw", "ivfpq", "flat"):
            raise InputError(f"ann is 'hnsw', 'ivfpq', 'flat' or None (exact), not {self.kind!r}.")
        if self.gpu and self.kind == "hnsw":
            raise InputError("FAISS has no HNSW on GPUs: use ann={'kind': 'flat', 'gpu': True} or 'ivfpq'.")

    def check(self, dimension: int | None) -> None:
        """Look at the parameters before an index of some dimension is made with them.

        Raises:
            InputError: A number is not a whole one of at least 1, or codes do not divide the vectors.
        """
        for name in ("links", "ef_construction", "ef_search", "lists", "probes", "code_bytes"):
            value = getattr(self, name)
            if value is None and name in ("lists", "code_bytes"):
                continue
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise InputError(f"{name} of ann must be a whole number of at least 1, not {value!r}.")
        if self.kind == "ivfpq" and self.code_bytes and dimension and dimension % self.code_bytes:
            raise InputError(f"code_bytes={self.code_bytes} must divide the dimension {dimension}.")


def ann_config(ann: str | AnnConfig | Mapping[str, Any] | None) -> AnnConfig | None:
    """Return what a user wrote for an approximate structure as an :class:`AnnConfig`.

    Raises:
        InputError: An option is unknown or out of its range.
    """
    if ann is None or isinstance(ann, AnnConfig):
        return ann
    try:
        return AnnConfig(**ann) if isinstance(ann, Mapping) else AnnConfig(kind=ann)  # type: ignore[arg-type]
    except TypeError as error:
        raise InputError(f"Unknown option for ann: {error}") from None


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
        valid_rows: Array = rows[0][rows[0] >= 0]
        return valid_rows

    def _gpu_candidates(self, query: Array, k: int, mask: npt.NDArray[np.bool_] | None) -> Array:
        # GPU structures know no selectors: more rows are asked for, and where too few pass the caller searches exactly.
        limit = min(k if mask is None else 4 * k, self.rows, _GPU_MOST)
        _, rows = self._searched.search(query[None, :], limit)
        valid_rows: Array = rows[0][rows[0] >= 0]
        return valid_rows if mask is None else valid_rows[mask[valid_rows]]

    def write(self, path: Path) -> None:
        """Write FAISS's own format."""
        self._faiss.write_index(self._index, str(path))

    @classmethod
    def read(cls, path: Path, config: AnnConfig) -> Approximate:
        """Read what :meth:`write` wrote; raises RuntimeError on damage."""
        faiss = import_extra("faiss", "faiss", "faiss-gpu")
        return cls(faiss.read_index(str(path)), config)
