"""An OpenAI-compatible embedding server in this process, which can be told to misbehave."""

from __future__ import annotations

import hashlib
import json
import threading
import time
from collections import deque
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any

import numpy as np


def text_vector(text: str, dimension: int) -> np.ndarray:
    """A vector that depends on nothing but the text; not normalised."""
    seed = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")
    return np.random.default_rng(seed).normal(size=dimension).astype(np.float32)


class EmbeddingServer:
    """Serves ``/v1/embeddings`` and ``/v1/models`` on 127.0.0.1.

    Args:
        dimension: Of the vectors.
        models: Names that ``/v1/models`` lists.
        script: What to do with the first requests, in the order of their arrival; afterwards all is well. One of
            ``ok 400 401 404 429 429-late 500 short doubled reversed nan zero dim nested garbage error-200 drop hang``.
        vector: Function from (text, dimension) to a vector.

    ``requests`` holds the JSON of every embeddings request and ``headers`` its headers; ``most`` is the largest
    number of requests that were in work at once. With ``gate`` set to n, each request waits until n are there.
    """

    def __init__(
        self,
        *,
        dimension: int = 8,
        models: tuple[str, ...] = ("served",),
        script: tuple[str, ...] = (),
        vector: Any = None,
    ) -> None:
        self.dimension = dimension
        self.models = models
        self.script = deque(script)
        self.vector = vector or text_vector
        self.requests: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.most = 0
        self.gate: threading.Barrier | None = None
        self._now = 0
        self._lock = threading.Lock()
        self.released = threading.Event()
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                if self.path == "/v1/models":
                    self._send(200, {"data": [{"id": name} for name in server.models]})
                else:
                    self._send(404, {"error": {"message": "no such page"}})

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                with server._lock:
                    server.requests.append(body)
                    server.headers.append(dict(self.headers))
                    action = server.script.popleft() if server.script else "ok"
                    server._now += 1
                    server.most = max(server.most, server._now)
                try:
                    if server.gate is not None:
                        server.gate.wait(timeout=20)
                    self._act(action, body)
                finally:
                    with server._lock:
                        server._now -= 1

            def _act(self, action: str, body: dict[str, Any]) -> None:
                if action == "drop":
                    self.close_connection = True
                    return
                if action == "hang":
                    server.released.wait(timeout=30)
                    self.close_connection = True
                    return
                if action.isdigit() and action != "429":
                    self._send(int(action), {"error": {"message": f"scripted failure {action} " + "x" * 1000}})
                elif action == "429":
                    self._send(429, {"error": {"message": "slow down"}}, {"Retry-After": "0"})
                elif action == "429-late":
                    self._send(429, {"error": {"message": "slow down"}}, {"Retry-After": "3600"})
                elif action == "garbage":
                    self._send(200, "<html>not json")
                elif action == "error-200":
                    self._send(200, {"error": {"message": "all is not well"}})
                else:
                    self._send(200, {"object": "list", "data": server._data(action, body["input"])})

            def _send(self, status: int, body: Any, headers: dict[str, str] | None = None) -> None:
                content = (body if isinstance(body, str) else json.dumps(body)).encode()
                self.send_response(status)
                for name, value in {"Content-Length": str(len(content)), **(headers or {})}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *arguments: Any) -> None:
                pass

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._http.daemon_threads = True
        self._thread = threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)

    def _data(self, action: str, texts: list[str]) -> list[dict[str, Any]]:
        dimension = self.dimension + 1 if action == "dim" else self.dimension
        vectors: list[Any] = [self.vector(text, dimension).tolist() for text in texts]
        if action == "nan":
            vectors[-1][0] = float("nan")
        if action == "zero":
            vectors[0] = [0.0] * dimension
        if action == "nested":
            vectors = [[vector, vector] for vector in vectors]
        data = [{"object": "embedding", "index": index, "embedding": vector} for index, vector in enumerate(vectors)]
        if action == "short":
            data = data[:-1]
        if action == "doubled":
            data[-1]["index"] = 0
        if action == "reversed":
            data = data[::-1]
        return data

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._http.server_address[1]}"

    def __enter__(self) -> EmbeddingServer:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.released.set()
        self._http.shutdown()
        self._http.server_close()


def wait_for(condition: Any, seconds: float = 20.0) -> None:
    """Wait until a condition on another thread's state holds."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError("the condition never held")
        time.sleep(0.002)
