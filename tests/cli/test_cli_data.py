"""The prepare command: where the dataset is, who is in it, who is not, and what to look at."""

from pathlib import Path

from typer.testing import CliRunner

from rnfl import cli, datasets
from rnfl.datasets.prepared import write


def run(*arguments: str):
    return CliRunner().invoke(cli.app, list(arguments))


def test_prepare_says_where_and_how_many():
    result = run("prepare", "phantom-slo-30-s5")
    assert result.exception is None
    lines = result.stdout.splitlines()
    assert lines[0].startswith("phantom-slo-30-s5: 30 phantom eyes of ")
    assert lines[2].split() == ["left", "out", "0"] and "unsure" not in result.stdout
    folder = Path(lines[1].split()[-1])
    assert [line.split()[-1] for line in lines[3:]] == [
        str(folder / "contact_sheet.png"), str(folder / "summary.md")
    ]  # fmt: skip


def test_prepare_says_who_was_left_out_and_which_discs_are_unsure(prepared, data_root):
    samples = prepared.samples.assign(disc_confidence=[0.7] * 2 + [1.0] * 38)
    fields = {"dataset": "x", "modality": "SLO", "phantom": False, "settings": {}}
    fields["exclusions"] = [{"id": str(i), "reason": "ab"[i % 3 == 0]} for i in range(10)]
    fields["exclusions"][4]["detail"] = "rnfl_S -1 µm (leave the cell empty)"
    write("unsure", prepared.images, prepared.profiles, samples, fields)
    (data_root / "prepared" / "unsure" / "summary.md").unlink()
    lines = run("prepare", "unsure").stdout.splitlines()
    assert lines[0].startswith("unsure: 40 eyes of 20 patients (")
    assert lines[2].split() == ["left", "out", "10"] and lines[4].split() == ["4", "b"]
    assert lines[3].strip() == "6 a, as 4: rnfl_S -1 µm (leave the cell empty)"
    assert lines[5].split()[:3] == ["unsure", "2:", "first"] and "disc unsure" in lines[6]
    assert "contact_sheet.png" in lines[7]
    assert "none: remove the folder" in lines[8]


def test_an_interruption_says_how_to_go_on(monkeypatch):
    from rnfl.datasets import reading

    def stop(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(datasets, "prepare", stop)
    assert "goes on" not in run("prepare", "grape").output
    monkeypatch.setattr(reading, "kept_folders", lambda name: [Path(name)])
    assert "the same command goes on with the eyes not read yet" in run("prepare", "grape").output
