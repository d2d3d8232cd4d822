"""The direction of imports: models never know the analysis, and the analysis never loads torch."""

import ast
import subprocess
import sys

import pytest

from rnfl.paths import project_root

ROOT = project_root()
HEAVY = {"torch", "torchvision", "timm"}
# Commands may call the analysis from inside a function.
THIN = {f"rnfl.cli.{name}" for name in ("models", "statistics", "studies", "use")} | {"rnfl.runner"}
LIGHT = ["rnfl", "rnfl.geometry", "rnfl.metrics", "rnfl.paths", "rnfl.provenance", "rnfl.schema",
         "rnfl.splits", "rnfl.prepare", "rnfl.datasets"]  # fmt: skip


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


@pytest.mark.parametrize("module", RNFL)
def test_rnfl_never_imports_analysis(module):
    path = RNFL[module]
    names = at_import(module, path) if module in THIN else anywhere(module, path)
    assert not of(names, {"analysis"})


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
