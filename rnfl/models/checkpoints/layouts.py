"""What the files of each published family hold, as rules from their keys to timm's."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Layout:
    """Rules from a published file's keys to those of a timm vision transformer.

    Attributes
    ----------
    name : str
        The family, as reports and errors call it.
    top : str or None
        Key of the file under which the weights lie; None = the file is the table of weights.
    prefix : str
        What the weights' keys begin with; it is taken away.
    drop : tuple of str
        Keys that serve the pretraining only, in the file's own spelling: a name that ends in
        '.' or '_' stands for every key that begins with it, any other for itself.
    """

    name: str
    top: str | None = None
    prefix: str = ""
    drop: tuple[str, ...] = ()

    def rule_that_drops(self, key: str) -> str | None:
        """Return the rule by which a key is dropped, or None for a key to load."""
        for rule in self.drop:
            if key == rule or (rule[-1] in "._" and key.startswith(rule)):
                return rule
        return None


@dataclass(frozen=True)
class Source:
    """Where a backbone's weights are published.

    Attributes
    ----------
    layout : Layout
    file : str
        Name of the published file.
    hub : str
        Repository of huggingface.co that holds it; '' = none.
    page : str
        Where a person gets it, for files that no repository of the hub holds.
    gated : bool
        Whether the hub asks for an account and an accepted licence.
    """

    layout: Layout
    file: str
    hub: str = ""
    page: str = ""
    gated: bool = False


PLAIN = Layout("timm state dict")
TIMM_HUB = Layout("timm hub", drop=("head.", "mask_token"))
RETFOUND_MAE = Layout("RETFound MAE", top="model", drop=("mask_token", "decoder_"))
RETFOUND_DINOV2 = Layout(
    "RETFound DINOv2",
    top="teacher",
    prefix="backbone.",
    drop=("backbone.mask_token", "dino_head.", "ibot_head."),
)
DEPTH_ANYTHING = Layout(
    "Depth Anything V2", prefix="pretrained.", drop=("pretrained.mask_token", "depth_head.")
)
