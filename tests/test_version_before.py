"""Files of version 0.1: every kind still opens, and a run that it left unfinished goes on.

data/version-0.1.tar.xz was written by that version: a synthesis run over two of four problems, an evaluation that was
stopped in the middle, a training that was stopped after half of its steps with its base and samples, the
model that the whole training gave, recorded runs with feedback, a cache of vectors, and configurations that state every
value. Indexes have a test of their own: rader_plugins/index/test_old_formats.py.
"""

from __future__ import annotations

import json
import tarfile
from pathlib import Path

import numpy as np
import pytest
from rader_synthesis.config import SearchConfig
from rader_synthesis.run_config import RunConfig

from rader_plugins import Document, RaderIndex, RaderRetriever, load_encoder
from rader_plugins.encoding.cache import CachedEncoder, VectorCache
from rader_plugins.evaluation import RetrievalDataset, evaluate
from rader_plugins.files import read_jsonl, read_toml
from rader_plugins.recording import read_recorded
from rader_plugins.trajectories import read_trajectories
from tests.support.encoders import HashEncoder
from tests.synthesis.scripted import chance, server
from tests.synthesis.test_run import PROBLEMS, rows, run

DATA = Path(__file__).parent / "data" / "version-0.1.tar.xz"
DOCUMENTS = [Document(f"d{number}", f"rule {number} of payments") for number in range(6)]


@pytest.fixture
def old(tmp_path: Path) -> Path:
    with tarfile.open(DATA) as archive:
        # Early releases of Python 3.10 and 3.11 know no filters.
        archive.extractall(tmp_path, **({"filter": "data"} if hasattr(tarfile, "data_filter") else {}))
    return tmp_path


@pytest.fixture
def retriever() -> RaderRetriever:
    index = RaderIndex.create(None, encoder=HashEncoder())
    index.add(DOCUMENTS)
    return RaderRetriever(index, "hybrid")


def test_a_synthesis_run_goes_on(old: Path, retriever: RaderRetriever) -> None:
    out = old / "synthesis"
    before = rows(out / "trees.jsonl")
    with server(chance) as served:
        report = run(out, served, searcher=retriever, problems_at_once=1)
    assert (report.problems, report.searched) == (len(PROBLEMS), 2)
    trees = rows(out / "trees.jsonl")
    assert (trees[:2], len(trees)) == (before, 4)


def test_trajectories_and_recorded_runs_are_read(old: Path) -> None:
    path = old / "synthesis" / "trajectories.jsonl"
    trajectories = list(read_trajectories(path))
    assert [row["schema"] for row in rows(path)] == ["rader-trajectory/1"] * len(trajectories) != []
    recorded = list(read_recorded(old / "runs.jsonl"))
    assert [trajectory.reward for trajectory in recorded] == [None, 1.0]
    assert [trajectory.steps for trajectory in recorded] == [trajectory.steps for trajectory in trajectories[:2]]


def test_an_evaluation_goes_on(old: Path, retriever: RaderRetriever) -> None:
    dataset = RetrievalDataset.from_folder(old / "dataset")
    finished = (old / "evaluation" / "progress.jsonl").read_bytes()
    searched: list[int] = []
    result = evaluate(
        retriever, dataset, out=old / "evaluation", k_values=[10], measures=["nDCG"], on_progress=searched.append
    )
    assert sum(searched) == 4
    assert (old / "evaluation" / "progress.jsonl").read_bytes().startswith(finished)
    assert result.mean["nDCG@10"] == 1.0
    assert len(result.per_query) == 4


def test_vectors_come_from_the_cache(old: Path) -> None:
    encoder = CachedEncoder(HashEncoder(), VectorCache(old / "vectors.sqlite"))
    documents = encoder.encode_documents(["prime divisor", "heat wave"])
    np.testing.assert_array_equal(documents, HashEncoder().encode_documents(["prime divisor", "heat wave"]))
    encoder.encode_queries(["prime"])
    assert (encoder.hits, encoder.misses) == (3, 0)


def test_configurations_are_read(old: Path) -> None:
    tables = read_toml(old / "synthesize.toml")
    assert SearchConfig.from_dict(tables["search"], "search") == SearchConfig()
    assert RunConfig.from_dict(tables["run"], "run") == RunConfig()
    pytest.importorskip("accelerate")
    from rader_training import RerankerConfig, RetrieverConfig

    tables = read_toml(old / "train.toml")
    for kind, table in ((RetrieverConfig, tables["retriever"]), (RerankerConfig, tables["reranker"])):
        config = kind.from_toml(old / "train.toml").as_dict()
        assert {name: config[name] for name in table} == table


@pytest.mark.slow
def test_a_training_goes_on_and_its_samples_are_read(old: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("accelerate")
    import torch
    from rader_training import RetrieverConfig, train_retriever

    torch.set_num_threads(1)
    monkeypatch.chdir(old)
    stated = {"batch_size": 4, "accumulate": 1, "group_size": 3, "warmup_steps": 0, "epochs": 2, "log_every": 1}
    config = RetrieverConfig(**stated, lora=True, bf16=False, seed=0, learning_rate=1e-2, save_every=2)
    report = train_retriever("samples", "base", "training", config, device="cpu", resume=True, export_anyway=True)
    assert report.steps == 4
    assert report.data["samples"] == 8
    losses = [row["step"] for row in read_jsonl(old / "training" / "metrics.jsonl") if "loss" in row]
    assert losses == [1, 2, 3, 4]
    assert load_encoder(str(report.model), device="cpu", show_progress=False).dimension == 8


def test_a_trained_model_gives_its_vectors(old: Path) -> None:
    pytest.importorskip("sentence_transformers")
    expected = json.loads((old / "model-vectors.json").read_bytes())
    encoder = load_encoder(str(old / "model"), device="cpu", show_progress=False)
    assert encoder.fingerprint == expected["fingerprint"], "indexes of this model take its vectors"
    assert float(encoder.encode_queries([expected["query"]])[0] @ np.array(expected["vector"])) > 0.9999
