"""Commands about models."""

from __future__ import annotations

import typer

from rnfl.cli.app import app


@app.command()
def train(
    dataset: str,
    backbone: str,
    protocol: str = "naive",
    seed: int = 42,
    epochs: int = 80,
    warmup_epochs: int = 5,
    batch_size: int = 60,
    lr_scale: float = 1.0,
) -> None:
    """Train one run, resume it, or return it if it is finished."""
    from rnfl import experiment
    from rnfl import prepare as preparing

    preparing.prepare(dataset)
    config = experiment.RunConfig(
        dataset,
        backbone,
        protocol,
        seed=seed,
        epochs=epochs,
        warmup_epochs=warmup_epochs,
        batch_size=batch_size,
        lr_scale=lr_scale,
    )
    result = experiment.run(config)
    typer.echo(f"{result.folder}: test MAE {result.summary['test_mae']:.2f} µm")
