"""The README quotes the committed reference tables: every figure in it is read off them here."""

import pandas as pd
import pytest

from rnfl.paths import project_root

RESULTS = project_root() / "data" / "results"


@pytest.fixture(scope="module")
def readme():
    text = (project_root() / "README.md").read_text(encoding="utf-8")
    return " ".join(text.split())


@pytest.fixture(scope="module")
def table1():
    table = pd.read_csv(RESULTS / "02_protocols" / "table1.csv")
    return table[table["attribute"] == "all"]


def test_best_cell_template_and_floor(readme, table1):
    mae = table1[table1["metric"] == "mae"].set_index("protocol")
    ends = mae[mae["backbone"] == "—"]["estimate"]
    assert f"template scores {ends['template']:.2f} µm" in readme
    assert f"floor {ends['oracle floor']:.2f} µm" in readme
    best = mae[mae["backbone"] != "—"].reset_index().sort_values("estimate").iloc[0]
    named = f"`{best.backbone}` under `{best.protocol}`"
    assert f"{named}, reaches {best.estimate:.2f} µm [{best.low:.2f}, {best.high:.2f}]" in readme
    same = (table1["backbone"] == best.backbone) & (table1["protocol"] == best.protocol)
    own = table1[same].set_index("metric")["estimate"]
    assert f"{100 * own['covered']:.0f} % of the way" in readme
    assert f"with r {own['global_r']:.2f}" in readme


def test_differences_from_naive(readme):
    rows = pd.read_csv(RESULTS / "02_protocols" / "comparisons.csv")
    rows = rows[(rows["against"] == "naive") & (rows["metric"] == "mae")]
    for row in rows[rows["protocol"] == "structured"].itertuples():
        text = f"{row.estimate:+.2f} [{row.low:+.2f}, {row.high:+.2f}]".replace("-", "−")
        assert text in readme
        assert row.p_holm >= 0.05  # "none distinguishable"
    clear = rows[rows["p_holm"] < 0.05]
    assert list(clear["protocol"]) == ["gradient_loss"]
    row = clear.iloc[0]
    assert f"{row.backbone}` it is {row.estimate:.2f} µm [{row.low:.2f}, {row.high:.2f}]" in readme


def test_spread_and_longer_schedule(readme, table1):
    ratio = table1[(table1["metric"] == "sigma_ratio") & (table1["backbone"] != "—")]["estimate"]
    assert f"{100 * ratio.min():.0f} to {100 * ratio.max():.0f} % of the true spread" in readme
    flat = table1[(table1["metric"] == "sigma_flat") & (table1["protocol"] == "template")]
    assert f"flat σ still gives it {flat['estimate'].item():.1f} µm" in readme
    short = pd.read_csv(RESULTS / "02_protocols" / "history.csv")
    longer = pd.read_csv(RESULTS / "02_protocols" / "history_longer.csv")
    keys = ["backbone", "protocol", "seed"]
    best = [table.groupby(keys)["val_mae"].min() for table in (short, longer)]
    gain = 100 * (1 - (best[1] / best[0]).dropna())
    assert f"another {gain.min():.0f} to {gain.max():.0f} %" in readme


def test_real_photographs(readme):
    table = pd.read_csv(RESULTS / "06_cross_modality" / "quadrants.csv")
    rows = table[(table["metric"] == "mae") & (table["group"] == "mean")]
    grape = rows[rows["domain"] == "GRAPE"].set_index("method")
    error = grape["estimate"]
    models = f"{error['phantom SLO model']:.1f} and {error['phantom CFP model']:.1f} µm"
    assert models in readme and f"{grape['n'].iloc[0]:.0f} GRAPE eyes" in readme
    assert f"({error['constant']:.1f})" in readme and f"({error['PCA + ridge']:.1f})" in readme
