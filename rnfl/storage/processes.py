"""Worker processes that do not outlive who started them."""

import os
import threading
import time


def end_with(parent: int) -> None:
    """End this process, from a thread of its own, once its parent of that number has ended."""
    threading.Thread(target=_wait_and_end, args=(parent,), daemon=True).start()


def _wait_and_end(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)
