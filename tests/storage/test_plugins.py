"""A package of one's own adds a protocol, a backbone, a dataset and a term of the loss by name."""

import os
import re
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from pytest import fixture, raises
from training_data import make_dataset, silent
from typer.testing import CliRunner

import rnfl
from rnfl import cli
from rnfl.models.registry import registered
from rnfl.storage import plugins
from rnfl.storage.paths import project_root
from rnfl.training import losses, protocols
from rnfl.training.config import RunConfig
from rnfl.training.protocols import Loss, Protocol

SIZES = {"epochs": 1, "warmup_epochs": 0, "batch_size": 4}
USAGE = (project_root() / "USAGE.md").read_text(encoding="utf-8")
STRATEGIES = USAGE.partition("## Strategies of adaptation")[2]
OWN, MODULE = re.findall(r"```python\n(.*?)```", STRATEGIES, re.DOTALL)[:2]
(POINTS,) = re.findall(r"```toml\n(.*?)```", USAGE, re.DOTALL)
BROKEN = """
other_name = BackboneSpec("another", "vit_tiny_patch16_224", None)
"""
MORE = """[rnfl.protocols]
broken = my_rnfl:nothing_there
[rnfl.backbones]
wrong = my_rnfl:other_name
"""


def installed(folder, name, points):
    """Make a package look installed: what its entry points are is all that is asked of it."""
    info = folder / f"{name}-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "entry_points.txt").write_text(points)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    plugins._declared.cache_clear(), plugins.find.cache_clear()


@fixture
def package(tmp_path, monkeypatch):
    """An installed package with entry points; it is gone afterwards."""
    folder = tmp_path / "site"
    points = re.sub(r'project.entry-points."([\w.]+)"', r"\1", POINTS).replace('"', "")
    installed(folder, "my_rnfl", points)
    (folder / "my_rnfl.py").write_text(MODULE + BROKEN)
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.setenv("RNFL_DATA", str(tmp_path / "data"))
    yield folder
    sys.modules.pop("my_rnfl", None)
    monkeypatch.undo()
    plugins._declared.cache_clear(), plugins.find.cache_clear()


def test_a_protocol_of_ones_own_is_an_object(tmp_path, monkeypatch):
    """The first example of USAGE.md, run."""
    monkeypatch.setenv("RNFL_DATA", str(tmp_path))
    exec(OWN, made := {})
    make_dataset("tiny-slo", n=24)
    run = rnfl.run(replace(made["config"], dataset="tiny-slo"), silent)
    assert rnfl.load_run(run.run_id).config.protocol == made["late_adapters"]
    assert run.summary["n_trainable_backbone"] == 3 * 4 * (128 + 3 * 128)


def test_names_of_an_installed_package_are_names(package):
    assert protocols.get("late_lora").adapter.rank == 2
    assert registered("narrow@96").input_size == 96
    term = plugins.find("losses", "asymmetric")
    target = torch.tensor([[10.0, torch.nan], [10.0, 10.0], [torch.nan, torch.nan]])
    np.testing.assert_allclose(term(torch.full((3, 2), 11.0), target), [2.0, 2.0, 0.0])
    protocol = Protocol("cautious", loss=Loss(terms=(("asymmetric", 0.5),)))
    rnfl.prepare("discs-small")
    run = rnfl.run(RunConfig("discs-small", "narrow", "late_lora", **SIZES), silent)
    other = rnfl.run(RunConfig("discs-small", "narrow", protocol, **SIZES), silent)
    assert run.summary["n_trainable_backbone"] == 2 * (48 + 3 * 48)
    assert rnfl.load_run(other.run_id).config.protocol == protocol
    plain = rnfl.run(replace(other.config, protocol="aggressive"), silent)
    assert other.history["train_loss"][0] > plain.history["train_loss"][0]


def test_commands_and_worker_processes_find_them(package):
    listed = CliRunner().invoke(cli.app, ["backbones"]).output
    assert "narrow" in listed
    environment = os.environ | {"PYTHONPATH": f"{package}{os.pathsep}{project_root()}"}
    command = [sys.executable, "-m", "rnfl", "train", "discs", "narrow", "--protocol", "late_lora",
               "--epochs", "1", "--warmup-epochs", "0"]  # fmt: skip
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0 and "discs-narrow-late_lora-s42" in done.stdout, done.stderr


def test_what_cannot_be_read_is_said(package):
    installed(package, "broken", MORE)
    with raises(ValueError, match=r"'broken', of protocols, .*nothing_there, which cannot be imp"):
        protocols.get("broken")
    with raises(ValueError, match="registered as 'wrong' calls itself 'another'"):
        registered("wrong")
    with raises(ValueError, match="expected a value per eye"):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(plugins, "find", lambda *_: lambda prediction, target: prediction.mean())
            losses.combined(torch.ones(3, 360), torch.ones(3, 360), terms=(("mean", 1.0),))
    with raises(ValueError, match=r"unknown protocol 'early'; .*'late_lora'"):
        protocols.get("early")
    with raises(ValueError, match=r"terms \['huber'\] of the loss: .*\['asymmetric'\]"):
        RunConfig("eyes", "narrow", Protocol("p", loss=Loss(terms=(("huber", 1.0),))))
    with raises(ValueError, match=r"unknown: .*discs\[-<label>\], of an installed package"):
        rnfl.prepare("disks")


def test_a_name_of_the_projects_own_is_not_taken_in_silence(package):
    points = "[rnfl.protocols]\nnaive = my_rnfl:late_lora\n"
    installed(package, "other", points + "[rnfl.backbones]\nphantom_mae = my_rnfl:narrow\n")
    with raises(ValueError, match=r"registers my_rnfl:late_lora under 'naive'.*another name"):
        protocols.get("naive")
    with raises(ValueError, match=r"registers my_rnfl:narrow under 'phantom_mae'"):
        registered("phantom_mae@160")
    assert protocols.get("aggressive").name == "aggressive"


def test_two_packages_of_one_name_are_refused(package):
    installed(package, "other", "[rnfl.protocols]\nlate_lora = elsewhere:late_lora\n")
    with pytest.raises(ValueError, match="two installed packages call one of their protocols"):
        protocols.get("late_lora")
