"""From one camera to another with a handful of unlabelled pictures.

:mod:`rnfl.adaptation.ways` is what users call; :mod:`rnfl.adaptation.recolouring` holds the ways
that cost nothing, :mod:`rnfl.adaptation.diffusion` stage 1 of MFM-DA, which costs most.
"""

SLO_MODEL = "phantom_slo_ddpm"  # the packaged DDPM, of phantom SLO pictures
