"""The application behind ``rader``: its commands, those of plug-ins, and how errors become exit codes.

Exit codes: 0 done (a search without hits included), 1 failed at run time, 2 bad input or usage, 130 interrupted.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import warnings
from collections.abc import Iterator
from typing import Annotated, Any

import typer

from rader_plugins import __version__
from rader_plugins.arguments import shown
from rader_plugins.cli import doctor, evaluation, export_onnx, index, models, scoring, search
from rader_plugins.cli.help_texts import PlainGroup, plain_error, with_plain_help
from rader_plugins.cli.interruption import (
    INTERRUPTED,
    end_if_interrupted,
    end_soon_after_interruption,
    tell_interruption,
)
from rader_plugins.cli.output import fail, note
from rader_plugins.cli.plugins import load_plugin, plugins
from rader_plugins.errors import InputError, RaderError, RaderWarning

__all__ = ["build_app", "main"]

_ORDER = ("index", "search", "evaluate", "score", "compare", "export-onnx", "models", "doctor")
_FAILURE, _BAD_INPUT = 1, 2
_MAY_BE_EMPTY = ("--instruction",)  # a model may be asked without one


class RaderGroup(PlainGroup):
    """The top level. Plug-ins are imported when their command is called, or for the list in ``--help``."""

    def main(self, *arguments: Any, **options: Any) -> Any:
        """Run the program; what a stream cannot write is escaped rather than ending the command."""
        for stream in (sys.stdout, sys.stderr):
            if hasattr(stream, "reconfigure"):
                stream.reconfigure(errors="backslashreplace")
        return super().main(*arguments, **options)

    def parse_args(self, ctx: Any, args: list[str]) -> Any:
        """Refuse empty arguments, as a variable of the shell that is not set leaves them: each means something else."""
        if (fault := _empty_argument(args)) is not None:
            raise typer.BadParameter(fault)
        return super().parse_args(ctx, args)

    def list_commands(self, ctx: Any) -> list[str]:
        """Return the names of the built-in commands, then those of plug-ins."""
        own = sorted(super().list_commands(ctx), key=_ORDER.index)
        return own + sorted(name for name in plugins() if name not in own)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Return a command by name; None if there is none, or if its plug-in cannot be loaded (which is reported)."""
        own = super().get_command(ctx, cmd_name)
        if own is not None or (entry := plugins().get(cmd_name)) is None:
            return own
        command, error = load_plugin(entry)
        if command is None:
            note(f"Warning: the plug-in command {entry.name!r} ({entry.value}) cannot be loaded: {error}")
        return command

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Find the command of a call; a plug-in that cannot be loaded is a failure, not an unknown command."""
        if args and args[0] in plugins() and self.get_command(ctx, args[0]) is None:
            raise typer.Exit(_FAILURE)
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: Any) -> Any:
        """Run the command; errors of this library become one line on the standard error and an exit code."""
        try:
            with _quiet():
                result = super().invoke(ctx)
                # A reader that went away shows only when the buffer is written out: here, not at exit.
                sys.stdout.flush()
                return result
        except BrokenPipeError:
            _discard_output()
            raise typer.Exit(0) from None
        except typer.BadParameter as error:
            error.message = plain_error(error.message)
            raise
        except InputError as error:
            fail(str(error))
            raise typer.Exit(_BAD_INPUT) from error
        except RaderError as error:
            fail(str(error))
            raise typer.Exit(_FAILURE) from error
        except OSError as error:
            fail(_system_error(error))
            raise typer.Exit(_FAILURE) from error
        except KeyboardInterrupt as error:
            tell_interruption(error)
            raise typer.Exit(INTERRUPTED) from None


def build_app() -> typer.Typer:
    """Return the Typer application with the built-in commands and those of plug-ins.

    Example:
        >>> from typer.testing import CliRunner
        >>> CliRunner().invoke(build_app(), ["models", "--json"]).exit_code
        0
    """
    app = typer.Typer(
        name="rader",
        cls=RaderGroup,
        help="Reasoning-aware dense retrieval: index documents, search them, look after the installation.",
        no_args_is_help=True,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    )
    app.callback()(_root)
    app.command("search")(search.search)
    for command in (evaluation.evaluate, scoring.score, scoring.compare):
        app.command(command.__name__)(command)
    app.command("export-onnx")(export_onnx.export_onnx)
    app.command("models")(models.models)
    app.command("doctor")(doctor.doctor)
    app.add_typer(index.app, name="index")
    return with_plain_help(app)


def main() -> None:
    """Run ``rader`` with the arguments of the process."""
    # Libraries read these when they are imported, which no command has done yet.
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("HF_DATASETS_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    # Threads of torch that wait leave their core to others: a query is encoded in 12 ms, and not in 500, where another
    # process works beside this one.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    _show_logs()
    end_soon_after_interruption()
    try:
        build_app()(prog_name="rader")
    except KeyboardInterrupt as error:  # before a command began
        tell_interruption(error)
        raise SystemExit(INTERRUPTED) from None
    finally:
        end_if_interrupted()


def _empty_argument(arguments: list[str]) -> str | None:
    """Say which argument is empty that may not be; None where all have a value."""
    for before, argument in zip(["", *arguments], arguments, strict=False):
        option = before if not argument else argument.removesuffix("=") if argument.endswith("=") else ""
        if (not argument or option.startswith("--")) and option not in _MAY_BE_EMPTY:
            what = f"{option} has an empty value" if option.startswith("-") else "An argument is empty"
            return f"{what}: give one, or leave it out. Is a variable of the shell not set?"
    return None


def _version(shown: bool) -> None:
    if shown:
        typer.echo(f"rader-plugins {__version__}")
        raise typer.Exit


def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    pass


def _system_error(error: OSError) -> str:
    """Say what the system refused, without the numbers and quotes of Python."""
    names = [shown(os.fsdecode(name)) for name in (error.filename, error.filename2) if isinstance(name, str | bytes)]
    if not error.strerror:
        return str(error)
    return f"{' -> '.join(names)}: {error.strerror}." if names else f"{error.strerror}."


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Show warnings of this library as one line each and keep those of other libraries to themselves."""
    if sys.warnoptions:
        yield
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.simplefilter("always", RaderWarning)
        warnings.showwarning = lambda message, *_, **__: note(f"Warning: {message}")
        # Where it is installed, peft imports it with every model, and on some processors it misses a package then.
        logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
        yield


class _LogLines(logging.Handler):
    """Shows what this library logs as lines: warnings, and on a terminal which model is being loaded."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record."""
        if record.levelno >= logging.WARNING:
            note(f"Warning: {record.getMessage()}")
        elif record.name == "rader_plugins.loading" and sys.stderr is not None and sys.stderr.isatty():
            note(record.getMessage())


def _show_logs() -> None:
    """Show what this library logs, and of other libraries errors alone."""
    for name in ("rader_plugins", "rader_synthesis", "rader_training"):
        logger = logging.getLogger(name)
        logger.addHandler(_LogLines(logging.INFO))
        logger.setLevel(logging.INFO)
        logger.propagate = False
    if logging.lastResort is not None:
        logging.lastResort.setLevel(logging.ERROR)


def _discard_output() -> None:
    """Point the standard output nowhere, so that what is still buffered does not fail again at exit."""
    with contextlib.suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)
