"""Importer by a user's own function."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from rader_plugins.errors import InputError
from rader_plugins.trajectories import Trajectory
from rader_synthesis.importing.base import Corpus, ImportReport, Row, RowImporter, grouped_rows, settle_steps
from rader_synthesis.importing.feedback import Scale

__all__ = ["FunctionImporter", "RowFunction", "load_function"]

RowFunction = Callable[[Any], Trajectory | Iterable[Trajectory] | None]
"""Takes the JSON value of a row and returns its trajectory, several of them, or None to leave it out."""


class FunctionImporter(RowImporter):
    """Calls a function on every row.

    Args:
        function: Returns a trajectory, several, or None. A source that it leaves empty becomes ``import:function``.
            An ``InputError`` or ``ValueError`` of it is reported with the row; so is a ``KeyError``, ``TypeError`` or
            ``AttributeError``, which a row of another shape raises.
        corpus: Gives retrieved documents their ids and texts.
        scale: Scale of the rewards that the function returns.
        group_by: A field; the function then takes the list of the rows that have the same value of it.
        keep_all: Also keep trajectories without a retrieval.
        skip_faulty: Count rows that cannot be used, instead of ending at the first.

    Example:
        >>> from rader_plugins.trajectories import Step
        >>> def convert(row):
        ...     return Trajectory(row["id"], row["id"], row["ask"], (Step("answer", row["said"]),), row["said"])
        >>> FunctionImporter(convert).kind
        'function'
    """

    kind = "function"
    summary = "anything, by a function of your own: --function module:name takes a row and returns a Trajectory"
    takes = RowImporter.takes | {"function", "scale", "group_by"}

    def __init__(
        self,
        function: RowFunction,
        *,
        corpus: Corpus | None = None,
        scale: Scale | None = None,
        group_by: str | None = None,
        keep_all: bool = False,
        skip_faulty: bool = False,
    ) -> None:
        super().__init__(keep_all=keep_all, skip_faulty=skip_faulty)
        self.function = function
        self.corpus = corpus
        self.scale = scale or Scale()
        self.group_by = group_by

    def read_files(self, paths: Sequence[Path], report: ImportReport) -> Iterator[Trajectory]:
        """Yield what the function makes of each row, or of the rows that belong together."""
        if self.group_by is None:
            yield from super().read_files(paths, report)
            return
        for row in grouped_rows(self, paths, self.group_by, report):
            try:
                trajectories = list(self.convert(row, report))
            except InputError as error:
                self.fault(error, report)
                continue
            yield from trajectories

    def convert(self, row: Row, report: ImportReport) -> Iterable[Trajectory]:
        """Return what the function makes of a row."""
        value = row.value()
        try:
            returned = self.function(value)
            trajectories = [returned] if isinstance(returned, Trajectory) else list(returned or ())
        except (ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
            detail = str(error) if isinstance(error, InputError) else repr(error)
            raise InputError(f"{row.where}: the function cannot read it: {detail}") from error
        if not trajectories:
            report.skipped["the function left it out"] += 1
        for trajectory in trajectories:
            if not isinstance(trajectory, Trajectory):
                raise InputError(
                    f"{row.where}: the function returned {type(trajectory).__name__}, not a Trajectory, a list of "
                    "these or None."
                )
            content = trajectory.row()
            content["source"] = content["source"] or self.source
            # What the function made is checked as what a file holds is.
            checked = Trajectory.from_row(content, f"{row.where}, as the function made it")
            reward = checked.reward
            yield replace(
                checked,
                steps=settle_steps(checked.steps, self.corpus, report),
                reward=None if reward is None else self.scale.reward(reward, row.where),
            )


def load_function(name: str) -> Callable[[Any], Any]:
    """Import ``module:function``; modules in the working folder are found too.

    Raises:
        InputError: There is no such module or function.
    """
    module_name, colon, attribute = name.partition(":")
    if not colon or not module_name or not attribute:
        raise InputError(f"A function is named module:function, such as my_logs:convert, not {name!r}.")
    here = str(Path.cwd())
    added = here not in sys.path
    if added:
        sys.path.insert(0, here)
    try:
        module = importlib.import_module(module_name)
    except ImportError as error:
        raise InputError(f"The module {module_name!r} cannot be imported: {error}.") from error
    finally:
        if added:
            sys.path.remove(here)
    function = getattr(module, attribute, None)
    if not callable(function):
        raise InputError(f"{module_name!r} has no function {attribute!r}.")
    loaded: Callable[[Any], Any] = function
    return loaded
