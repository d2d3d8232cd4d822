"""Whether a worker on another machine computes what the client would."""

import time
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rnfl.storage.paths import data_root, runs_root
from rnfl.storage.provenance import code_hash

if TYPE_CHECKING:
    from distributed import Worker

# How long a file that another machine made may take to appear.
PATIENCE = 5.0  # s


@dataclass(frozen=True)
class Witness:
    """What a client sees; a worker that sees the same is fit.

    Attributes
    ----------
    file : Path
        A file in the data folder, relative to it, whose name no other data folder has.
    code : str
        Hash of the package's code.
    """

    file: Path
    code: str

    @classmethod
    def here(cls) -> "Witness":
        """Return what this process sees; its file stays in the data folder for the next one."""
        folder = runs_root() / ".partial"
        folder.mkdir(parents=True, exist_ok=True)
        found = sorted(folder.glob("witness-*"))
        if not found:
            found = [folder / f"witness-{uuid.uuid4().hex}"]
            found[0].touch()
        return cls(found[0].relative_to(data_root()), code_hash())

    def complaint(self, dask_worker: "Worker") -> str | None:
        """Say, on a worker, why its results would not be the client's; None if they are."""
        if (threads := dask_worker.state.nthreads) != 1:
            return (
                f"it has {threads} Dask threads, and a process can do only one run at a time: "
                "start it with --nthreads 1, and set OMP_NUM_THREADS to the number of its cores"
            )
        if (own := code_hash()) != self.code:
            return (
                f"its code has the hash {own}, the client's {self.code}: install the same "
                "there, and restart workers after a change"
            )
        path, until = data_root() / self.file, time.monotonic() + PATIENCE
        while not path.exists():
            if time.monotonic() > until:
                return (
                    f"its data folder {data_root()} is not the client's ({self.file} is missing): "
                    "give both the same RNFL_DATA, on a file system that they share"
                )
            time.sleep(0.2)
        return None
