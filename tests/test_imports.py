"""Who may import whom (DESIGN: the house), and what importing costs."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FRAMEWORKS = {"langchain", "langchain_core", "langchain_community", "llama_index"}
OURS = {"rader_plugins", "rader_synthesis", "rader_training", "langchain_rader"}
# Folder -> top-level packages that nothing in it may import.
RULES = {
    "rader_plugins": FRAMEWORKS | OURS - {"rader_plugins"},
    "synthesis/rader_synthesis": FRAMEWORKS | {"rader_training", "langchain_rader"},
    "training/rader_training": FRAMEWORKS | {"rader_synthesis", "langchain_rader"},
    "integrations/langchain_rader": {
        "llama_index", "langchain", "langchain_community", "rader_synthesis", "rader_training"
    },
    "integrations/llama_index": {
        "langchain", "langchain_core", "langchain_community", "langchain_rader", "rader_synthesis", "rader_training"
    },
}  # fmt: skip
# Loaded only when they are used: apart from the encoders' modules nothing imports them at the top of a file.
HEAVY = {"torch", "transformers", "sentence_transformers", "faiss", "peft", "datasets", "vllm"}


def imported(file: Path) -> set[str]:
    packages: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            packages |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            packages.add(node.module.split(".")[0])
    return packages


@pytest.mark.parametrize("folder", RULES)
def test_nobody_imports_what_he_may_not(folder: str) -> None:
    assert list((ROOT / folder).rglob("*.py")), "the rule would hold for nothing"
    wrong = {
        str(file.relative_to(ROOT)): sorted(forbidden)
        for file in (ROOT / folder).rglob("*.py")
        if (forbidden := imported(file) & RULES[folder])
    }
    assert not wrong


def test_the_rule_finds_an_offender(tmp_path: Path) -> None:
    offender = tmp_path / "offender.py"
    offender.write_text("def f():\n    from llama_index.core import Settings\n    import langchain_core.documents\n")
    assert imported(offender) & FRAMEWORKS == {"llama_index", "langchain_core"}


def test_the_namespace_of_llama_index_stays_open() -> None:
    namespace = ROOT / "integrations" / "llama_index"
    assert not (namespace / "__init__.py").exists()
    for category in namespace.iterdir():
        if category.is_dir() and category.name != "__pycache__":
            assert not (category / "__init__.py").exists(), f"{category} would hide LlamaIndex itself"
            assert (category / "rader" / "__init__.py").exists()
            assert (category / "rader" / "py.typed").exists()


@pytest.mark.parametrize(
    "statement",
    [
        "import rader_plugins",
        "from rader_plugins import Document, Hit, Recipe, RaderIndex, RaderRetriever, load_encoder",
        "import rader_plugins.cli",
    ],
)
def test_importing_loads_nothing_heavy(statement: str) -> None:
    code = f"import sys; {statement}; print(*sorted({{name.split('.')[0] for name in sys.modules}}))"
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    ).stdout.split()
    assert not (HEAVY | FRAMEWORKS) & set(loaded)
    if statement == "import rader_plugins":
        assert "numpy" not in loaded


def test_everything_in_all_exists() -> None:
    import rader_plugins

    for name in rader_plugins.__all__:
        assert getattr(rader_plugins, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        rader_plugins.Nothing  # noqa: B018
