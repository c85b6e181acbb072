"""What a trained retriever's directories hold: the same vectors wherever they are loaded."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from rader_training import RetrieverConfig, TrainingReport
from sentence_transformers import SentenceTransformer
from transformers import AutoModel

from rader_plugins import Encoder, Recipe, load_encoder
from rader_plugins.encoding.local import LocalEncoder
from rader_plugins.encoding.tokens import tokenize
from rader_plugins.errors import InputError
from tests.support.embedding_server import EmbeddingServer
from tests.support.tiny_models import tiny_lora
from tests.training.support import retriever_config, train_retriever

QUERIES = ["where is number 3 of cat", "", "one that is cut " * 200]
DOCUMENTS = ["the cat lives here", "another\nline", "one that is cut " * 200]
Rows = npt.NDArray[np.float32]


@pytest.fixture(scope="module")
def reports(
    tmp_path_factory: pytest.TempPathFactory, tiny: Path, mini: Encoder, sample_folder: Path
) -> dict[str, TrainingReport]:
    """A decoder whose tokenizer has a chat template, and MiniLM, trained for three steps."""
    by_base = {}
    for name, base in (("decoder", str(tiny)), ("mini", "mini")):
        out = tmp_path_factory.mktemp("export") / name
        config = retriever_config(max_steps=3, learning_rate=5e-3)
        by_base[name] = train_retriever(sample_folder, base, out, config, device="cpu", keep_adapter=True)
    return by_base


@pytest.fixture(params=["decoder", "mini"])
def report(request: pytest.FixtureRequest, reports: dict[str, TrainingReport]) -> TrainingReport:
    return reports[request.param]


def local(path: Path) -> LocalEncoder:
    encoder = load_encoder(path, device="cpu", show_progress=False)
    assert isinstance(encoder, LocalEncoder)
    return encoder


def assert_same(theirs: tuple[Any, Any], encoder: Encoder) -> None:
    for vectors, ours in zip(
        theirs, (encoder.encode_queries(QUERIES), encoder.encode_documents(DOCUMENTS)), strict=True
    ):
        rows: Rows = np.asarray(vectors, dtype=np.float32)
        cosines = (rows * ours).sum(axis=1) / np.linalg.norm(rows, axis=1)
        assert cosines.min() > 0.9999, cosines


pytestmark = pytest.mark.filterwarnings("ignore::rader_plugins.errors.TruncationWarning")


def test_the_training_changed_the_vectors(report: TrainingReport, tiny: Path) -> None:
    base = load_encoder("mini" if "mini" in report.model.parts else tiny, device="cpu")
    assert (local(report.model).encode_queries(QUERIES) * base.encode_queries(QUERIES)).sum(axis=1).min() < 0.99999


def test_sentence_transformers(report: TrainingReport) -> None:
    plain = SentenceTransformer(str(report.model), device="cpu")
    assert_same((plain.encode_query(QUERIES), plain.encode_document(DOCUMENTS)), local(report.model))


def test_langchains_own_embeddings(report: TrainingReport) -> None:
    huggingface = pytest.importorskip("langchain_huggingface", reason="needs langchain-huggingface (see the Makefile)")
    embeddings = huggingface.HuggingFaceEmbeddings(
        model_name=str(report.model),
        model_kwargs={"device": "cpu"},
        encode_kwargs={"prompt_name": "document"},
        query_encode_kwargs={"prompt_name": "query"},
    )
    # It has one maximum length for both roles, so that the longest texts are left to the other tests. It makes a
    # space of a line break, so that these are left out, too.
    encoder = local(report.model)
    queries, documents = QUERIES[:2], DOCUMENTS[:1]
    vectors = [embeddings.embed_query(query) for query in queries]
    assert (np.asarray(vectors) * encoder.encode_queries(queries)).sum(axis=1).min() > 0.9999
    ours = encoder.encode_documents(documents)
    assert (np.asarray(embeddings.embed_documents(documents)) * ours).sum(axis=1).min() > 0.9999


def test_langchain(report: TrainingReport) -> None:
    pytest.importorskip("langchain_core")
    from langchain_rader import RaderEmbeddings

    embeddings = RaderEmbeddings(model=str(report.model), device="cpu")
    assert_same(
        ([embeddings.embed_query(query) for query in QUERIES], embeddings.embed_documents(DOCUMENTS)),
        local(report.model),
    )


def test_llama_index(report: TrainingReport) -> None:
    pytest.importorskip("llama_index.core")
    from llama_index.embeddings.rader import RaderEmbedding

    embedding = RaderEmbedding(model=str(report.model), device="cpu")
    assert_same(
        (
            [embedding.get_query_embedding(query) for query in QUERIES],
            embedding.get_text_embedding_batch(DOCUMENTS),
        ),
        local(report.model),
    )


def test_an_embedding_server(report: TrainingReport) -> None:
    """The server is scripted; it does what vLLM does: the directory's own tokenizer and pooling, no prompt."""
    served = SentenceTransformer(str(report.model), device="cpu")

    def vector(text: str, dimension: int) -> Rows:
        return np.asarray(served.encode(text), dtype=np.float32)

    encoder = local(report.model)
    with EmbeddingServer(dimension=encoder.dimension, vector=vector) as server:
        remote = load_encoder(
            server.url,
            recipe=str(report.model),
            tokenizer=str(report.model),
            server_appends_eos=encoder.recipe.append_eos,
        )
        assert remote.fingerprint == encoder.fingerprint
        assert_same((remote.encode_queries(QUERIES), remote.encode_documents(DOCUMENTS)), encoder)
        assert server.requests[0]["input"][0].startswith(encoder.recipe.query_prefix())


def test_the_adapter_alone(report: TrainingReport, tiny: Path) -> None:
    assert report.adapter is not None
    merged, unmerged = local(report.model), local(report.adapter)
    assert_same((unmerged.encode_queries(QUERIES), unmerged.encode_documents(DOCUMENTS)), merged)
    assert unmerged.recipe.query_template == merged.recipe.query_template
    # What peft itself makes of it on the base.
    from peft import PeftModel

    base = load_encoder("mini" if "mini" in report.model.parts else tiny, device="cpu")
    assert isinstance(base, LocalEncoder)
    plain = AutoModel.from_pretrained(base.location)
    adapted = PeftModel.from_pretrained(plain, report.adapter).eval()
    for text in QUERIES:
        ids = torch.tensor(tokenize(merged.tokenizer, merged.recipe, "query", [text]).ids)
        with torch.no_grad():
            states = adapted(input_ids=ids).last_hidden_state[0]
        pooled = (states[-1] if merged.recipe.pooling == "lasttoken" else states.mean(dim=0)).numpy()
        ours = merged.encode_queries([text])[0]
        assert float(pooled @ ours) / float(np.linalg.norm(pooled)) > 0.9999


def test_an_adapter_of_averaged_weights(sample_folder: Path, tiny: Path, tmp_path: Path) -> None:
    config = retriever_config(max_steps=2, learning_rate=5e-3, merge_weight=0.25)
    report = train_retriever(sample_folder, str(tiny), tmp_path / "run", config, device="cpu", keep_adapter=True)
    assert report.adapter is not None
    unmerged = local(report.adapter)
    assert_same((unmerged.encode_queries(QUERIES), unmerged.encode_documents(DOCUMENTS)), local(report.model))
    settings = json.loads((report.adapter / "adapter_config.json").read_text(encoding="utf-8"))
    assert settings["lora_alpha"] == 16
    assert settings["base_model_name_or_path"] == str(tiny.resolve())


def test_where_no_adapter_can_be_kept(sample_folder: Path, tiny: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="lora is off"):
        train_retriever(sample_folder, str(tiny), tmp_path / "run", RetrieverConfig(lora=False), keep_adapter=True)
    adapter = tiny_lora(tmp_path / "adapter", tiny, causal_lm=False)
    base = Recipe(name="a", model=str(adapter), base_model=str(tiny))
    with pytest.raises(InputError, match="is an adapter itself"):
        train_retriever(sample_folder, base, tmp_path / "run", keep_adapter=True)
    assert not (tmp_path / "run").exists()
