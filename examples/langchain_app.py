"""An agent that searches with RaDeR, behind FastAPI, with its runs recorded and rated by its users.

    pip install 'rader-plugins[langchain,local,faiss,mini]' langchain langgraph fastapi uvicorn langchain-openai
    OPENAI_API_KEY=... python examples/langchain_app.py

Ask with `curl -X POST 'localhost:8000/ask?question=...'`, rate with `curl -X POST 'localhost:8000/feedback?...'`.
The log becomes training samples, and from them a better retriever:

    rader import recorded runs.jsonl --checker numeric --label citation --out trajectories.jsonl
    rader samples trajectories.jsonl --index handbook --out samples
    rader train retriever samples --base mini --out my-retriever
"""

from __future__ import annotations

from typing import Any
from uuid import uuid4

from langchain.agents import create_agent
from langchain_core.documents import Document
from langchain_core.language_models import BaseChatModel
from langchain_core.tools import create_retriever_tool
from langchain_rader import RaderRetriever, TrajectoryRecorder

PROMPT = "Search the handbook, then answer. Name the documents that you used in square brackets."
HANDBOOK = {
    "ramsey": "Ramsey: among any six people three know each other or three do not.",
    "pigeonhole": "Pigeonhole principle: with more objects than boxes, two objects share a box.",
    "inclusion": "Inclusion and exclusion: the size of a union is the sum of sizes minus that of the intersection.",
}


class Service:
    """Answers questions and takes ratings; made once, shared by all requests.

    Args:
        llm: A chat model that can call tools.
        index: Folder of the index, made if there is none.
        runs: File that runs are recorded to.
    """

    def __init__(self, llm: BaseChatModel, index: str = "handbook", runs: str = "runs.jsonl") -> None:
        documents = [Document(text, id=id, metadata={"source": id}) for id, text in HANDBOOK.items()]
        self.retriever = RaderRetriever.from_documents(documents, model="mini", path=index, k=2)
        search = create_retriever_tool(
            self.retriever, "search_docs", "Searches the handbook.", response_format="content_and_artifact"
        )
        self.agent = create_agent(llm, [search], system_prompt=PROMPT)
        self.recorder = TrajectoryRecorder(runs, metadata={"app": "handbook"})

    async def ask(self, question: str) -> dict[str, Any]:
        """Return the answer and the id by which it is rated."""
        run_id = uuid4()
        config: Any = {"callbacks": [self.recorder], "run_id": run_id}
        state = await self.agent.ainvoke({"messages": [("user", question)]}, config)
        return {"answer": state["messages"][-1].text, "run_id": str(run_id)}

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
    from langchain_openai import ChatOpenAI

    uvicorn.run(create_app(Service(ChatOpenAI(model="gpt-4o-mini"))))
