"""The line on the terminal that tells how far a training is."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Iterator
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

__all__ = ["ProgressLine"]

_PAUSE = 0.5


class ProgressLine(TrainerCallback):
    """Shows step, loss, learning rate and minutes left on one line of a terminal; says nothing in a pipe.

    Args:
        stream: Where to; default: the standard error.
    """

    def __init__(self, stream: Any = None) -> None:
        self._stream = sys.stderr if stream is None else stream
        self._shown = self._stream is not None and self._stream.isatty()
        self._first = 0
        self._started = self._last = 0.0
        self._figures = ""
        self._width = 0

    @contextlib.contextmanager
    def doing(self, text: str) -> Iterator[None]:
        """Show what is done while the block runs."""
        if self._shown:
            self._write(f"{text} ...")
        try:
            yield
        finally:
            self._clear()

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Start the clock."""
        self._first, self._started = state.global_step, time.monotonic()

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, float] | None = None,
        **kwargs: Any,
    ) -> None:
        """Take up loss and learning rate."""
        if logs and "loss" in logs:
            rate = logs.get("learning_rate")
            self._figures = f"  loss {float(logs['loss']):.4f}" + ("" if rate is None else f"  rate {float(rate):.1e}")

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Show the line, at most twice a second."""
        now = time.monotonic()
        if not self._shown or (now - self._last < _PAUSE and state.global_step < state.max_steps):
            return
        self._last = now
        seconds = (now - self._started) / max(1, state.global_step - self._first)
        minutes = seconds * (state.max_steps - state.global_step) / 60
        remaining = f"{minutes:.0f} min left" if minutes >= 1 else f"{60 * minutes:.0f} s left"
        self._write(f"step {state.global_step:,}/{state.max_steps:,}{self._figures}  {remaining}")

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Clear the line."""
        self._clear()

    def _clear(self) -> None:
        if self._shown:
            self._write("")
            self._stream.write("\r")
            self._stream.flush()

    def _write(self, line: str) -> None:
        self._stream.write("\r" + line.ljust(self._width))
        self._stream.flush()
        self._width = len(line)
