"""Measures: those of ir_measures, by name or as objects, and functions of a user's own."""

from __future__ import annotations

import importlib
import importlib.util
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rader_plugins.arguments import check_string, iterate, shown
from rader_plugins.errors import InputError, import_extra
from rader_plugins.evaluation.rankings import Aspects, Qrels, Run, is_number
from rader_plugins.evaluation.weighted_aspects import WeightedMeasure, weighted_measure

__all__ = ["Measure", "MeasureFunction", "MeasureSet", "at_cutoffs", "load_measure", "measure_set"]

MeasureFunction = Callable[[Qrels, Run], Mapping[str, float]]
"""Judgements and a run (best document first, scores falling) -> query -> value. Its ``__name__`` is its name."""

Measure = str | MeasureFunction
"""A name as in ir_measures (``nDCG@10``, ``RBP(p=0.9)``), an object of ir_measures, or a function."""


@dataclass(frozen=True)
class MeasureSet:
    """Measures that were parsed.

    Attributes:
        library: Name -> measure of ir_measures.
        weighted: Name -> measure over weighted aspects.
        functions: The function of each measure, by name.
    """

    library: Mapping[str, Any]
    weighted: Mapping[str, WeightedMeasure]
    functions: Mapping[str, MeasureFunction]

    @property
    def names(self) -> list[str]:
        """Names of the measures, in the order in which they were named."""
        return [*self.library, *self.weighted, *self.functions]

    @property
    def deepest(self) -> int:
        """The largest cutoff among them, 0 if none has one."""
        cutoffs = [measure.params.get("cutoff") for measure in self.library.values()]
        return max((cutoff or 0 for cutoff in [*cutoffs, *(m.cutoff for m in self.weighted.values())]), default=0)

    def average(self, name: str, values: Mapping[str, float]) -> float:
        """Return a measure over all queries: the mean, or the sum where it counts (``NumRet``)."""
        total = sum(values.values())
        measure = self.library.get(name)
        counts = measure is not None and type(measure.aggregator()).__name__ == "SumAgg"
        return total if counts else total / len(values)

    def of_aspects(self) -> list[str]:
        """Return the names of those that judge aspect by aspect, such as ``alpha_nDCG@10``."""
        providers = import_extra("ir_measures", "evaluation").DefaultPipeline.providers
        return [
            name
            for name, measure in self.library.items()
            # ndeval alone computes them, and nothing else.
            if {provider.NAME for provider in providers if provider.supports(measure)} == {"pyndeval"}
        ]

    def check(self, aspects: Aspects) -> None:
        """Raise :class:`InputError` where no installed library computes a measure, or it lacks aspects."""
        pipeline = import_extra("ir_measures", "evaluation").DefaultPipeline
        for name, measure in self.library.items():
            try:
                measure.validate_params()
            except AssertionError:  # all else was tried when it was parsed
                raise InputError(f"The measure {name!r} needs a cutoff: write {name}@10, say.") from None
            if not pipeline.supports(measure):
                try:
                    pipeline.evaluator([measure], [])
                except ValueError as error:
                    reason = " ".join(str(error).split())
                    raise InputError(f"The measure {name!r} cannot be computed here: {reason}") from None
        if (names := [*self.of_aspects(), *self.weighted]) and not aspects:
            raise InputError(
                f"{', '.join(names)} takes judgements of the aspects of a query, and these have none. Write them as "
                "TREC subtopic qrels: query, aspect, document, relevance in every line."
            )

    def compute(self, name: str, qrels: Qrels, run: Run) -> dict[str, float]:
        """Return query -> value of a function for all judged queries; 0 for those without results that it leaves out.

        Raises:
            InputError: It failed, or returned something else than a number for every query.
        """
        try:
            values = self.functions[name](qrels, run)
        except Exception as error:
            raise InputError(f"The measure {name!r} raised {type(error).__name__}: {error}") from error
        if not isinstance(values, Mapping):
            raise InputError(
                f"The measure {name!r} must return a mapping from query to number, not {type(values).__name__}."
            )
        numbers: dict[str, float] = {}
        for query in qrels:
            value = values.get(query, None if query in run else 0.0)
            if value is None or not is_number(value) or not math.isfinite(value):
                raise InputError(f"The measure {name!r} gave {value!r} for query {query!r}: a finite number is needed.")
            numbers[query] = float(value)
        return numbers


def measure_set(measures: Iterable[Measure]) -> MeasureSet:
    """Return the measures that names such as ``nDCG@10`` stand for.

    Raises:
        InputError: A name is unknown, or two measures share one.
    """
    if isinstance(measures, str) or callable(measures):
        raise InputError(f"measures is a list, such as [{shown(measures)}].")
    measures = iterate(measures, "measures")
    library = import_extra("ir_measures", "evaluation")
    parsed: dict[str, Any] = {}
    weighted: dict[str, WeightedMeasure] = {}
    functions: dict[str, MeasureFunction] = {}
    for measure in measures:
        if (of_aspects := weighted_measure(measure)) is not None:
            weighted[of_aspects.name] = of_aspects
            continue
        if callable(measure) and not isinstance(measure, library.measures.Measure):
            name = str(getattr(measure, "__name__", type(measure).__name__))
            if functions.setdefault(name, measure) is not measure:
                raise InputError(f"Two measures are called {name!r}. Give one another __name__.")
            continue
        try:
            parsed_measure = library.parse_measure(str(measure))
            # A name such as R gets its cutoff later, see at_cutoffs(); a copy is checked, as a checked one stays so.
            without = "cutoff" in parsed_measure.SUPPORTED_PARAMS and "cutoff" not in parsed_measure.params
            (parsed_measure @ 10 if without else parsed_measure).validate_params()
            parsed[str(parsed_measure)] = parsed_measure
        except (NameError, ValueError, TypeError, KeyError, AssertionError) as error:
            raise InputError(
                f"Unknown measure {measure!r} ({error}). Known are those of ir_measures: nDCG@10, R@100, AP, RR, P@5, "
                "alpha_nDCG@10, ...; and weighted_alpha_nDCG@25, weighted_StRecall@25."
            ) from None
    for name, parsed_measure in parsed.items():
        if (cutoff := parsed_measure.params.get("cutoff")) is not None and cutoff < 1:  # ends the process in trec_eval
            raise InputError(f"The cutoff of a measure is at least 1, not {cutoff} as in {name!r}.")
    if twice := (parsed.keys() | weighted.keys()) & functions.keys():
        raise InputError(f"A function has the name of another measure, {min(twice)!r}. Give it another __name__.")
    if not parsed and not weighted and not functions:
        raise InputError("Name at least one measure, such as nDCG@10.")
    return MeasureSet(parsed, weighted, functions)


def at_cutoffs(measures: Sequence[Measure], k_values: Sequence[int]) -> list[Measure]:
    """Return measures with cutoffs: a name with ``@`` stays, another is taken at each of ``k_values`` if it has
    cutoffs.

    Example:
        >>> at_cutoffs(["nDCG", "R@100", "Rprec"], [5, 10])
        ['nDCG@5', 'nDCG@10', 'R@100', 'Rprec']
    """
    if not k_values or any(isinstance(k, bool) or not isinstance(k, int) or k < 1 for k in k_values):
        raise InputError(f"k_values must be whole numbers of at least 1, not {list(k_values)}.")
    parsed = measure_set(measures)
    names: dict[Measure, None] = {}
    for name, measure in parsed.library.items():
        cut = "@" in name or "cutoff" not in measure.SUPPORTED_PARAMS
        names |= dict.fromkeys([name] if cut else [str(measure @ k) for k in k_values])
    names |= dict.fromkeys(measure.at(k) for measure in parsed.weighted.values() for k in k_values)
    return [*names, *parsed.functions.values()]


def load_measure(name: str) -> Measure:
    """Return the measure that a command line names: one of ir_measures, or ``FILE.py:FUNCTION``, ``MODULE:FUNCTION``.

    Raises:
        InputError: There is no such file, module or function.
    """
    home, colon, function = check_string(name, "The name of a measure").rpartition(":")
    if not colon or not function.isidentifier():
        return name
    try:
        module = _module_of_file(Path(home), function) if home.endswith(".py") else importlib.import_module(home)
    except InputError:
        raise
    except Exception as error:  # it is a program of the user's
        raise InputError(f"The measure {name!r} cannot be imported: {type(error).__name__}: {error}") from error
    measure = getattr(module, function, None)
    if not callable(measure):
        raise InputError(f"{home} has no function {function!r}.")
    loaded: MeasureFunction = measure
    return loaded


def _module_of_file(path: Path, function: str) -> Any:
    spec = importlib.util.spec_from_file_location(path.stem, path) if path.is_file() else None
    if spec is None or spec.loader is None:
        raise InputError(f"There is no file {path} with the measure {function!r}.")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
