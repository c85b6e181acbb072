"""``rader trajectories``: look at search trees and trajectories, and count what is in a file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rader_plugins.cli.options import JsonOutput
from rader_plugins.cli.output import count, emit_json, facts, fail, human_bytes, note

__all__ = ["app"]

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Look at search trees and trajectories.")

_Source = Annotated[
    Path,
    typer.Argument(
        metavar="PATH",
        help="Folder of a synthesis run, or a JSONL file of trees or of trajectories.",
        show_default=False,
    ),
]


@app.command()
def show(
    source: _Source,
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="The page (.html); replaced if there.")],
    problem: Annotated[
        list[str] | None, typer.Option("--problem", metavar="ID", help="Show this problem alone; repeatable.")
    ] = None,
    most: Annotated[int, typer.Option("--most", min=1, metavar="N", help="Show at most the first N problems.")] = 1000,
    json: JsonOutput = False,
) -> None:
    """Write trees and trajectories as one HTML page, to be opened in a browser; it loads nothing from elsewhere.

    It shows the way to the answer, visits and rewards, and what was retrieved, kept and rejected, and why.
    """
    from rader_synthesis.explorer import write_page

    out.parent.mkdir(parents=True, exist_ok=True)
    report = write_page(source, out, problems=problem or (), most=most)
    if json:
        emit_json(
            {
                "out": str(out),
                "problems": report.problems,
                "statuses": report.statuses,
                "left_out": report.left_out,
                "bytes": report.size,
            }
        )
        return
    if report.left_out:
        note(f"{count(report.left_out, 'problem')} left out: raise --most, or choose with --problem.")
    listed = ", ".join(f"{number:,} {status}" for status, number in report.statuses.items())
    typer.echo(f"{out}: {count(report.problems, 'problem')} ({listed or 'none'}), {human_bytes(report.size)}")


@app.command()
def info(source: _Source, json: JsonOutput = False) -> None:
    """Count problems, answers, steps and labelled documents."""
    from rader_synthesis.explorer.counting import count_source

    counts = count_source(source)
    if json:
        emit_json(counts.as_dict())
        return
    typer.echo("\n".join(facts(counts.lines())))


@app.command()
def merge(
    runs: Annotated[
        list[Path], typer.Argument(metavar="RUN...", help="Folders of synthesis runs over parts of one problem set.")
    ],
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Folder of the merged run; a run like any other.")],
    json: JsonOutput = False,
) -> None:
    """Make one run of several with the same settings, such as those of `rader synthesize --shard`.

    A problem that several have finished is taken from the first. Runs that still go on can be merged again later.
    Exit code 1: nothing in it could be trained on.
    """
    from rader_synthesis.sharding import merge_runs

    report = merge_runs(runs, out)
    totals = report.totals
    states = [name for name in ("solved", "unsolved", "failed", "skipped", "open") if totals.get(name)]
    if json:
        emit_json(
            {
                "out": str(out),
                "merged": report.merged,
                "present": report.present,
                "totals": totals,
                "shortfall": report.shortfall,
            }
        )
    else:
        lines = [
            ("problems", ", ".join(f"{totals[name]:,} {name}" for name in states) or "none"),
            ("taken over", f"{count(report.merged, 'problem')}; {report.present:,} were there, or in a run before"),
            ("trajectories", f"{totals.get('trajectories', 0):,}, {totals.get('training', 0):,} fit for training"),
            ("written to", str(out)),
        ]
        typer.echo("\n".join(facts(lines)))
    if report.shortfall is not None:
        fail(report.shortfall)
        raise typer.Exit(1)
