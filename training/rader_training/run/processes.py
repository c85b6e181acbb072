"""Several processes of one training, as torchrun starts them: who writes, and how the others learn what came of it."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, TypeVar

from rader_plugins.encoding.models import pick_device
from rader_plugins.errors import import_extra

__all__ = ["all_agree", "from_main", "is_main", "leave", "local_device", "process_count", "wait"]

T = TypeVar("T")


def leave() -> None:
    """Part from the other processes in order: one that ends while another still listens to it aborts that one."""
    if (group := _group()) is not None:
        group.barrier()
        group.destroy_process_group()


def process_count() -> int:
    """Return how many processes train together."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def is_main() -> bool:
    """Whether this is the process that writes: the first of all, or the only one."""
    return process_count() == 1 or os.environ.get("RANK", "0") == "0"


def local_device(device: str | None) -> str:
    """Return where this process computes: the GPU of its own, if there are several and none was named."""
    picked = pick_device(device)
    return f"cuda:{os.environ.get('LOCAL_RANK', '0')}" if picked == "cuda" and process_count() > 1 else picked


def from_main(make: Callable[[], T]) -> T:
    """Return what the first process makes, in all of them; its error is raised in all of them, too.

    The others wait. Only what can be sent may be made.
    """
    group = _group()
    if group is None:
        return make()
    sent: list[Any] = [None]
    if group.get_rank() == 0:
        try:
            sent = [(make(), None)]
        except Exception as error:  # noqa: BLE001 - whatever it is, the others must not wait for ever
            sent = [(None, error)]
    group.broadcast_object_list(sent, src=0)
    value, failure = sent[0]
    if failure is not None:
        raise failure
    result: T = value
    return result


def all_agree(holds: Any) -> bool:
    """Whether something holds in every process; ``holds`` is a tensor of one truth value, and all must come here."""
    if (group := _group()) is None:
        return bool(holds)
    agreement = holds.float().reshape(1)
    group.all_reduce(agreement, op=group.ReduceOp.MIN)
    return bool(agreement.item())


def wait() -> None:
    """Go on when all processes have come here."""
    if (group := _group()) is not None:
        group.barrier()


def _group() -> Any:
    """Return the module that processes talk through; None where there is only one."""
    distributed = import_extra("torch.distributed", "training")
    if process_count() == 1 or not distributed.is_available() or not distributed.is_initialized():
        return None
    return distributed
