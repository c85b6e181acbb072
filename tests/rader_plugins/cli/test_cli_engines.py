"""The commands over an index that an engine keeps: the same as over one in a folder, with a URL."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from rader_plugins import Encoder
from tests.rader_plugins.cli.conftest import Rader, write_rows
from tests.support.encoders import HashEncoder

pytestmark = pytest.mark.real
Fresh = Callable[[], str]


@pytest.fixture(scope="module")
def mini_encoder() -> Encoder:
    """What the commands load instead of the model: these tests are about where an index is."""
    return HashEncoder(name="mini")


def test_the_commands_take_a_url(fresh: Fresh, rader: Rader, tmp_path: Path) -> None:
    url = fresh()
    rows = write_rows(
        tmp_path / "rows.jsonl",
        {"id": "ramsey", "text": "Among six people three know each other or three do not.", "year": 1930},
        {"id": "bayes", "text": "The posterior is proportional to the likelihood times the prior.", "year": 1763},
    )
    assert "holds no index" in rader("search", url, "guests", code=2).stderr
    summary = json.loads(rader("index", "build", rows, "--out", url, "--json").stdout)
    assert (summary["documents"], summary["added"]) == (2, 2)
    assert "Nothing to encode" in rader("index", "build", rows, "--out", url).stdout
    hits = json.loads(
        rader("search", url, "six people", "-k", 1, "--filter", '{"year": {"$gt": 1800}}', "--json").stdout
    )
    assert [hit["id"] for hit in hits] == ["ramsey"]
    [hit] = json.loads(rader("search", url, "six zebras", "--explain", "--json", "--mode", "bm25").stdout)
    assert [term["term"] for term in hit["explanation"]["terms"]] == ["six"]
    assert hit["explanation"]["missing"] == ["zebra"]
    assert "not in it" in rader("search", url, "six zebras", "--explain").stdout
    second_file = write_rows(
        tmp_path / "more.jsonl", {"id": "euler", "text": "Vertices minus edges plus faces is two."}
    )
    rader("index", "add", url, second_file)
    facts = rader("index", "info", url).stdout
    assert "3" in facts
    assert "statistics" in facts
    assert json.loads(rader("index", "info", url, "--json").stdout)["documents"] == 3
    assert "3 documents" in rader("index", "optimize", url).stdout
    assert "Deleted 1 document; 2 left" in rader("index", "delete", url, "euler").stdout
    for arguments in (("index", "info", url, "--verify"), ("index", "repair", url)):
        assert "engine" in rader(*arguments, code=2).stderr
    assert "--rechunk" in rader("index", "build", rows, "--out", url, "--chunk-size", 20, code=2).stderr
    assert "--dtype float32" in rader("index", "build", rows, "--out", url, "--dtype", "float16", code=2).stderr


def test_evaluating_over_an_engine_gives_the_embedded_figures(
    fresh: Fresh, rader: Rader, beir: Path, tmp_path: Path
) -> None:
    (tmp_path / "data" / "qrels").mkdir(parents=True)
    rows = [json.loads(line) for line in (beir / "corpus.jsonl").read_text(encoding="utf-8").splitlines()]
    write_rows(tmp_path / "data" / "corpus.jsonl", *rows)
    write_rows(tmp_path / "data" / "queries.jsonl", *({"_id": f"q{n}", "text": rows[n]["text"][:40]} for n in range(5)))
    qrels = "".join(f"q{n}\t{rows[n]['_id']}\t1\n" for n in range(5))
    (tmp_path / "data" / "qrels" / "test.tsv").write_text(f"query-id\tcorpus-id\tscore\n{qrels}")
    url, runs = fresh(), []
    for where in (url, tmp_path / "index"):
        out = tmp_path / f"run{len(runs)}"
        rader("evaluate", tmp_path / "data", "--out", out, "--index", where, "--model", "mini")
        runs.append([line.split()[:4] for line in (out / "run.trec").read_text().splitlines()])
    assert runs[0] == runs[1]
    assert len(runs[0]) >= 5 * 10
    assert not list(tmp_path.glob("*:*"))  # no folder was named like the URL


def test_options_of_ray_without_effect_are_refused(rader: Rader, tmp_path: Path) -> None:
    source = write_rows(tmp_path / "rows.jsonl", {"id": "a", "text": "prime"})
    url = "postgresql://nobody@127.0.0.1:1/none"
    for options, words in (
        (("--out", tmp_path / "index", "--ray", "local"), "is a folder"),
        (("--out", url, "--ray-workers", 2), "without --ray"),
        (("--out", url, "--ray-gpus", 0.5), "without --ray"),
        (("--out", url, "--ray", "local", "--prune"), "no --prune"),
        (("--out", url, "--ray", "local", "--jobs", 2, "--check-content"), "no --jobs, --check-content"),
    ):
        assert words in rader("index", "build", source, *options, code=2).stderr
    assert not (tmp_path / "index").exists()
