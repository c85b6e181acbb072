"""One conversation with one search, as every format writes it: rows made by hand from the specification of each."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

QUESTION = "A customer paid six weeks ago and wants the money back, what now?"
THOUGHT = "The window may have passed, so the rule is needed."
QUERY = "refund after 42 days"
DOCUMENTS: list[dict[str, Any]] = [
    {"id": "kb-101", "title": "Refund windows", "text": "Payments can be reversed within thirty days of settlement."},
    {"id": "kb-102", "title": "Seat limits", "text": "A workspace holds as many collaborators as its plan grants."},
]
ANSWER = "The window has passed, so ask finance for a credit note [kb-101]."
FOUND = json.dumps(DOCUMENTS)
ARGUMENTS = {"query": QUERY}

Rows = list[Any]


def openai() -> Rows:
    call = {"id": "c1", "type": "function", "function": {"name": "search_kb", "arguments": json.dumps(ARGUMENTS)}}
    messages = [
        {"role": "system", "content": "Help."},
        {"role": "user", "content": QUESTION},
        {"role": "assistant", "content": THOUGHT, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c1", "content": FOUND},
        {"role": "assistant", "content": ANSWER},
    ]
    return [{"id": "t1", "messages": messages, "reward": 1.0}]


def responses() -> Rows:
    output = [
        {"type": "reasoning", "id": "r", "summary": [{"type": "summary_text", "text": THOUGHT}]},
        {"type": "function_call", "call_id": "c1", "name": "search_kb", "arguments": json.dumps(ARGUMENTS)},
        {"type": "function_call_output", "call_id": "c1", "output": FOUND},
        {
            "type": "message",
            "role": "assistant",
            "content": [{"type": "output_text", "text": ANSWER, "annotations": []}],
        },
    ]
    return [{"id": "t1", "input": QUESTION, "output": output, "feedback": {"thumbs": "up"}}]


def anthropic() -> Rows:
    messages = [
        {"role": "user", "content": QUESTION},
        {
            "role": "assistant",
            "content": [
                {"type": "text", "text": THOUGHT},
                {"type": "tool_use", "id": "u1", "name": "search_kb", "input": ARGUMENTS},
            ],
        },
        {
            "role": "user",
            "content": [{"type": "tool_result", "tool_use_id": "u1", "content": [{"type": "text", "text": FOUND}]}],
        },
        {"role": "assistant", "content": [{"type": "text", "text": ANSWER}]},
    ]
    return [{"id": "t1", "system": "Help.", "messages": messages, "rating": "good"}]


def langsmith() -> Rows:
    def run(
        id: str, parent: str | None, kind: str, inputs: Any, outputs: Any, start: str, **more: Any
    ) -> dict[str, Any]:
        row = {"id": id, "trace_id": "t1", "parent_run_id": parent, "run_type": kind, "name": kind, "start_time": start}
        return {**row, "inputs": inputs, "outputs": outputs, "error": None, **more}

    def message(kind: str, **fields: Any) -> dict[str, Any]:
        path = ["langchain", "schema", "messages", kind]
        return {"lc": 1, "type": "constructor", "id": path, "kwargs": fields}

    call = {"name": "search_kb", "args": ARGUMENTS, "id": "c1", "type": "tool_call"}
    question = [message("HumanMessage", content=QUESTION, type="human")]
    calling = message("AIMessage", content=THOUGHT, type="ai", tool_calls=[call])
    hits = message("ToolMessage", content=FOUND, type="tool", tool_call_id="c1")
    ending = message("AIMessage", content=ANSWER, type="ai")

    def generated(one: Any) -> Any:
        return {"generations": [[{"text": one["kwargs"]["content"], "message": one}]]}

    return [
        run("m2", "t1", "llm", {"messages": [[*question, calling, hits]]}, generated(ending), "2026-01-01T00:00:03"),
        run("t1", None, "chain", {"messages": question}, {"messages": [*question, calling, hits, ending]}, "2026-01-01",
            feedback_stats={"user_score": {"n": 1, "avg": 1.0}}),
        run("s1", "t1", "tool", ARGUMENTS, {"output": {"content": FOUND, "type": "tool", "tool_call_id": "c1"}},
            "2026-01-01T00:00:02", ) | {"name": "search_kb"},
        run("m1", "t1", "llm", {"messages": [question]}, generated(calling), "2026-01-01T00:00:01"),
    ]  # fmt: skip


def langfuse() -> Rows:
    def observation(id: str, kind: str, given: Any, made: Any, start: str, name: str = "step") -> dict[str, Any]:
        row = {"id": id, "traceId": "t1", "type": kind, "name": name, "startTime": start, "parentObservationId": None}
        return {**row, "input": given, "output": made}

    calls = [{"id": "c1", "type": "function", "function": {"name": "search_kb", "arguments": json.dumps(ARGUMENTS)}}]
    question = [{"role": "user", "content": QUESTION}]
    calling = {"role": "assistant", "content": THOUGHT, "tool_calls": calls}
    hits = {"role": "tool", "tool_call_id": "c1", "content": FOUND}
    return [
        {"id": "t1", "name": "chat", "input": {"question": QUESTION}, "output": ANSWER, "sessionId": None},
        observation("o3", "GENERATION", [*question, calling, hits], {"role": "assistant", "content": ANSWER}, "03"),
        observation("o1", "GENERATION", question, calling, "01"),
        observation("o2", "RETRIEVER", QUERY, DOCUMENTS, "02"),
        {"id": "s", "traceId": "t1", "name": "thumbs", "value": 1, "dataType": "BOOLEAN", "stringValue": "True"},
    ]


def openinference() -> Rows:
    def span(id: str, kind: str, start: str, attributes: dict[str, Any], parent: str | None = "root") -> dict[str, Any]:
        context = {"trace_id": "t1", "span_id": id}
        return {
            "name": id, "context": context, "parent_id": parent, "span_kind": kind, "start_time": start,
            "status_code": "OK", "attributes": {"openinference.span.kind": kind, **attributes},
        }  # fmt: skip

    documents = {
        f"retrieval.documents.{n}.document.{key}": value
        for n, document in enumerate(DOCUMENTS)
        for key, value in (
            ("id", document["id"]),
            ("content", document["text"]),
            ("metadata", json.dumps({"title": document["title"]})),
        )
    }  # fmt: skip
    output = "llm.output_messages.0.message"
    call = f"{output}.tool_calls.0.tool_call"
    sent = {"llm.input_messages.0.message.role": "user", "llm.input_messages.0.message.content": QUESTION}
    first = {
        f"{output}.role": "assistant",
        f"{output}.content": THOUGHT,
        f"{call}.id": "c1",
        f"{call}.function.name": "search_kb",
    }
    return [
        span("root", "CHAIN", "0", {"input.value": QUESTION, "output.value": ANSWER,
             "annotations.0.annotation.name": "user feedback", "annotations.0.annotation.label": "thumbs-up",
             "annotations.0.annotation.annotator_kind": "HUMAN"}, None),
        span("search", "RETRIEVER", "2", {"input.value": QUERY, **documents}),
        span("m1", "LLM", "1", {**sent, **first, f"{call}.function.arguments": json.dumps(ARGUMENTS)}),
        span("m2", "LLM", "3", {**sent, f"{output}.role": "assistant", f"{output}.content": ANSWER}),
    ]  # fmt: skip


def _otlp(value: Any) -> Any:
    if isinstance(value, str):
        return {"stringValue": value}
    if isinstance(value, bool):
        return {"boolValue": value}
    if isinstance(value, int):
        return {"intValue": str(value)}
    return {"doubleValue": value}


def otel() -> Rows:
    def span(id: str, start: int, attributes: dict[str, Any], parent: str = "a0") -> dict[str, Any]:
        pairs = [{"key": key, "value": _otlp(value)} for key, value in attributes.items()]
        times = {"startTimeUnixNano": str(1_700_000_000_000_000_000 + start), "endTimeUnixNano": "0"}
        return {"traceId": "t1", "spanId": id, "parentSpanId": parent, "name": id, **times, "attributes": pairs}

    def parts(role: str, *inner: Any) -> dict[str, Any]:
        return {"role": role, "parts": list(inner)}

    question = parts("user", {"type": "text", "content": QUESTION})
    call = {"type": "tool_call", "id": "c1", "name": "search_kb", "arguments": ARGUMENTS}
    calling = parts("assistant", {"type": "text", "content": THOUGHT}, call)
    hits = parts("tool", {"type": "tool_call_response", "id": "c1", "response": DOCUMENTS})
    ending = parts("assistant", {"type": "text", "content": ANSWER})
    chat = {"gen_ai.operation.name": "chat"}

    def messages(sent: list[Any], answered: list[Any]) -> dict[str, str]:
        return {"gen_ai.input.messages": json.dumps(sent), "gen_ai.output.messages": json.dumps(answered)}

    tool = {"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": "search_kb"}
    tool |= {"gen_ai.tool.call.arguments": json.dumps(ARGUMENTS), "gen_ai.tool.call.result": FOUND}
    score = {"gen_ai.evaluation.name": "right", "gen_ai.evaluation.score.value": 1.0}
    root = span("a0", 0, {"gen_ai.operation.name": "invoke_agent"}, "")
    root["events"] = [
        {"name": "gen_ai.evaluation.result", "attributes": [{"key": k, "value": _otlp(v)} for k, v in score.items()]}
    ]
    spans = [
        span("a3", 3, {**chat, **messages([question, calling, hits], [ending])}),
        span("a1", 1, {**chat, **messages([question], [calling])}),
        span("a2", 2, tool),
        root,
    ]
    return [{"resourceSpans": [{"resource": {}, "scopeSpans": [{"scope": {}, "spans": spans}]}]}]


def mlflow() -> Rows:
    def span(id: str, kind: str, start: int, given: Any, made: Any, parent: str | None = "root") -> dict[str, Any]:
        attributes = {"mlflow.spanType": kind, "mlflow.spanInputs": given, "mlflow.spanOutputs": made}
        encoded = {key: json.dumps(value) for key, value in attributes.items()}
        ids = {"trace_id": "t1", "span_id": id, "parent_span_id": parent}
        return {
            **ids,
            "name": id,
            "start_time_unix_nano": start,
            "attributes": encoded,
            "status": {"code": "STATUS_CODE_OK"},
        }

    documents = [
        {"page_content": document["text"], "metadata": {"title": document["title"]}, "id": document["id"]}
        for document in DOCUMENTS
    ]
    spans = [
        span("root", "CHAIN", 0, {"question": QUESTION}, {"answer": ANSWER}, None),
        span("m1", "CHAT_MODEL", 1, {"messages": [{"role": "user", "content": QUESTION}]}, THOUGHT),
        span("search", "RETRIEVER", 2, {"query": QUERY}, documents),
        span("m2", "CHAT_MODEL", 3, {"messages": [{"role": "user", "content": QUESTION}]}, ANSWER),
    ]
    assessments = [{"assessment_name": "thumbs", "feedback": {"value": True}, "source": {"source_type": "HUMAN"}}]
    return [{"info": {"trace_id": "t1", "state": "OK", "assessments": assessments}, "data": {"spans": spans}}]


def atif() -> Rows:
    call = {"tool_call_id": "c1", "function_name": "search_kb", "arguments": ARGUMENTS}
    steps = [
        {"step_id": 1, "source": "system", "message": "Help."},
        {"step_id": 2, "source": "user", "message": QUESTION},
        {
            "step_id": 3, "source": "agent", "message": "", "reasoning_content": THOUGHT, "tool_calls": [call],
            "observation": {"results": [{"source_call_id": "c1", "content": FOUND}]},
        },
        {"step_id": 4, "source": "agent", "message": ANSWER},
    ]  # fmt: skip
    agent = {"name": "desk", "version": "1", "model_name": "m"}
    return [
        {"schema_version": "ATIF-v1.7", "session_id": "s", "trajectory_id": "t1", "agent": agent, "steps": steps,
         "extra": {"reward": 1.0}}
    ]  # fmt: skip


def sharegpt() -> Rows:
    turns = [
        {"from": "human", "value": QUESTION},
        {"from": "gpt", "value": THOUGHT},
        {"from": "function_call", "value": json.dumps({"name": "search_kb", "arguments": ARGUMENTS})},
        {"from": "observation", "value": FOUND},
        {"from": "gpt", "value": ANSWER},
    ]
    return [{"id": "t1", "conversations": turns, "correct": True}]


def react() -> Rows:
    text = (
        f"Thought 1: {THOUGHT}\nAction 1: search_kb[{QUERY}]\nObservation 1: {FOUND}\n"
        f"Action 2: finish[{ANSWER}]\nObservation 2: Episode finished, reward = 1\n"
    )
    return [{"id": "t1", "question": QUESTION, "trajectory": text}]


def claude_code() -> Rows:
    def line(kind: str, content: Any, **more: Any) -> dict[str, Any]:
        message = {"role": kind, "content": content}
        return {"type": kind, "sessionId": "t1", "uuid": "u", "timestamp": "2026-01-01", "message": message, **more}

    return [
        {"type": "summary", "summary": "A refund"},
        line(
            "user", "Caveat: The messages below were generated by the user while running local commands.", isMeta=True
        ),
        line("user", QUESTION),
        line("assistant", [{"type": "thinking", "thinking": THOUGHT, "signature": "s"}]),
        line("assistant", [{"type": "tool_use", "id": "c1", "name": "mcp__kb__search", "input": ARGUMENTS}]),
        line("user", [{"type": "tool_result", "tool_use_id": "c1", "content": [{"type": "text", "text": FOUND}]}]),
        line("assistant", [{"type": "text", "text": ANSWER}]),
    ]


def codex() -> Rows:
    def item(**payload: Any) -> dict[str, Any]:
        return {"timestamp": "2026-01-01T00:00:00Z", "type": "response_item", "payload": payload}

    inserted = "<environment_context>\n<cwd>x</cwd>\n</environment_context>"
    return [
        {"timestamp": "2026-01-01T00:00:00Z", "type": "session_meta", "payload": {"id": "t1", "cwd": "x"}},
        item(type="message", role="user", content=[{"type": "input_text", "text": inserted}]),
        item(type="message", role="user", content=[{"type": "input_text", "text": QUESTION}]),
        {
            "timestamp": "2026-01-01T00:00:00Z",
            "type": "event_msg",
            "payload": {"type": "user_message", "message": QUESTION},
        },
        item(type="reasoning", summary=[{"type": "summary_text", "text": THOUGHT}], encrypted_content="x"),
        item(type="function_call", name="search_kb", arguments=json.dumps(ARGUMENTS), call_id="c1"),
        item(type="function_call_output", call_id="c1", output=FOUND),
        item(type="message", role="assistant", content=[{"type": "output_text", "text": ANSWER}]),
    ]


FORMATS: dict[str, Callable[[], Rows]] = {
    "openai": openai,
    "anthropic": anthropic,
    "langsmith": langsmith,
    "langfuse": langfuse,
    "openinference": openinference,
    "otel": otel,
    "mlflow": mlflow,
    "atif": atif,
    "sharegpt": sharegpt,
    "react": react,
    "agent-sessions": claude_code,
}
"""Kind -> rows. Every format is here once; :data:`DIALECTS` are further ways of writing one of them."""

DIALECTS: dict[str, tuple[str, Callable[[], Rows]]] = {
    "responses": ("openai", responses),
    "codex": ("agent-sessions", codex),
}

RATED = frozenset(FORMATS) - {"agent-sessions"}
"""Kinds whose rows say that the answer was right; session logs have no feedback."""
