"""Published checkpoints: where they lie, how each is read, and what reading one did.

``layouts`` says what the files of each family hold, ``files`` finds or downloads them, ``reading``
opens them without running anything in them, ``plans`` compares their keys and shapes with a
model's, ``loading`` fills the model and reports, ``recognition`` says what a wrong file seems to
be, ``conversion`` writes safetensors and ``catalogue`` prints the table of backbones.
"""
