"""What waits for a model is run together, and little of it is padding."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from rader_plugins.encoding.lane import LoadedModel
from tests.support.embedding_server import wait_for


def test_questions_that_wait_are_run_with_those_of_similar_length() -> None:
    loaded = LoadedModel(None, "cpu")
    sizes = [5, 60, 7, 58, 6, 61, 5, 59, 7, 60]
    begun, go_on = threading.Event(), threading.Event()
    runs: list[list[int]] = []

    def run(items: Any) -> list[str]:
        runs.append(items)
        return [f"{item} tokens" for item in items]

    def block() -> None:
        begun.set()
        assert go_on.wait(20)

    with ThreadPoolExecutor(len(sizes) + 1) as pool:
        blocked = pool.submit(loaded.run, block)
        assert begun.wait(20)
        answers = [pool.submit(loaded.ask, [size], [size], run, kind="k", budget=2000) for size in sizes]
        wait_for(lambda: sum(map(len, loaded._questions.values())) == len(sizes))
        go_on.set()
        assert [answer.result(20) for answer in answers] == [[f"{size} tokens"] for size in sizes]
        blocked.result(20)
    assert sorted(item for items in runs for item in items) == sorted(sizes)
    assert len(runs) < len(sizes), "some were run together"
    assert sum(len(items) * max(items) for items in runs) < 1.2 * sum(sizes), "and little of it was padding"
