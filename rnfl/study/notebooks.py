"""The strict notebook runner: papermill without its silent failures.

Papermill warns about an unknown parameter and goes on, takes whatever kernel a user's machine
calls ``python3``, and marks a notebook whose kernel died as completed. Here an unknown parameter
is an error, the kernel is this very interpreter, and an executed notebook appears under its name
only when every cell ran. It imports no model code: notebooks do.
"""

import json
import logging
import re
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TextIO

import papermill
from jupyter_client.kernelspec import KernelSpec
from jupyter_client.manager import AsyncKernelManager
from nbconvert import HTMLExporter
from papermill.exceptions import PapermillExecutionError
from traitlets import default
from traitlets.config import Config

from rnfl.storage import errors, locks, provenance
from rnfl.storage.paths import project_root

# The study's notebooks in the order they are executed. Pretraining (10) is missing: its weights are
# committed, and it takes an hour.
STUDY = (
    "09_phantom",
    "02_protocols",
    "01_visualize_predictions",
    "00_quickstart",
    "03_freezing",
    "04_loss_complexity",
    "05_learning_rate",
    "13_strategies",
    "14_parameter_efficient",
    "15_output_scale",
    "16_self_pretraining",
    "17_specialist_or_generalist",
    "18_image_quality",
    "19_labels_and_time",
    "21_mild_to_severe",
    "06_cross_modality",
    "12_learning_on_grape",
    "07_fairness",
    "08_audit",
    "11_agreement",
    "20_camera_shift",
    "22_translation",
)

# Progress bars of libraries fall back to text, which is right here, and warn about it.
NO_WIDGETS = "ignore:IProgress not found"
COLOUR = re.compile(r"\x1b\[[0-9;]*m")
LINK_TAG = "committed-figure"  # the closing image link, which only a code host can follow


class NotebookError(RuntimeError):
    """A notebook stopped before its end; the message names the cell and the kept copy."""


class InterpreterKernel(AsyncKernelManager):
    """A kernel of the running interpreter, whatever kernels are registered on the machine.

    It talks through files (IPC) where the system allows it: with TCP, kernels started at the same
    time can be handed the same port.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._folder = tempfile.TemporaryDirectory(prefix="rnfl-")
        self.connection_file = str(Path(self._folder.name) / "kernel.json")

    @default("transport")
    def _transport(self) -> str:
        return "tcp" if sys.platform == "win32" else "ipc"

    @property
    def kernel_spec(self) -> KernelSpec:
        """The command that starts this interpreter as a kernel."""
        return KernelSpec(
            argv=[sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"],
            display_name="Python 3",
            language="python",
            env={"PYTHONWARNINGS": NO_WIDGETS},
        )


def parameters_of(notebook: Path) -> tuple[str, ...]:
    """Return the names that a notebook's ``parameters`` cell defines, in their order."""
    return tuple(papermill.inspect_notebook(str(notebook)))


def check_parameters(notebook: Path, parameters: Mapping[str, Any]) -> None:
    """Refuse parameters that the notebook does not define or that papermill would distort."""
    known = parameters_of(notebook)
    unknown = sorted(set(parameters) - set(known))
    if "profile" in unknown and "preset" in known:
        raise ValueError(f"{notebook}: the parameter 'profile' is called 'preset' now")
    if unknown:
        raise ValueError(
            f"{notebook}: unknown parameter {', '.join(unknown)}; "
            f"it has {', '.join(known) or 'none'}"
        )
    scalar = (str, int, float, bool, type(None))
    for name, value in parameters.items():
        items = value if isinstance(value, list) else [value]
        if not all(isinstance(item, scalar) for item in items):
            raise ValueError(
                f"{notebook}: parameter {name}={value!r} is neither a scalar nor a flat list"
            )


def run_notebook(
    notebook: Path,
    output: Path,
    parameters: Mapping[str, Any] | None = None,
    progress: bool = True,
    live: TextIO | None = None,
) -> Path:
    """Execute a notebook from the project's root and publish it with an HTML copy beside it.

    Parameters
    ----------
    notebook, output
        The source, and where the executed copy goes; its folder is made.
    parameters
        Flat scalars and lists, each defined in the notebook's ``parameters`` cell.
    progress
        Show papermill's bar, one step per cell.

    Returns
    -------
    Path
        ``output``; it exists only if every cell ran.

    Raises
    ------
    ValueError
        For a parameter the notebook does not define.
    NotebookError
        When a cell fails or the kernel dies. The partly executed copy stays as
        ``<stem>.failed.ipynb``.
    """
    notebook, output = Path(notebook).resolve(), Path(output).resolve()
    check_parameters(notebook, parameters or {})
    failed = output.with_suffix(".failed.ipynb")
    kept = "runs that are finished are kept, others go on from their checkpoints"
    with (
        errors.writing(f"notebook {output.name}", output.parent, kept),
        locks.locked(output.parent / ".locks" / output.stem),
    ):
        with provenance.publish_file(output) as partial:
            try:
                papermill.execute_notebook(
                    notebook,
                    partial,
                    dict(parameters or {}),
                    kernel_name="python3",
                    kernel_manager_class=InterpreterKernel,
                    shutdown_kernel="immediate",
                    coalesce_streams=True,
                    progress_bar={"desc": notebook.stem} if progress else False,
                    start_timeout=180,
                    stderr_file=live,
                    cwd=project_root(),
                )
            except BaseException as error:
                logging.getLogger("asyncio").disabled = True  # of the kernel's end, which is said
                if partial.exists():
                    partial.replace(failed)
                if not isinstance(error, Exception) or isinstance(error, OSError):
                    raise
                raise NotebookError(_explain(notebook, failed, error)) from error
        failed.unlink(missing_ok=True)
        _write_html(output)
    return output


def _explain(notebook: Path, kept: Path, error: Exception) -> str:
    """Return the failing cell and its traceback, or what the kernel's death left to say."""
    if isinstance(error, PapermillExecutionError):
        cell = "\n".join(f"    {line}" for line in error.source.splitlines())
        traceback = COLOUR.sub("", "\n".join(error.traceback))
        detail = f"cell [{error.exec_count}]\n{cell}\n{traceback}"
    else:
        detail = f"{type(error).__name__}: {error}"
    return f"{notebook.name} failed in {detail}\nThe partly executed copy is {kept}"


def _write_html(executed: Path) -> None:
    """Write ``<stem>.html`` beside an executed notebook."""
    settings = Config()
    settings.TagRemovePreprocessor.enabled = True
    settings.TagRemovePreprocessor.remove_cell_tags = {LINK_TAG}
    settings.HTMLExporter.preprocessors = ["nbconvert.preprocessors.TagRemovePreprocessor"]
    offline = {"jquery_url": "", "require_js_url": "", "mathjax_url": ""}
    exporter = HTMLExporter(config=settings, template_name="classic", **offline)
    body, _ = exporter.from_filename(str(executed))
    provenance.write_text(executed.with_suffix(".html"), body)


def refresh(
    notebook: Path,
    output: Path,
    parameters: Mapping[str, Any],
    inputs: Mapping[str, Any],
    products: Sequence[Path],
) -> bool:
    """Execute a notebook unless its executed copy and products are there and nothing changed.

    Parameters
    ----------
    inputs
        What the result depends on beyond source, code and parameters: run ids, dataset hashes.
    products
        Folders or files the notebook makes; each must exist for it to count as up to date.

    Returns
    -------
    bool
        Whether it was executed.
    """
    stamp, root = output.with_suffix(".stamp.json"), project_root()
    code = sorted(p for package in ("rnfl", "analysis") for p in (root / package).rglob("*.py"))
    state = {
        "notebook": provenance.sha256_file(notebook),
        "code": {p.relative_to(root).as_posix(): provenance.sha256_file(p) for p in code},
        "parameters": dict(parameters),
        "inputs": dict(inputs),
    }
    made = [output, output.with_suffix(".html"), *products]
    if stamp.exists() and json.loads(stamp.read_text()) == state and all(p.exists() for p in made):
        print(f"{output.stem}: up to date")
        return False
    print(f"{output.stem}: running", flush=True)
    stamp.unlink(missing_ok=True)
    start = time.monotonic()
    run_notebook(notebook, output, parameters)
    with errors.writing(stamp.name, stamp.parent, "the notebook is executed again"):
        provenance.write_json(stamp, state)
    print(f"{output.stem}: done in {time.monotonic() - start:.0f} s", flush=True)
    return True
