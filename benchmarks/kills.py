"""Kill training at random moments and see whether it ends as if nobody had.

    PYTHONPATH=tests/support python benchmarks/kills.py

Each kill (``kill -9``, a tiny model on the CPU) is one run of its own: it is killed at a moment
drawn uniformly from its duration, asked for again, and compared with the same run undisturbed:
weights, predictions, history and summary to the bit, and every file that should or should not be
there. Moments differ by kind of run; a moment that comes after the end is drawn again.
"""

import random
import tempfile
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import measure
from killed_runs import Outcome, Undisturbed
from tqdm import tqdm

from rnfl.study import ablations
from rnfl.training.config import RunConfig

PLAIN = RunConfig(
    "tiny-slo", "phantom_scratch", "naive", epochs=8, warmup_epochs=1, batch_size=2,
    lr_scale=5.0, eval_on=("tiny-cfp",),
)  # fmt: skip
KINDS = {
    "naive, a checkpoint per epoch": PLAIN,
    "structured, a checkpoint per step": replace(
        PLAIN, protocol="structured", checkpoint_seconds=0.0
    ),
    "frozen, cached prefix": replace(PLAIN, protocol=ablations.freezing([1.0])[0], augment=None),
    "half frozen, two views, a checkpoint per step": replace(
        PLAIN, protocol=ablations.freezing([0.5])[0], views=2, checkpoint_seconds=0.0
    ),
    "started from another run": replace(PLAIN, protocol="structured", checkpoint_seconds=0.0),
}
STARTED = "started from another run"
SHORT = {"epochs": 2, "warmup_epochs": 0}


def killed(undisturbed: Undisturbed, random_: random.Random) -> Outcome:
    """Kill a run at a random moment before its end."""
    while True:
        outcome = undisturbed.kill(random_.uniform(0, undisturbed.seconds))
        if outcome is not None:
            return outcome


def undisturbed_run(kind: str, config: RunConfig, folder: Path) -> Undisturbed:
    """Return a run of one kind that nobody kills; a started one has its start in every root."""
    if kind != STARTED:
        return Undisturbed(config, folder)
    first = Undisturbed(replace(config, protocol="naive", **SHORT, eval_on=()), folder / "start")
    return Undisturbed(replace(config, start=first.run_id), folder, template=first.root)


def row(kind: str, undisturbed: Undisturbed, outcomes: list[Outcome]) -> dict:
    """Count what kills of one kind hit and what became of them."""
    return {
        "run": kind,
        "undisturbed s": undisturbed.seconds,
        "killed": len(outcomes),
        "resumed": sum(outcome.status == 0 and outcome.resumed for outcome in outcomes),
        "bit-identical": sum(outcome.identical for outcome in outcomes),
        "broken files": sum(len(outcome.strays) for outcome in outcomes),
        "phases": dict(sorted(Counter(outcome.phase for outcome in outcomes).items())),
    }


def main(arguments: list[str] | None = None) -> int:
    """Kill, print a table and write ``kills.json``; 1 if a single kill left a trace."""
    parser = measure.parser(__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, help="of all kinds together; by default 50")
    parser.add_argument("--seed", type=int, default=time.time_ns() % 2**32)
    given = parser.parse_args(arguments)
    kinds = dict(list(KINDS.items())[:1]) if given.smoke else KINDS
    kills = given.kills or (1 if given.smoke else 50)
    print(f"{kills} kills, seed {given.seed}")
    outcomes, rows = {kind: [] for kind in kinds}, []
    for place, (kind, config) in enumerate(kinds.items()):
        config = replace(config, **SHORT) if given.smoke else config
        n = kills // len(kinds) + (place < kills % len(kinds))
        draws = [random.Random(f"{given.seed} {kind} {i}") for i in range(n)]
        with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(2) as pool:
            undisturbed = undisturbed_run(kind, config, Path(folder))
            found = pool.map(lambda draw, run=undisturbed: killed(run, draw), draws)
            outcomes[kind] = list(tqdm(found, kind, n, unit="kill"))
        rows.append(row(kind, undisturbed, outcomes[kind]))
    every = [outcome for found in outcomes.values() for outcome in found]
    total = {
        "killed": len(every),
        "resumed": sum(one["resumed"] for one in rows),
        "bit-identical": sum(one["bit-identical"] for one in rows),
        "broken files": sum(one["broken files"] for one in rows),
        "phases": dict(Counter(outcome.phase for outcome in every).most_common()),
    }
    measure.show([{k: v for k, v in one.items() if k != "phases"} for one in rows], "kill -9")
    for phase, count in total["phases"].items():
        print(f"  {count:3d} {phase}")
    bad = [(kind, one) for kind, found in outcomes.items() for one in found if not one.is_good]
    for kind, outcome in bad:
        print(f"NOT AS UNDISTURBED: {kind}: {outcome}")
    record = {
        "settings": {"kills": kills, "seed": given.seed, "kinds": list(kinds)},
        "rows": rows,
        "medians": {one["run"]: one["undisturbed s"] for one in rows},
        "ratios": {"bit-identical of killed": total["bit-identical"] / len(every)},
        "total": total,
    }
    measure.publish("kills", record, given)
    return int(bool(bad))


if __name__ == "__main__":
    raise SystemExit(main())
