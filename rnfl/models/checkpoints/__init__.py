"""Published checkpoints: where they lie, how each is read, and what reading one did."""
