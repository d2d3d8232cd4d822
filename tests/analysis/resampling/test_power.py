"""Power as it is stated, against studies that are simulated and decided as the tables decide."""

import numpy as np
import pandas as pd
from pytest import approx, mark, raises
from typer.testing import CliRunner

from analysis.resampling import Resampling, power
from analysis.resampling.bootstrap import RunNoise
from analysis.resampling.comparisons import mean_difference_row
from analysis.resampling.conditions import row
from rnfl import cli
from rnfl.core import schema

SETTINGS = [
    # parts, difference, patients, seeds, eyes by patient
    (power.Parts(6.0, 0.0, 4.0), 1.2, 300, 3, 1),
    (power.Parts(5.0, 0.4, 3.0), 1.2, 200, 5, 1),
    (power.Parts(4.0, 0.8, 2.0), 2.0, 80, 3, 2),
]


def drawn(parts, difference, patients, seeds, eyes, rng):
    """Return differences (k, n) of eyes and whose they are."""
    by_patient = parts.patient * rng.normal(size=(1, patients))
    by_patient = by_patient + parts.both * rng.normal(size=(seeds, patients))
    by_seed = parts.seed * rng.normal(size=(seeds, 1))
    return difference + np.repeat(by_patient + by_seed, eyes, axis=1), np.repeat(
        np.arange(patients), eyes
    )


@mark.parametrize("setting", SETTINGS)
def test_the_stated_power_is_met(setting):
    n_studies, hits, rng = 1000, 0, np.random.default_rng(5)
    for _ in range(n_studies):
        differences, codes = drawn(*setting, rng)
        found = mean_difference_row({}, "mae", differences, codes, Resampling(9, 499))
        hits += found["p"] < 0.05
    stated = power.power(*setting[:4])
    assert 0.3 < stated < 0.97  # a power of 0 or 1 would be met by anything
    assert hits / n_studies == approx(stated, abs=0.05)


def test_parts_are_recovered():
    rng, found = np.random.default_rng(1), []
    for _ in range(60):
        differences, _ = drawn(power.Parts(5.0, 1.0, 3.0), 0.7, 150, 8, 1, rng)
        found.append(power.parts(differences.T))
    squares = np.array([[one.patient, one.seed, one.both] for one in found]) ** 2
    np.testing.assert_allclose(squares.mean(axis=0), [25, 1, 9], rtol=0.12)


def test_what_is_needed_is_enough_and_little_less_is_not():
    parts = power.Parts(6.0, 0.3, 3.0, eyes_per_patient=1.5)
    enough = power.needed(parts, 1.0, 5)
    assert power.power(parts, 1.0, enough, 5) >= 0.8
    assert power.power(parts, 1.0, int(0.9 * enough), 5) < 0.8
    assert power.needed(power.Parts(6.0, 5.0, 0.0), 1.0, 3) is None  # seeds are too few
    least = power.detectable(parts, enough, 5)
    assert least == approx(1.0, rel=0.05)
    assert power.detectable(parts, enough, 5, family=9) > least


def tables(seed, shift, n=60):
    rng = np.random.default_rng(seed)
    target = rng.normal(90, 10, (n, 360))
    eyes = [f"eye{i}" for i in range(n)], [f"p{i // 2}" for i in range(n)]
    return [
        schema.predictions_frame(
            f"{name}-{s}", *eyes, target + offset + rng.normal(0, 3, target.shape), target
        )
        for name, offset in (("a", shift), ("b", 0.0))
        for s in range(3)
    ]


def test_a_pilot_of_predictions():
    made = tables(0, 4.0)
    found = power.pilot(made[:3], made[3:])
    assert (found.patients, found.seeds, found.parts.eyes_per_patient) == (30, 3, 2.0)
    errors = [np.abs(schema.matrix(t) - schema.matrix(t, "target")).mean() for t in made]
    assert found.difference == approx(np.mean(errors[:3]) - np.mean(errors[3:]))
    with raises(ValueError, match="seed by seed"):
        power.pilot(made[:3], made[3:5])
    with raises(ValueError, match="one says nothing about others"):
        power.pilot(made[:1], made[3:4])
    with raises(ValueError, match="different eyes"):
        power.pilot(made[:3], [made[3], made[4].iloc[::-1], made[5]])


def table_of(sds, pool, patient=6.0, n=400, k=4):
    """Return comparisons of as many models with one, as the tables make them."""
    rng, made = np.random.default_rng(2), []
    noise = RunNoise(float(np.sqrt(np.mean(np.square(sds)))), len(sds) * (k - 1)) if pool else None
    for i, sd in enumerate(sds):
        luck = rng.normal(size=k)
        luck = sd * (luck - luck.mean()) / luck.std(ddof=1)  # its SD is the one it is to have
        drawn = patient * rng.normal(size=(2000, n)).mean(axis=1)
        values = row({"protocol": f"m{i}", "against": "z"}, "mae", 1.0 + luck, [drawn], n,
                     Resampling(2000), noise=noise)  # fmt: skip
        made.append(values | {"gap": 0.5})
    return pd.DataFrame(made)


@mark.parametrize("pool", [True, False])
def test_a_table_gives_the_patients_part_back_however_it_took_the_seeds(pool):
    sds = [0.1, 0.3, 0.8] if pool else [0.02, 0.03, 1.2]
    found, _ = power.of_table(table_of(sds, pool))
    known = 3 if pool else 2  # the last one's own seeds drown its patients
    assert [name for name, _ in found[:known]] == [f"m{i}, 0.5 against z" for i in range(known)]
    for (_, pilot), sd in zip(found[:known], sds[:known], strict=True):
        assert pilot.parts.patient == approx(6.0, rel=0.12)
        assert pilot.parts.seed == approx(np.sqrt(np.mean(np.square(sds))) if pool else sd)


def test_rows_that_show_seeds_alone_are_left_out_and_said():
    table = table_of([0.05, 2.0], pool=False)
    found, left_out = power.of_table(table)
    assert [name for name, _ in found] == ["m0, 0.5 against z"]
    assert left_out == ["m1, 0.5 against z"]
    with raises(ValueError, match="plan from the runs"):
        power.of_table(table.iloc[1:])
    for bad, said in (
        (table.assign(n_seeds=1), "more than one seed"),
        (table.assign(low=np.nan), "more than one seed"),
        (table.drop(columns="seed_sd"), r"columns \['seed_sd'\] are missing"),
    ):
        with raises(ValueError, match=said):
            power.of_table(bad)


def test_the_command_reads_a_table(tmp_path):
    path = tmp_path / "comparisons.csv"
    made = {"backbone": "x", "protocol": "lora", "against": "full", "metric": "mae", "n": 240}
    made |= {"estimate": 0.2, "low": -0.6, "high": 1.0, "n_seeds": 5, "seed_sd": 0.3}
    pd.DataFrame([made]).to_csv(path, index=False)
    said = CliRunner().invoke(cli.app, ["power", "--table", str(path), "--difference", "1"])
    assert said.exit_code == 0, said.exception
    assert "x, lora against full" in said.output and "240" in said.output
    nothing = CliRunner().invoke(cli.app, ["power"])
    assert "expected" in str(nothing.exception)
    path.write_text("a,b\n1,2\n")
    other = CliRunner().invoke(cli.app, ["power", "--table", str(path)])
    assert str(path) in str(other.exception) and "are missing" in str(other.exception)
