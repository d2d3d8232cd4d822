"""Every committed table names its runs by the address that today's code computes for them."""

import json
from dataclasses import replace

import pytest

from analysis.presentation.sidecar import ABOUT, ANALYSIS_VERSION
from rnfl.runs import address, results
from rnfl.storage import provenance
from rnfl.storage.paths import project_root
from rnfl.training.config import RunConfig
from rnfl.training.protocols import Protocol, Rates

RESULTS = project_root() / "data" / "results"
ABOUTS = {path.parent.name: json.loads(path.read_text()) for path in RESULTS.glob(f"*/{ABOUT}")}


#: SHA-256 of the packaged weights that the runs of the first phantom's tables started with.
#: Backbones have been pretrained anew since, and a run of today starts with others.
FIRST = {
    "phantom_cls": "41cdb48f3afddaa2117e0140d052fc41411b2e5519d7d2bcafb8f9ca289c3df8",
    "phantom_depth": "0575ff7929524b739b7460c3db9442e019b8165c84de219e73ec004b7cf6afa5",
    "phantom_mae": "101bbe615e8bc7f330e6cbb268dc2475707f8f6922630a37b51636fc51f165e3",
}


def computed(about):
    """Return the addresses that today's code gives the runs of a sidecar, every field as then."""
    then = provenance.fingerprint if about["phantom"] == 2 else lambda path: FIRST[path.stem]
    addresses = set()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(address, "fingerprint", then)
        for condition in about["runs"]:
            for own in condition["runs"].values():
                config = results.config_of(condition["config"] | own)
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
        # Phantoms of one name are others in each version, and tables say of which they are.
        version = max(1, about["phantom"])
        for name, digest in about["inputs"].items():
            hashes.setdefault((name, version), set()).add(digest)
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


@pytest.mark.parametrize("kind", [RunConfig, Rates])
def test_a_changed_default_is_noticed(kind, monkeypatch):
    """A run that took a default then is no run that takes another default now."""
    name, other = {RunConfig: ("clip", 2.0), Rates: ("weight_decay", 0.1)}[kind]
    monkeypatch.setattr(kind.__dataclass_fields__[name], "default", other)
    # Rates at their default are those of a protocol.
    rates = replace(Rates(), **({name: other} if kind is Rates else {}))
    monkeypatch.setattr(Protocol.__dataclass_fields__["rates"], "default", rates)
    about = ABOUTS["02_protocols"]
    assert not computed(about) & set(about["run_ids"])


def test_a_new_field_at_its_default_is_not(monkeypatch):
    config = RunConfig("eyes", "phantom_scratch", "naive")
    before = address.run_id(config, "")
    assert address.run_id(replace(config, views=None), "") == before
    assert address.run_id(replace(config, views=2), "") != before
