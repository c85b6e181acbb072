"""An encoder whose process stalls or dies where a file says so."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Sequence
from pathlib import Path

from rader_plugins.encoding.base import Vectors
from tests.support.encoders import HashEncoder


class MortalEncoder(HashEncoder):
    """Looks into the folder RADER_TEST_FOLDER: ``stall`` stops it after its first batch, ``kill`` ends it, once.

    It notes its process in ``workers``.
    """

    def encode_documents(self, texts: Sequence[str]) -> Vectors:
        folder = Path(os.environ["RADER_TEST_FOLDER"])
        with (folder / "workers").open("a") as stream:
            stream.write(f"{os.getpid()}\n")
        try:
            (folder / "kill").unlink()
        except FileNotFoundError:
            pass
        else:
            os.kill(os.getpid(), signal.SIGKILL)
        while self.calls and (folder / "stall").exists():
            time.sleep(0.1)
        return self._encode(texts)
