"""From recorded reasoning to a better retriever: import, make samples, train, evaluate before and after, drop it in.

    python examples/close_the_loop.py                      # the bundled training questions, a few minutes
    python examples/close_the_loop.py --proofs FOLDER      # EntailmentBank's proofs: how rader-mini was made

Every step is a command that is printed before it runs; take them from there. The last step loads the new model in
LangChain and in LlamaIndex. FOLDER is a BEIR folder of EntailmentBank's facts, with dev judgements, and
`proofs_train.jsonl` (see docs/training.md). Needs `pip install 'rader-plugins[all,mini]'`.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import subprocess
import sys
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")  # the base is an installed package
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

BUNDLED = Path(str(files("rader_plugins").joinpath("data/principles")))
HERE = Path(__file__).resolve().parent
RADER = [sys.executable, "-c", "from rader_plugins.cli import main; main()"]


def convert(row: dict[str, Any]) -> Any:
    """Make a trajectory of a question and the document that a person linked to it: for `rader import function`."""
    from rader_plugins.trajectories import Considered, Step, Trajectory

    considered = tuple(
        Considered(one["_id"], one["text"], relevant=True, reason="judged", labelled_by="human", title=one["title"])
        for one in row["documents"]
    )
    steps = (Step("query", row["question"]), Step("retrieval", considered=considered))
    return Trajectory(row["id"], row["id"], row["question"], steps)


def rows(path: Path) -> Iterator[dict[str, Any]]:
    """Return the rows of a JSONL file."""
    with path.open(encoding="utf-8") as stream:
        yield from (json.loads(line) for line in stream)


def write(path: Path, given: Iterator[dict[str, Any]]) -> Path:
    """Write rows as JSONL."""
    with path.open("w", encoding="utf-8") as stream:
        stream.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in given)
    return path


def judged_questions() -> Iterator[dict[str, Any]]:
    """Return the bundled training questions with the documents that answer them."""
    documents = {row["_id"]: row for row in rows(BUNDLED / "corpus.jsonl")}
    judged: dict[str, list[dict[str, Any]]] = {}
    for line in (BUNDLED / "qrels" / "train.tsv").read_text(encoding="utf-8").splitlines()[1:]:
        question, document, _ = line.split("\t")
        judged.setdefault(question, []).append(documents[document])
    for row in rows(BUNDLED / "train_queries.jsonl"):
        yield {"id": row["_id"], "question": row["text"], "documents": judged[row["_id"]]}


def anchors() -> Iterator[dict[str, Any]]:
    """Return texts of other subjects than the proofs': the bundled documents and training questions."""
    for name in ("corpus.jsonl", "train_queries.jsonl"):
        for row in rows(BUNDLED / name):
            yield {"_id": row["_id"], "title": row.get("title", ""), "text": row["text"]}


def rader(*arguments: str | Path) -> None:
    """Run a command of ours; show it first."""
    given = [str(argument) for argument in arguments]
    print(f"\n$ rader {shlex.join(given)}", flush=True)
    subprocess.run([*RADER, *given], check=True, cwd=HERE)


def figure(folder: Path) -> float:
    """Return nDCG@10 of a folder of `rader evaluate`."""
    return float(json.loads((folder / "evaluation.json").read_text(encoding="utf-8"))["mean"]["nDCG@10"])


def search_in_frameworks(model: Path, question: str) -> None:
    """Index the bundled corpus with the new model and ask LangChain and LlamaIndex."""
    from langchain_core.documents import Document
    from langchain_rader import RaderRetriever as LangChainRetriever
    from llama_index.core.schema import TextNode
    from llama_index.retrievers.rader import RaderRetriever as LlamaIndexRetriever

    found = list(rows(BUNDLED / "corpus.jsonl"))
    texts = [f"{row['title']} {row['text']}" for row in found]
    print(f"\n{question}")
    pairs = [(row["_id"], {"title": row["title"]}, text) for row, text in zip(found, texts, strict=True)]
    documents = [Document(text, id=id, metadata=metadata) for id, metadata, text in pairs]
    chain = LangChainRetriever.from_documents(documents, model=str(model), k=3)
    print("  LangChain:  ", "; ".join(one.metadata["title"] for one in chain.invoke(question)))
    nodes = [TextNode(id_=id, text=text, metadata=metadata) for id, metadata, text in pairs]
    retriever = LlamaIndexRetriever.from_defaults(nodes=nodes, model=str(model), similarity_top_k=3)
    print("  LlamaIndex: ", "; ".join(one.node.metadata["title"] for one in retriever.retrieve(question)))


def main() -> None:
    """Run all steps."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--proofs", type=Path, help="BEIR folder of EntailmentBank with proofs_train.jsonl")
    parser.add_argument("--out", type=Path, default=Path("loop"), help="a new folder (default: loop)")
    parser.add_argument("--config", type=Path, default=HERE / "rader_mini.toml", help="hyper-parameters")
    options = parser.parse_args()
    out, proofs = options.out.resolve(), options.proofs.resolve() if options.proofs else None
    if out.exists():
        parser.error(f"{out} exists; name a new folder.")
    out.mkdir(parents=True)
    trajectories = out / "trajectories.jsonl"
    if proofs:
        corpus, split = proofs, "dev"
        rader("import", "proofs", proofs / "proofs_train.jsonl", "--out", trajectories)
        held = write(out / "anchors.jsonl", anchors())
    else:
        corpus, split = BUNDLED, "test"
        questions = write(out / "questions.jsonl", judged_questions())
        rader("import", "function", questions, "--function", "close_the_loop:convert", "--out", trajectories)
        held = BUNDLED  # the documents stay where they are, the questions learn to find them
    judged = f"{corpus}:{split}"
    rader(
        *("samples", trajectories, "--corpus", corpus, "--model", "mini", "--without-reward", "--dev-share", "0.1"),
        *("--against", judged, "--out", out / "samples"),
    )
    rader(
        *("train", "retriever", out / "samples", "--base", "mini", "--config", options.config.resolve()),
        *("--corpus", corpus, "--anchor", held, "--check-against", judged, "--keep-adapter"),
        *("--out", out / "run", "--name", "my-retriever"),
    )
    model = out / "run" / "model"
    for name, used in (("before", "mini"), ("after", str(model))):
        rader(
            *("evaluate", corpus, "--split", split, "--model", used, "--mode", "dense", "--batch-size", "64"),
            *("--out", out / name),
        )
    rader("compare", out / "before", out / "after", "--out", out / "report")
    before, after = figure(out / "before"), figure(out / "after")
    print(f"\nnDCG@10 on {corpus.name} {split}: {100 * before:.1f} before, {100 * after:.1f} after.")
    print(f"The comparison is in {out / 'report' / 'comparison.html'}.")
    search_in_frameworks(model, "Why do two people in a crowd of fifty almost surely share a birthday?")


if __name__ == "__main__":
    main()
