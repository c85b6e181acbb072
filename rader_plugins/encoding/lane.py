"""The one thread that runs a model, and the models that are loaded already.

A model is run by a thread of its own: questions go before the batches of documents that wait, and those that wait
together are encoded together; and a forked process gets a new thread, for which OpenMP makes new threads in turn (those
of the parent do not exist there: a product that waits for them waits for ever).
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, TypeVar

from rader_plugins import background
from rader_plugins.background import Workers
from rader_plugins.encoding.batching import plan_batches
from rader_plugins.errors import EncodingError

__all__ = ["LoadedModel", "shared_model"]

R = TypeVar("R")
Run = Callable[[Sequence[Any]], Any]  # a sequence of results

# Questions differ in length, and one batch of all that wait would be padding for a third. A batch costs about as much
# as this share of the tokens of a full one, however few it has.
_BATCHES = 4


@dataclass
class _Question:
    """A text that somebody waits for."""

    item: Any
    size: int
    answer: Future[Any] = field(default_factory=Future)


class LoadedModel:
    """A model and the thread that runs it; several encoders may share one.

    Args:
        model: The model object that the functions of a call get.
        device: Device that holds the model: ``cpu``, ``cuda``, ...
    """

    def __init__(self, model: Any, device: str) -> None:
        self.model = model
        self.device = device
        self._workers = Workers(1, "rader-model", computes=True)
        self._forks = background.forks()
        self._on_fork()
        background.after_fork(self._on_fork)

    def _on_fork(self) -> None:
        self._lock = threading.Lock()
        self._questions: dict[Hashable, list[_Question]] = {}

    def run(self, work: Callable[[], R]) -> R:
        """Return what ``work`` returns, run in the model's thread behind what waits for it.

        Raises:
            EncodingError: The model was loaded before a fork and cannot be used in this process.
        """
        self._check_process()
        return _result(self._workers.submit(work))

    def ask(self, items: Sequence[Any], sizes: Sequence[int], run: Run, *, kind: Hashable, budget: int) -> list[Any]:
        """Return one result for each item, before all documents that wait, together with others of its kind.

        Args:
            items: The inputs, each as ``run`` takes it.
            sizes: Length of each item, in the unit of the batches' budget.
            run: Runs the model on items of one kind, whoever asked for them.
            kind: Items that may be run together have the same.
            budget: Most padded length of items that are run at once, a single one excepted.
        """
        self._check_process()
        questions = [_Question(item, size) for item, size in zip(items, sizes, strict=True)]
        with self._lock:
            self._questions.setdefault(kind, []).extend(questions)
        self._workers.submit_first(self._answer, kind, run, budget)
        return [_result(question.answer) for question in questions]

    def _answer(self, kind: Hashable, run: Run, budget: int) -> None:
        """Run as many of the questions of a kind as fit, those of similar length together, until none is left."""
        while True:
            with self._lock:
                questions = self._questions.get(kind, [])
                fitting = _fitting(questions, budget)
                self._questions[kind] = questions[len(fitting) :]
                if not self._questions[kind]:
                    del self._questions[kind]
            if not fitting:
                return
            for positions in plan_batches([question.size for question in fitting], budget // _BATCHES):
                _run_batch([fitting[position] for position in positions], run)

    def take_off_the_shelf(self) -> None:
        """Give this model to nobody else from now on."""
        _shelf.drop(self)

    def _check_process(self) -> None:
        if self._forks != background.forks() and self.device != "cpu":
            raise EncodingError(
                f"The model was loaded on {self.device} before this process was forked, and no GPU can be used beyond "
                "a fork. Load it in each worker (gunicorn: without --preload, or in the post_fork hook), or start "
                "workers by spawn."
            )


def _run_batch(batch: Sequence[_Question], run: Run) -> None:
    try:
        results = run([question.item for question in batch])
    except BaseException as error:  # noqa: BLE001 - raised again where the answer is waited for
        for question in batch:
            question.answer.set_exception(error)
    else:
        for question, result in zip(batch, results, strict=True):
            question.answer.set_result(result)


def _fitting(questions: Sequence[_Question], budget: int) -> list[_Question]:
    longest = 0
    for count, question in enumerate(questions):
        longest = max(longest, question.size)
        if count and (count + 1) * longest > budget:
            return list(questions[:count])
    return list(questions)


def _result(future: Future[R]) -> R:
    """Wait for a result; whoever stops waiting takes back what has not begun."""
    try:
        return future.result()
    except BaseException:
        future.cancel()
        raise


class _Shelf:
    """Models that are loaded in this process, as long as somebody uses them."""

    def __init__(self) -> None:
        self._models: weakref.WeakValueDictionary[Hashable, LoadedModel] = weakref.WeakValueDictionary()
        self._on_fork()
        background.after_fork(self._on_fork)

    def _on_fork(self) -> None:
        self._lock = threading.Lock()
        self._locks: dict[Hashable, threading.Lock] = {}

    def take(self, key: Hashable, load: Callable[[], LoadedModel]) -> LoadedModel:
        with self._lock:
            lock = self._locks.setdefault(key, threading.Lock())
        with lock:  # who asks for a model that is being loaded waits for it
            loaded = self._models.get(key)
            if loaded is None or loaded._forks != background.forks() and loaded.device != "cpu":
                loaded = self._models[key] = load()
            return loaded

    def drop(self, loaded: LoadedModel) -> None:
        with self._lock:
            for key in [key for key, model in self._models.items() if model is loaded]:
                del self._models[key]


_shelf = _Shelf()


def shared_model(key: Hashable, load: Callable[[], LoadedModel]) -> LoadedModel:
    """Return the model that was loaded under a key and is still in use, or load it.

    Args:
        key: Everything that decides what is loaded: place, content, device, precision.
        load: Function that loads the model; called only where none is in use under the key.
    """
    return _shelf.take(key, load)
