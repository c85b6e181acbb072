"""Run all benchmarks one after the other, and say which of them could not run.

Each is a process of its own, and writes its rows to a file of the folder that is named.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

ORDER = ("exact", "index", "encoding", "frameworks", "evaluation", "reranking", "synthesis", "samples", "training")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder for a JSON file of each benchmark")
    parser.add_argument("--only", nargs="+", choices=ORDER, default=ORDER)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    failed = []
    for name in options.only:
        print(f"\n## {name}\n", flush=True)
        script = Path(__file__).with_name(f"{name}.py")
        done = subprocess.run([sys.executable, str(script), "--json", str(options.out / f"{name}.json")], check=False)
        if done.returncode:
            failed.append(name)
    if failed:
        raise SystemExit(f"\n{len(failed)} of {len(options.only)} benchmarks failed: {', '.join(failed)}")


if __name__ == "__main__":
    main()
