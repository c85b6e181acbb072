"""From records of solved problems to trajectories: one importer for each kind of file."""

from rader_synthesis.importing.base import Corpus, FileImporter, ImportReport
from rader_synthesis.importing.function import FunctionImporter, load_function
from rader_synthesis.importing.openai_logs import OpenAILogs
from rader_synthesis.importing.proofs import Proofs
from rader_synthesis.importing.rader_traces import RaderTraces
from rader_synthesis.importing.recorded import Recorded
from rader_synthesis.importing.solutions import Solutions

__all__ = [
    "Corpus",
    "FileImporter",
    "FunctionImporter",
    "ImportReport",
    "OpenAILogs",
    "Proofs",
    "RaderTraces",
    "Recorded",
    "Solutions",
    "load_function",
]
