"""What problems search for at the same time goes out as one batch."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest
from rader_synthesis.retrieval import RetrievalFront

from rader_plugins import Document, RaderIndex, RaderRetriever
from rader_plugins.errors import InputError, RaderError
from tests.support.encoders import HashEncoder
from tests.synthesis.scripted import Library


class Gated(Library):
    """Waits at each search until it is let through."""

    def __init__(self, *arguments, **options) -> None:
        super().__init__(*arguments, **options)
        self.gate = asyncio.Semaphore(0)
        self.broken = False

    async def asearch_batch(self, queries, k=10):
        rankings = await super().asearch_batch(queries, k)
        await self.gate.acquire()
        if self.broken:
            raise RaderError("gone")
        return rankings


async def turn() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_queries_wait_for_the_search_under_way_and_then_go_together():
    library = Gated({"a": "123", "b": "456", "c": "789"})
    front = RetrievalFront(library)
    tasks = [asyncio.create_task(front.search("a", 2))]
    await turn()
    tasks += [asyncio.create_task(front.search(query, k)) for query, k in (("b", 1), ("c", 3))]
    await turn()
    assert library.batches == [["a"]]
    library.gate.release()
    library.gate.release()
    rankings = [[hit.document.id for hit in await task] for task in tasks]
    assert rankings == [["1", "2"], ["4"], ["7", "8", "9"]]
    assert library.batches == [["a"], ["b", "c"]]
    assert (front.queries, front.batches) == (3, 2)


async def test_a_search_that_fails_fails_those_who_wait_for_it_and_no_others():
    library = Gated({"a": "1", "b": "2"})
    front = RetrievalFront(library)
    first = asyncio.create_task(front.search("a", 1))
    await turn()
    second = asyncio.create_task(front.search("b", 1))
    library.broken = True
    library.gate.release()
    with pytest.raises(RaderError, match="gone"):
        await first
    library.broken = False
    library.gate.release()
    assert [hit.document.id for hit in await second] == ["2"]


async def test_one_that_gave_up_does_not_disturb_the_others():
    library = Gated({"a": "1", "b": "2"})
    front = RetrievalFront(library)
    tasks = [asyncio.create_task(front.search(query, 1)) for query in "ab"]
    await turn()
    tasks[0].cancel()
    await turn()
    library.gate.release()
    assert [hit.document.id for hit in await tasks[1]] == ["2"]
    assert tasks[0].cancelled()


async def test_a_retriever_that_forgets_a_query_is_an_error():
    class Forgetful(Library):
        async def asearch_batch(self, queries, k=10):
            return []

    with pytest.raises(InputError, match="0 lists of hits for 1 queries"):
        await RetrievalFront(Forgetful()).search("a", 1)


class Shaky(HashEncoder):
    """Its vectors depend on what else is in the batch, as those of real models do in their last bits."""

    def _encode(self, texts):
        return super()._encode(texts) + np.float32(1e-4 * (len(texts) - 1))


@pytest.mark.parametrize("mode", ["dense", "hybrid", "bm25"])
async def test_scores_do_not_depend_on_who_else_is_waiting(mode):
    encoder = Shaky()
    index = RaderIndex.create(None, encoder=encoder)
    index.add([Document(f"d{number}", f"prime {number} heat {number % 7}") for number in range(20)])
    front = RetrievalFront(RaderRetriever(index, mode=mode))
    alone = [await front.search(query, 5) for query in ("heat 3", "prime 4", "cell")]
    together = await asyncio.gather(*(front.search(query, 5) for query in ("heat 3", "prime 4", "cell")))
    assert [[(hit.document.id, hit.score) for hit in hits] for hits in alone] == [
        [(hit.document.id, hit.score) for hit in hits] for hits in together
    ]
    assert (front.queries, front.batches) == (6, 4)
    vectors = await RaderRetriever(index, mode="dense").asearch_batch(["heat 3", "prime 4", "cell"], 5)
    if mode == "dense":  # the encoder does shake
        assert [hit.score for hit in vectors[0]] != [hit.score for hit in alone[0]]
