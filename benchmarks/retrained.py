"""Train some cells of the committed tables again, and see what this machine makes of them.

    python benchmarks/retrained.py

On one machine the code gives the same bits again; on another one rounding differs, and training
makes more of it. Each cell is compared with what the committed tables say of that very run: the
lowest validation MAE of Table 1's runs (``history.csv``), the test MAE of the freezing ablation's
(``runs.csv``). Runs on colour photographs stand in no committed table one by one; their errors are
listed beside the template's all the same. About a minute and a half a run on two cores; runs that
are finished are not trained again.
"""

import measure
import pandas as pd

import rnfl
from rnfl.core import metrics, schema
from rnfl.storage.paths import project_root
from rnfl.study import cross_modality, presets

# Backbone and protocol, each with all its seeds, and the table that has its runs one by one.
CELLS = (
    ("phantom_mae", "naive", "table 1"),
    ("phantom_depth", "structured", "table 1"),
    ("phantom_mae", "aggressive", "freezing"),
    ("phantom_cls", "freeze_33pct", "freezing"),
)


def committed(table: str) -> pd.Series:
    """Return the committed error (µm) of each run of a table, by run id."""
    results = project_root() / "data" / "results"
    if table == "table 1":
        history = pd.read_csv(results / "02_protocols" / "history.csv")
        return history.groupby("run_id")["val_mae"].min()
    return pd.read_csv(results / "03_freezing" / "runs.csv").set_index("run_id")["mae"]


def main(arguments: list[str] | None = None) -> None:
    given = measure.parser(__doc__.splitlines()[0]).parse_args(arguments)
    study, rows = presets.get("smoke" if given.smoke else "reference"), []
    rnfl.prepare(study.slo)
    for backbone, protocol, table in CELLS[:1] if given.smoke else CELLS:
        configs = [*study.configs_table1(), *study.configs_freezing()]
        known = committed(table)  # which holds no smoke run
        for config in dict.fromkeys(configs):
            if (config.backbone, config.protocol.name) != (backbone, protocol):
                continue
            run = rnfl.run(config)
            name = "best_val_mae" if table == "table 1" else "test_mae"
            then = float(known.get(run.run_id, float("nan")))
            now = run.summary[name]
            rows.append(
                {"run": run.run_id, "error": name, "committed": then, "here": now,
                 "difference": now - then}
            )  # fmt: skip
    colour = [] if given.smoke else cross_modality.configs(study)[study.cfp]
    colour = [rnfl.run(config) for config in colour]
    rows += [
        {"run": run.run_id, "error": "test_mae", "here": run.summary["test_mae"]} for run in colour
    ]
    measure.show(rows, "Committed runs trained again (µm)")
    apart = pd.DataFrame(rows).set_index("run")["difference"].abs().dropna()
    template = rnfl.template_predictions(study.slo)
    template = metrics.mae(*(schema.matrix(template, name) for name in ("prediction", "target")))
    greatest = {
        f"{backbone}, {protocol}": float(apart.filter(like=f"{backbone}-{protocol}-").max())
        for backbone, protocol, _ in CELLS
        if len(apart.filter(like=f"{backbone}-{protocol}-"))
    }
    measure.publish(
        "retrained",
        {"settings": {}, "rows": rows, "greatest": greatest, "template": template},
        given,
    )


if __name__ == "__main__":
    main()
