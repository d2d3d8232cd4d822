"""A model sees in use the pixels that it saw in training, byte for byte."""

import numpy as np
import pandas as pd
import pytest
import torch
from grape_tree import draw_fundus
from PIL import Image
from training_data import make_dataset

from rnfl import datasets
from rnfl.inference import photographs, readings, trained
from rnfl.training import batches

# Name, height and width in px: as a camera takes them, and such that the disc is enlarged.
PHOTOGRAPHS = [
    ("colour_OD.png", 480, 480),
    ("odd_OS.jpg", 701, 533),
    ("grey_OD.png", 611, 611),
    ("grey-small_OS.png", 210, 230),
    ("large_OS.jpg", 1444, 1444),
]
CROPS = [
    ("half_OD.png", 112, 112),
    ("odd_OS.png", 97, 97),
    ("exact_OS.png", 224, 224),
    ("grey_OD.png", 333, 333),
    ("double_OS.jpg", 448, 448),
]
CARD = {"dataset": "none", "modality": "CFP", "notes": []}


class Recorder(torch.nn.Module):
    """Keeps what it is shown, and answers with flat profiles."""

    def __init__(self):
        super().__init__()
        self.unused = torch.nn.Parameter(torch.zeros(1))
        self.shown = []

    def forward(self, images):
        self.shown.append(images.clone())
        return torch.zeros(len(images), 360)


def draw(folder, pictures, framing="macula"):
    """Write pictures, noisy so that resampling shows, with a table that says which eye each is."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    for name, height, width in pictures:
        centre = (0.5, 0.5) if framing == "disc" else (0.74, 0.48)
        picture = draw_fundus("OS" if "OS" in name else "OD", *centre, size=max(height, width))
        picture = picture[:height, :width] + rng.normal(0, 12, (height, width, 1))
        picture = Image.fromarray(picture.clip(0, 255).astype(np.uint8))
        (picture.convert("L") if "grey" in name else picture).save(folder / name, quality=95)
    names = [name for name, *_ in pictures]
    eyes = ["OS" if "OS" in name else "OD" for name in names]
    pd.DataFrame({"image": names, "eye": eyes}).to_csv(folder / "samples.csv", index=False)


def in_training(prepared, size):
    data = batches.load(prepared, np.arange(len(prepared)), size, torch.device("cpu"))
    return data.take(torch.arange(len(data)))[0]


def in_use(folder, size, **options):
    model = trained.Trained(folder, Recorder(), size, CARD, None)
    requests, excluded = photographs.collect([], table=folder / "samples.csv")
    done = readings.read(requests, model, excluded, **options)
    assert not len(done.exclusions)
    return torch.cat(model.module.shown), done


@pytest.mark.parametrize(
    ("pictures", "choices", "options"),
    [
        (PHOTOGRAPHS, "", {}),
        (CROPS, 'images = "crops"', {"crops": True}),
        ([("disc_OS.png", 480, 480)], 'framing = "disc"', {"framing": "disc"}),
    ],
    ids=["photographs", "crops", "photographs of the disc"],
)
def test_preparing_and_predicting_show_the_same_bytes(
    tmp_path, monkeypatch, pictures, choices, options
):
    monkeypatch.setenv("RNFL_DATA", str(tmp_path / "data"))
    folder = tmp_path / "mine"
    draw(folder, pictures, options.get("framing", "macula"))
    (folder / "folder.toml").write_text(choices)
    prepared = datasets.prepare("folder-mine", source=folder)
    assert len(prepared) == len(pictures)
    for size in (112, 224, 448):
        then = in_training(prepared, size)
        now, done = in_use(folder, size, **options)
        assert then.shape == now.shape == (len(pictures), 3, size, size)
        assert then.numpy().tobytes() == now.numpy().tobytes(), size
        found = pd.DataFrame([(c.disc.x, c.disc.y, c.disc.confidence) for c in done.crops])
        assert (found == prepared.samples[["disc_x", "disc_y", "disc_confidence"]].values).all(
            axis=None
        )
        assert done.table["doubts"].tolist() == prepared.samples["doubts"].tolist()


@pytest.mark.parametrize("colour", [True, False], ids=["colour", "grey"])
def test_prepared_crops_are_shown_as_in_training_one_by_one_and_together(
    tmp_path, monkeypatch, colour
):
    monkeypatch.setenv("RNFL_DATA", str(tmp_path))
    prepared = make_dataset(n=6, colour=colour, size=224)
    for size in (112, 224, 448, 97):
        then = in_training(prepared, size).expand(-1, 3, -1, -1).numpy().tobytes()
        model = trained.Trained(tmp_path, Recorder(), size, CARD, None)
        model.predict(prepared.images)
        assert torch.cat(model.module.shown).numpy().tobytes() == then
        alone = [model.as_input(image[None]) for image in prepared.images]
        assert np.concatenate(alone).tobytes() == then
