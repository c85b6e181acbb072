"""Run all benchmarks one after the other, say which could not run, and tell which targets were met.

Each is a process of its own. The folder gets NAME.json of each (rows, measurements, processor), NAME.log with what
it printed, and rows.md: all tables with the processors that they belong to, to be taken over into docs/benchmarks.md.
`--quick` runs them at sizes that say nothing of speed, to see that they run.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

from common import HEADER, Row

# In this order, with what makes each of them small.
QUICK: dict[str, list[str]] = {
    "exact": ["--sizes", "3000x32", "2100x64", "--queries", "12", "--profile"],
    "index": ["--documents", "1500", "--queries", "12", "--added", "50", "--rounds", "1"],
    "many": ["--queries", "60", "--rounds", "1", "--latency", "0.01", "--documents", "2500", "--searches", "20"],
    "starting": ["--documents", "2500", "--rounds", "1", "--only", "opening"],
    "encoding": ["--documents", "60", "--rounds", "1"],
    "backends": ["--queries", "8", "--documents", "40", "--rounds", "1", "--precisions", "fp32"],
    "frameworks": ["--documents", "100", "--queries", "5", "--rounds", "1"],
    "evaluation": ["--documents", "500", "--rounds", "1"],
    "reranking": ["--documents", "10", "--rounds", "1", "--latency", "0.01", "--real-documents", "0"],
    "synthesis": ["--problems", "8", "--rollouts", "1", "--rounds", "1", "--latency", "0.01"],
    "samples": ["--trajectories", "200", "--documents", "300"],
    "training": ["--steps", "1", "--rounds", "1", "--only", "throughput"],
}
ORDER = tuple(QUICK)


def run(name: str, words: list[str], out: Path, minutes: float) -> str:
    """Run one benchmark; return what went wrong, or an empty text."""
    script = Path(__file__).with_name(f"{name}.py")
    result = out / f"{name}.json"
    result.unlink(missing_ok=True)
    start = time.monotonic()
    with (out / f"{name}.log").open("w", encoding="utf-8") as log:
        process = subprocess.Popen(
            [sys.executable, str(script), "--json", str(result), *words],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            encoding="utf-8",
            errors="replace",
            start_new_session=True,  # with the processes that it starts
        )
        timer = threading.Timer(60 * minutes, _end, [process])
        timer.start()
        try:
            for line in process.stdout or []:
                log.write(line)
                print(line, end="", flush=True)
            code = process.wait()
            ended = not timer.is_alive()
        finally:  # also where this process is interrupted
            timer.cancel()
            if process.poll() is None:
                _end(process)
    print(f"\n({name}: {time.monotonic() - start:.0f} s)", flush=True)
    if ended:
        return f"ended after {minutes:g} minutes"
    return f"exit code {code}" if code else ""


def _end(process: subprocess.Popen[str]) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)


def tables(out: Path, names: list[str], problems: dict[str, str]) -> tuple[str, list[str]]:
    """Return the tables of what has run, and a line for each row with a target."""
    parts, targets = [], []
    for name in names:
        file = out / f"{name}.json"
        report: dict[str, Any] = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
        rows = [Row.of(row) for row in report.get("rows", [])]
        machine = report.get("machine", {})
        features = ", ".join(machine.get("features", ()))
        lines = [f"## {name}", f"{machine.get('cpu', '?')}, {machine.get('cores', '?')} cores; {features}"]
        if name in problems:
            lines.append(f"Not to its end: {problems[name]}.")
        lines.append("\n".join([HEADER, *(row.markdown() for row in rows)]))
        lines += [f"- {note}: {value}" for note, value in report.get("notes", {}).items()]
        parts.append("\n\n".join(lines))
        targets += [
            f"{'yes' if row.met else 'no ':3} {name}: {row.name}: {_reached(row)}"
            for row in rows
            if row.limit is not None
        ]
    return "\n\n".join(parts) + "\n", targets


def _reached(row: Row) -> str:
    assert row.limit is not None
    value = f"{row.ours:.3g} {row.unit}" if row.limit.of == "ours" else f"{row.ratio:.3g}"
    return f"{value}, {row.limit.direction} {row.limit.bound:g} is asked"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder for the results")
    parser.add_argument("--only", nargs="+", choices=ORDER, default=ORDER)
    parser.add_argument("--quick", action="store_true", help="tiny sizes: does everything run?")
    parser.add_argument("--minutes", type=float, default=30, help="after which a benchmark is ended")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    problems = {}
    for name in options.only:
        print(f"\n## {name}\n", flush=True)
        if problem := run(name, QUICK[name] if options.quick else [], options.out, options.minutes):
            problems[name] = problem
    text, targets = tables(options.out, list(options.only), problems)
    (options.out / "rows.md").write_text(text, encoding="utf-8")
    print("\n## Targets\n")
    print("\n".join(targets), flush=True)
    if problems:
        named = ", ".join(f"{name} ({problem})" for name, problem in problems.items())
        raise SystemExit(f"\n{len(problems)} of {len(options.only)} benchmarks failed: {named}")


if __name__ == "__main__":
    main()
