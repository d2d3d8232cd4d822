"""environment.yml, for conda users, says what pyproject.toml says."""

import re
import tomllib

from rnfl.storage.paths import project_root

CONDA_NAMES = {"torch": "pytorch"}
REQUIREMENT = re.compile(r"([A-Za-z0-9_.-]+)>=([0-9.]+)")


def parse(requirements: list[str]) -> dict[str, str]:
    """Return name -> floor; anything but a plain floor is an error."""
    matches = {text: REQUIREMENT.fullmatch(text) for text in requirements}
    assert all(matches.values()), f"not of the form name>=floor: {matches}"
    return {match[1]: match[2] for match in matches.values()}


def test_conda_environment_agrees_with_pyproject():
    root = project_root()
    project = tomllib.loads((root / "pyproject.toml").read_text())["project"]
    wanted = parse(project["dependencies"] + project["optional-dependencies"]["dev"])
    wanted = {CONDA_NAMES.get(name, name): floor for name, floor in wanted.items()}
    wanted["python"] = project["requires-python"].removeprefix(">=")

    lines = (root / "environment.yml").read_text().splitlines()
    conda = [line.strip().removeprefix("- ") for line in lines if line.startswith("  - ")]
    conda = [line for line in conda if line not in ("conda-forge", "pip", "pip:")]
    assert parse(conda) == wanted
    assert [line.strip() for line in lines[-2:]] == ["- pip:", "- -e ."]
