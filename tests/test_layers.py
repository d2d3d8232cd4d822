"""The direction of imports: layers of the package, and an analysis that never loads torch."""

import ast
import subprocess
import sys

import pytest

from rnfl.storage.paths import project_root

ROOT = project_root()
HEAVY = {"torch", "torchvision", "timm"}
# From the ground up: a package imports those before it, and none after it.
LAYERS = (
    *("storage", "core", "imaging", "datasets", "models", "training"),
    *("runs", "adaptation", "inference", "study", "cli"),
)
# What the analysis may read of the package: nothing that trains, finds or uses a model.
READABLE = {"storage", "core", "imaging", "datasets"}
LIGHT = [
    "rnfl",
    *(f"rnfl.core.{name}" for name in ("geometry", "metrics", "schema", "splits")),
    *(f"rnfl.storage.{name}" for name in ("paths", "provenance")),
    *(f"rnfl.datasets{name}" for name in ("", ".registry", ".normative")),
    *(
        f"rnfl.{name}"
        for name in ("training.config", "runs.address", "runs.results", "study.presets")
    ),
]


def modules(package):
    """Return the path of every module of a package by its dotted name."""
    found = {}
    for path in sorted((ROOT / package).rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        found[".".join(parts).removesuffix(".__init__")] = path
    return found


RNFL, ANALYSIS = modules("rnfl"), modules("analysis")


def imports(nodes, module, path):
    """Return the absolute dotted names that import statements among AST nodes ask for."""
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package.split(".")[: len(package.split(".")) - node.level + 1]
            origin = ".".join([*(base if node.level else []), *filter(None, [node.module])])
            yield from (f"{origin}.{alias.name}" for alias in node.names)


def anywhere(module, path):
    return set(imports(ast.walk(ast.parse(path.read_text())), module, path))


def at_import(module, path):
    """Return what a module imports when it is imported itself: nothing from inside functions."""

    def visit(node):
        for child in ast.iter_child_nodes(node):
            if not isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
                yield child
                yield from visit(child)

    return set(imports(visit(ast.parse(path.read_text())), module, path))


def of(names, packages):
    return sorted(name for name in names if name.split(".")[0] in packages)


def layer(name):
    """Return which package of ``rnfl`` a dotted name lies in; None at its top or elsewhere."""
    parts = name.split(".")
    return parts[1] if parts[0] == "rnfl" and len(parts) > 1 and parts[1] in LAYERS else None


def upwards(module, names):
    """Return the imports that go up: to a later layer, or to the analysis."""
    own = LAYERS.index(layer(module)) if layer(module) else -1
    later = set(LAYERS[own + 1 :])
    return sorted(n for n in names if layer(n) in later or n.split(".")[0] == "analysis")


def test_the_package_is_its_layers_and_nothing_beside_them():
    folders = {path.name for path in (ROOT / "rnfl").iterdir() if path.is_dir()} - {"__pycache__"}
    assert folders == set(LAYERS) and len(LAYERS) <= 12
    assert {path.name for path in (ROOT / "rnfl").glob("*.py")} == {"__init__.py", "__main__.py"}


@pytest.mark.parametrize("module", [m for m in RNFL if layer(m) and layer(m) != "cli"])
def test_no_layer_imports_upwards(module):
    assert not upwards(module, anywhere(module, RNFL[module]))


def test_an_import_upwards_would_be_seen():
    assert upwards("rnfl.core.metrics", {"rnfl.training.loop", "rnfl.storage.paths"}) == [
        "rnfl.training.loop"
    ]
    assert upwards("rnfl.study.grid", {"analysis.tables.study"}) == ["analysis.tables.study"]


def test_commands_import_the_analysis_only_when_they_run():
    for module in (m for m in RNFL if layer(m) == "cli"):
        assert not of(at_import(module, RNFL[module]), {"analysis"})


def test_no_module_is_in_a_circle():
    known = {**RNFL, **ANALYSIS}

    def module_of(name):
        return name if name in known else name.rpartition(".")[0]

    edges = {
        module: {module_of(name) for name in anywhere(module, path)} & known.keys() - {module}
        for module, path in known.items()
    }
    while free := {module for module, needed in edges.items() if not needed & edges.keys()}:
        edges = {module: needed for module, needed in edges.items() if module not in free}
    assert not edges, f"in a circle, or above one: {sorted(edges)}"


@pytest.mark.parametrize("module", ANALYSIS)
def test_analysis_reads_nothing_that_trains_or_uses_models(module):
    names = of(anywhere(module, ANALYSIS[module]), {"rnfl"})
    assert {layer(name) for name in names} <= READABLE


@pytest.mark.parametrize("module", ANALYSIS)
def test_analysis_never_imports_torch(module):
    assert not of(anywhere(module, ANALYSIS[module]), HEAVY)


def test_analysis_and_the_light_modules_run_without_torch():
    names = [*LIGHT, *(name for name in ANALYSIS if not name.endswith("__main__"))]
    code = (
        "import importlib, sys\n"
        f"for name in {names!r}:\n"
        "    importlib.import_module(name)\n"
        f"    loaded = sorted({HEAVY!r} & set(sys.modules))\n"
        "    assert not loaded, f'{name} loads {loaded}'\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_the_walk_sees_every_form_of_import(tmp_path):
    path = tmp_path / "m.py"
    path.write_text(
        "import torch.nn as nn\nfrom . import b\nfrom ..c import d\n"
        "def f():\n    from analysis import tables\n"
    )
    assert anywhere("p.q.m", path) == {"torch.nn", "p.q.b", "p.c.d", "analysis.tables"}
    assert at_import("p.q.m", path) == {"torch.nn", "p.q.b", "p.c.d"}
