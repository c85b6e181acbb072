"""The old place of :mod:`rader_plugins.ingestion`."""

from rader_plugins.ingestion import Outcome, Survey, ingest, survey

__all__ = ["Outcome", "Survey", "ingest", "survey"]
