"""Masks of a folder's photographs: cropped and mirrored as these are, found or refused by value."""

import numpy as np
import pandas as pd
import pytest
from drawn_masks import draw_mask, photograph, save_levels
from PIL import Image
from typer.testing import CliRunner

import rnfl
from rnfl import cli, datasets
from rnfl.core import masks

GREYS = np.array([60, 140, 220])  # of background, rim and cup: far enough apart to be told


@pytest.fixture(autouse=True)
def data(tmp_path, monkeypatch):
    monkeypatch.setenv("RNFL_DATA", str(tmp_path / "data"))


def round_field(mask, x, y):
    """Return a mask (480, 480) whose disc lies at x, y, and its photograph with a lit field."""
    whole = np.zeros((480, 480), np.uint8)
    top, left = round(y - len(mask) / 2), round(x - len(mask) / 2)
    whole[top : top + len(mask), left : left + len(mask)] = mask
    picture = photograph(whole, GREYS)
    v, u = np.mgrid[:480, :480] - 239.5
    picture[np.hypot(u, v) > 236] = 0
    return whole, picture


def lopsided(rng):
    """Return a mask (112, 112) that mirrored is another: its cup lies low on the right."""
    v, u = np.mgrid[:112, :112] - 55.5 - rng.uniform(-3, 3, (2, 1, 1))
    cup = np.hypot(u - 10, v - 6) < 14
    return (np.hypot(u, v) < 30).astype(np.uint8) + cup


def write(folder, masks_, places, eyes, levels=(255, 128, 0), **columns):
    folder.mkdir(parents=True, exist_ok=True)
    names = [f"{i}.png" for i in range(len(masks_))]
    for i, (mask, place) in enumerate(zip(masks_, places, strict=True)):
        whole, picture = round_field(mask, *place)
        Image.fromarray(picture).save(folder / f"{i}.png")
        save_levels(folder / f"mask{i}.png", whole, levels)
    rows = {"image": names, "eye": eyes, "mask": [f"mask{name}" for name in names], **columns}
    pd.DataFrame(rows).to_csv(folder / "samples.csv", index=False)


def seen(image):
    """Return the mask (112, 112) that a crop shows, told by its red levels."""
    halves = np.asarray(image[..., 0], float).reshape(112, 2, 112, 2).mean(axis=(1, 3))
    return np.abs(halves[..., None] - GREYS).argmin(axis=-1)


@pytest.mark.parametrize(("levels", "stated"), [((255, 128, 0), True), ((0, 1, 2), False)])
def test_a_mask_lies_where_its_photograph_shows_it(tmp_path, rng, levels, stated):
    drawn, places = [lopsided(rng) for _ in range(2)], [(330, 220), (170.5, 250)]
    # A disc that is stated 12 px beside where it is: image and mask move together.
    at = {"disc_x": [342, 160], "disc_y": [220, 250]} if stated else {}
    write(tmp_path / "mine", drawn, places, ["OD", "OS"], levels, **at)
    prepared = datasets.prepare("folder-mine", source=tmp_path / "mine")
    assert prepared.samples["disc_source"].tolist() == ["stated" if stated else "mask"] * 2
    assert prepared.masks.shape == (2, 112, 112) and np.isnan(prepared.profiles).all()
    for i, mask in enumerate(prepared.masks):
        shown = seen(prepared.images[i])
        assert (shown == mask)[8:-8, 8:-8].mean() > 0.98  # less the edges, which are mixed
        assert masks.dice_cup(shown[None], mask[None]) > 0.9
        assert masks.dice_cup(shown[None, :, ::-1], mask[None]) < 0.7
        assert masks.dice_disc(shown[None], mask[None]) > 0.95
        rows, columns = np.nonzero(mask)
        middle = np.array([rows.mean(), columns.mean()]) - 55.5
        assert (np.abs(middle).max() < 1) != stated
    (said,) = (text for text in prepared.manifest["findings"] if text.startswith("Masks of 2"))
    assert ("REFUGE" in said) == (levels[0] == 255)
    assert prepared.manifest["counts"]["masks"] == 2 and not prepared.manifest["not_in_table"]


def test_masks_of_crops_and_of_some_eyes_alone(tmp_path, rng):
    folder = tmp_path / "mine"
    drawn = [lopsided(rng) for _ in range(3)]
    write(folder, drawn, [(240, 240)] * 3, "OS")
    (folder / "folder.toml").write_text('images = "crops"\n')
    table = pd.read_csv(folder / "samples.csv")
    table.loc[1, "mask"] = None
    table.to_csv(folder / "samples.csv", index=False)
    prepared = datasets.prepare("folder-mine", source=folder)
    assert masks.known(prepared.masks).tolist() == [True, False, True]
    assert (seen(prepared.images[2]) == prepared.masks[2]).mean() > 0.98
    assert "1 eyes have no mask." in prepared.manifest["findings"]
    mask = Image.open(folder / "mask0.png").point(lambda level: (level == 128) * 7)
    mask.save(folder / "mask0.png")
    again = datasets.prepare("folder-mine", source=folder)  # another mask is another dataset
    assert again.hash != prepared.hash and len(again) == 2
    (gone,) = again.manifest["exclusions"]
    assert gone["detail"].startswith("mask0.png: values 0, 7: expected 0 = background, 1 = rim")


def test_masks_that_are_none_leave_out_their_eye_by_name(tmp_path, rng):
    folder = tmp_path / "mine"
    write(folder, [lopsided(rng) for _ in range(4)], [(240, 240)] * 4, "OD")
    Image.open(folder / "mask1.png").resize((240, 240)).save(folder / "mask1.png")
    coloured = np.zeros((480, 480, 3), np.uint8)
    coloured[200:280, 200:280, 0] = 128
    Image.fromarray(coloured).save(folder / "mask2.png")
    (folder / "mask3.png").unlink()
    prepared = datasets.prepare("folder-mine", source=folder)
    details = {one["id"]: (one["reason"], one["detail"]) for one in prepared.manifest["exclusions"]}
    other = "mask that is not one of its photograph's disc and cup"
    small = "mask1.png: 240x240 px, its photograph 480x480 px"
    assert details.pop("folder-1") == (other, small)
    assert details.pop("folder-2") == (other, "mask2.png is coloured: expected grey levels")
    assert details.pop("folder-3")[0] == "mask: no such photograph" and not details


def test_three_commands_lead_from_photographs_to_a_segmenter_of_another_camera(tmp_path, rng):
    splits = ["train"] * 4 + ["val", "test"]
    run = CliRunner().invoke
    for name, label in (("mine", "folder-mine"), ("theirs", "folder-theirs")):
        drawn = [draw_mask(rng, spread=0) for _ in splits]
        sides = {"split": splits, "patient_id": [f"{name}{i}" for i in range(6)]}
        write(tmp_path / name, drawn, [(240, 240)] * 6, ["OD", "OS"] * 3, **sides)
        for path in (tmp_path / name).glob("[0-9].png") if name == "theirs" else ():
            Image.fromarray(np.asarray(Image.open(path)) // 3).save(path)  # a dark camera
        prepared = run(cli.app, ["prepare", label, "--source", str(tmp_path / name)])
        assert prepared.exit_code == 0, prepared.output
    done = run(cli.app, [
        "train", "folder-mine", "phantom_scratch@32", "--task", "masks", "--protocol", "probe",
        "--epochs", "1", "--warmup-epochs", "0", "--batch-size", "4", "--augment", "none",
    ])  # fmt: skip
    assert done.exit_code == 0, done.output
    assert "-masks-" in done.output and "test Dice disc 0." in done.output
    assert "validation Dice, mean of disc and cup, 0." in done.output
    result = rnfl.load_run(done.output.split(": test")[0].strip().rpartition("/")[2])
    assert len(result.segmentation) == 1 and result.config.task == "masks"
    done = run(cli.app, ["adapt", result.run_id, "--to", "folder-theirs", "--shots", "3"])
    assert done.exit_code == 0, done.output
    assert "adapted with 3 shots of folder-theirs (fourier)" in done.output
    assert "Dice of disc 0." in done.output and "on 1 eyes of folder-theirs" in done.output
