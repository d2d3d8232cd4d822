"""House rules that a machine can hold: modules that say what they are, and nothing
of one machine in the project."""

import re
from pathlib import Path

import pytest

from rnfl.storage.paths import project_root

ROOT = project_root()
MODULES = sorted(p for package in ("rnfl", "analysis") for p in (ROOT / package).rglob("*.py"))
FOLDERS = ("rnfl", "analysis", "notebooks", "tests", "figures", "data/published", "data/external",
           "data/results")  # fmt: skip
TEXT = {".py", ".md", ".ipynb", ".toml", ".yml", ".yaml", ".cff", ".json", ".csv", ".tex", ""}
LEFT_BEHIND = re.compile(r"/(?:home|root|Users|work|tmp)/\w|\b(?:TODO|FIXME)\b")


def committed_text():
    """Yield the project's text files, this one aside."""
    for path in [*ROOT.iterdir(), *(p for name in FOLDERS for p in (ROOT / name).rglob("*"))]:
        if path.is_file() and path.suffix in TEXT and path != Path(__file__):
            yield path


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(ROOT)))
def test_modules_say_what_they_are(path):
    assert path.read_text().startswith('"""')


def test_no_machine_paths_and_no_leftovers():
    found = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()[:100]}"
        for path in committed_text()
        for number, line in enumerate(path.read_text(errors="ignore").splitlines(), start=1)
        if LEFT_BEHIND.search(line)
    ]
    assert not found, "\n".join(found)
