"""Our retrievers and encoders in mteb (BRIGHT, RAR-b, ...). Needs ``pip install 'rader-plugins[mteb]'``."""

from rader_plugins.errors import import_extra

import_extra("mteb", "mteb")

from rader_plugins.evaluation.mteb.encoder import RaderMtebEncoder  # noqa: E402
from rader_plugins.evaluation.mteb.search import RaderSearch  # noqa: E402
from rader_plugins.evaluation.mteb.tasks import Instruction, task_instruction  # noqa: E402

__all__ = ["Instruction", "RaderMtebEncoder", "RaderSearch", "task_instruction"]
