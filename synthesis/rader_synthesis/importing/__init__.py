"""From records of solved problems to trajectories: one importer for each kind of file.

Kinds are found by the entry points of the group ``rader.importers``, so that other packages can add some.
"""

from rader_synthesis.importing.agent_sessions import AgentSessions
from rader_synthesis.importing.anthropic_logs import AnthropicLogs
from rader_synthesis.importing.atif import AtifTrajectories
from rader_synthesis.importing.base import FileImporter, RowImporter
from rader_synthesis.importing.conversation import (
    Answer,
    Call,
    Citation,
    Conversation,
    Question,
    Result,
    Search,
    SearchResult,
    Thought,
)
from rader_synthesis.importing.conversations import ConversationImporter
from rader_synthesis.importing.corpus import Corpus
from rader_synthesis.importing.feedback import Scale
from rader_synthesis.importing.function import FunctionImporter, load_function
from rader_synthesis.importing.langfuse import LangfuseTraces
from rader_synthesis.importing.langsmith import LangSmithRuns
from rader_synthesis.importing.mlflow_traces import MlflowTraces
from rader_synthesis.importing.openai_logs import OpenAILogs
from rader_synthesis.importing.openinference import OpenInferenceTraces
from rader_synthesis.importing.options import ImportOptions
from rader_synthesis.importing.otel import OtelTraces
from rader_synthesis.importing.prompts import PromptDocuments
from rader_synthesis.importing.proofs import Proofs
from rader_synthesis.importing.rader_traces import RaderTraces
from rader_synthesis.importing.react import ReactRuns
from rader_synthesis.importing.recorded import Recorded
from rader_synthesis.importing.registry import importer_class, importer_kinds, recognize
from rader_synthesis.importing.report import ImportReport
from rader_synthesis.importing.sharegpt import ShareGPT
from rader_synthesis.importing.solutions import Solutions

__all__ = [
    "AgentSessions",
    "Answer",
    "AnthropicLogs",
    "AtifTrajectories",
    "Call",
    "Citation",
    "Conversation",
    "ConversationImporter",
    "Corpus",
    "FileImporter",
    "SearchResult",
    "FunctionImporter",
    "ImportOptions",
    "ImportReport",
    "LangSmithRuns",
    "LangfuseTraces",
    "MlflowTraces",
    "OpenAILogs",
    "OpenInferenceTraces",
    "OtelTraces",
    "PromptDocuments",
    "Proofs",
    "Question",
    "RaderTraces",
    "ReactRuns",
    "Recorded",
    "Result",
    "RowImporter",
    "Scale",
    "Search",
    "ShareGPT",
    "Solutions",
    "Thought",
    "importer_class",
    "importer_kinds",
    "load_function",
    "recognize",
]
