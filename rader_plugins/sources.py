"""The old place of :mod:`rader_plugins.ingestion`."""

from rader_plugins.ingestion import Chunking, Source, open_source
from rader_plugins.ingestion import Findings as Report

__all__ = ["Chunking", "Report", "Source", "open_source"]
