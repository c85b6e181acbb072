"""One function from text to token ids: cut first, then one end-of-sequence token."""

from __future__ import annotations

import threading

import pytest

pytest.importorskip("transformers")

from rader_plugins import Recipe  # noqa: E402
from rader_plugins.encoding.batching import plan_batches  # noqa: E402
from rader_plugins.encoding.tokens import prompt_length, tokenize  # noqa: E402
from rader_plugins.errors import InputError  # noqa: E402
from tests.support.tiny_models import bpe_tokenizer  # noqa: E402

EOS = 2


def recipe(**fields) -> Recipe:
    return Recipe(**{"name": "t", "model": "t", "append_eos": True, "max_query_length": 16, **fields})


@pytest.mark.parametrize("adds_eos", [False, True])
@pytest.mark.parametrize("adds_bos", [False, True])
def test_every_text_ends_in_one_eos(adds_eos, adds_bos):
    tokenizer = bpe_tokenizer(adds_eos=adds_eos, adds_bos=adds_bos)
    texts = ["short", "word " * 100, "already <|im_end|>", "twice <|im_end|><|im_end|>", "", "inner <|im_end|> one"]
    tokens = tokenize(tokenizer, recipe(), "query", texts)
    assert tokens.truncated == [1]
    assert len(tokens.ids[1]) == 16
    assert all(row[-1] == EOS and row[-2:-1] != [EOS] for row in tokens.ids)
    assert all((row[0] == 1) == adds_bos for row in tokens.ids if len(row) > 1)
    plain = bpe_tokenizer()
    assert tokens.ids[2][adds_bos:] == [*plain("already ")["input_ids"], EOS]
    assert tokens.ids[4] == [1] * adds_bos + [EOS]


def test_exactly_at_the_limit_is_not_cut():
    tokenizer = bpe_tokenizer()
    text = "z " * 20
    body = tokenizer(text)["input_ids"]
    exact = recipe(max_query_length=len(body) + 1)
    assert tokenize(tokenizer, exact, "query", [text]).truncated == []
    assert tokenize(tokenizer, recipe(max_query_length=len(body)), "query", [text]).truncated == [0]


@pytest.mark.parametrize("adds_eos", [False, True])
def test_own_special_tokens_without_append_eos(adds_eos):
    tokenizer = bpe_tokenizer(adds_eos=adds_eos)
    tokens = tokenize(tokenizer, recipe(append_eos=False), "query", ["short", "word " * 100])
    assert tokens.truncated == [1]
    assert [row[-1] == EOS for row in tokens.ids] == [adds_eos, adds_eos]
    assert len(tokens.ids[1]) == 16


def test_templates_and_another_eos():
    tokenizer = bpe_tokenizer()
    own = recipe(
        query_template="query: {instruction}{text}", document_template="document: {text}", eos_token="<|endoftext|>"
    )
    assert tokenize(tokenizer, own, "query", ["x"], instruction="Do: ").ids[0] == [
        *tokenizer("query: Do: x")["input_ids"],
        0,
    ]
    with pytest.raises(InputError, match="no instruction"):
        tokenize(tokenizer, own, "document", ["x"], instruction="Do: ")


def test_eos_that_does_not_exist():
    tokenizer = bpe_tokenizer()
    with pytest.raises(InputError, match="not a token"):
        tokenize(tokenizer, recipe(eos_token="<nothing>"), "query", ["x"])
    tokenizer.eos_token = None
    with pytest.raises(InputError, match="has none"):
        tokenize(tokenizer, recipe(), "query", ["x"])


def test_prompt_length():
    assert prompt_length(bpe_tokenizer(adds_eos=True, adds_bos=True), recipe(), "query: ") == 1 + len(
        bpe_tokenizer()("query: ")["input_ids"]
    )


def test_threads_with_different_lengths():
    """A fast tokenizer keeps its truncation in the object: without the lock, some texts are cut at another's length."""
    tokenizer = bpe_tokenizer()
    recipes = [recipe(append_eos=False, max_query_length=length) for length in (5, 9, 17, 33)]
    wrong = []

    def work(own: Recipe) -> None:
        for _ in range(40):
            ids = tokenize(tokenizer, own, "query", ["word " * 60] * 4).ids
            wrong.extend(row for row in ids if len(row) != own.max_query_length)

    threads = [threading.Thread(target=work, args=(own,)) for own in recipes]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_batches_hold_every_text_once_and_keep_to_the_budget():
    lengths = [7, 300, 1, 7, 7, 12, 12, 80, 3000]
    for budget in (1, 50, 400, 10**9):
        batches = plan_batches(lengths, budget)
        assert sorted(index for batch in batches for index in batch) == list(range(len(lengths)))
        assert all(
            len(batch) == 1 or len(batch) * max(lengths[index] for index in batch) <= budget for batch in batches
        )
    assert plan_batches([], 10) == []
