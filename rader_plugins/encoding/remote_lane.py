"""`QueryLane`: queries of several callers that wait for a connection travel in one request."""

from __future__ import annotations

from collections import deque
from concurrent.futures import Future
from dataclasses import dataclass, field

from rader_plugins import background
from rader_plugins.background import Workers
from rader_plugins.encoding.client import InputRefusedError
from rader_plugins.encoding.remote_batches import BatchLimits, Embed, RemoteCall

__all__ = ["QueryLane"]


@dataclass
class _Waiting:
    """A call of which nothing was sent yet."""

    call: RemoteCall
    done: Future[int] = field(default_factory=Future)

    def run(self, embed: Embed, limits: BatchLimits) -> None:
        """Send it alone."""
        try:
            count = self.call.encode(range(len(self.call.texts)), embed, limits)
        except BaseException as error:  # noqa: BLE001 - raised again where it is waited for
            self.done.set_exception(error)
        else:
            self.done.set_result(count)

    def cancel_with(self, job: Future[None]) -> None:
        """Give up where the job was given up that would have sent it."""
        if job.cancelled():
            self.done.cancel()


class QueryLane:
    """The queries that wait for one of the connections to a server. Safe to use from several threads.

    Where a connection is free, a query is sent at once and alone; so nothing is delayed in order to be joined. A text
    that the server refuses is found as among those of one call, and only its caller hears of it.

    Args:
        pool: Has a thread for each connection.
        limits: What a request may hold.
    """

    def __init__(self, pool: Workers, limits: BatchLimits) -> None:
        self._pool = pool
        self._limits = limits
        self._lock = background.Lock()
        self._forget()
        background.after_fork(self._forget)

    def _forget(self) -> None:
        self._waiting: deque[_Waiting] = deque()

    def submit(self, call: RemoteCall, embed: Embed) -> Future[int]:
        """Send the texts of a call that fit into a request; the future gives their number.

        Args:
            call: The call whose texts are sent.
            embed: Sends texts, of this call and of others, and returns their vectors.

        Raises:
            RuntimeError: The pool was shut down.
        """
        pending = _Waiting(call)
        with self._lock:
            self._waiting.append(pending)
        # As many jobs as calls, and each sends at least one: none is left.
        self._pool.submit_first(self._send, embed).add_done_callback(pending.cancel_with)
        return pending.done

    def _send(self, embed: Embed) -> None:
        together = self._take()
        if len(together) < 2:
            for pending in together:
                pending.run(embed, self._limits)
            return
        joined = RemoteCall("query", [text for pending in together for text in pending.call.texts], [])
        try:
            joined.encode(range(len(joined.texts)), embed, self._limits)
        except InputRefusedError:  # no text of any was taken: what that means is for each call to say
            for pending in together:
                pending.run(embed, self._limits)
        except BaseException as error:  # noqa: BLE001 - raised again where it is waited for
            for pending in together:
                pending.done.set_exception(error)
        else:
            first = 0
            for pending in together:
                pending.call.take_from(joined, first)
                first += len(pending.call.texts)
                pending.done.set_result(len(pending.call.texts))

    def _take(self) -> list[_Waiting]:
        """Take as many calls as fit into a request, in the order in which they came."""
        together: list[_Waiting] = []
        texts: list[str] = []
        with self._lock:
            while self._waiting:
                texts += self._waiting[0].call.texts
                if together and len(self._limits.cut(texts)) > 1:
                    break
                pending = self._waiting.popleft()
                if pending.done.set_running_or_notify_cancel():
                    together.append(pending)
                else:
                    del texts[-len(pending.call.texts) :]
        return together
