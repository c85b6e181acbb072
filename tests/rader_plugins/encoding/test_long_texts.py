"""Of a long text only what decides the result is tokenised: it is that of the whole text."""

from __future__ import annotations

import pytest

pytest.importorskip("transformers")

from pathlib import Path  # noqa: E402
from typing import Any  # noqa: E402

from hypothesis import given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402

from rader_plugins import Recipe  # noqa: E402
from rader_plugins.encoding import tokens  # noqa: E402
from rader_plugins.encoding.remote_text import RemoteText  # noqa: E402
from rader_plugins.encoding.tokens import tokenize  # noqa: E402
from rader_plugins.reranking.pairs import tokenize_pairs  # noqa: E402
from tests.support.examples import examples  # noqa: E402
from tests.support.tiny_models import bpe_tokenizer, tiny_bert  # noqa: E402

LIMIT = 24
PIECES = st.sampled_from(
    [
        "a ",
        "theorem ",
        "∑",
        "数学",
        "x" * 40,
        "\n\n",
        " " * 60,
        "naïve 🙂 ",
        "<|im_end|>",
        "C++ foo_bar.baz(",
        "é",
        "0" * 9,
    ]
)
LONG = st.builds(
    lambda pieces, times: "".join(pieces) * times, st.lists(PIECES, max_size=6), st.sampled_from([1, 3, 40])
)
FEW = settings(max_examples=examples(30), deadline=None)
SHORT = st.builds("".join, st.lists(PIECES, max_size=3))


def recipe(**fields: Any) -> Recipe:
    lengths = {"max_query_length": LIMIT, "max_document_length": LIMIT}
    return Recipe(
        **{"name": "t", "model": "owner/t", "append_eos": True, "eos_token": "<|im_end|>", **lengths, **fields}
    )


class Whole:
    """Within it, texts are tokenised as a whole."""

    def __enter__(self) -> None:
        self._before, tokens._CHARACTERS = tokens._CHARACTERS, 10**9

    def __exit__(self, *exception: object) -> None:
        tokens._CHARACTERS = self._before


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(tiny_bert(tmp_path_factory.mktemp("bert")), model_max_length=LIMIT)


@pytest.fixture(scope="module")
def bpe() -> Any:
    return bpe_tokenizer()


@FEW
@given(pairs=st.lists(st.tuples(LONG, LONG), max_size=3))
@pytest.mark.parametrize("template", ["query: {query} document: {document}", "{query} [{document}] yes or no?"])
def test_pairs_in_a_template(bpe: Any, pairs: list[tuple[str, str]], template: str) -> None:
    own = recipe(kind="reranker", pair_template=template)
    cut = tokenize_pairs(bpe, own, pairs, None)
    with Whole():
        assert cut == tokenize_pairs(bpe, own, pairs, None)


@FEW
@given(pairs=st.lists(st.tuples(SHORT, LONG), max_size=3))
def test_pairs_that_the_tokenizer_joins(bert: Any, pairs: list[tuple[str, str]]) -> None:
    own = recipe(kind="reranker", append_eos=False)
    cut = tokenize_pairs(bert, own, pairs, None)
    with Whole():
        assert cut == tokenize_pairs(bert, own, pairs, None)


@FEW
@given(texts=st.lists(LONG, max_size=3))
@pytest.mark.parametrize("append_eos", [True, False])
def test_texts_of_encoders(bpe: Any, texts: list[str], append_eos: bool) -> None:
    own = recipe(append_eos=append_eos)
    cut = tokenize(bpe, own, "document", texts)
    with Whole():
        assert cut == tokenize(bpe, own, "document", texts)


@pytest.mark.parametrize("adds_eos", [False, True])
def test_texts_for_a_server(tmp_path: Path, adds_eos: bool) -> None:
    bpe_tokenizer(adds_eos=adds_eos).save_pretrained(tmp_path)
    text = RemoteText(recipe(), tokenizer=tmp_path, server_appends_eos=False)

    @FEW
    @given(texts=st.lists(LONG, max_size=3))
    def equal(texts: list[str]) -> None:
        cut = text.prepare("document", texts, None)
        with Whole():
            assert cut == text.prepare("document", texts, None)

    equal()


def test_a_long_text_is_not_tokenised_to_its_end(
    bpe: Any, bert: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    characters = 0

    def counted(function: Any) -> Any:
        def call(self: Any, *texts: Any, **options: Any) -> Any:
            nonlocal characters
            characters += sum(len(part) for text in texts for part in ([text] if isinstance(text, str) else text))
            return function(self, *texts, **options)

        return call

    for tokenizer in {type(bpe), type(bert)}:
        monkeypatch.setattr(tokenizer, "__call__", counted(tokenizer.__call__))
    monkeypatch.setattr(RemoteText, "_offsets", counted(RemoteText._offsets))
    bpe.save_pretrained(tmp_path)
    served = RemoteText(recipe(), tokenizer=tmp_path, server_appends_eos=False)
    template = recipe(kind="reranker", pair_template="{query} [{document}] yes?")
    text = "Among any six people three know each other. " * 20_000
    for work in (
        lambda: tokenize_pairs(bpe, template, [("why", text)] * 8, None),
        lambda: tokenize_pairs(bpe, template, [(text, "because")] * 8, None),
        lambda: tokenize_pairs(bert, recipe(kind="reranker", append_eos=False), [("why", text)] * 8, None),
        lambda: served.prepare("document", [text] * 8, None),
        lambda: tokenize(bpe, recipe(), "document", [text] * 8),
    ):
        characters = 0
        work()
        assert 0 < characters < len(text) / 10
