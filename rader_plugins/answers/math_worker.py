"""A process that compares expressions, so that one that never ends can be ended from outside."""

from __future__ import annotations

import atexit
import contextlib
import importlib
import json
import logging
import os
import queue
import subprocess
import sys
import threading
from typing import IO, Any

from rader_plugins.errors import RaderError

__all__ = ["MathWorker"]

_LOG = logging.getLogger(__name__)
_START = 120.0  # seconds to import SymPy, on a busy machine
_MEMORY = 4 << 30
_INNER = 5  # seconds for parsing and comparing within the process, where math-verify can still say so


class MathWorker:
    """Starts the process when it is first asked and again after it had to be ended. Not for several threads at once."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[str] | None = None
        self._owner = 0
        self._answers: queue.SimpleQueue[str | None] = queue.SimpleQueue()

    def equal(self, given: str, right: str, timeout: float) -> bool:
        """Whether math-verify takes the two for equal; False if it comes to no end or fails on them."""
        for attempt in (1, 2):
            process = self._started()
            try:
                _pipe(process.stdin).write(json.dumps([given, right]) + "\n")
                _pipe(process.stdin).flush()
                answer = self._answers.get(timeout=timeout)
            except queue.Empty:
                self.stop()
                _LOG.warning("Comparing %.100r with %.100r took over %.0f s and was given up.", given, right, timeout)
                return False
            except OSError:
                answer = None
            if answer is not None:
                return bool(json.loads(answer))
            self.stop()
            if attempt == 2:
                _LOG.warning("The process that compares expressions ended on %.100r and %.100r.", given, right)
        return False

    def stop(self) -> None:
        """End the process, if there is one."""
        process, self._process = self._process, None
        if process is None or self._owner != os.getpid():
            return
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()

    def _started(self) -> subprocess.Popen[str]:
        if self._process is not None and self._owner == os.getpid():  # not one inherited over a fork
            return self._process
        self._answers = queue.SimpleQueue()
        self._owner = os.getpid()
        self._process = process = subprocess.Popen(
            [sys.executable, "-m", "rader_plugins.answers.math_worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            encoding="utf-8",
            # It must find this very package, however the application did.
            env={**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
        )
        atexit.register(self.stop)
        reader = threading.Thread(target=_read, args=(_pipe(process.stdout), self._answers), daemon=True)
        reader.start()
        try:
            ready = self._answers.get(timeout=_START)
        except queue.Empty:
            ready = None
        if ready is None:
            self.stop()
            raise RaderError(
                "The process that compares mathematical answers did not start. Does `import math_verify` work?"
            )
        return process


def _pipe(pipe: IO[str] | None) -> IO[str]:
    """Return a pipe that was asked for and is therefore there."""
    if pipe is None:  # pragma: no cover - Popen was told to make it
        raise RaderError("A pipe is missing.")
    return pipe


def _read(pipe: IO[str], answers: queue.SimpleQueue[str | None]) -> None:
    with contextlib.suppress(ValueError, OSError):
        for line in pipe:
            answers.put(line)
    answers.put(None)


def serve() -> None:
    """Answer comparisons from the standard input, one JSON list [answer, gold] a line, until it is closed."""
    # An expression may ask for more memory than there is: better an error here than a machine without any.
    with contextlib.suppress(ImportError, ValueError, OSError):
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, resource.getrlimit(resource.RLIMIT_AS)[1]))
    import math_verify

    def parsed(text: str) -> Any:
        return math_verify.parse(f"$\\boxed{{{text}}}$", parsing_timeout=_INNER)

    logging.disable(logging.CRITICAL)
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # whatever a library prints is no answer
    answers.write("ready\n")
    answers.flush()
    for line in sys.stdin:
        answer, gold = json.loads(line)
        try:
            answer_forms, gold_forms = parsed(answer), parsed(gold)
            same = bool(answer_forms and gold_forms) and (
                math_verify.verify(gold_forms, answer_forms, timeout_seconds=_INNER)
                or math_verify.verify(answer_forms, gold_forms, timeout_seconds=_INNER)
            )
            same = same and not _are_apart(answer_forms[0], gold_forms[0])
        except Exception:  # noqa: BLE001 - SymPy raises whatever it likes; such a pair is not equal
            same = False
        answers.write(json.dumps(bool(same)) + "\n")
        answers.flush()


def _are_apart(one: Any, other: Any) -> bool:
    """Whether two real numbers differ by more than rounding, which math-verify does at six places.

    Expressions without decimals are compared to forty digits, others to five.
    """
    sympy = importlib.import_module("sympy")  # comes with math-verify
    if not all(isinstance(value, sympy.Expr) and value.is_number and value.is_extended_real for value in (one, other)):
        return False
    scale = max(abs(sympy.N(one, 60)), abs(sympy.N(other, 60)))
    rounded = one.has(sympy.Float) or other.has(sympy.Float)
    return bool(abs(sympy.N(one - other, 60)) > scale * sympy.Rational(1, 10 ** (5 if rounded else 40)))


if __name__ == "__main__":
    serve()
