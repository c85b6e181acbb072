"""Run Python code in a process of its own and kill it (SIGKILL) at a moment of our choice."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]


def start(code: str, *arguments: str) -> subprocess.Popen[str]:
    """Start ``code`` with ``arguments`` in sys.argv[1:]; its standard output is a pipe of lines."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path]), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, "-u", "-c", code, *arguments], stdout=subprocess.PIPE, text=True, env=environment
    )


def kill_after(process: subprocess.Popen[str], seconds: float, line: str = "") -> list[str]:
    """Kill the process ``seconds`` after its first line of output that begins so; return its complete lines."""
    assert process.stdout is not None
    lines = [process.stdout.readline()]
    while lines[-1] and not lines[-1].startswith(line):
        lines.append(process.stdout.readline())
    timer = threading.Timer(seconds, process.kill)
    timer.start()
    lines += process.stdout.readlines()
    process.wait()
    timer.cancel()
    return [line.rstrip("\n") for line in lines if line.endswith("\n")]


class KillAtRequest:
    """Answers for a scripted server; at a request of our choice the process that asks is killed.

    Unlike a moment, a request comes on a quick machine and on a slow one.
    """

    def __init__(self, answer: Callable[[dict[str, Any]], Any]) -> None:
        self._answer = answer
        self._lock = threading.Lock()
        self._left = 0
        self._process: subprocess.Popen[str] | None = None

    def __call__(self, body: dict[str, Any]) -> Any:
        with self._lock:
            self._left -= 1
            if self._left == 0 and self._process is not None:
                self._process.kill()
        return self._answer(body)

    def run(self, process: subprocess.Popen[str], requests: int) -> list[str]:
        """Kill the process at so many requests from now, if it makes them; return the lines it had written."""
        with self._lock:
            self._process, self._left = process, requests
        lines = process.communicate()[0].splitlines()
        with self._lock:
            self._process = None
        return lines
