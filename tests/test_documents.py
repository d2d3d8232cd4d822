"""Documents quote the committed tables: their numbers are read off here, their paths exist."""

import importlib
import json
import re

import pandas as pd
import pytest

from analysis.accuracy.external import load_external
from rnfl.core import orientation
from rnfl.storage.paths import project_root

RESULTS = project_root() / "data" / "results"


def read(name):
    return pd.read_csv(RESULTS / name)


def signed(row):
    """Return an estimate with its interval as the README writes it."""
    text = f"{row.estimate:+.2f} [{row.low:+.2f}, {row.high:+.2f}]"
    return text.replace("-", "−")


def span(values, digits=2):
    return f"{min(values):.{digits}f} to {max(values):.{digits}f}"


DOCUMENTS = sorted([*project_root().glob("*.md"), *project_root().glob("*/README.md")])


def words(name):
    return " ".join((project_root() / name).read_text(encoding="utf-8").split())


@pytest.fixture(scope="module")
def readme():
    return words("README.md")


@pytest.fixture(scope="module")
def results():
    return words("RESULTS.md")


def test_the_readme_is_short(readme):
    assert len(readme.split(" ")) <= 1350


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda p: str(p.relative_to(project_root())))
def test_paths_and_modules_in_documents_exist(path):
    """A code span that looks like a file of the project, or like one of its modules, is one."""
    text = path.read_text(encoding="utf-8")
    found = set(
        re.findall(r"(?:rnfl|analysis|tests|benchmarks|notebooks)/[\w./-]+\w(?![-<\w])", text)
    )
    assert not [one for one in found if not list(project_root().glob(one))]
    dotted = set(re.findall(r"`((?:rnfl|analysis)\.[\w.]+)", text))
    assert not [one for one in dotted if not exists(one)]


def exists(dotted):
    """Whether a dotted name is a module, or something that a module holds."""
    parts = dotted.split(".")
    for n in range(len(parts), 0, -1):
        try:
            value = importlib.import_module(".".join(parts[:n]))
        except ModuleNotFoundError:
            continue
        for name in parts[n:]:
            value = getattr(value, name, None)
        return value is not None
    return False


@pytest.fixture(scope="module")
def table1():
    table = read("02_protocols/table1.csv")
    return table[table["attribute"] == "all"]


def test_best_cell_template_and_floor(results, table1):
    mae = table1[table1["metric"] == "mae"].set_index("protocol")
    ends = mae[mae["backbone"] == "—"]["estimate"]
    assert f"template scores {ends['template']:.2f} µm" in results
    assert f"label-noise floor {ends['oracle floor']:.2f} µm" in results
    best = mae[mae["backbone"] != "—"].reset_index().sort_values("estimate").iloc[0]
    named = f"`{best.backbone}` under `{best.protocol}`"
    assert f"{named}, reaches {best.estimate:.2f} µm [{best.low:.2f}, {best.high:.2f}]" in results
    same = (table1["backbone"] == best.backbone) & (table1["protocol"] == best.protocol)
    own = table1[same].set_index("metric")["estimate"]
    assert f"{100 * own['covered']:.0f} % of the way" in results
    assert f"with r {own['global_r']:.2f}" in results


def test_verdicts_on_the_protocols(readme):
    said = json.loads((RESULTS / "02_protocols" / "about.json").read_text(encoding="utf-8"))
    (counts,) = re.findall(
        r"(\d) of 9 differ, (\d) of 9 are eq.*, (\d) of 9", said["conclusions"][-1]
    )
    differ, equivalent, undecided = counts
    words = f"nine comparisons with *naive*, {differ} differ, {equivalent} are equivalent within"
    assert words in readme and f"±1 µm, {undecided} are undecided" in readme


def test_strategies_of_adaptation(results):
    found = read("13_strategies/strategies.csv").query("metric == 'mae'").set_index("protocol")
    table, further = (found[found["gap"] == gap] for gap in (1, 0.5))
    for name in ("readout", "aggressive"):
        row = table.loc[name]
        assert (
            f"{row.estimate:.2f} [{row.low:.2f}, {row.high:.2f}]".replace("12.98 [", "12.98 µm [")
            in results
        )
    assert f"the template {table.loc['template', 'estimate']:.2f}" in results
    rows = read("13_strategies/comparisons.csv")
    rows = rows[(rows["against"] == "aggressive") & (rows["metric"] == "mae")]
    rows, others = (rows[rows["gap"] == gap] for gap in (1, 0.5))
    (shown,) = rows[rows["p_holm"] < 0.05].itertuples()
    assert shown.protocol == "readout" and f"({signed(shown)} µm)" in results
    assert len(rows) == 9 and "none is equivalent within ±1 µm, eight are undecided" in results
    (better, *_), (undecided,) = (
        list(others[kind].sort_values("estimate").itertuples())
        for kind in (others["p_holm"] < 0.05, others["p_holm"] >= 0.05)
    )
    worse = others[(others["p_holm"] < 0.05) & (others["estimate"] > 0)]["estimate"]
    assert better.protocol == "readout" and f"({signed(better)} µm), seven" in results
    assert undecided.protocol == "lora" and f"({signed(undecided)})" in results
    assert len(worse) == 7 and f"by +{worse.min():.2f} to +{worse.max():.2f} µm" in results
    assert f"(full fine-tuning {further.loc['aggressive', 'estimate']:.2f} µm)" in results
    apart = further["estimate"] < table["estimate"]
    assert apart[rows["protocol"]].all() and apart["aggressive"]
    costs = read("13_strategies/costs.csv").query("gap == 1").set_index("protocol")
    lora, full = costs.loc["lora"], costs.loc["aggressive"]
    stored, memory = (lora[one] / full[one] for one in ("bytes_stored", "peak_bytes"))
    assert f"LoRA learns {100 * lora.share_backbone:.1f} %" in results
    assert f"stores {100 * stored:.0f} %" in results
    assert f"{100 * memory:.0f} % of its memory: {table.loc['lora', 'estimate']:.2f}" in results


def test_scale_of_the_output(results):
    table = read("15_output_scale/scales.csv")
    raw = table[table["scale"] == "raw"].pivot_table("estimate", ["epochs", "strategy"], "metric")
    for epochs in (8, 24):
        errors = " and ".join(f"{mae:.1f}" for mae in raw.loc[epochs, "mae"])
        assert f"({errors} µm; " in results
    assert (raw.loc[8, "sigma_ratio"] < 0.005).all()
    spread = " and ".join(f"{ratio:.2f}" for ratio in raw.loc[24, "sigma_ratio"])
    assert f"µm; {spread})" in results
    said = json.loads((RESULTS / "15_output_scale" / "about.json").read_text(encoding="utf-8"))
    assert said["conclusions"][-1].endswith("4 cells with a raw output, 0 with a standardised one.")


def test_from_one_camera_to_another(results):
    table = read("20_camera_shift/ways.csv").query("shots == 10 and attribute == 'all'")
    at = table.set_index(["protocol", "metric"])["estimate"]
    assert f"by {at['none', 'mae']:.2f} µm, of which {-at['none', 'bias']:.2f} are bias" in results
    ends = at["template", "mae"], at["oracle", "mae"]
    said = "(template {:.2f}, the same reader taught on true photographs {:.2f})".format(*ends)
    assert f"it errs by {at['none+prior', 'mae']:.2f} {said}" in results
    pairs = read("20_camera_shift/comparisons.csv").query("shots == 10 and metric == 'mae'")
    pairs = pairs[pairs["against"] == "fourier+prior"].set_index("protocol")
    stage1, full = pairs.loc["stage1+prior"], pairs.loc["full+prior"]
    both = f"{at['fourier+prior', 'mae']:.2f}, MFM-DA's stage 1 with matching"
    assert f"{both} {at['stage1+prior', 'mae']:.2f} (undecided, {signed(stage1)} µm)" in results
    assert stage1.p_holm > 0.05 and full.p_holm > 0.05
    stage2 = pairs.loc["stage2+prior"]
    assert f"by {signed(full)} µm, alignment alone by {signed(stage2)}" in results
    kept = [at[way, "sigma_ratio"] for way in ("full", "stage2", "graded")]
    assert "keep {:.2f} and {:.2f} of the true spread, LoRA".format(*kept[:2]) in results
    assert f"from mild to severe {kept[2]:.2f}." in results
    curves = read("20_camera_shift/curves.csv").query("way == 'stage1'").groupby("draw").last()
    raw = [f"{at[way, 'mae']:.2f}" for way in ("stage1", "parent", "detached")]
    cosine = curves["cosine_with_static"]
    cosine = f"cosine is {cosine.min():.2f} to {cosine.max():.2f}. Before matching it errs by"
    others = "the static direction by {}; a direction that the losses do not move by {} in one draw"
    assert f"{cosine} {raw[0]} µm, {others.format(*raw[1:])}" in results
    kept = read("20_camera_shift/kept_labels.csv").pivot_table(
        "estimate", "protocol", "metric", dropna=False
    )
    true, plain = kept.loc["oracle"], kept.loc["none", "mae"]
    kept = kept.drop(index=["oracle", "template", "oracle floor", "none"])
    ends = kept["mae"].min(), kept["mae"].max()
    assert f"it errs by {true['mae']:.2f} µm on true photographs" in results
    said = "test eyes, by {:.2f} on the SLO pictures as they are and by {:.2f} to {:.2f} on their"
    assert said.format(plain, *ends) in results and plain < ends[0]
    ends = kept["pearson_between_eyes"].min(), kept["pearson_between_eyes"].max()
    said = "are {:.2f} to {:.2f} on translations, {:.2f} on photographs"
    said = said.format(*ends, true["pearson_between_eyes"])
    assert said in results
    sick = read("20_camera_shift/sick.csv").query("attribute == 'all'")
    sick = sick.set_index(["protocol", "metric"])["estimate"]
    biases = sick["fourier+prior", "bias"], at["fourier+prior", "bias"]
    assert (
        "wrong by {:+.2f} µm on average, not by {:+.2f}".format(*biases).replace("-", "−")
        in results
    )
    assert sick["fourier+prior", "mae"] < sick["fourier", "mae"]
    cup = read("20_camera_shift/discs_and_cups.csv").query("metric == 'dice_cup'").set_index("way")
    cup = cup["estimate"].round(3)
    assert f"a Dice of {cup['full']} for the cup" in results
    said = f"every eye ({cup['template']}); the same network taught on true photographs"
    assert f"{said} {cup['oracle']}" in results
    lora = at["lora", "sigma_ratio"], at["lora", "mae"], at["lora+prior", "mae"]
    assert (
        "keeps {:.2f} of the true spread, and errs by {:.2f} µm, matched by {:.2f}".format(*lora)
        in results
    )
    paired = read("20_camera_shift/grape_paired.csv")
    assert paired.groupby("domain").size().tolist() == [8, 8] and (paired["p_holm"] > 0.05).all()
    eyes = read("20_camera_shift/grape.csv").groupby("domain", sort=False)["n"].min()
    assert "({} and {} real eyes)".format(*eyes) in results


def test_training_from_mild_to_severe(results):
    mae = read("21_mild_to_severe/robustness.csv").query("metric == 'mae'")
    mae = mae.set_index(["condition", "protocol"])["estimate"].round(2)
    clean, spoilt = (mae.loc[one] for one in ("clean", "severity0.8"))
    assert f"{clean['mild_to_severe']:.2f} µm on clean pictures, where the usual" in results
    assert (
        f"errs by {clean['intensity']:.2f}, and {spoilt['mild_to_severe']:.2f} on spoilt" in results
    )
    assert f"errs by {spoilt['intensity']:.2f}. The specialist" in results
    assert f"either ({spoilt['specialist']:.2f})" in results


def test_pictures_redrawn(results):
    at = read("22_translation/translation.csv").query("task == 'another camera'")
    at = at.set_index(["way", "metric"])["estimate"]
    errors = [at[way, "mae"] for way in ("mean", "own", "truth")]
    assert "{:.2f} against {:.2f} µm (true SLO pictures {:.2f})".format(*errors) in results
    assert f"{100 * at['mean', 'erased']:.0f} % of the defects lose half" in results
    dear = [way for way in at.index.unique(0) if way.startswith(("diffusion", "weighted"))]
    assert f"({min(at[way, 'mae'] for way in dear):.2f} µm and more)" in results
    assert all(at[way, "erased"] == 1 for way in dear)
    pairs = read("22_translation/comparisons.csv").query("task == 'another camera'")
    row = pairs.set_index(["way", "against"]).loc[("mean", "own")]
    assert row.estimate < 0 and row.p_holm < 0.05


def test_starts_labels_and_quality(results):
    table = read("17_specialist_or_generalist/errors.csv").query("metric == 'mae'")
    mae = table.set_index(["start", "adaptation", "fraction"]).sort_index()
    for fraction, said in ((1.0, "{} µm with all labels"), (0.1, "{} with a tenth")):
        best = mae.loc[("imagenet_lite0", "readout", fraction)]
        assert said.format(within(best)) in results
        assert best.estimate == mae.xs(fraction, level="fraction")["estimate"].min()
    pairs = read("17_specialist_or_generalist/comparisons.csv").query("metric == 'mae'")
    pairs = pairs.set_index(["start", "adaptation", "fraction"]).sort_index()
    row = pairs.loc[("imagenet_lite0", "readout", 1.0)]
    assert f"({signed(row)} µm against random weights)" in results and row.p_holm < 0.05
    rows = read("19_labels_and_time/comparisons.csv").query("metric == 'mae'")
    start = rows[rows["against"] == "random"].set_index("fraction").loc[1.0]
    assert f"by {signed(start)} µm with all labels" in results and start.p_holm < 0.05
    assert read("19_labels_and_time/reached.csv")["said"].tolist() == ["not reached"]
    passes = rows[rows["against"] == "steps"].set_index(["start", "fraction"])
    assert f"by {signed(passes.loc[('domain', 0.1)])} µm" in results
    longer = read("19_labels_and_time/thinking_comparisons.csv")
    longer = longer.query("start == 'domain' and fraction == 1").set_index(["look", "metric"])
    said = "sixteen views change the error by {} µm, sixteen turned pictures by {}"
    said = said.format(*(signed(longer.loc[(way, "mae")]) for way in ("views", "rotations")))
    assert said.replace("−0.00 [", "0.00 [") in results
    assert f"ceiling is {signed(longer.loc[('best of', 'mae')])}" in results
    price = [-longer.loc[(way, "sigma_between"), "estimate"] for way in ("views", "rotations")]
    assert "by {:.2f} and {:.2f} µm".format(*price) in results
    turned = read("19_labels_and_time/turned.csv").query("metric == 'rotation_response'")
    assert f"follow {turned['estimate'].iloc[0]:.2f} of a turn" in results
    own = read("16_self_pretraining/comparisons.csv").query("metric == 'mae'")
    learnt = read("16_self_pretraining/curves.csv").groupby("start")["r2"].last()
    ends = f"R² {learnt.min():.3f} to {learnt.max():.3f}"
    assert f"({ends})" in results
    shown = own[own["p_holm"] < 0.05]
    assert f"in {len(shown)} of {len(own)} cells" in results
    real = read("16_self_pretraining/grape.csv").query("metric == 'mae' and group == 'mean'")
    real = real.set_index("method")["estimate"]
    ends = [real[f"domain, {how}"] for how in ("as it is", "own pictures first")]
    assert "{:.2f} µm as it is, {:.2f} after".format(*ends) in results
    spread = read("18_image_quality/errors.csv").query("metric == 'sigma_ratio'")["estimate"]
    assert f"{(spread < 0.1).sum()} of {len(spread)} cells keep less than a tenth" in results
    mix = read("18_image_quality/comparisons.csv").query("metric == 'mae' and question == 'mix'")
    assert f"{(mix['p_holm'] < 0.05).sum()} of {len(mix)} comparisons of mixes differ" in results
    sharp = read("18_image_quality/grape.csv").query("metric == 'mae' and group == 'mean'")
    sharp = sharp.set_index(["domain", "method"])["estimate"]
    parts = [sharp[f"{third} sharp third", "readout"] for third in ("least", "middle", "most")]
    assert "errs by {:.1f}, {:.1f} and {:.1f} µm".format(*parts) in results


def within(row):
    return f"{row.estimate:.2f} [{row.low:.2f}, {row.high:.2f}]"


def freezing(span_, metric):
    """Return the slopes of freezing over patients and seeds, by backbone."""
    rows = read("03_freezing/regressions.csv")
    rows = rows[(rows["span"] == span_) & (rows["model"] == "patients and seeds")]
    return rows[rows["metric"] == metric].set_index("backbone")


def ends_of(values):
    """Return the smallest and the largest of values with their signs."""
    return [f"{value:+.2f}".replace("-", "−") for value in (min(values), max(values))]


PAPERS = 5.4  # % of the error per 10 % frozen, by the paper's own four points


def test_freezing(results, readme):
    percent, skill = (freezing("0 to 50 %", f"{name}_per_10") for name in ("relative", "skill"))
    low, high = ends_of(percent["estimate"])
    assert f"error by {low} to {high} % of the unfrozen one" in results
    assert f"changes the error by {low} to {high} %" in readme
    assert f"{skill['estimate'].min():+.1f} to {skill['estimate'].max():+.1f} % of the" in results
    assert len(percent) == 3 and (percent["low"] < 0).all() and (percent["high"] > 0).all()
    whole = freezing("0 to 100 %", "relative_per_10")
    clear = whole[whole["low"] > 0]
    assert (
        len(clear) == 2
        and "two of three do" in results
        and "in two of three when all may" in readme
    )
    for row in clear.itertuples():
        assert f"`{row.Index}`, {row.estimate:+.2f} % [{row.low:+.2f}, {row.high:+.2f}]" in results
    points = json.loads((RESULTS / "03_freezing" / "about.json").read_text(encoding="utf-8"))
    assert f"({PAPERS} %) and R²" in " ".join(points["conclusions"])
    assert (percent["high"] < PAPERS).sum() == 2 and "excluded in two of three" in results
    assert (whole["high"] < PAPERS).all() and "over all of them in three" in results


def test_loss_terms_and_structured(results):
    rows = read("04_loss_complexity/comparisons.csv")
    rows = rows[rows["against"] == "aggressive"]
    pearson = rows[rows["lambda_pearson"] > 0]
    for metric in ("mae", "sigma_between"):
        tested = pearson[pearson["metric"] == metric]
        assert len(tested) == 3 and (tested["p_holm"] >= 0.05).all()
    gradient = rows[(rows["lambda_gradient"] > 0) & (rows["metric"] == "mae")]
    assert len(gradient) == 3  # "not shown to help, at any of three weights"
    assert not ((gradient["estimate"] < 0) & (gradient["p_holm"] < 0.05)).any()
    rows = read("02_protocols/comparisons.csv")
    rows = rows[(rows["against"] == "naive") & (rows["metric"] == "mae")]
    for row in rows[rows["protocol"] == "structured"].itertuples():
        assert signed(row) in results and row.p_holm >= 0.05
    assert (rows[rows["protocol"] == "gradient_loss"]["p_holm"] >= 0.05).all()


def test_spread_and_longer_schedule(results, table1):
    ratio = table1[(table1["metric"] == "sigma_ratio") & (table1["backbone"] != "—")]["estimate"]
    assert f"{100 * ratio.min():.0f} to {100 * ratio.max():.0f} % of the true spread" in results
    flat = table1[(table1["metric"] == "sigma_flat") & (table1["protocol"] == "template")]
    assert f"flat σ still gives it {flat['estimate'].item():.1f} µm" in results
    short, longer = (read(f"02_protocols/{name}.csv") for name in ("history", "history_longer"))
    keys = ["backbone", "protocol", "seed"]
    best = [table.groupby(keys)["val_mae"].min() for table in (short, longer)]
    gain = 100 * (1 - (best[1] / best[0]).dropna())
    assert f"another {gain.min():.0f} to {gain.max():.0f} %".replace("-", "−") in results
    rows = read("02_protocols/comparisons.csv")
    rows = rows[(rows["against"] == "naive") & (rows["metric"] == "mae")]
    half = (rows["high"] - rows["low"]) / 2
    assert f"reach ±{half.min():.1f} to ±{half.max():.1f} µm" in results


def test_collapse_and_rotation(results, readme):
    about = json.loads((RESULTS / "01_visualize_predictions" / "about.json").read_text("utf-8"))
    said = " ".join(about["conclusions"])
    assert "Verdicts on 12 cells, by intervals: one template 0, few templates 0, diverse 11" in said
    for text in (results, readme):
        assert re.search(r"Collapse is shown in no cell,? and excluded in 11 of 12", text)
    open_ = re.findall(r"(\w+) with (\w+): σ_between [^;]*; [^;]*; a collapse is neither", said)
    assert len(open_) == 1
    for backbone, protocol in open_:
        assert f"`{backbone}`" in results and f"`{protocol}`" in results
    turned = re.search(r"follows this share .*? Below 0.5 by its interval: 4 of 4", said).group()
    shares = [float(one) for one in re.findall(r"phantom_mae with \w+ (0\.\d+) ", turned)]
    assert f"follows {span(shares)}" in results and f"by {span(shares)} of the angle" in readme


def test_fairness(results, readme):
    table = read("07_fairness/fairness.csv")
    table = table[table["backbone"] != "—"]
    mean = table[table["attribute"] == "mean"].set_index("metric")["estimate"]
    assert f"mean gaps of {span(mean['gap'])} µm" in results
    assert f"chance makes {span(mean['null_gap'])} of groups" in results
    assert not (table[table["metric"] == "gap_p_holm"]["estimate"] < 0.05).any()
    seen = table[table["metric"] == "gap_detectable"].groupby("attribute")["estimate"]
    easiest, hardest = seen.min().idxmin(), seen.max().idxmax()
    least = f"{seen.min()[easiest]:.1f} µm ({easiest}) to {seen.max()[hardest]:.1f} ({hardest})"
    assert f"from {least}" in results and f"from {least}" in readme
    effects = read("07_fairness/effects.csv")
    kept = effects[(effects["backbone"] != "—") & (effects["attribute"] == "planted")]
    kept = kept[kept["metric"] == "predicted"]["estimate"]
    told = f"models keep {span(kept)}".replace("-", "−")
    assert told in results and told in readme
    bias = effects[(effects["backbone"] != "—") & (effects["attribute"] == "planted")]
    bias = bias[bias["metric"] == "bias"]
    assert len(bias) == 12 and (bias["p_holm"] < 0.05).all() and (bias["high"] < 0).all()


def test_audit(results):
    about = json.loads((RESULTS / "08_audit" / "about.json").read_text(encoding="utf-8"))
    said = " ".join(about["conclusions"])
    assert "slope 1.04 per 10 % frozen (µm) and R² 0.86; stated are 3.6 and 0.98" in said
    assert "slope 1.04 µm per 10 % and R² 0.86, where 3.6 and 0.98 are stated" in results
    assert "recomputed it is 23.2 %" in said and '"27 %" is 23.2 %' in results
    assert (
        "recomputed it is −0.3 % (from 19.88 against 19.93 µm: the printed sign is wrong)" in said
    )
    assert "the printed +0.3 % of DepthAnything aggressive is −0.3 %" in results
    assert (
        "What is claimed: 25, of which 15 hold, 8 do not hold, 1 is doubtful, 1 cannot be" in said
    )
    assert "Of 25 claims of the paper 15 hold and 8 do not; one is doubtful" in results
    assert "8 contradict each other" in said and "contradict each other 8 times" in results
    assert "All 20 MAEs lie above it" in said
    assert "all 20 errors published on FairFedMed lie above σ_true = 18.6 µm" in results


def test_real_photographs(results):
    table = read("06_cross_modality/quadrants.csv")
    rows = table[(table["metric"] == "mae") & (table["group"] == "mean")]
    grape = rows[rows["domain"] == "GRAPE"].set_index("method")
    error = grape["estimate"]
    models = f"{error['phantom SLO model']:.1f} and {error['phantom CFP model']:.1f} µm"
    assert models in results and f"{grape['n'].iloc[0]:.0f} GRAPE eyes" in results
    linear = f"{error['PCA + ridge']:.1f}"
    assert f"has {error['constant']:.1f} and PCA + ridge trained there {linear}" in results
    (own,) = rows[
        (rows["domain"] == "phantom CFP") & (rows["method"] == "phantom CFP model")
    ].itertuples()
    assert f"{own.estimate:.1f} µm [{own.low:.1f}, {own.high:.1f}], because one" in results


def test_learning_on_real_eyes(results):
    table, paired = (read(f"12_learning_on_grape/{name}.csv") for name in ("quadrants", "paired"))
    mae = table[(table["metric"] == "mae") & (table["group"] == "mean")].set_index("method")
    r = table[(table["metric"] == "r") & (table["group"] == "global")]
    r = r.set_index("method")["estimate"]
    best, linear = "readout, classifier + depth", "PCA + ridge"
    assert mae["estimate"].idxmin() == best
    error = f"{mae['estimate'][best]:.1f} µm"
    text = f"errs by {error} and reads the mean thickness with r {r[best]:.2f}"
    assert text in results
    assert f"by {mae['estimate'][linear]:.1f} and {r[linear]:.2f}" in results
    (row,) = paired[paired["method"] == best].itertuples()
    assert f"{signed(row)} µm" in results and row.n_seeds == 6 and "six divisions" in results
    assert row.p_holm >= 0.05 and "not shown after Holm's correction" in results
    (row,) = paired[paired["method"] == "chosen within folds"].itertuples()
    assert row.low < 0 < row.high and f"{signed(row)} µm" in results
    assert f"errs by {mae['estimate']['chosen within folds']:.1f} µm" in results
    tuned = mae["estimate"][["fine-tuned", "fine-tuned, phantom start"]]
    assert f"{tuned.iloc[0]:.1f} and {tuned.iloc[1]:.1f} µm" in results
    assert f"Random features err by {mae['estimate']['readout, random']:.1f}" in results


def test_other_subjects(results, readme):
    table = load_external()
    levels = table[
        (table["against"] == "") & (table["metric"] == "mae") & (table["group"] == "mean")
    ]
    levels = levels.set_index(["trained_on", "method"])["estimate"]
    best = "readout, classifier + depth"
    (row,) = table[(table["method"] == best) & (table["against"] == "PCA + ridge")].itertuples()
    assert row.low < 0 < row.high and row.low < -1  # not seen, and 1 µm not excluded
    for text in (results, readme):
        assert f"{row.n} eyes" in text and f"{signed(row)} µm" in text
    assert "an advantage was not seen" in results and "an advantage is not shown" in readme
    home, far = levels["GRAPE"], levels.drop("GRAPE")
    assert f"errs by {home[best]:.2f} µm, PCA + ridge by {home['PCA + ridge']:.2f}" in results
    tuned = f"a fine-tuned network by {home['fine-tuned']:.2f}"
    assert f"constant errs by {home['constant']:.2f}, {tuned}" in results
    cfp, slo = far["phantom CFP", "phantom CFP model"], far["phantom SLO", "phantom SLO model"]
    assert f"by {cfp:.2f} (CFP) and {slo:.2f} (SLO)" in results


def measured(name):
    path = project_root() / "benchmarks" / "results" / f"{name}.json"
    record = json.loads(path.read_text(encoding="utf-8"))
    assert not record["smoke"] and record["machine"]["cores"] == 2
    return record


def test_another_machine(results):
    record = measured("retrained")
    greatest = dict(record["greatest"])
    classifier = greatest.pop("phantom_cls, freeze_33pct")
    assert f"within {classifier:.2f} µm where a classifier was the start" in results
    assert f"and within {max(greatest.values()):.2f} µm otherwise" in results
    colour = [row["here"] for row in record["rows"] if "-cfp-" in row["run"]]
    worst, *others = sorted(colour, reverse=True)
    assert f"there: {worst:.1f} µm, the other two seeds" in results
    assert f"{others[0]:.1f} and {others[1]:.1f}." in results
    assert abs(worst - record["template"]) < 0.5  # "never left the template"


def test_speed(readme):
    ratios = measured("throughput")["ratios"]
    shown = " / ".join(f"{ratios[f'ViT-{size}/16']:.1f}" for size in "SBL")
    assert f"ViT-S / B / L at 224 px, images per second | {shown} times a plain" in readme
    share = 100 * measured("prefix")["ratios"]["100 % cached"]
    assert f"wholly frozen ViT-B | {share:.1f} % of an epoch with nothing frozen" in readme
    feed = measured("feed")
    assert f"{feed['ratios']['host, augmented']:.0f} times a `Dataset`" in readme
    assert feed["waiting"][0]["waiting %"] < 0.1 and "under 0.1 % of a training step" in readme


def test_auto_precision_is_as_fast_as_the_better_one():
    record = measured("throughput-quick")
    assert "amx_bf16" not in record["machine"]["extensions"]
    fp32, auto = (
        " / ".join(f"{row[f'{kind} img/s']:.1f}" for row in record["rows"])
        for kind in ("fp32", "ours")
    )
    best = [row["auto of best"] for row in record["rows"]]
    assert min(best) >= 0.95
    shown = " / ".join(f"{ratio:.2f}" for ratio in best)
    assert f"{fp32} and {auto}; `auto` against the faster of fp32 and bf16: {shown}" in words(
        "USAGE.md"
    )


def test_bootstrap_is_as_fast_as_said(readme):
    record = measured("bootstrap")
    sums, others = (record["ratios"][f"{kind}, first"] for kind in ("sums", "non-linear"))
    assert f"at least {sums:.0f} times (means) and {others:.0f} times (the rest)" in readme
    size = record["settings"]
    assert f"{size['n_boot']:,} resamples of {size['n_eyes']:,} eyes" in readme
    assert max(row["apart_se"] for row in record["rows"] if row.get("apart_se")) < 4


def test_kills(readme):
    total = measured("kills")["total"]
    assert total["resumed"] == total["bit-identical"] == total["killed"] == 50
    assert total["broken files"] == 0
    assert "50 of 50 end with the bits of the undisturbed run, no broken file" in readme


def test_false_alarms(results):
    record = measured("false_alarms")
    alarms = {row["errors that know no group"]: row["alarms %"] for row in record["rows"]}
    skewed = alarms.pop("small group, double spread, exponential")
    said = f"alarm in {min(alarms.values())} to {max(alarms.values())} % of 2,000"
    assert said in " ".join(results.split()) and record["settings"]["simulations"] == 2000
    assert f"in {skewed} % where a group of a dozen" in results
    orders = pd.DataFrame(record["orders"]).set_index(["cohort", "eyes"])
    words = " ".join(orientation.__doc__.split())
    assert f"at most {orders['in the right order'].max()} % of draws" in words
    quadrants = orders["quadrants"]
    assert quadrants.idxmax() == ("phantom, severe", 30)
    assert f"quadrants in at most {quadrants.max()} % (30 severe phantom eyes)" in words
    mirrored = orders.loc["phantom, healthy"]["mirrored"]
    assert f"5 healthy phantom eyes {mirrored[5]:.0f} % are seen" in words and mirrored[100] == 100
    assert orders.loc[["phantom, moderate", "phantom, severe"]]["mirrored"].max() < 1


def test_growth(readme):
    record = measured("growth")
    grown = [record["exponents"][job] for job in ("prepare", "epoch", "evaluation")]
    assert max(max(one["time"], one["time last"]) for one in grown) <= record["settings"]["bound"]
    slopes = ", ".join(f"{one['time']:.2f}" for one in grown)
    assert f"up to {max(record['settings']['sizes']):,} eyes, exponents | {slopes} (1 is" in readme


def test_the_readme_sums_up_the_results(readme, table1):
    mae = table1[table1["metric"] == "mae"]
    trained = mae[mae["backbone"] != "—"]["estimate"]
    ends = mae[mae["backbone"] == "—"].set_index("protocol")["estimate"]
    assert f"The best cell errs by {trained.min():.2f} µm" in readme
    assert (
        f"by {ends['template']:.2f}; the noise of the labels by {ends['oracle floor']:.2f}"
        in readme
    )
    ratio = table1[(table1["metric"] == "sigma_ratio") & (table1["backbone"] != "—")]["estimate"]
    assert f"keep {100 * ratio.min():.0f} to {100 * ratio.max():.0f} % of the true" in readme
    grape = read("06_cross_modality/quadrants.csv")
    grape = grape[(grape["metric"] == "mae") & (grape["group"] == "mean")]
    grape = grape[grape["domain"] == "GRAPE"].set_index("method")["estimate"]
    models = f"{grape['phantom SLO model']:.1f} and {grape['phantom CFP model']:.1f} µm"
    assert f"({models}, a constant {grape['constant']:.1f})" in readme
    learnt = read("12_learning_on_grape/quadrants.csv")
    learnt = learnt[(learnt["metric"] == "mae") & (learnt["group"] == "mean")]
    learnt = learnt.set_index("method")["estimate"]
    text = f"{learnt['readout, classifier + depth']:.1f} µm, PCA + ridge by"
    assert f"err by {text} {learnt['PCA + ridge']:.1f} on the same eyes" in readme
    assert f"within the folds ({learnt['chosen within folds']:.1f} µm)" in readme


def test_reachable_floor(results):
    record = measured("reachable_floor")
    slo, cfp = record["rows"]
    gain = "gain of the last quarter %"
    said = " ".join(results.split())
    assert f"({record['settings']['eyes']:,}), errs by {slo['mae']:.1f} µm under the SLO" in said
    assert (
        f"by {cfp['mae']:.1f} under the colour camera, the template by {cfp['template']:.1f}"
        in said
    )
    assert f"labels' noise by {cfp['label noise']:.1f} (" in said
    assert f"gained {slo[gain]:.1f} and {cfp[gain]:.1f} %" in said
    assert f"noise-free cues errs by {slo['noise-free cues']:.1f}." in said
