"""The tables of other GRAPE subjects are there as given, and read as one."""

import pytest

from analysis.accuracy import external
from analysis.presentation import style
from rnfl.storage.provenance import sha256_file


def test_the_files_are_those_that_were_given():
    told = (external.FOLDER / "SHA256SUMS").read_text().split("\n")[:-1]
    listed = {name: digest for digest, name in (line.split() for line in told)}
    there = {path.name for path in external.FOLDER.iterdir()} - {"README.md", "SHA256SUMS"}
    assert set(listed) == there and len(there) == 9
    for name, digest in listed.items():
        assert sha256_file(external.FOLDER / name) == digest, name


def test_levels_and_differences_as_one_table():
    table = external.load_external()
    assert set(table["n"]) == {85}
    assert (
        {name for name, _ in external.MODELS.values()} <= set(table["method"]) <= set(style.LOOKS)
    )
    levels = table[(table["against"] == "") & (table["metric"] == "mae")]
    means = levels[levels["group"] == "mean"].set_index(["trained_on", "method"])["estimate"]
    assert means.round(2).to_dict() == {
        ("GRAPE", "constant"): 16.85, ("GRAPE", "PCA + ridge"): 13.64,
        ("GRAPE", "readout, classifier + depth"): 13.55, ("GRAPE", "fine-tuned"): 16.24,
        ("phantom CFP", "constant"): 17.40, ("phantom CFP", "PCA + ridge"): 20.53,
        ("phantom CFP", "phantom CFP model"): 17.39, ("phantom SLO", "constant"): 17.40,
        ("phantom SLO", "PCA + ridge"): 39.96, ("phantom SLO", "phantom SLO model"): 23.91,
    }  # fmt: skip
    paired = table[table["against"] == "PCA + ridge"].set_index(["study", "method"])
    readout = paired.loc["readout", "readout, classifier + depth"]
    assert readout[["estimate", "low", "high"]].astype(float).round(2).tolist() == [
        -0.08, -1.05, 0.93,
    ]  # fmt: skip
    assert readout["p_holm"] > 0.5 and len(paired) == 7
    # A difference is one of levels, whatever file each stands in.
    assert readout["estimate"] == pytest.approx(
        means["GRAPE", "readout, classifier + depth"] - means["GRAPE", "PCA + ridge"]
    )
