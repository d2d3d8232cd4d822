"""What this project's methods score on GRAPE subjects that it has never seen.

The tables in ``data/external/grape_other_subjects`` were made elsewhere with ``rnfl transfer`` and
are kept as given; the README beside them says at which commit and how.
"""

from __future__ import annotations

import pandas as pd

from rnfl.storage.paths import project_root

FOLDER = project_root() / "data" / "external" / "grape_other_subjects"
#: File prefix: the method as other tables name it, and the eyes it and its baselines learnt from.
MODELS = {
    "readout": ("readout, classifier + depth", "GRAPE"),
    "finetuned": ("fine-tuned", "GRAPE"),
    "zero_shot_cfp": ("phantom CFP model", "phantom CFP"),
    "zero_shot_slo": ("phantom SLO model", "phantom SLO"),
}


def load_external() -> pd.DataFrame:
    """Return every level and difference that was measured on the 85 eyes of other subjects.

    Returns
    -------
    DataFrame
        study (file prefix), trained_on ('GRAPE', 'phantom CFP', 'phantom SLO'), method ('constant',
        'PCA + ridge', or a name of :data:`MODELS`), against ('' for a level, else the method that
        a difference is taken from), metric ('mae', 'bias' in µm, 'r'), attribute, group (quadrant,
        'mean' or 'global'), estimate, low, high, n (eyes), n_seeds, seed_sd, p, p_holm. Baselines
        that several studies share are there once, with the first of them; their p_holm is NaN,
        since it depends on what a difference stood beside.

    Examples
    --------
    >>> table = load_external()
    >>> readout = table.query("study == 'readout' and against == 'PCA + ridge' and n == 85")
    >>> readout.set_index("method")["estimate"].round(2).to_dict()
    {'constant': 3.21, 'readout, classifier + depth': -0.08}
    """
    parts = []
    for study, (model, trained_on) in MODELS.items():
        for kind in ("quadrants", "paired"):
            rows = pd.read_csv(FOLDER / f"{study}_{kind}.csv")
            baseline = rows["method"].isin(("constant", "PCA + ridge"))
            rows["method"] = rows["method"].where(baseline, model)
            if kind == "quadrants":
                rows = rows.drop(columns="domain").assign(against="")
            else:
                rows.loc[baseline, "p_holm"] = float("nan")
            parts.append(rows.assign(study=study, trained_on=trained_on))
    table = pd.concat(parts, ignore_index=True)
    keys = ["trained_on", "method", "against", "metric", "attribute", "group"]
    first = ["study", *keys]
    table = table[[*first, *(name for name in table if name not in first)]]
    return table.drop_duplicates(keys).reset_index(drop=True)
