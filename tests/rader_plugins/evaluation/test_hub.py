from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("datasets")

from rader_plugins import Encoder, RaderIndex, RaderRetriever  # noqa: E402
from rader_plugins.errors import InputError, RaderWarning  # noqa: E402
from rader_plugins.evaluation import Evaluation, RetrievalDataset, evaluate, index_corpus  # noqa: E402
from rader_plugins.evaluation.datasets.bright import BRIGHT_REASONING  # noqa: E402
from rader_plugins.recipes import BRIGHT_INSTRUCTIONS  # noqa: E402
from tests.support.encoders import HashEncoder  # noqa: E402
from tests.support.hub_folders import (  # noqa: E402
    BRIGHT_SPLIT,
    TEXTS,
    beir_rows,
    bright_examples,
    write_beir,
    write_bright,
    write_lines,
    write_mteb,
    write_parquet,
)
from tests.support.tiny_rerankers import LengthReranker  # noqa: E402


@pytest.fixture
def bright(tmp_path: Path) -> Path:
    return write_bright(tmp_path / "BRIGHT")


def test_a_split_of_bright(bright: Path) -> None:
    dataset = RetrievalDataset.bright(BRIGHT_SPLIT, data_dir=bright)
    assert {id: document.text for id, document in dataset.corpus.items()} == TEXTS
    assert dataset.queries["1"] == "Do primes end?"
    assert dataset.qrels == {"0": {"ramsey": 1}, "1": {"euclid": 1}}
    # "N/A" means none.
    assert dataset.excluded == {"0": {"pigeonhole", "light"}}
    assert dataset.originals == {}
    assert (dataset.name, dataset.split) == ("bright", BRIGHT_SPLIT)


@pytest.mark.parametrize("split", sorted(BRIGHT_INSTRUCTIONS))
def test_all_twelve_splits_have_the_files_that_are_asked_for(split: str, tmp_path: Path) -> None:
    assert len(BRIGHT_INSTRUCTIONS) == 12
    assert RetrievalDataset.bright(split, data_dir=write_bright(tmp_path, split)).split == split


@pytest.mark.parametrize("writer", [*BRIGHT_REASONING, "gpt4_reason", "gemini-1.0"])
def test_reasoning_is_searched_for_and_the_question_kept(bright: Path, writer: str) -> None:
    dataset = RetrievalDataset.bright(BRIGHT_SPLIT, reasoning=writer, data_dir=bright)
    assert dataset.queries["1"] == "Euclid: infinitely many primes."
    assert dataset.originals["1"] == dataset.question("1") == "Do primes end?"
    plain = RetrievalDataset.bright(BRIGHT_SPLIT, data_dir=bright)
    assert dataset.judgements_digest == plain.judgements_digest
    assert dataset.digest != plain.digest


def test_long_documents(tmp_path: Path) -> None:
    dataset = RetrievalDataset.bright("pony", long=True, data_dir=write_bright(tmp_path, "pony"))
    assert dataset.qrels == {"0": {"page": 1}, "1": {"other-page": 1}}
    assert dataset.name == "bright-long"
    with pytest.raises(InputError, match="no long documents for 'aops'. It has them for: biology"):
        RetrievalDataset.bright("aops", long=True, data_dir=tmp_path)


def test_wrong_names_say_what_there_is(bright: Path) -> None:
    with pytest.raises(InputError, match="no split 'biologie'. It has: biology"):
        RetrievalDataset.bright("biologie", data_dir=bright)
    with pytest.raises(InputError, match="no reasoning by 'gpt5'. It has reasoning by: gpt4, claude-3-opus"):
        RetrievalDataset.bright("biology", reasoning="gpt5", data_dir=bright)
    write_parquet(bright / "documents" / "biology-00000-of-00001.parquet", [{"id": "a", "content": "b"}])
    lacking = r"(?s)no file of configuration 'examples'.*hf download.*'examples/biology-\*'"
    with pytest.raises(InputError, match=lacking):
        RetrievalDataset.bright("biology", data_dir=bright)
    with pytest.raises(InputError, match="There is no folder"):
        RetrievalDataset.bright("biology", data_dir=bright / "nowhere")


def test_reasoning_of_another_version_is_noticed(bright: Path) -> None:
    rows = [{**row, "id": f"x{row['id']}"} for row in bright_examples(reasoned=True)]
    write_parquet(bright / "gpt4_reason" / f"{BRIGHT_SPLIT}-00000-of-00001.parquet", rows)
    with pytest.raises(InputError, match="2 queries of gpt4_reason are not among examples"):
        RetrievalDataset.bright(BRIGHT_SPLIT, reasoning="gpt4", data_dir=bright)


def test_the_reranker_reads_the_question_and_exclusions_hold(bright: Path) -> None:
    dataset = RetrievalDataset.bright(BRIGHT_SPLIT, reasoning="gpt4", data_dir=bright)
    reranker = LengthReranker()
    index = RaderIndex.create(None, encoder=HashEncoder())
    index_corpus(dataset, index)
    evaluation = evaluate(
        RaderRetriever(index, mode="dense", reranker=reranker), dataset, k_values=[4], measures=["RR"]
    )
    assert [queries for queries, _ in reranker.calls] == [[row["query"]] for row in bright_examples()]
    assert evaluation.texts["1"] == "Euclid: infinitely many primes."
    assert set(evaluation.run["0"]) == {"ramsey", "euclid"}


def check_beir(dataset: RetrievalDataset) -> None:
    corpus, queries, _ = beir_rows()
    assert list(dataset.corpus) == [row["_id"] for row in corpus]
    for row in corpus:
        document = dataset.corpus[row["_id"]]
        assert document.text == f"{row['title']} {row['text']}".strip()
        assert document.metadata == ({"title": row["title"]} if row["title"] else {})
    assert dataset.queries == {row["_id"]: row["text"] for row in queries}
    assert dataset.qrels == {"1": {"4": 2}, "2": {"6": 1, "5": 0}}
    assert dataset.without_judgements == ("3",)


def test_the_layout_of_beir(tmp_path: Path) -> None:
    check_beir(RetrievalDataset.from_hub("BeIR/scifact", data_dir=write_beir(tmp_path / "scifact")))


@pytest.mark.parametrize(
    "options", [{}, {"card": False}, {"card": False, "ending": "jsonl.gz"}], ids=["card", "no card", "gz"]
)
def test_the_layout_of_mteb(tmp_path: Path, options: dict[str, Any]) -> None:
    home = write_mteb(tmp_path / "scifact", **options)
    check_beir(RetrievalDataset.from_hub("mteb/scifact", data_dir=home))
    assert RetrievalDataset.from_hub("mteb/scifact", "train", data_dir=home).qrels == {"3": {"7": 1}}


def test_a_card_says_where_files_of_other_names_lie(tmp_path: Path) -> None:
    home = write_mteb(tmp_path / "scifact")
    card = home / "README.md"
    for name, split in (("corpus", "a"), ("queries", "b")):
        (home / f"{name}.jsonl").rename(home / f"{split}.jsonl")
        card.write_text(card.read_text().replace(f"path: {name}.jsonl", f"path: {split}.jsonl"))
    (home / "qrels").rename(home / "judged")
    card.write_text(card.read_text().replace("qrels/", "judged/"))
    check_beir(RetrievalDataset.from_hub("mteb/scifact", data_dir=home))
    with pytest.raises(InputError, match="has no split 'dev'; it has train, test"):
        RetrievalDataset.from_hub("mteb/scifact", "dev", data_dir=home)


def test_judgements_are_checked(tmp_path: Path) -> None:
    home = write_mteb(tmp_path / "scifact", card=False)
    judgement = {"query-id": "1", "corpus-id": "4", "score": 1}
    path = home / "qrels" / "test.jsonl"
    for rows, message in (
        ([{**judgement, "score": 0.5}], "relevance 0.5 of '4' for '1' is not a whole number"),
        ([judgement, {**judgement, "score": 2}], "'4' has two relevances"),
        ([{"query": "1"}], "'query-id', 'corpus-id' and a number 'score'"),
    ):
        write_lines(path, rows)
        with pytest.raises(InputError, match=message):
            RetrievalDataset.from_hub("mteb/scifact", data_dir=home)
    # A few published sets judge documents that their corpus lacks.
    write_lines(path, [judgement, {**judgement, "corpus-id": "gone"}])
    with pytest.warns(RaderWarning, match="1 of 2 judgements.*the document 'gone'"):
        assert RetrievalDataset.from_hub("mteb/scifact", data_dir=home).qrels == {"1": {"4": 1}}
    path.unlink()
    assert RetrievalDataset.from_hub("mteb/scifact", data_dir=home).split == "train", "the only one"
    with pytest.raises(InputError, match="no split 'test'; it has train"):
        RetrievalDataset.from_hub("mteb/scifact", "test", data_dir=home)
    (home / "qrels" / "train.jsonl").unlink()
    with pytest.raises(InputError, match="has no judgements"):
        RetrievalDataset.from_hub("mteb/scifact", data_dir=home)
    with pytest.raises(InputError, match="organisation/name, not 'scifact'"):
        RetrievalDataset.from_hub("scifact")


def test_either_layout_on_the_hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The hub itself is out of reach here: its repositories stand in local folders."""
    import datasets

    homes = {
        "mteb/scifact": write_mteb(tmp_path / "mteb"),
        "BeIR/scifact": write_beir(tmp_path / "beir"),
        "BeIR/scifact-qrels": tmp_path / "beir-qrels",
    }
    load, names = datasets.load_dataset, datasets.get_dataset_config_names
    downloads: list[tuple[str, str | None]] = []

    def load_dataset(repo: str, config: str, *, revision: str | None = None) -> Any:
        downloads.append((repo, revision))
        if repo == "BeIR/scifact":
            files = str(homes[repo] / config / "*.parquet")
            return load("parquet", data_files={config: files}, cache_dir=str(tmp_path / "cache"))
        return load(str(homes[repo]), config, cache_dir=str(tmp_path / "cache"))

    def config_names(repo: str, revision: str | None = None) -> list[str]:
        return ["corpus", "queries"] if repo == "BeIR/scifact" else names(str(homes[repo]))

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    monkeypatch.setattr(datasets, "get_dataset_config_names", config_names)
    for repo in ("mteb/scifact", "BeIR/scifact"):
        check_beir(RetrievalDataset.from_hub(repo, revision="abc"))
    assert set(downloads) == {("mteb/scifact", "abc"), ("BeIR/scifact", "abc"), ("BeIR/scifact-qrels", None)}
    check_beir(RetrievalDataset.from_hub("BeIR/scifact", qrels="BeIR/scifact-qrels"))


@pytest.mark.slow
def test_offline_the_error_says_what_to_download(tmp_path: Path) -> None:
    program = """
from rader_plugins.errors import InputError, RaderError
from rader_plugins.evaluation import RetrievalDataset
for load in (
    lambda: RetrievalDataset.bright("aops", reasoning="gpt4", revision="abc"),
    lambda: RetrievalDataset.from_hub("mteb/scifact"),
):
    try:
        load()
    except RaderError as error:
        print(isinstance(error, InputError), error)
"""
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, timeout=600, check=True
    )
    output = done.stdout
    assert output.count("could not be read from the Hugging Face hub") == 2, done
    assert output.startswith("False ")
    assert (
        "hf download xlangai/BRIGHT --repo-type dataset --revision abc --include 'documents/aops-*' --include "
        "'examples/aops-*' --include 'gpt4_reason/aops-*' --local-dir BRIGHT"
    ) in output
    assert "hf download mteb/scifact --repo-type dataset --local-dir scifact" in output
    assert "data_dir='scifact', or --data-dir scifact" in output


def test_the_command(
    bright: Path, tmp_path: Path, rader: Callable[..., Any], mini: Encoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    import rader_plugins.encoding as encoding

    monkeypatch.setattr(encoding, "load_encoder", lambda source, **options: mini)
    shared = ("--model", "mini", "-k", 4, "--measure", "nDCG")
    arguments = (f"bright:{BRIGHT_SPLIT}@gpt4", "--data-dir", bright, "--out", tmp_path / "a")
    report = json.loads(rader("evaluate", *arguments, *shared, "--json").stdout)
    assert report["mean"] == {"nDCG@4": 1.0}
    evaluation = Evaluation.load(tmp_path / "a")
    assert (evaluation.manifest["dataset"]["name"], evaluation.manifest["dataset"]["split"]) == (
        "bright@gpt4",
        BRIGHT_SPLIT,
    )
    assert set(evaluation.run["0"]) == {"ramsey", "euclid"}
    home = write_mteb(tmp_path / "scifact")
    rader("evaluate", "hub:mteb/scifact", "--data-dir", home, "--split", "train", "--out", tmp_path / "b", *shared)
    assert list(Evaluation.load(tmp_path / "b").per_query) == ["3"]
    for wrong, message in (
        (("bright:aops", "--split", "test"), "stands in its name"),
        (("bright:nothing",), "It has: biology"),
        ((str(home), "--data-dir", home), "--data-dir goes with"),
    ):
        assert message in " ".join(rader("evaluate", *wrong, "--out", tmp_path / "c", *shared, code=2).output.split())
    assert "bright:SPLIT@REASONING" in " ".join(rader("evaluate", "--help").output.replace("│", "").split())
