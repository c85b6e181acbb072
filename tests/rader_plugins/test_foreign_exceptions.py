"""Whatever is passed to a public function of the core, what comes out is a result or an error of this library.

Every argument of every call below is replaced, one after the other, by every odd value; and every failed call leaves
the index as it was.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rader_plugins import Document, Hit, RaderIndex, RaderRetriever, Recipe, create_index, load_encoder, open_index
from rader_plugins.analysis import Analyzer
from rader_plugins.encoding.backends import check_onnx_options, pick_backend
from rader_plugins.encoding.batching import check_batch_tokens
from rader_plugins.encoding.cache import VectorCache
from rader_plugins.encoding.http import HTTPEncoder
from rader_plugins.encoding.models import LoadOptions, pick_device, pick_dtype
from rader_plugins.encoding.onnx_graph import check_precision
from rader_plugins.encoding.onnx_model import pick_onnx_device
from rader_plugins.errors import RaderError
from rader_plugins.evaluation.measures import load_measure
from rader_plugins.evaluation.scoring import score_run
from rader_plugins.evaluation.trec_files import read_qrels, read_run, write_run
from rader_plugins.files import read_jsonl, read_toml, write_jsonl
from rader_plugins.index import Bm25Config
from rader_plugins.index.dense import AnnConfig
from rader_plugins.ingestion import Chunking, open_source, survey
from rader_plugins.llm import Budget, OpenAIChat
from rader_plugins.llm.sampling import Sampling
from rader_plugins.problems import read_problems
from rader_plugins.reranking.llm_grader import LLMReranker
from rader_plugins.retrieval.reasoning import ReasoningQuery
from rader_plugins.trajectories import read_trajectories, write_trajectories
from tests.support.encoders import HashEncoder
from tests.support.llm_server import LLMServer


class Odd:
    """An object that nobody expects."""

    def __repr__(self) -> str:
        return "<odd>"


def odd_values() -> dict[str, Callable[[], Any]]:
    """Return name -> maker of every odd value; made anew, as some are used up."""
    values: dict[str, Callable[[], Any]] = {
        "none": lambda: None,
        "true": lambda: True,
        "zero": lambda: 0,
        "negative": lambda: -1,
        "huge": lambda: 10**400,
        "half": lambda: 0.5,
        "nan": lambda: float("nan"),
        "infinity": lambda: float("inf"),
        "complex": lambda: 1j,
        "empty": lambda: "",
        "nul": lambda: "a\x00b",
        "surrogate": lambda: "a\ud800b",
        "bytes": lambda: b"bytes",
        "list": lambda: [1, "a", None],
        "no list": list,
        "ragged": lambda: [[1.0, 2.0], [3.0]],
        "of strings": lambda: ["a", "b\ud800"],
        "of lists": lambda: [["a"], 3],
        "dict": lambda: {"a": {"$eq": object()}},
        "operator": lambda: {"$and": 3},
        "keys": lambda: {1: 2},
        "set": lambda: {"a"},
        "tuple": lambda: ("a", 1),
        "generator": lambda: (item for item in ("a", 1)),
        "failing": lambda: failing(),
        "array": lambda: np.array([[1.0, np.nan], [2.0, 3.0]]),
        "scalar": lambda: np.float32(0.5),
        "objects": lambda: np.array([Odd(), "a"], dtype=object),
        "odd": Odd,
        "class": lambda: Odd,
        "document": lambda: Document("a", "b"),
        "wrong document": lambda: [Document(3, None, "x")],  # type: ignore[arg-type]
        "unhashable": lambda: [[]],
    }
    try:
        import pandas as pd
    except ImportError:
        return values
    return values | {
        "series": lambda: pd.Series(["a", "b"]),
        "frame": lambda: pd.DataFrame({"a": [1, 2]}),
        "missing": lambda: pd.NA,
        "time": lambda: pd.Timestamp("2024-01-01"),
    }


def failing() -> Iterator[Any]:
    yield Document("new", "text")
    yield 3


def deep() -> Any:
    value: Any = "bottom"
    for _ in range(2000):
        value = {"deeper": value}
    return value


ODD = odd_values()


def new_index() -> RaderIndex:
    index = RaderIndex.create(None, encoder=HashEncoder())
    index.add([Document("a", "prime tree", {"year": 1}), Document("b", "orbit heat")])
    return index


def calls(index: RaderIndex, folder: Path) -> dict[str, tuple[Callable[..., Any], dict[str, Any]]]:
    """Return name -> function and arguments that work."""
    retriever = RaderRetriever(index)
    documents = [Document("c", "proof")]
    one_of = {"documents": documents}
    return {
        "add": (index.add, {**one_of, "vectors": None, "commit_every": 5}),
        "delete": (index.delete, {"ids": ["c"]}),
        "get": (index.get, {"ids": ["a"]}),
        "vectors": (index.vectors, {"ids": ["a"]}),
        "contains": (index.__contains__, {"id": "a"}),
        "search": (
            retriever.search,
            {
                "query": "tree",
                "k": 2,
                "filter": None,
                "mode": "hybrid",
                "alpha": 0.5,
                "instruction": None,
                "exclude_ids": ["b"],
            },
        ),
        "search_batch": (retriever.search_batch, {"queries": ["tree"], "k": 2, "exclude_ids": [["a"]]}),
        "asearch": (lambda **options: asyncio.run(retriever.asearch(**options)), {"query": "tree", "k": 2}),
        "retriever": (
            RaderRetriever,
            {
                "index": index,
                "mode": "bm25",
                "alpha": 0.2,
                "instruction": None,
                "candidates": 5,
                "reranker": None,
                "rerank_top": 5,
                "reasoning": None,
            },
        ),
        "document": (lambda **fields: index.add([Document(**fields)]), {"id": "d", "text": "text", "metadata": {}}),
        "create": (
            RaderIndex.create,
            {"path": None, "encoder": HashEncoder(), "dtype": "float32", "ann": None, "bm25": None},
        ),
        "create_index": (create_index, {"where": None, "encoder": HashEncoder()}),
        "open": (RaderIndex.open, {"path": folder / "index", "encoder": HashEncoder(), "verify": None}),
        "open_index": (open_index, {"where": folder / "index", "encoder": HashEncoder()}),
        "exists": (RaderIndex.exists, {"path": folder}),
        "bm25": (Bm25Config, {"k1": 1.0, "b": 0.5, "query_weighted": True}),
        "ann": (AnnConfig, {"kind": "hnsw"}),
        "analyzer": (Analyzer, {"language": "english", "identifiers": True, "compatibility": True}),
        "chunking": (Chunking, {"size": 3, "overlap": 1}),
        "open_source": (
            lambda **options: survey(open_source(**options)),
            {"path": folder / "texts", "globs": ["*"], "chunking": None, "encoding": "cp1252", "follow_links": False},
        ),
        "read_jsonl": (lambda **options: list(read_jsonl(**options)), {"path": folder / "rows.jsonl"}),
        "read_toml": (read_toml, {"path": folder / "a.toml"}),
        "write_jsonl": (write_jsonl, {"path": folder / "out.jsonl", "rows": [{"a": 1}]}),
        "read_problems": (lambda **options: list(read_problems(**options)), {"path": folder / "problems.jsonl"}),
        "load_encoder": (
            load_encoder,
            {"name_or_path_or_url": "http://127.0.0.1:9", "recipe": "mini", "model": "m", "max_retries": 0},
        ),
        "recipe": (Recipe, {"name": "n", "model": "m", "pooling": "mean", "max_query_length": 9, "normalize": True}),
    }


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("odd")
    with RaderIndex.create(folder / "index", HashEncoder()) as index:
        index.add([Document("a", "text")])
    (folder / "texts").mkdir()
    (folder / "texts" / "a.txt").write_text("text")
    (folder / "rows.jsonl").write_text('{"a": 1}\n')
    (folder / "a.toml").write_text("a = 1\n")
    (folder / "problems.jsonl").write_text(json.dumps({"id": "p", "question": "q", "answer": "a"}) + "\n")
    return folder


NAMES = sorted(calls(new_index(), Path()))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.slow
def test_every_argument_may_be_anything(name: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    function, arguments = calls(new_index(), folder)[name]
    function(**arguments)
    faults = []
    for argument in arguments:
        deeply = {"deep": deep} if argument in ("filter", "metadata", "documents", "rows") else {}
        for what, make in {**ODD, **deeply}.items():
            if (argument, what) == ("filter", "class"):  # a function of the user's
                continue
            index = new_index()
            function, arguments = calls(index, folder)[name]
            before = list(index.documents())
            try:
                function(**{**arguments, argument: make()})
            except (RaderError, ValueError):
                if name != "write_jsonl" and argument != "documents":
                    assert list(index.documents()) == before, "a call that failed changed something"
            except OSError as error:
                if not isinstance(error.errno, int):  # the system's own: no such file
                    faults.append(f"{argument}={what}: {type(error).__name__}: {error}")
            except Exception as error:  # noqa: BLE001
                faults.append(f"{argument}={what}: {type(error).__name__}: {error}")
            index.close()
    assert not faults, "\n".join(faults)


def constructors(folder: Path) -> dict[str, tuple[Callable[..., Any], dict[str, Any]]]:
    """Return name -> what makes an encoder, a client or a reranker, and arguments that work."""
    llm = OpenAIChat("http://127.0.0.1:9", "m")
    server = {"url": "http://127.0.0.1:9", "model": "m", "api_key_env": "KEY", "headers": None, "extra": None}
    server |= {"concurrency": 1, "timeout": 1.0, "max_retries": 0, "backoff": 0.1}
    sampling = {"concurrency": 1, "temperature": 0.0, "max_tokens": 5, "seed": 1, "cache": folder / "cache.sqlite"}
    return {
        "llm": (OpenAIChat, {**server, "max_n": 1, "thinking": True}),
        "encoder": (
            HTTPEncoder,
            {**server, "recipe": "plain", "batch_size": 1, "batch_tokens": 1, "server_appends_eos": False}
            | {"tokenizer": None, "max_tokens": None},
        ),
        "grader": (LLMReranker, {"llm": llm, "prompt": "math", "weight": 0.5, "max_failures": 0.5, **sampling}),
        "reasoning": (ReasoningQuery, {"llm": llm, "mode": "append", "prompt": "{query}", **sampling}),
        "reasoning file": (ReasoningQuery.from_file, {"path": folder / "reasoning.jsonl", "mode": "append"}),
        "budget": (Budget, {"calls": 1, "tokens": 1, "minutes": 1.0}),
        "chat": (
            lambda **options: Sampling.of(**options),
            {"n": 1, "temperature": 0.5, "top_p": 0.5, "top_k": 1, "max_tokens": 1, "stop": ["a"], "seed": 1},
        ),
        "caches": (VectorCache, {"path": folder / "vectors.sqlite"}),
        "backend": (
            lambda backend, device, precision, batch_tokens, **options: (
                pick_backend(backend, "m"),
                check_onnx_options(options),
                check_precision(precision),
                check_batch_tokens(batch_tokens),
                pick_onnx_device(device),
            ),
            {"backend": "torch", "device": None, "precision": "fp32", "batch_tokens": 1, "dtype": "auto"}
            | {"attn_implementation": None, "trust_remote_code": False},
        ),
        "load": (
            lambda device, dtype, **options: LoadOptions(
                pick_device(device), pick_dtype(dtype, Recipe(name="n", model="m"), "cpu"), **options
            ),
            {"device": "cpu", "dtype": "float32", "attn_implementation": "sdpa", "trust_remote_code": False},
        ),
    }


@pytest.mark.parametrize("name", sorted(constructors(Path())))
def test_every_option_of_a_client_or_model_may_be_anything(
    name: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    (folder / "reasoning.jsonl").write_text(json.dumps({"query": "a", "text": "b"}) + "\n")
    make, options = constructors(folder)[name]
    make(**options)
    faults = []
    for option in options:
        for what, odd in ODD.items():
            try:
                repr(make(**{**options, option: odd()}))
            except (RaderError, OSError):
                pass
            except Exception as error:  # noqa: BLE001
                faults.append(f"{option}={what}: {type(error).__name__}: {error}")
    assert not faults, "\n".join(faults)


def readers_and_askers(folder: Path, url: str) -> dict[str, tuple[Callable[..., Any], dict[str, Any]]]:
    """Return name -> what reads files, scores, asks or reranks, and arguments that work."""
    llm = OpenAIChat(url, "m", max_retries=0)
    grader, hits = LLMReranker(llm), [Hit(Document("a", "text"), 1.0, 1)]
    question = [{"role": "user", "content": "a"}]
    return {
        "rerank": (grader.rerank, {"query": "q", "hits": hits, "top_n": 1}),
        "rerank_batch": (grader.rerank_batch, {"queries": ["q"], "hits": [hits]}),
        "arerank": (lambda **options: asyncio.run(grader.arerank(**options)), {"query": "q", "hits": hits, "top_n": 1}),
        "chat": (
            llm.chat,
            {"messages": question, "n": 1, "temperature": 0.5, "seed": 1, "max_tokens": 4, "stop": ["x"]},
        ),
        "score_run": (score_run, {"run": {"q": {"d": 1.0}}, "qrels": {"q": {"d": 1}}, "measures": ["nDCG@10"]}),
        "load_measure": (load_measure, {"name": "nDCG@10"}),
        "read_run": (read_run, {"path": folder / "run.trec"}),
        "write_run": (write_run, {"run": {"q": {"d": 1.0}}, "path": folder / "written.trec", "name": "n"}),
        "read_qrels": (read_qrels, {"path": folder / "qrels.tsv"}),
        "read_trajectories": (lambda **options: list(read_trajectories(**options)), {"paths": folder / "none.jsonl"}),
        "write_trajectories": (write_trajectories, {"path": folder / "none.jsonl", "trajectories": []}),
    }


@pytest.mark.parametrize("name", sorted(readers_and_askers(Path(), "http://127.0.0.1:9")))
def test_what_reads_scores_asks_and_reranks_may_get_anything(
    name: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("ir_measures")
    monkeypatch.chdir(folder)
    (folder / "none.jsonl").write_text("")
    (folder / "run.trec").write_text("q Q0 d 1 1.0 x\n")
    (folder / "qrels.tsv").write_text("q\td\t1\n")
    faults = []
    with LLMServer("Grade: 3") as server:
        function, arguments = readers_and_askers(folder, server.url)[name]
        function(**arguments)
        for argument in arguments:
            for what, odd in {**ODD, "deep": deep}.items():
                try:
                    function(**{**arguments, argument: odd()})
                except (RaderError, ValueError):
                    pass
                except OSError as error:
                    if not isinstance(error.errno, int):
                        faults.append(f"{argument}={what}: {type(error).__name__}: {error}")
                except Exception as error:  # noqa: BLE001
                    faults.append(f"{argument}={what}: {type(error).__name__}: {error}")
    assert not faults, "\n".join(faults)
