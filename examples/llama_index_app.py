"""An agent that searches with RaDeR, behind FastAPI, with its runs recorded and rated by its users.

    pip install 'rader-plugins[llama-index,local,faiss,mini]' fastapi uvicorn llama-index-llms-openai
    OPENAI_API_KEY=... python examples/llama_index_app.py

What becomes of the log is told in langchain_app.py; both write the same format.
"""

from __future__ import annotations

from typing import Any

from llama_index.core.agent.workflow import FunctionAgent
from llama_index.core.llms.function_calling import FunctionCallingLLM
from llama_index.core.schema import TextNode
from llama_index.core.tools import RetrieverTool, ToolMetadata
from llama_index.retrievers.rader import RaderRetriever, TrajectoryRecorder

PROMPT = "Search the handbook, then answer. Name the documents that you used in square brackets."
HANDBOOK = {
    "ramsey": "Ramsey: among any six people three know each other or three do not.",
    "pigeonhole": "Pigeonhole principle: with more objects than boxes, two objects share a box.",
    "inclusion": "Inclusion and exclusion: the size of a union is the sum of sizes minus that of the intersection.",
}


class Service:
    """Answers questions and takes ratings; made once, shared by all requests.

    Args:
        llm: An LLM that can call tools.
        index: Folder of the index, made if there is none.
        runs: File that runs are recorded to.
    """

    def __init__(self, llm: FunctionCallingLLM, index: str = "handbook", runs: str = "runs.jsonl") -> None:
        nodes = [TextNode(id_=id, text=text) for id, text in HANDBOOK.items()]
        self.retriever = RaderRetriever.from_defaults(nodes=nodes, model="mini", path=index, similarity_top_k=2)
        search = RetrieverTool(self.retriever, ToolMetadata(name="search_docs", description="Searches the handbook."))
        self.agent = FunctionAgent(tools=[search], llm=llm, system_prompt=PROMPT, streaming=False)
        self.recorder = TrajectoryRecorder(runs, metadata={"app": "handbook"})

    async def ask(self, question: str) -> dict[str, Any]:
        """Return the answer and the id by which it is rated."""
        with self.recorder.run(question=question) as run:
            answer = await self.agent.run(user_msg=question)
        return {"answer": str(answer), "run_id": run.id}

    def rate(self, run_id: str, reward: float | None = None, answer: str | None = None) -> bool:
        """Keep what a user says of an answer: how good it was, or what it should have been."""
        return self.recorder.feedback(run_id, reward=reward, gold_answer=answer)


def create_app(service: Service) -> Any:
    """Return the web application."""
    from fastapi import FastAPI

    app = FastAPI()

    @app.post("/ask")
    async def ask(question: str) -> dict[str, Any]:
        return await service.ask(question)

    @app.post("/feedback")
    async def feedback(run_id: str, reward: float | None = None, answer: str | None = None) -> dict[str, bool]:
        return {"kept": service.rate(run_id, reward, answer)}

    return app


if __name__ == "__main__":
    import uvicorn
    from llama_index.llms.openai import OpenAI

    uvicorn.run(create_app(Service(OpenAI(model="gpt-4o-mini"))))
