"""Answers that are kept in a file."""

from __future__ import annotations

import hashlib
import sqlite3
import threading

import pytest

from rader_plugins.errors import InputError, LLMError
from rader_plugins.files import canonical_json
from rader_plugins.llm import CachedChat, Completion, OpenAIChat
from tests.support.llm_server import LLMServer


def said(text: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": text}]


def echo(body: dict) -> str:
    return f"echo of {body['messages'][-1]['content']} ∑"


async def test_asks_once_and_a_new_process_needs_no_server(tmp_path):
    with LLMServer(echo) as server:
        llm = CachedChat(OpenAIChat(server.url, "m"), tmp_path / "new" / "answers.sqlite")
        first = llm.chat(said("a"), n=2, seed=1)
        assert [answer.text for answer in first] == ["echo of a ∑"] * 2
        assert llm.chat(said("a"), n=2, seed=1) == first
        assert await llm.achat(said("a"), n=2, seed=1) == first
        assert (await llm.achat(said("b")))[0].text == "echo of b ∑"
        assert len(server.requests) == 2
        assert (llm.hits, llm.misses, len(llm.cache)) == (2, 2, 2)
        llm.cache.close()
    reopened = CachedChat(OpenAIChat("http://localhost:1", "m"), tmp_path / "new" / "answers.sqlite")
    assert reopened.chat(said("a"), n=2, seed=1) == first


@pytest.mark.parametrize(
    "other",
    [
        {"messages": said("b")},
        {"n": 2},
        {"temperature": 0.5},
        {"top_p": 0.5},
        {"top_k": 5},
        {"max_tokens": 5},
        {"stop": ["x"]},
        {"seed": 1},
    ],
)
def test_another_call_is_another_entry(tmp_path, other):
    with LLMServer(echo) as server:
        llm = CachedChat(OpenAIChat(server.url), tmp_path / "c")
        llm.chat(said("a"))
        llm.chat(**{"messages": said("a"), **other})
        assert len(server.requests) == 2


def test_a_prompt_and_a_conversation_are_apart(tmp_path):
    with LLMServer(lambda body: body.get("prompt") or "chat") as server:
        llm = CachedChat(OpenAIChat(server.url), tmp_path / "c")
        assert [llm.chat(said("a"))[0].text, llm.complete("a")[0].text] == ["chat", "a"]
        assert [llm.chat(said("a"))[0].text, llm.complete("a")[0].text] == ["chat", "a"]
        assert llm.usage.requests == len(server.requests) == 2


def test_files_from_before_there_was_a_top_k_stay_of_use(tmp_path):
    model = OpenAIChat("http://localhost:1", "m")
    llm = CachedChat(model, tmp_path / "c")
    old = canonical_json([model.fingerprint, said("a"), [2, 0.5, None, 9, ["x"], 7]])
    completions = [Completion("kept", "stop")] * 2
    llm.cache.put(hashlib.sha256(old.encode()).digest(), completions)
    assert llm.chat(said("a"), n=2, temperature=0.5, max_tokens=9, stop=["x"], seed=7) == completions


def test_empty_answers_are_kept_where_asked_for(tmp_path):
    with LLMServer("x", script=("empty", "empty", "refusal")) as server:
        llm = CachedChat(OpenAIChat(server.url), tmp_path / "c", keep_empty=True)
        assert [llm.complete("a")[0].text for _ in range(3)] == [""] * 3
        assert [llm.chat(said("a"))[0].text for _ in range(3)] == [""] * 3
        assert [llm.chat(said("b"))[0].text for _ in range(3)] == ["", "x", "x"]
        assert len(server.requests) == 4


def test_another_model_is_another_entry(tmp_path):
    with LLMServer(echo) as server:
        for model, extra in (("m", {}), ("m2", {}), ("m", {"top_k": 1}), ("m", {})):
            CachedChat(OpenAIChat(server.url, model, extra=extra), tmp_path / "c").chat(said("a"))
        assert len(server.requests) == 3


def test_failures_refusals_and_empty_answers_are_not_kept(tmp_path):
    with LLMServer("x", script=("400", "refusal", "empty", "filtered")) as server:
        llm = CachedChat(OpenAIChat(server.url), tmp_path / "c")
        with pytest.raises(LLMError):
            llm.chat(said("a"))
        assert [llm.chat(said("a"))[0].text for _ in range(5)] == ["", "", "x", "x", "x"]
        assert len(server.requests) == 5


def test_bad_arguments_are_errors_even_so(tmp_path):
    llm = CachedChat(OpenAIChat("http://localhost:1", "m"), tmp_path / "c")
    with pytest.raises(InputError):
        llm.chat(said("a"), n=0)


def test_damaged_and_foreign_files(tmp_path):
    (tmp_path / "damaged").write_bytes(b"nothing like a database " * 100)
    with pytest.raises(InputError, match="damaged.*Delete"):
        CachedChat(OpenAIChat("http://localhost:1", "m"), tmp_path / "damaged")
    with sqlite3.connect(tmp_path / "foreign") as foreign:
        foreign.execute("CREATE TABLE t (x)")
    with pytest.raises(InputError, match="another program"):
        CachedChat(OpenAIChat("http://localhost:1", "m"), tmp_path / "foreign")
    with LLMServer(echo) as server:
        llm = CachedChat(OpenAIChat(server.url, "m"), tmp_path / "c")
        llm.chat(said("a"))
        with sqlite3.connect(tmp_path / "c") as other:
            other.execute("UPDATE chats SET answers = '[{\"tex'")
        with pytest.raises(InputError, match="damaged"):
            llm.chat(said("a"))


def test_many_threads(tmp_path):
    with LLMServer(echo) as server, OpenAIChat(server.url) as inner:
        llm = CachedChat(inner, tmp_path / "c")
        wrong = []

        def ask(start: int) -> None:
            for number in range(40):
                text = str((start + number) % 20)
                if llm.chat(said(text))[0].text != f"echo of {text} ∑":
                    wrong.append(text)

        threads = [threading.Thread(target=ask, args=(start,)) for start in (0, 5, 10, 15)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        assert not wrong
        assert len(llm.cache) == 20


def test_equal_calls_at_once_have_one_answer(tmp_path):
    """Servers that batch requests answer equal ones differently; what is returned is what a rerun will get."""
    texts = iter(f"answer {number}" for number in range(9))
    with LLMServer(lambda body: next(texts)) as server, OpenAIChat(server.url, concurrency=4) as inner:
        server.gate = threading.Barrier(4)
        llm = CachedChat(inner, tmp_path / "c")
        replies = []
        threads = [threading.Thread(target=lambda: replies.append(llm.chat(said("a")))) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        assert len(server.requests) == 4
        replies.append(llm.chat(said("a")))
        assert len(server.requests) == 4
    assert len(replies) == 5
    assert all(answers == replies[0] for answers in replies)
