"""Fields that a kind of protocol does not read: they make no new run, and the command refuses."""

from dataclasses import fields, replace

from pytest import MonkeyPatch, fixture, mark, raises
from training_data import make_dataset
from typer.testing import CliRunner

import rnfl
from rnfl import cli, datasets
from rnfl.runs import fit, results
from rnfl.runs.run import RunConfig
from rnfl.study import presets
from rnfl.training.protocols import PROTOCOLS, UNREAD, Solved

PLAIN = RunConfig("made", "phantom_scratch", "readout")
OTHERWISE = {
    "epochs": 9, "warmup_epochs": 1, "patience": 2, "batch_size": 7, "micro_batch": "auto",
    "lr_scale": 3.0, "clip": 2.0, "augment": None, "views": 4, "compile": False,
    "precision": "bf16", "radius_ratio": 0.3, "checkpoint_seconds": 1.0, "output_scale": "raw",
    "steps": 99,
}  # fmt: skip


@fixture(scope="module")
def made(tmp_path_factory):
    with MonkeyPatch.context() as patch:
        patch.setenv("RNFL_DATA", str(tmp_path_factory.mktemp("data")))
        make_dataset("made", n=16)
        yield datasets.load("made")


@mark.parametrize("protocol", ["naive", "readout"])
def test_solvers_read_every_field_but_those_declared(made, protocol):
    names, read = {field.name for field in fields(RunConfig)}, set()

    class Watched(RunConfig):
        def __getattribute__(self, name):
            read.update({name} & names)
            return super().__getattribute__(name)

    config = Watched("made", "phantom_scratch", protocol, epochs=1, warmup_epochs=0, batch_size=8)
    read.clear()
    fit.learn(config, made, "watched", lambda row: None)
    outside = {"dataset", "eval_on"}  # which data are read, and predicted afterwards
    assert read == names - outside - {*UNREAD[type(PROTOCOLS[protocol])]}


@mark.parametrize("name", UNREAD[Solved])
def test_a_field_that_is_not_read_makes_no_new_run(made, name):
    change = {name: OTHERWISE[name]}
    assert replace(PLAIN, **change) == PLAIN
    trained = replace(PLAIN, protocol="naive")
    assert replace(trained, **change) != trained


def test_a_readout_is_solved_for_once_and_does_not_stop_early(made):
    done = rnfl.run(PLAIN)
    assert done.summary["stopped_early"] is False
    assert results.find_run(replace(PLAIN, epochs=1)).folder == done.folder


def test_a_readout_of_another_name_is_another_run(made):
    mine = replace(PLAIN, protocol=Solved("mine", "ridge"))
    assert mine.slug == PLAIN.slug.replace("readout", "mine")
    with raises(ValueError, match="solver must be 'ridge'"):
        Solved("mine", "lasso")


def test_sizes_of_a_profile_leave_its_readouts_as_they_are():
    study = replace(presets.get("smoke"), protocols=("naive", "readout"))
    trained, read = study.configs_table1()
    assert trained.epochs == study.epochs == 1
    assert read == RunConfig(study.slo, study.featured, "readout", seed=42)


@mark.parametrize(
    "option",
    [
        *(["--epochs", "80"], ["--warmup-epochs", "5"], ["--batch-size", "60"]),
        *(["--lr-scale", "2"], ["--augment", "none"], ["--views", "2"], ["--micro-batch", "auto"]),
        *(["--precision", "fp32"], ["--compile"], ["--no-compile"]),
    ],
    ids=" ".join,
)
def test_an_option_that_is_not_read_is_refused_before_anything_is_done(
    tmp_path, monkeypatch, option
):
    monkeypatch.setenv("RNFL_DATA", str(tmp_path))
    command = ["train", "phantom-slo-64", "phantom_scratch", "--protocol", "readout", *option]
    said = str(CliRunner().invoke(cli.app, [*command, "--seed", "3"]).exception)
    assert said.startswith("protocol 'readout' does not read --")
    assert option[0] in said.partition(": it reads ")[0]
    read = "dataset, backbone, --protocol, --seed, --split, --start"
    read += ", --fraction, --fraction-seed, --quality, --task"
    assert f": it reads {read}. Leave out" in said
    assert (
        "or choose --protocol aggressive or naive or structured or gradient_loss or probe or"
        in said
    )
    assert not any(tmp_path.iterdir())
