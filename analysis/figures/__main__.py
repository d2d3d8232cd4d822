"""Redraw figures from committed result tables, or check that none is out of date.

``python -m analysis.figures`` draws; with ``--check`` it only says what is stale.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from analysis.figures import FIGURES, available, make, stale


def main(arguments: list[str] | None = None) -> int:
    """Draw the figures whose tables exist, or check them, and return the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m analysis.figures", description="Redraw figures from result tables."
    )
    parser.add_argument("--results", type=Path, default=Path("data/results"))
    parser.add_argument("--figures", type=Path, default=Path("figures"))
    parser.add_argument("--only", choices=sorted(FIGURES), metavar="STEM", help="one figure")
    parser.add_argument("--check", action="store_true", help="draw nothing, say what is stale")
    options = parser.parse_args(arguments)
    if options.check:
        problems = stale(options.results, options.figures)
        print("\n".join(problems) or "every figure and table is what its sidecar describes")
        return 1 if problems else 0
    stems = [options.only] if options.only else available(options.results)
    for stem in stems:
        print(make(stem, options.results, options.figures)["png"], flush=True)
    if not stems:
        print(f"no complete result tables under {options.results}", file=sys.stderr)
    return 0 if stems else 1


if __name__ == "__main__":
    raise SystemExit(main())
