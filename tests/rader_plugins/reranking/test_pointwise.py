"""The pointwise reranker equals hand-written transformers code and sentence-transformers, whatever the batch."""

from __future__ import annotations

import asyncio
import threading
import warnings

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("sentence_transformers")

from transformers import AutoModelForSequenceClassification, AutoTokenizer  # noqa: E402

from rader_plugins import Document, Hit, Recipe  # noqa: E402
from rader_plugins.errors import EncodingError, InputError, TruncationWarning  # noqa: E402
from rader_plugins.reranking import PointwiseReranker, load_reranker  # noqa: E402
from tests.support.tiny_models import bpe_tokenizer, tiny_qwen2  # noqa: E402
from tests.support.tiny_rerankers import (  # noqa: E402
    tiny_classifier_lora,
    tiny_cross_encoder,
    tiny_qwen2_classifier,
)

EOS = 2
LIMIT = 64
PAIRS = [
    ("three friends", "Ramsey's theorem: among six people three know each other or three do not"),
    ("three friends", "short"),
    ("three friends", ""),
    ("", "x"),
    ("why is the sky blue", "ünïcode ∑ 🙂 <|im_end|>"),
    ("why is the sky blue", "long text " * 200),
    ("why", "long text " * 4),
]
pytestmark = pytest.mark.filterwarnings("ignore::rader_plugins.errors.TruncationWarning")


def recipe_for(folder, **fields) -> Recipe:
    return Recipe(
        **{
            "name": "tiny",
            "model": str(folder),
            "kind": "reranker",
            "pair_template": "query: {query} document: {document}",
            "append_eos": True,
            "max_query_length": LIMIT,
            "max_document_length": LIMIT,
            **fields,
        }
    )


def by_hand(model, pairs, limit=LIMIT) -> np.ndarray:
    """Tokenise, truncate, append EOS once, logit at the last token; one pair at a time, without padding."""
    tokenizer = bpe_tokenizer()
    model.config.pad_token_id = None
    scores = []
    for query, document in pairs:
        ids = tokenizer(f"query: {query} document: {document}")["input_ids"]
        while ids[-1] == EOS:
            ids = ids[:-1]
        with torch.no_grad():
            scores.append(float(model(torch.tensor([ids[: limit - 1] + [EOS]])).logits[0, 0]))
    return np.array(scores, dtype=np.float32)


def plain(folder):
    return AutoModelForSequenceClassification.from_pretrained(folder, dtype=torch.float32).eval()


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return tiny_qwen2_classifier(tmp_path_factory.mktemp("tiny"))


@pytest.fixture
def reranker(tiny) -> PointwiseReranker:
    return load_reranker(recipe_for(tiny))


@pytest.fixture(scope="module")
def cross(tmp_path_factory):
    return tiny_cross_encoder(tmp_path_factory.mktemp("cross"))


@pytest.mark.parametrize("batch_tokens", [None, 1, 150])
def test_equals_hand_written_code(tiny, batch_tokens):
    scores = load_reranker(recipe_for(tiny), batch_tokens=batch_tokens).score_pairs(PAIRS)
    expected = by_hand(plain(tiny), PAIRS)
    assert scores.dtype == np.float32
    np.testing.assert_allclose(scores, expected, atol=1e-4)
    assert len({round(float(score), 3) for score in scores}) > 4, "a head that says the same to all proves nothing"


@pytest.mark.parametrize("padding", [None, 0, EOS])
def test_padding_token_does_not_matter(tmp_path, padding):
    """A base without padding token, and one whose padding token is the end-of-sequence token."""
    folder = tiny_qwen2_classifier(tmp_path / "model", pad_token_id=padding)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.pad_token = None if padding is None else tokenizer.convert_ids_to_tokens(padding)
    tokenizer.save_pretrained(folder)
    reranker = load_reranker(recipe_for(folder))
    assert reranker.tokenizer.pad_token_id == padding
    np.testing.assert_allclose(reranker.score_pairs(PAIRS), by_hand(plain(folder), PAIRS), atol=1e-4)


def test_lora_adapter_with_its_head_is_merged(tmp_path):
    from peft import PeftModel

    base = tiny_qwen2(tmp_path / "base", causal_lm=True)
    adapter = tiny_classifier_lora(tmp_path / "adapter", base)
    scores = []
    for seed in (5, 6):  # a head left at random would differ
        torch.manual_seed(seed)
        scores.append(load_reranker(recipe_for(adapter, base_model=str(base))).score_pairs(PAIRS))
    model = PeftModel.from_pretrained(AutoModelForSequenceClassification.from_pretrained(base, num_labels=1), adapter)
    np.testing.assert_allclose(scores[0], by_hand(model.eval(), PAIRS), atol=1e-4)
    np.testing.assert_array_equal(scores[0], scores[1])


def test_recipe_file_in_the_directory(tmp_path):
    from rader_plugins.recipes.resolve import write_recipe

    folder = tiny_qwen2_classifier(tmp_path / "model")
    write_recipe(folder, recipe_for("somewhere-else"), same_vectors=False)
    reranker = load_reranker(folder)
    np.testing.assert_allclose(reranker.score_pairs(PAIRS), by_hand(plain(folder), PAIRS), atol=1e-4)
    assert reranker.recipe.model.startswith("sha256:")
    stated = load_reranker(folder, recipe=recipe_for("unimportant"))
    np.testing.assert_array_equal(stated.score_pairs(PAIRS), reranker.score_pairs(PAIRS))


def test_the_document_is_cut_not_the_query(tiny, reranker):
    query = "a question about mutual friends " * 2
    ids = bpe_tokenizer()(f"query: {query} document: ")["input_ids"]
    assert LIMIT // 2 < len(ids) < LIMIT - LIMIT // 4, "the query must leave its quarter to the document"
    pairs = [(query, f"{word} text " * 100) for word in ("long", "other")]
    scores = reranker.score_pairs(pairs)
    np.testing.assert_allclose(scores, by_hand(plain(tiny), pairs), atol=1e-4)
    assert scores[0] != scores[1]


def test_a_query_that_leaves_no_room_is_cut(reranker):
    endless = "why is the sky blue, and why is it not green? " * 50
    scores = reranker.score_pairs([(endless, "Rayleigh scattering"), (endless, "Ramsey's theorem")])
    assert scores[0] != scores[1], "documents would all score alike"
    assert reranker.truncated == 2


def test_the_end_of_the_template_stays(tiny):
    recipe = recipe_for(tiny, pair_template="{query} ? {document} relevant:")
    reranker = load_reranker(recipe)
    seen = []
    forward = reranker._forward
    reranker._forward = lambda batch, types: seen.extend(batch) or forward(batch, types)
    reranker.score_pairs([("why", "long text " * 200), ("why", "short")])
    ending = bpe_tokenizer()(" relevant:")["input_ids"] + [EOS]
    assert len(seen) == 2
    assert all(row[-len(ending) :] == ending for row in seen)
    assert LIMIT - 4 <= max(len(row) for row in seen) <= LIMIT


@pytest.mark.parametrize("saved_by", ["transformers", "sentence-transformers"])
@pytest.mark.parametrize("activation", ["identity", "sigmoid"])
def test_cross_encoder_equals_sentence_transformers(tmp_path, cross, saved_by, activation):
    from sentence_transformers import CrossEncoder

    folder = cross
    if saved_by == "sentence-transformers":
        folder = tmp_path / "saved"
        CrossEncoder(str(cross), device="cpu").save(str(folder))
    peer = CrossEncoder(str(folder), device="cpu")
    function = torch.nn.Identity() if activation == "identity" else torch.nn.Sigmoid()
    pairs = [*PAIRS, ("long query " * 60, "long text " * 60)]
    reranker = load_reranker(str(folder), activation=activation, batch_tokens=300)
    scores = reranker.score_pairs(pairs)
    np.testing.assert_allclose(scores, peer.predict(pairs, activation_fn=function), atol=1e-5)
    assert len({round(float(score), 3) for score in scores}) > 4
    assert reranker._cross_encoder is None
    assert reranker.truncated == 2


@pytest.mark.slow
def test_cross_encoder_of_other_modules(tmp_path):
    """Scores read from a language model's logits, and a default prompt, are left to sentence-transformers."""
    from sentence_transformers import CrossEncoder
    from sentence_transformers.cross_encoder.modules import LogitScore, Transformer

    base = tiny_qwen2(tmp_path / "base", causal_lm=True, chat_template=False)
    modules = [Transformer(str(base), transformer_task="text-generation"), LogitScore(true_token_id=5)]
    CrossEncoder(modules=modules, device="cpu").save(str(tmp_path / "logits"))
    prompted = CrossEncoder(str(tiny_cross_encoder(tmp_path / "bert")), device="cpu", prompts={"rank": "find: "})
    prompted.default_prompt_name = "rank"
    prompted.save(str(tmp_path / "prompted"))
    for name in ("logits", "prompted"):
        peer = CrossEncoder(str(tmp_path / name), device="cpu")
        expected = peer.predict(PAIRS, activation_fn=torch.nn.Identity())
        reranker = load_reranker(str(tmp_path / name))
        np.testing.assert_allclose(reranker.score_pairs(PAIRS), expected, atol=1e-5)
        assert reranker._cross_encoder is not None


@pytest.mark.slow
def test_cross_encoder_without_padding_token(tmp_path):
    """A decoder that sentence-transformers saved as a cross-encoder, with the tokenizer's padding or without."""
    from sentence_transformers import CrossEncoder

    source = tiny_qwen2_classifier(tmp_path / "model")
    tokenizer = bpe_tokenizer(chat_template=False)
    (source / "chat_template.jinja").unlink(missing_ok=True)
    tokenizer.save_pretrained(source)
    peer = CrossEncoder(str(source), device="cpu")
    peer.save(str(tmp_path / "saved"))
    reranker = load_reranker(str(tmp_path / "saved"))
    pairs = [pair for pair in PAIRS if "<|im_end|>" not in pair[1]]
    expected = peer.predict(pairs, activation_fn=torch.nn.Identity())
    np.testing.assert_allclose(reranker.score_pairs(pairs), expected, atol=1e-4)


def hits_of(*texts: str) -> list[Hit]:
    return [
        Hit(Document(str(index), text), 1.0 - index / 10, index + 1, {"bm25": 1.0}) for index, text in enumerate(texts)
    ]


def test_rerank_batch_orders_and_explains(reranker):
    queries = ["three friends", "sky", "nothing found"]
    hits = [hits_of("a", "Ramsey's theorem", "b b b"), hits_of("blue", "blue", "green"), []]
    rankings = reranker.rerank_batch(queries, hits)
    scores = reranker.score_pairs([(query, hit.document.text) for query, group in zip(queries, hits) for hit in group])
    assert [[hit.rank for hit in group] for group in rankings] == [[1, 2, 3], [1, 2, 3], []]
    for number, group in enumerate(rankings[:2]):
        for hit in group:
            expected = float(scores[3 * number + int(hit.document.id)])
            assert hit.score == pytest.approx(expected, abs=1e-5)
            assert hit.scores == {"bm25": 1.0, "rerank": hit.score}
        assert [hit.score for hit in group] == sorted((hit.score for hit in group), reverse=True)
    equal = [hit.document.id for hit in rankings[1] if hit.document.text == "blue"]
    assert equal == ["0", "1"], "equal scores keep the order of the first stage"
    assert reranker.rerank("sky", hits[1], top_n=1) == reranker.rerank("sky", hits[1])[:1]
    assert asyncio.run(reranker.arerank_batch(queries, hits)) == rankings


def test_equal_pairs_are_scored_once(reranker, monkeypatch):
    seen = []
    forward = reranker._forward
    monkeypatch.setattr(reranker, "_forward", lambda batch, types: seen.extend(batch) or forward(batch, types))
    scores = reranker.score_pairs([("q", "a"), ("q", "b"), ("q", "a")])
    assert len(seen) == 2
    assert scores[0] == scores[2] != scores[1]


@pytest.mark.parametrize("error", [torch.OutOfMemoryError, RuntimeError, MemoryError])
def test_out_of_memory_halves_the_batch(reranker, monkeypatch, error):
    sizes = []
    forward = reranker._forward

    def cramped(batch, types):
        sizes.append(len(batch))
        if len(batch) > 3:
            raise error("CUDA out of memory. Tried to allocate 20 GiB")
        return forward(batch, types)

    pairs = [("query", f"text number {number}") for number in range(16)]
    expected = reranker.score_pairs(pairs)
    monkeypatch.setattr(reranker, "_forward", cramped)
    np.testing.assert_allclose(reranker.score_pairs(pairs), expected, atol=1e-5)
    assert sizes.count(max(sizes)) == 1

    def hopeless(batch, types):
        raise error("not enough memory")

    monkeypatch.setattr(reranker, "_forward", hopeless)
    with pytest.raises(EncodingError, match="single text"):
        reranker.score_pairs(pairs)


@pytest.mark.parametrize("kind", ["decoder", "cross-encoder"])
def test_rerankers_of_one_recipe_share_a_model_until_it_is_taken(tiny, tmp_path, kind):
    model = recipe_for(tiny) if kind == "decoder" else str(tiny_cross_encoder(tmp_path / "cross"))
    small_batches, large_batches = (load_reranker(model, batch_tokens=size) for size in (64, 4096))
    assert small_batches._model is large_batches._model
    assert small_batches._loaded is large_batches._loaded
    assert (small_batches.batch_tokens, large_batches.batch_tokens) == (64, 4096)
    np.testing.assert_allclose(small_batches.score_pairs(PAIRS), large_batches.score_pairs(PAIRS), atol=1e-5)
    own, other = load_reranker(model, shared=False), load_reranker(model, dtype="bfloat16")
    assert len({id(loaded._model) for loaded in (small_batches, own, other)}) == 3
    with torch.no_grad():
        next(small_batches.model.parameters()).fill_(float("nan"))  # whoever takes the model may change it
    assert np.isfinite(load_reranker(model).score_pairs(PAIRS)).all()


def test_nan_is_an_error(tiny):
    reranker = load_reranker(recipe_for(tiny), shared=False)
    with torch.inference_mode():
        reranker.model.score.weight.fill_(float("nan"))
    with pytest.raises(EncodingError, match="NaN"):
        reranker.score_pairs(PAIRS)


def test_truncation_is_counted_and_warned_of_once(tiny):
    reranker = load_reranker(recipe_for(tiny))
    pairs = [("q", "long " * 100), ("q", "short"), ("q", "longer " * 100)]
    with pytest.warns(TruncationWarning, match="2 of the pairs.*64 tokens"):
        reranker.score_pairs(pairs)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        reranker.score_pairs(pairs[:1])
    assert reranker.truncated == 3


def test_four_threads_and_asyncio(cross):
    reranker = load_reranker(cross)
    groups = [[(word, f"{word} number {at} " * (1 + at % 9)) for at in range(30)] for word in ("one", "two", "three")]
    alone = [reranker.score_pairs(group) for group in groups]
    wrong: list[int] = []
    start = threading.Barrier(3)

    def work(at: int) -> None:
        start.wait()
        for _ in range(5):
            if not np.allclose(reranker.score_pairs(groups[at]), alone[at], atol=1e-5):
                wrong.append(at)

    threads = [threading.Thread(target=work, args=(at,)) for at in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong

    async def both():
        hits = [hits_of("a", "b b"), hits_of("c", "d d d")]
        return await asyncio.gather(*(reranker.arerank("query", group) for group in hits))

    assert [len(scores) for scores in asyncio.run(both())] == [2, 2]


def test_bad_input(reranker):
    assert reranker.score_pairs([]).shape == (0,)
    assert reranker.rerank_batch([], []) == []
    with pytest.raises(InputError, match="surrogate"):
        reranker.score_pairs([("q", "\udfff")])
    with pytest.raises(InputError, match="query of pair 1 must be a string"):
        reranker.score_pairs([("q", "d"), (None, "d")])
    with pytest.raises(InputError, match="Pair 0"):
        reranker.score_pairs(["qd"])
    with pytest.raises(InputError, match="list of"):
        reranker.score_pairs("qd")
    with pytest.raises(InputError, match="2 queries, but 1"):
        reranker.rerank_batch(["a", "b"], [[]])
    with pytest.raises(InputError, match="takes a list"):
        reranker.rerank_batch("a", [[]])


def test_bfloat16_scores_do_not_collapse(tiny):
    scores = load_reranker(recipe_for(tiny), dtype="bfloat16").score_pairs(
        [("q", f"text {number}") for number in range(60)]
    )
    assert scores.dtype == np.float32
    assert len(set(scores.tolist())) == 60
