"""Recording what an application's own runs asked, retrieved and answered, as trajectories."""

from rader_plugins.recording.results import is_retrieval_name, query_of, read_documents

__all__ = ["is_retrieval_name", "query_of", "read_documents"]
