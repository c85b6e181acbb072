"""Recording what an application's own runs asked, retrieved and answered, as trajectories.

The recorders of the frameworks are in the integration packages; what they share is here, and can be used by itself:

    with TrajectoryWriter("runs.jsonl") as writer:
        writer.put(trajectory)
        writer.feedback(trajectory.id, reward=1.0)
"""

from rader_plugins.recording.append import recorded_files
from rader_plugins.recording.assembly import RunAssembly
from rader_plugins.recording.collector import UNLIMITED, RunCollector
from rader_plugins.recording.feedback import MergeReport, feedback_path, merge_feedback, read_recorded
from rader_plugins.recording.limits import RecordingLimits
from rader_plugins.recording.printed import is_printed
from rader_plugins.recording.recorder import (
    RecordedRun,
    Recorder,
    RecorderOptions,
    guarded,
    is_control_flow,
    named_error,
)
from rader_plugins.recording.redaction import Redact, question_id, redacted
from rader_plugins.recording.results import (
    digest_id,
    finite,
    is_retrieval_name,
    query_of,
    read_documents,
    split_title,
    text_of_content,
    without_repeats,
)
from rader_plugins.recording.runs import RunTracker, TrackerCounts
from rader_plugins.recording.states import ANSWER_KEYS, DOCUMENT_KEYS, QUESTION_KEYS, fields_of, json_text
from rader_plugins.recording.tool_calls import ToolResult, describe_call, read_tool_text
from rader_plugins.recording.writer import RecordingCounts, TrajectoryWriter

__all__ = [
    "ANSWER_KEYS",
    "DOCUMENT_KEYS",
    "QUESTION_KEYS",
    "UNLIMITED",
    "MergeReport",
    "RecordedRun",
    "Recorder",
    "RecorderOptions",
    "RecordingCounts",
    "RecordingLimits",
    "Redact",
    "RunAssembly",
    "RunCollector",
    "RunTracker",
    "ToolResult",
    "TrackerCounts",
    "TrajectoryWriter",
    "describe_call",
    "digest_id",
    "feedback_path",
    "fields_of",
    "finite",
    "guarded",
    "is_control_flow",
    "is_printed",
    "is_retrieval_name",
    "json_text",
    "merge_feedback",
    "named_error",
    "query_of",
    "question_id",
    "read_documents",
    "read_recorded",
    "read_tool_text",
    "recorded_files",
    "redacted",
    "split_title",
    "text_of_content",
    "without_repeats",
]
