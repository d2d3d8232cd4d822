"""``rnfl verify``: what is whole, damaged, missing or left over."""

import shutil

import pytest
from training_data import make_dataset
from typer.testing import CliRunner

import rnfl
from rnfl.cli import app
from rnfl.runs import results
from rnfl.runs.predictions import KEPT, predict_with
from rnfl.storage import provenance

CONFIG = rnfl.RunConfig(
    "tiny-slo", "phantom_scratch@32", "naive", epochs=1, warmup_epochs=0, batch_size=6
)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A data folder with a dataset, a run that predicted another, and a bundle."""
    root = tmp_path_factory.mktemp("whole")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RNFL_DATA", str(root))
        make_dataset("tiny-slo", n=12, size=32)
        make_dataset("other", n=12, size=32, seed=1)
        run = rnfl.run(CONFIG, lambda row: None)
        predict_with(run, "other")
    (root / "exported").mkdir()
    (root / "exported" / "m0.5-a.onnx").write_bytes(b"onnx")
    about = provenance.sealed({"sha256": provenance.sha256_bytes(b"onnx")})
    provenance.write_json(root / "exported" / "m0.5-a.json", about)
    return root, run.run_id


@pytest.fixture
def root(made, tmp_path, monkeypatch):
    """A copy of the data folder, to be damaged."""
    shutil.copytree(made[0], tmp_path / "data")
    monkeypatch.setenv("RNFL_DATA", str(tmp_path / "data"))
    return tmp_path / "data"


def verify(*names):
    """Return the exit status of the command and its lines."""
    answer = CliRunner().invoke(app, ["verify", *names])
    return answer.exit_code, answer.output.splitlines()


def flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 4
    path.write_bytes(content)


def test_all_is_whole_and_so_are_the_committed_results(root, made):
    status, lines = verify()
    assert status == 0
    found = {line.split()[2]: line.split()[0] for line in lines[:-1]}
    assert {"tiny-slo", "other", made[1], "m0.5-a", "02_protocols"} <= found.keys()
    assert set(found.values()) == {"whole"}
    assert lines[-1] == f"{len(found)} whole, 0 damaged, of {len(found)}"


@pytest.mark.parametrize(
    ("place", "said"),
    [
        ("prepared/tiny-slo/images.npy", "prepare it again"),
        ("prepared/tiny-slo/contact_sheet.png", "nothing is computed from it"),
        ("runs/RUN/model.safetensors", "train it again"),
        ("runs/RUN/provenance.json", "train it again"),
        ("runs/RUN/files.json", "train it again"),
        (f"runs/RUN/{KEPT}", "predicted again"),
        ("exported/m0.5-a.onnx", "export the run again"),
        ("exported/m0.5-a.json", "export the run again"),
    ],
)
def test_a_flipped_bit_and_a_missing_file_are_told(root, made, place, said):
    path = root / place.replace("RUN", made[1])
    name = {"prepared": "tiny-slo", "runs": made[1], "exported": "m0.5-a"}[place.split("/")[0]]
    flip(path)
    status, lines = verify(name)
    assert status == 1 and lines[0].startswith("DAMAGED") and len(lines) == 2
    assert str(path) in lines[0] and said in lines[0]
    assert verify("other")[0] == 0
    path.unlink()
    is_needed = path.name not in ("contact_sheet.png", "files.json", KEPT)
    assert verify(name)[0] == int(is_needed)


def test_a_run_of_before_hashes_loads_and_nobody_knows_it(root, made):
    (root / "runs" / made[1] / "files.json").unlink()
    status, lines = verify(made[1])
    assert status == 0 and lines[0].split()[:2] == ["not", "known"]
    assert "before hashes were kept" in lines[0] and len(results.load_run(made[1]).predictions)


def test_what_killed_calls_left_is_told_and_is_no_damage(root):
    (root / "exported" / ".m.0123abcd.partial.onnx").touch()
    (root / "runs" / ".partial" / "unfinished-run").mkdir(parents=True)
    status, lines = verify()
    assert status == 0 and sum(line.startswith("left over") for line in lines) == 2


def test_a_name_that_nothing_has_is_an_error(root):
    assert isinstance(CliRunner().invoke(app, ["verify", "absent"]).exception, ValueError)


def test_a_damaged_prediction_of_another_dataset_is_refused_and_made_again(root, made):
    run = results.load_run(made[1])
    (path,) = run.folder.glob("predictions-other-*.parquet")
    whole = predict_with(run, "other")
    flip(path)
    with pytest.raises(ValueError, match=rf"{path.name} is damaged .*delete"):
        predict_with(run, "other")
    path.unlink()
    assert predict_with(run, "other").equals(whole)


def test_a_damaged_run_is_refused_before_it_predicts_and_told_in_lists(root, made):
    from rnfl.inference import trained

    run = results.load_run(made[1])
    for name in ("model.safetensors", "training_set.json", "history.csv", "reference.csv"):
        if not (run.folder / name).exists():
            continue
        flip(run.folder / name)
        with pytest.raises(ValueError, match=rf"{name} is damaged \(its SHA-256"):
            trained.load(made[1])
        flip(run.folder / name)
    assert len(trained.load(made[1]).card)
    (run.folder / "summary.json").write_text("{")
    assert "damaged: see rnfl verify" in trained.at_hand()
