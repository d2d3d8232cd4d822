"""``python -m rnfl.cli`` does what ``rnfl`` does."""

from rnfl.cli import main

main()
