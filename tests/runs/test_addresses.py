"""Every committed table names its runs by the address that today's code computes for them."""

import json
from dataclasses import replace

import pytest

from analysis.presentation.sidecar import ABOUT, ANALYSIS_VERSION
from rnfl.runs import address
from rnfl.storage import provenance
from rnfl.storage.paths import project_root
from rnfl.training.config import RunConfig
from rnfl.training.protocols import Protocol

RESULTS = project_root() / "data" / "results"
ABOUTS = {path.parent.name: json.loads(path.read_text()) for path in RESULTS.glob(f"*/{ABOUT}")}


def computed(about):
    """Return the addresses that today's code gives the runs of a sidecar, every field as then."""
    addresses = set()
    for condition in about["runs"]:
        given = condition["config"] | {"protocol": Protocol(**condition["config"]["protocol"])}
        for own in condition["runs"].values():
            config = RunConfig(**given | own)
            addresses.add(address.run_id(config, condition["dataset_hash"]))
    return addresses


@pytest.mark.parametrize("stem", sorted(ABOUTS))
def test_committed_tables_keep_their_addresses(stem):
    about = ABOUTS[stem]
    assert computed(about) == set(about["run_ids"])
    assert about["analysis_version"] == ANALYSIS_VERSION
    for condition in about["runs"]:
        assert about["inputs"][condition["config"]["dataset"]] == condition["dataset_hash"]


def test_figures_show_the_runs_of_their_tables():
    for path in (project_root() / "figures").glob("*.json"):
        assert json.loads(path.read_text())["run_ids"] == ABOUTS[path.stem]["run_ids"], path


def test_tables_of_one_dataset_rest_on_one_preparation():
    hashes = {}
    for about in ABOUTS.values():
        for name, digest in about["inputs"].items():
            hashes.setdefault(name, set()).add(digest)
    assert {name for name, found in hashes.items() if len(found) > 1} == set()


def test_a_raised_version_is_noticed(monkeypatch):
    monkeypatch.setattr(address, "TRAINING_VERSION", address.TRAINING_VERSION + 1)
    about = ABOUTS["02_protocols"]
    assert not computed(about) & set(about["run_ids"])


def test_the_code_is_recorded_and_renews_nothing(monkeypatch):
    """A module renamed, a function moved: another hash of the code, the same addresses."""
    monkeypatch.setattr(provenance, "code_hash", lambda: "0" * 16)
    about = ABOUTS["02_protocols"]
    assert computed(about) == set(about["run_ids"])


@pytest.mark.parametrize("kind", [RunConfig, Protocol])
def test_a_changed_default_is_noticed(kind, monkeypatch):
    """A run that took a default then is no run that takes another default now."""
    name, other = {RunConfig: ("clip", 2.0), Protocol: ("weight_decay", 0.1)}[kind]
    monkeypatch.setattr(kind.__dataclass_fields__[name], "default", other)
    about = ABOUTS["02_protocols"]
    assert not computed(about) & set(about["run_ids"])


def test_a_new_field_at_its_default_is_not(monkeypatch):
    config = RunConfig("eyes", "phantom_scratch", "naive")
    before = address.run_id(config, "")
    assert address.run_id(replace(config, views=None), "") == before
    assert address.run_id(replace(config, views=2), "") != before
