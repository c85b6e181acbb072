"""A Milvus server for tests: Milvus Lite behind its gRPC interface, a process of its own that can be killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

# Port 0 lets the system choose; the program says which it was. A given port is that of the server that was killed.
_PROGRAM = """
import sys
from milvus_lite.adapter.grpc.server import start_server_in_thread
server, db, port = start_server_in_thread(sys.argv[1], "127.0.0.1", int(sys.argv[2]))
print(port, flush=True)
server.wait_for_termination()
"""


class MilvusServer:
    """A server over a folder of its own; may be killed and started again on its port."""

    def __init__(self) -> None:
        for module in ("pymilvus", "milvus_lite"):
            pytest.importorskip(module, reason="needs pymilvus (extra milvus) and milvus-lite (test group)")
        self._own = tempfile.TemporaryDirectory(prefix="rader-milvus-")
        self.folder = Path(self._own.name)
        self.port = 0
        self._process: subprocess.Popen[str]
        self.start()

    def start(self) -> None:
        """Start it and wait until it answers.

        Raises:
            RuntimeError: It ends instead; the message has its last words.
        """
        command = [sys.executable, "-c", _PROGRAM, str(self.folder), str(self.port)]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        with tempfile.TemporaryFile("w+") as errors:
            self._process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True, env=environment)
            assert self._process.stdout is not None
            answer = self._process.stdout.readline()
            if not answer:
                self.kill()
                errors.seek(0)
                raise RuntimeError(f"Milvus Lite does not start: {errors.read()[-2000:]}")
        self.port = int(answer)

    def url(self, name: str, **options: str) -> str:
        """URL of a collection."""
        query = "&".join(f"{key}={value}" for key, value in options.items())
        return f"milvus://127.0.0.1:{self.port}/{name}{'?' + query if query else ''}"

    def kill(self) -> None:
        """End it as a loss of power does."""
        self._process.kill()
        self._process.wait()
        assert self._process.stdout is not None
        self._process.stdout.close()

    def halt(self) -> None:
        """Have it stop answering, without ending."""
        self._process.send_signal(signal.SIGSTOP)
        os.waitpid(self._process.pid, os.WUNTRACED)  # one of its threads stops the others, when its turn comes

    def resume(self) -> None:
        """Have it answer again."""
        self._process.send_signal(signal.SIGCONT)

    def stop(self) -> None:
        """End it and delete its folder."""
        self.kill()
        self._own.cleanup()
