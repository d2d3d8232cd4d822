"""A stop at the next step: signals are noted, and heeded where everything can be saved."""

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import NoReturn

from tqdm import tqdm

SIGNALS = (signal.SIGTERM, signal.SIGINT)


@dataclass
class Stop:
    """Whether the process was asked to end, and by the signal of which number."""

    requested: int | None = None

    def leave(self, kept: str) -> NoReturn:
        """End the process as the signal asks, saying in one line what is kept.

        Parameters
        ----------
        kept : str
            'training is saved after epoch 3, step 5 in <folder>'.

        Raises
        ------
        KeyboardInterrupt
            For SIGINT; uncaught, the exit status is 130.
        SystemExit
            For any other signal, with the exit status 128 + its number: 143 for SIGTERM.
        """
        number, self.requested = self.requested, None
        name = signal.Signals(number).name
        text = f"{name}: {kept}; ask for the same run again to go on from there"
        tqdm.write(text, file=sys.stderr)
        end = KeyboardInterrupt(text) if number == signal.SIGINT else SystemExit(128 + number)
        end.add_note(text)  # so that nobody says it again
        raise end


@contextmanager
def interruptible() -> Iterator[Stop]:
    """Let SIGTERM and SIGINT only be noted, so that the body can save and then leave.

    A second SIGINT interrupts at once. A signal that the process ignores, as a job in a shell's
    background does SIGINT, stays ignored. Outside the main thread, where Python takes no signals,
    nothing changes. A signal that the body did not act on before it ended is delivered then.
    """
    stop = Stop()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return

    def note(number: int, frame: FrameType | None) -> None:
        if stop.requested == number == signal.SIGINT:
            raise KeyboardInterrupt
        stop.requested = number

    heard = [one for one in SIGNALS if signal.getsignal(one) != signal.SIG_IGN]
    before = {number: signal.signal(number, note) for number in heard}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
    if stop.requested is not None:
        if before[stop.requested] == signal.SIG_DFL:  # which would end the process on the spot
            raise SystemExit(128 + stop.requested)
        signal.raise_signal(stop.requested)
