"""The local encoder equals hand-written transformers code, whatever the batch."""

from __future__ import annotations

import asyncio
import copy
import dataclasses
import pickle
import threading
import warnings

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("sentence_transformers")

from transformers import AutoModel, AutoTokenizer  # noqa: E402

from rader_plugins import Recipe, load_encoder  # noqa: E402
from rader_plugins.encoding.local import LocalEncoder  # noqa: E402
from rader_plugins.errors import EncodingError, InputError, TruncationWarning  # noqa: E402
from tests.support.tiny_models import bpe_tokenizer, tiny_bert, tiny_lora, tiny_qwen2  # noqa: E402

EOS = 2
TEXTS = [
    "short",
    "Ramsey's theorem: among six people three know each other or three do not",
    "long text " * 400,
    "",
    "ünïcode ∑ 🙂",
    "x",
    "long text " * 20,
]


def recipe_for(folder, **fields) -> Recipe:
    return Recipe(
        **{
            "name": "tiny",
            "model": str(folder),
            "query_template": "query: {instruction}{text}",
            "document_template": "document: {text}",
            "append_eos": True,
            "max_query_length": 64,
            "max_document_length": 48,
            **fields,
        }
    )


def by_hand(folder, texts, prefix, limit) -> np.ndarray:
    """Tokenise, truncate, append EOS once, last hidden state of it, normalise; one text at a time."""
    tokenizer, model = (
        AutoTokenizer.from_pretrained(folder),
        AutoModel.from_pretrained(folder, dtype=torch.float32).eval(),
    )
    rows = []
    for text in texts:
        ids = tokenizer(prefix + text)["input_ids"]
        if ids and ids[-1] == EOS:
            ids = ids[:-1]
        ids = ids[: limit - 1] + [EOS]
        with torch.no_grad():
            state = model(torch.tensor([ids])).last_hidden_state[0, -1]
        rows.append((state / state.norm()).numpy())
    return np.stack(rows)


def cosines(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return (a * b).sum(axis=1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return tiny_qwen2(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="module")
def encoder(tiny):
    return load_encoder(recipe_for(tiny))


VARIANTS = [
    {},
    {"adds_eos": True},
    {"chat_template": False},
    {"adds_bos": True},
    {"adds_bos": True, "adds_eos": True},
    {"causal_lm": True},
]


@pytest.mark.filterwarnings("ignore::rader_plugins.errors.TruncationWarning")
@pytest.mark.parametrize("variant", VARIANTS, ids=lambda variant: "+".join(variant) or "default")
def test_parity_and_saved_directory(variant, tmp_path):
    from sentence_transformers import SentenceTransformer

    folder = tiny_qwen2(tmp_path / "tiny", **variant)
    encoder = load_encoder(recipe_for(folder, instruction="Do it: "))
    queries = by_hand(folder, TEXTS, "query: Do it: ", 64)
    documents = by_hand(folder, TEXTS, "document: ", 48)
    for budget in (1, 130, 100_000):
        encoder.batch_tokens = budget
        assert cosines(encoder.encode_queries(TEXTS), queries).min() > 0.99999
        assert cosines(encoder.encode_documents(TEXTS), documents).min() > 0.99999
    other = by_hand(folder, TEXTS, "query: Other ", 64)
    assert cosines(encoder.encode_queries(TEXTS, instruction="Other "), other).min() > 0.99999

    encoder.save(tmp_path / "saved")
    plain = SentenceTransformer(str(tmp_path / "saved"), device="cpu")
    assert cosines(plain.encode(TEXTS, prompt_name="query"), queries).min() > 0.99999
    assert cosines(plain.encode_query(TEXTS), queries).min() > 0.99999
    assert cosines(plain.encode_document(TEXTS), documents).min() > 0.99999
    short = [text for text in TEXTS if len(text) < 100]
    assert cosines(plain.encode(short, prompt_name="document"), encoder.encode_documents(short)).min() > 0.99999

    reloaded = load_encoder(tmp_path / "saved")
    assert reloaded.recipe == encoder.recipe
    assert reloaded.fingerprint == encoder.fingerprint
    np.testing.assert_allclose(reloaded.encode_documents(TEXTS), encoder.encode_documents(TEXTS), atol=1e-5)


def test_same_maximum_needs_no_task(tiny, tmp_path):
    from sentence_transformers import SentenceTransformer

    encoder = load_encoder(recipe_for(tiny, max_document_length=64))
    encoder.save(tmp_path / "new" / "saved")
    plain = SentenceTransformer(str(tmp_path / "new" / "saved"), device="cpu")
    with pytest.warns(TruncationWarning):
        documents = encoder.encode_documents(TEXTS)
    assert cosines(plain.encode(TEXTS, prompt_name="document"), documents).min() > 0.99999
    assert plain.max_seq_length == 64


def test_save_refuses_a_taken_path_and_leaves_nothing(encoder, tmp_path):
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "file").write_text("mine")
    with pytest.raises(InputError, match="not an empty"):
        encoder.save(tmp_path / "taken")
    behind = LocalEncoder(dataclasses.replace(encoder.recipe, query_template="{text} is it"), model=encoder.model)
    with pytest.raises(InputError, match="prompts"):
        behind.save(tmp_path / "new")
    assert [path.name for path in tmp_path.iterdir()] == ["taken"]


def test_failed_save_leaves_nothing(encoder, tmp_path, monkeypatch):
    def fail(*arguments, **options):
        raise OSError("disk full")

    monkeypatch.setattr("rader_plugins.encoding.saving.write_recipe", fail)
    with pytest.raises(OSError, match="disk full"):
        encoder.save(tmp_path / "new")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.filterwarnings("ignore::rader_plugins.errors.TruncationWarning")
def test_mini_equals_sentence_transformers(mini):
    from sentence_transformers import SentenceTransformer

    plain = SentenceTransformer(mini.location, device="cpu")
    rows = mini.encode_documents(TEXTS)
    np.testing.assert_allclose(rows, plain.encode(TEXTS), atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-5)
    assert (rows.dtype, rows.shape, mini.dimension) == (np.float32, (len(TEXTS), 384), 384)


@pytest.mark.parametrize("causal_lm", [True, False])
@pytest.mark.parametrize("trained_with_head", [True, False])
def test_lora_adapter_is_merged(tmp_path, causal_lm, trained_with_head):
    from peft import PeftModel
    from transformers import Qwen2ForCausalLM, Qwen2Model

    base = tiny_qwen2(tmp_path / "base", causal_lm=causal_lm)
    adapter = tiny_lora(tmp_path / "adapter", base, causal_lm=trained_with_head)
    encoder = load_encoder(recipe_for(adapter, base_model=str(base)))
    kind = Qwen2ForCausalLM if trained_with_head else Qwen2Model
    model = PeftModel.from_pretrained(kind.from_pretrained(base), adapter).eval()
    ids = bpe_tokenizer()("document: graphs")["input_ids"] + [EOS]
    with torch.no_grad():
        state = model(input_ids=torch.tensor([ids]), output_hidden_states=True).hidden_states[-1][0, -1].numpy()
    row = encoder.encode_documents(["graphs"])[0]
    assert cosines(row[None], state[None])[0] > 0.99999
    without = load_encoder(recipe_for(base)).encode_documents(["graphs"])
    assert cosines(row[None], without)[0] < 0.99


def test_adapter_of_another_model_is_an_error(tmp_path):
    from safetensors.torch import load_file, save_file

    base = tiny_qwen2(tmp_path / "base")
    adapter = tiny_lora(tmp_path / "adapter", base, causal_lm=True)
    file = adapter / "adapter_model.safetensors"
    save_file({key.replace("layers.1", "layers.9"): value for key, value in load_file(file).items()}, file)
    with pytest.raises(InputError, match="missing"):
        load_encoder(recipe_for(adapter))


@pytest.mark.filterwarnings("ignore::rader_plugins.errors.TruncationWarning")
def test_four_threads_and_asyncio(encoder):
    groups = [[f"{word} number {at} " * (1 + at % 9) for at in range(30)] for word in ("one", "two", "three", "four")]
    alone = [encoder.encode_documents(group) for group in groups] + [encoder.encode_queries(groups[0])]
    results: dict[int, np.ndarray] = {}
    start = threading.Barrier(5)

    def work(at: int) -> None:
        start.wait()
        for _ in range(5):
            results[at] = encoder.encode_queries(groups[0]) if at == 4 else encoder.encode_documents(groups[at])
            np.testing.assert_allclose(results[at], alone[at], atol=1e-5)

    threads = [threading.Thread(target=work, args=(at,)) for at in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 5

    async def both():
        return await asyncio.gather(encoder.aencode_documents(groups[1]), encoder.aencode_queries(groups[0]))

    documents, queries = asyncio.run(both())
    np.testing.assert_allclose(documents, alone[1], atol=1e-5)
    np.testing.assert_allclose(queries, alone[4], atol=1e-5)


def test_truncation_is_counted_and_warned_of_once(tiny):
    encoder = load_encoder(recipe_for(tiny))
    with pytest.warns(TruncationWarning, match="2 of the documents.*48 tokens"):
        encoder.encode_documents(["long " * 100, "short", "longer " * 100])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        encoder.encode_queries(["long " * 100])
    assert encoder.truncated == 3


def test_a_hundred_thousand_characters(encoder, mini):
    for loaded_encoder in (encoder, mini):
        rows = loaded_encoder.encode_documents(["Ramsey " * 14_286, "b"])
        assert np.isfinite(rows).all()


def test_equal_texts_are_encoded_once(encoder, monkeypatch):
    seen = []
    forward = encoder._forward
    monkeypatch.setattr(encoder, "_forward", lambda batch, prompt: seen.extend(batch) or forward(batch, prompt))
    rows = encoder.encode_documents(["a", "b", "a", "a"])
    assert len(seen) == 2
    assert (rows[0] == rows[2]).all()
    assert (rows[0] == rows[3]).all()


@pytest.mark.parametrize("error", [torch.OutOfMemoryError, RuntimeError, MemoryError])
def test_out_of_memory_halves_the_batch(encoder, monkeypatch, error):
    sizes = []
    forward = encoder._forward

    def cramped(batch, prompt):
        sizes.append(len(batch))
        if len(batch) > 3:
            raise error("CUDA out of memory. Tried to allocate 20 GiB")
        return forward(batch, prompt)

    texts = [f"text number {number}" for number in range(16)]
    expected = encoder.encode_documents(texts)
    monkeypatch.setattr(encoder, "_forward", cramped)
    np.testing.assert_allclose(encoder.encode_documents(texts), expected, atol=1e-5)
    assert sizes[0] == 16
    # What was too large once is not tried again.
    assert sizes.count(16) == 1


def test_out_of_memory_with_one_text(encoder, monkeypatch):
    def cramped(batch, prompt):
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory")

    monkeypatch.setattr(encoder, "_forward", cramped)
    with pytest.raises(EncodingError, match="single text"):
        encoder.encode_documents(["a", "b"])


def test_other_failures_are_reported(encoder, monkeypatch):
    def broken(batch, prompt):
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    monkeypatch.setattr(encoder, "_forward", broken)
    with pytest.raises(EncodingError, match="mat1"):
        encoder.encode_documents(["a"])


def test_nan_is_an_error(tiny):
    encoder = load_encoder(recipe_for(tiny))
    with torch.inference_mode():
        encoder.model[0].model.norm.weight.fill_(float("nan"))
    with pytest.raises(EncodingError, match="NaN"):
        encoder.encode_documents(["a", "b"])


def test_bad_input(encoder):
    assert encoder.encode_documents([]).shape == (0, 32)
    assert encoder.encode_queries([]).dtype == np.float32
    with pytest.raises(InputError, match="surrogate"):
        encoder.encode_documents(["fine", "\udfff"])
    with pytest.raises(InputError, match="query 1 must be a string"):
        encoder.encode_queries(["fine", None])
    with pytest.raises(InputError, match="not one string"):
        encoder.encode_queries("text")


def test_empty_text_without_any_token(tiny):
    encoder = load_encoder(recipe_for(tiny, append_eos=False, query_template="{text}", document_template="{text}"))
    rows = encoder.encode_documents(["", "a"])
    # The end-of-sequence token stands for it.
    with torch.no_grad():
        state = AutoModel.from_pretrained(tiny)(torch.tensor([[EOS]])).last_hidden_state[0, -1].numpy()
    assert cosines(rows[:1], state[None])[0] > 0.99999


def test_instruction_where_there_is_no_place(mini):
    with pytest.raises(InputError, match="no instruction"):
        mini.encode_queries([], instruction="Do it")


def test_eos_must_exist(tiny):
    encoder = load_encoder(recipe_for(tiny, eos_token="<|nothing|>"))
    with pytest.raises(InputError, match="not a token"):
        encoder.encode_documents(["a"])


def test_dimension_and_options_are_checked(tiny):
    with pytest.raises(InputError, match="dimension 7"):
        load_encoder(recipe_for(tiny, dimension=7))
    with pytest.raises(InputError, match="batch_tokens"):
        load_encoder(recipe_for(tiny), batch_tokens=0)
    with pytest.raises(InputError, match="dtype"):
        load_encoder(recipe_for(tiny), dtype="int8")
    with pytest.raises(InputError, match="trust_remote_code=True"):
        load_encoder(recipe_for(tiny, needs_remote_code=True))


def test_not_normalised_and_bfloat16(tiny):
    raw = load_encoder(recipe_for(tiny, normalize=False)).encode_documents(["a"])
    assert abs(np.linalg.norm(raw) - 1) > 0.01
    rows = load_encoder(recipe_for(tiny), dtype="bfloat16").encode_documents(["a", "b b b"])
    assert rows.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-5)


def test_mean_without_the_prompt(tmp_path):
    folder = tiny_bert(tmp_path / "bert")
    recipe = recipe_for(folder, append_eos=False, pooling="mean", pool_prompt=False)
    encoder = load_encoder(recipe)
    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModel.from_pretrained(folder).eval()
    texts = ["three friends", "a much longer text about friends", ""]
    rows = encoder.encode_queries(texts, instruction="find: ")
    prompt = len(tokenizer("query: find: ")["input_ids"]) - 1  # without [SEP]
    for text, row in zip(texts, rows, strict=True):
        ids = tokenizer("query: find: " + text)["input_ids"]
        with torch.no_grad():
            states = model(torch.tensor([ids])).last_hidden_state[0, prompt:]
        assert cosines(row[None], states.mean(0).numpy()[None])[0] > 0.99999
    # A prompt that leaves no room: it is all that there is to pool.
    with pytest.warns(TruncationWarning):
        full = encoder.encode_queries(["a"], instruction="find " * 20)
    np.testing.assert_allclose(np.linalg.norm(full), 1, atol=1e-5)


def test_model_of_other_modules_is_kept(tmp_path):
    """A Dense layer, and a static embedding without a transformer, decide their vectors themselves."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer import modules
    from tokenizers import Tokenizer

    transformer = modules.Transformer(str(tiny_bert(tmp_path / "bert")))
    dense = SentenceTransformer(modules=[transformer, modules.Pooling(32, "max"), modules.Dense(32, 6)], device="cpu")
    words = Tokenizer.from_file(str(tmp_path / "bert" / "tokenizer.json"))
    static = SentenceTransformer(modules=[modules.StaticEmbedding(words, embedding_dim=5)], device="cpu")
    for name, model in (("dense", dense), ("static", static)):
        model.prompts = {"query": "query: ", "document": ""}
        model.save(str(tmp_path / name))
        encoder = load_encoder(str(tmp_path / name))
        assert encoder.recipe.pooling == "model"
        texts = ["one friend", "two friends and a half"]
        expected = model.encode(texts, prompt_name="query", normalize_embeddings=True)
        np.testing.assert_allclose(encoder.encode_queries(texts), expected, atol=1e-5)
        encoder.save(tmp_path / f"{name}-again")
        reloaded = load_encoder(str(tmp_path / f"{name}-again"))
        np.testing.assert_allclose(reloaded.encode_queries(texts), expected, atol=1e-5)
        assert reloaded.fingerprint == encoder.fingerprint


class Watch:
    """Records what the model is run on, and holds up the first run until it is told to go on."""

    def __init__(self, encoder, monkeypatch):
        self.runs: list[list[list[int]]] = []
        self.begun, self.go_on = threading.Event(), threading.Event()
        forward = encoder._forward

        def watched(batch, prompt):
            self.runs.append([list(row) for row in batch])
            if len(self.runs) == 1:
                self.begun.set()
                assert self.go_on.wait(20)
            return forward(batch, prompt)

        monkeypatch.setattr(encoder, "_forward", watched)


@pytest.mark.parametrize("jobs", [1, 5])
def test_questions_wait_for_one_batch_and_are_encoded_together(encoder, monkeypatch, jobs):
    questions = [f"question {number} of somebody" for number in range(10)]
    expected = encoder.encode_queries(questions)
    watch = Watch(encoder, monkeypatch)
    monkeypatch.setattr(encoder, "batch_tokens", 2000)
    texts = [f"text number {index} " * 8 for index in range(120)]

    async def run():
        large = [asyncio.create_task(encoder.aencode_documents(texts)) for _ in range(jobs)]
        assert await asyncio.to_thread(watch.begun.wait, 20)
        tasks = [asyncio.create_task(encoder.aencode_queries([question])) for question in questions]
        loaded = encoder._loaded
        while sum(map(len, loaded._questions.values())) < len(questions):
            await asyncio.sleep(0.001)
        watch.go_on.set()
        return np.concatenate(await asyncio.gather(*tasks)), await asyncio.gather(*large)

    rows, documents = asyncio.run(run())
    np.testing.assert_allclose(rows, expected, atol=1e-5)
    assert len(watch.runs[1]) == len(questions), "all questions that waited, in one run, right after the first batch"
    assert len(watch.runs) > 3
    for document_rows in documents[1:]:
        np.testing.assert_array_equal(document_rows, documents[0])


def test_a_failure_reaches_everybody_who_asked(encoder, monkeypatch):
    def broken(batch, prompt):
        raise RuntimeError("the model is broken")

    monkeypatch.setattr(encoder, "_forward", broken)
    with pytest.raises(RuntimeError, match="broken"):
        encoder.encode_queries(["a"])
    monkeypatch.undo()
    assert encoder.encode_queries(["a"]).shape[0] == 1


def test_encoders_of_one_recipe_share_a_model_until_it_is_taken(tmp_path, encoder):
    encoder.save(tmp_path / "model")
    first, second = (load_encoder(str(tmp_path / "model")) for _ in range(2))
    assert first._loaded is second._loaded
    other = load_encoder(str(tmp_path / "model"), dtype="bfloat16")
    own = load_encoder(str(tmp_path / "model"), shared=False)
    assert len({loaded._loaded for loaded in (first, other, own)}) == 3
    with torch.no_grad():
        first.model[0].model.norm.weight.fill_(float("nan"))  # whoever takes the model may change it
    assert np.isfinite(load_encoder(str(tmp_path / "model")).encode_queries(["a"])).all()


def test_a_pickle_holds_how_to_load(tmp_path, encoder):
    encoder.save(tmp_path / "model")
    loaded = load_encoder(str(tmp_path / "model"), batch_tokens=123)
    pickled = pickle.dumps(loaded)
    assert len(pickled) < 5000
    unpickled = pickle.loads(pickled)  # noqa: S301
    assert unpickled.batch_tokens == 123
    np.testing.assert_allclose(unpickled.encode_queries(["a"]), loaded.encode_queries(["a"]), atol=1e-6)
    assert copy.deepcopy(loaded) is loaded
    with pytest.raises(InputError, match="save"):
        pickle.dumps(LocalEncoder(encoder.recipe, model=encoder.model))
