"""Loaded by Dask workers of the tests: notes who trained which epoch, on which cores."""

import os

from rnfl.study.grid import tasks
from rnfl.study.grid.resources import cores

# Dask loads this file more than once.
plain = getattr(tasks.state, "plain", tasks.state)


def state(config, row):
    import torch

    pinned, threads = "+".join(map(str, cores())), torch.get_num_threads()
    with open(os.environ["GRID_LOG"], "a") as log:
        log.write(f"{os.getpid()},{config.seed},{row['epoch']},{pinned},{threads}\n")
    return plain(config, row)


state.plain = plain
if "GRID_LOG" in os.environ:  # not where pytest merely looks for doctests
    tasks.state = state
