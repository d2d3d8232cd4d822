"""Redraw figures from committed result tables: ``python -m analysis.figures``."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from analysis.figures import FIGURES, available, make


def main(arguments: list[str] | None = None) -> int:
    """Draw the figures whose tables exist, print each path, and return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m analysis.figures", description=__doc__)
    parser.add_argument("--results", type=Path, default=Path("data/results"))
    parser.add_argument("--figures", type=Path, default=Path("figures"))
    parser.add_argument("--only", choices=sorted(FIGURES), metavar="STEM", help="one figure")
    options = parser.parse_args(arguments)
    stems = [options.only] if options.only else available(options.results)
    for stem in stems:
        print(make(stem, options.results, options.figures)["png"], flush=True)
    if not stems:
        print(f"no complete result tables under {options.results}", file=sys.stderr)
    return 0 if stems else 1


if __name__ == "__main__":
    raise SystemExit(main())
