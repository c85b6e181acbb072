"""Run Python code in a process of its own and kill it (SIGKILL) at a moment of our choice."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def start(code: str, *arguments: str) -> subprocess.Popen[str]:
    """Start ``code`` with ``arguments`` in sys.argv[1:]; its standard output is a pipe of lines."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path]), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, "-u", "-c", code, *arguments], stdout=subprocess.PIPE, text=True, env=environment
    )


def kill_after(process: subprocess.Popen[str], seconds: float) -> list[str]:
    """Kill the process ``seconds`` after its first line of output; return the complete lines it had written."""
    assert process.stdout is not None
    lines = [process.stdout.readline()]
    timer = threading.Timer(seconds, process.kill)
    timer.start()
    lines += process.stdout.readlines()
    process.wait()
    timer.cancel()
    return [line.rstrip("\n") for line in lines if line.endswith("\n")]
