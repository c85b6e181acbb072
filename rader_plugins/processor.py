"""What the processor of this machine is good at. Imports no heavy library."""

from __future__ import annotations

import functools
import os
import re
import sys
from pathlib import Path

__all__ = ["computes_bfloat16", "cores", "processor_features", "shown_features", "threads"]

_CPUINFO = Path("/proc/cpuinfo")
_MATRIX_UNIT = {"amx_tile", "amx_bf16"}
# What decides how fast models and searches are, of the hundred features that a processor has.
_SHOWN = (
    "avx2", "avx512f", "avx512_vnni", "avx512_bf16", "avx512_fp16", "avx_vnni", "amx_tile", "amx_bf16", "amx_int8",
    "asimd", "asimddp", "bf16", "i8mm", "sve",
)  # fmt: skip


@functools.lru_cache(maxsize=1)
def processor_features() -> frozenset[str]:
    """Return the features that the system names, as Linux spells them; none where it does not say."""
    try:
        text = _CPUINFO.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return frozenset()
    line = re.search(r"^(?:flags|Features)\s*:(.*)$", text, re.MULTILINE)
    return frozenset(line.group(1).split()) if line else frozenset()


def shown_features() -> list[str]:
    """Return those that matter for the speed of models and searches."""
    return [name for name in _SHOWN if name in processor_features()]


def computes_bfloat16() -> bool:
    """Whether the processor multiplies matrices of bfloat16 faster than of float32 (Intel's AMX).

    Others know the type too (``avx512_bf16``) and gain nothing by it, or lose.
    """
    features = processor_features()
    if features:
        return features >= _MATRIX_UNIT
    # Where the system does not tell, a torch that is loaded already may know.
    torch = sys.modules.get("torch")
    supported = getattr(getattr(torch, "cpu", None), "_is_amx_tile_supported", None)
    return bool(supported()) if supported is not None else False


def threads() -> int:
    """Return how many threads a computation may use: ``OMP_NUM_THREADS``, else the cores that this process has."""
    stated = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0].strip()
    if stated.isdecimal() and int(stated) > 0:
        return int(stated)
    return cores()


def cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
