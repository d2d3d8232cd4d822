"""``python -m rnfl`` is the ``rnfl`` command, which torchrun can start in several processes."""

from rnfl.cli import main

main()
