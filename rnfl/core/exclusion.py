"""An eye or a picture that is left out, and why."""

from typing import Any


class Excluded(Exception):
    """What is raised for an eye that cannot be used; the other eyes are read all the same.

    ``reason`` is one of a fixed list of the dataset's, or of :mod:`rnfl.imaging.crops`; ``detail``
    says what was found, and ``facts``, in JSON's types, join the reason in the list of exclusions.
    """

    def __init__(self, reason: str, detail: str = "", **facts: Any) -> None:
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason, self.detail, self.facts = reason, detail, facts
