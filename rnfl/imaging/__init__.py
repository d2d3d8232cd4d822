"""From a picture to the crop round the optic disc."""
