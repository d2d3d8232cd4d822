"""From a DDPM of the source to pictures redrawn for the target, killed in each part (SIGKILL)."""

import hashlib
import os
import signal
from pathlib import Path
from unittest import mock

import killed_runs
import pytest
import torch
from training_data import make_dataset

pytest.importorskip("diffusers", reason="the extra 'generative' is not installed")

# What is called once a step, by the part of the work, and the call that is the last.
PARTS = {
    "source": ("rnfl.adaptation.diffusion.SourceTraining.step", 3),
    "content": ("rnfl.adaptation.diffusion.SourceTraining.step", 5),
    "adaptation": ("rnfl.adaptation.diffusion.AdaptationTraining.step", 2),
    "redrawing": ("rnfl.adaptation.diffusion.stepped_back", 7),
}


def chain(root: Path, part: str | None) -> None:
    """Make the DDPM, adapt it and redraw the source's pictures; die in a part."""
    from rnfl import datasets
    from rnfl.adaptation import diffusion, ways

    torch.set_num_threads(1)
    os.environ["RNFL_DATA"] = str(root)
    diffusion.SIZE, diffusion.WIDTHS, diffusion.CHECKPOINT_SECONDS = 32, (32, 32, 32), 0.0
    if part:
        place, last = PARTS[part]
        real, calls = _of(place), iter(range(1000))

        def deadly(*given, **options):
            if next(calls) == last:
                os.kill(os.getpid(), signal.SIGKILL)
            return real(*given, **options)

        mock.patch(place, deadly).start()
    source = datasets.load("source")
    diffusion.make_source(source, "tiny", out_dir=root, unet_steps=4, content_steps=4, batch_size=2)
    recipe = diffusion.Recipe(steps=4, batch_size=2)
    with mock.patch.object(ways, "recipe_of", lambda *given: recipe):
        shots = ways.take_shots("target", 3)
        ways.translated(source, shots, "stage1", 0, root / "tiny.safetensors")


def _of(place: str):
    module, *names = place.rsplit(".", 2 if "Training" in place else 1)
    found = __import__(module, fromlist=["_"])
    for name in names:
        found = getattr(found, name)
    return found


def run(root: Path, part: str | None = None) -> int:
    killed_runs.SERVER.set_forkserver_preload([*killed_runs.PRELOADED, "diffusers"])
    with mock.patch.dict(os.environ, dict.fromkeys(killed_runs.ONE_THREAD, "1")):
        process = killed_runs.SERVER.Process(target=chain, args=(root, part))
        process.start()
    return killed_runs.ended(process)


def made(root: Path) -> dict[str, str]:
    """Return the SHA-256 of what is left: of the DDPM and of the pictures redrawn."""
    files = [*root.glob("tiny.safetensors"), *root.glob("prepared/source-as-*/*.npy")]
    return {one.relative_to(root).as_posix(): hashlib.sha256(one.read_bytes()).hexdigest()
            for one in files}  # fmt: skip


def world(root: Path) -> Path:
    with mock.patch.dict(os.environ, {"RNFL_DATA": str(root)}):
        make_dataset("source", n=12, size=32)
        make_dataset("target", n=12, size=32, colour=True, seed=1, patients="q")
    return root


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    root = world(tmp_path_factory.mktemp("whole"))
    assert run(root) == 0
    return made(root)


@pytest.mark.parametrize("part", PARTS)
def test_killed_in_any_part_it_ends_in_the_same_bits(whole, part, tmp_path):
    root = world(tmp_path / "data")
    assert run(root, part) == -signal.SIGKILL
    assert made(root) != whole
    assert run(root) == 0
    assert made(root) == whole and len(whole) >= 3
    assert not list((root / "runs").glob(".partial/*/checkpoint*"))
