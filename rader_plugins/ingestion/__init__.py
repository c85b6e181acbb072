"""From what a user has (a folder of texts, a JSONL file, a BEIR folder) to the documents of an index."""

from rader_plugins.ingestion.chunking import Chunking
from rader_plugins.ingestion.findings import Findings
from rader_plugins.ingestion.source import JSONL_SUFFIXES, TEXT_SUFFIXES, Source, open_source
from rader_plugins.ingestion.storing import Outcome, ingest
from rader_plugins.ingestion.survey import FileReading, Survey, survey

__all__ = [
    "JSONL_SUFFIXES",
    "TEXT_SUFFIXES",
    "Chunking",
    "FileReading",
    "Findings",
    "Outcome",
    "Source",
    "Survey",
    "ingest",
    "open_source",
    "survey",
]
