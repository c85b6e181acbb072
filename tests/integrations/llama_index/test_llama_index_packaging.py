from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
NAMESPACE = ROOT / "integrations" / "llama_index"


def test_the_namespace_folders_hold_no_init() -> None:
    leaves = [file.parent for file in NAMESPACE.rglob("__init__.py")]
    assert {leaf.relative_to(NAMESPACE).as_posix() for leaf in leaves} >= {"embeddings/rader", "retrievers/rader"}
    assert {leaf.name for leaf in leaves} == {"rader"}
    assert all((leaf / "py.typed").is_file() for leaf in leaves)
    assert not list(Path(__file__).parent.glob("__init__.py"))


def test_both_halves_of_the_namespace_import_together() -> None:
    import llama_index
    import llama_index.core
    import llama_index.core.retrievers
    import llama_index.embeddings.rader
    import llama_index.retrievers.rader

    assert getattr(llama_index, "__file__", None) is None  # a namespace, in which distributions lie side by side
    assert llama_index.core.__version__
    assert llama_index.retrievers.rader.__all__ == [
        "LlamaIndexChat",
        "RaderRetriever",
        "RagQueryEngine",
        "RagWorkflow",
        "TrajectoryRecorder",
        "searchable",
    ]
    assert llama_index.embeddings.rader.__all__ == ["RaderEmbedding"]
    assert issubclass(llama_index.retrievers.rader.RaderRetriever, llama_index.core.retrievers.BaseRetriever)


@pytest.mark.parametrize("leaf", ["embeddings", "retrievers"])
def test_without_llama_index_the_error_says_what_to_install(leaf: str) -> None:
    program = f"""
import importlib.abc, sys
sys.path[:0] = [{str(ROOT)!r}, {str(ROOT / "integrations")!r}]
class Absent(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name == "llama_index.core":
            raise ModuleNotFoundError("No module named 'llama_index.core'", name=name)
sys.meta_path.insert(0, Absent())
from rader_plugins.errors import MissingExtraError
try:
    import llama_index.{leaf}.rader
except MissingExtraError as error:
    sys.exit(0 if "pip install 'rader-plugins[llama-index]'" in str(error) else str(error))
sys.exit("imported")
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
