"""Presets of the whole study: from a one-minute smoke test to the paper's own sizes."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from rnfl.storage.paths import data_root, project_root
from rnfl.study import ablations
from rnfl.training.config import GRADED, RunConfig
from rnfl.training.protocols import Protocol

SLO_BACKBONE = "phantom_mae_slo"  # has met SLO images alone; to the others no camera is new
REFERENCE = "naive"  # the reference protocol: what the others are compared with
# What a preset hands on to its runs.
SIZES = ("epochs", "warmup_epochs", "patience", "batch_size", "micro_batch", "lr_scale")


@dataclass(frozen=True)
class Preset:
    """Sizes of one edition of the study.

    ``folds`` and ``fold_seeds``, which divide anew, are those of the cross-validation by patient
    where real eyes are few. ``seeds`` are those of Table 1 and of the transferred models,
    ``ablation_seeds`` those of everything that varies one thing. ``strategies`` to ``lengths`` are
    of :mod:`rnfl.study.strategies`: which protocols are compared, at which gaps between the cameras
    of pretraining and those of the eyes, at which factors of ``lr_scale``; the adapters and their
    ranks; and the epochs in which output scales are compared. ``shift_eyes`` to ``draws`` are of
    :mod:`rnfl.study.camera_shift`: eyes of each camera, ways of adapting, numbers of shots with the
    ways they are varied for, and draws of them. ``twins`` to ``pair_draws`` are of
    :mod:`rnfl.study.translation`: eyes with a defect and without, steps of each network that
    redraws pictures, and numbers of draws that are averaged. ``spoilt_slo`` to ``arms`` are of
    :mod:`rnfl.study.robustness`: a phantom whose pictures are spoilt, how, and which augmentations
    are to withstand that. ``starts`` to ``mixes`` are of :mod:`rnfl.study.lessons`: backbones that
    are compared as starts, steps of masked autoencoding of the training pictures, fractions of the
    labels where these are one thing among others and where they are what is varied, and shares of
    patients whose pictures are of high quality. ``longer`` says whether the reference
    protocol is also trained twice as long, to show what the schedule leaves to be learnt.
    ``left_out`` are notebooks that ``make reproduce`` does not execute.
    """

    name: str
    slo: str  # the prepared dataset to train on
    cfp: str  # the other modality of the same eyes
    backbones: tuple[str, ...]
    protocols: tuple[str, ...] = ("naive", "aggressive", "structured", "gradient_loss")
    frozen: tuple[float, ...] = (0, 1 / 6, 1 / 3, 1 / 2, 1)  # of the blocks; the paper's end at 1/2
    lambdas_pearson: tuple[float, ...] = (0, 0.5, 10, 30)
    lambdas_gradient: tuple[float, ...] = (0, 0.05, 0.2, 1)
    encoder_rates: tuple[float, ...] = (1e-6, 1e-5, 5e-5, 1e-4, 1e-3)  # before lr_scale
    layer_decays: tuple[float, ...] = (1.0, 0.75)
    strategies: tuple[str, ...] = (
        *("readout", "probe", "last_quarter", "aggressive", "discriminative", "gradual", "lp_ft"),
        *("lora", "dora", "bitfit"),
    )
    strategy_gaps: tuple[float, ...] = (1.0,)
    rate_factors: tuple[float, ...] = (1.0,)
    adapters: tuple[str, ...] = ("lora",)
    ranks: tuple[int, ...] = (2, 8)
    lengths: tuple[int, ...] = (2, 8)
    shift_eyes: int = 400
    shift_epochs: int | None = None  # None: as elsewhere
    ways: tuple[str, ...] = (
        *("none", "histogram", "statistics", "fourier", "parent", "stage1", "dynamic", "no_style"),
        *("detached", "stage2", "full"),
    )
    shots: tuple[int, ...] = (1, 5, 10, 30)
    shot_ways: tuple[str, ...] = ("none", "fourier")
    draws: int = 1
    twins: int = 100
    pair_steps: int = 1500
    pair_draws: tuple[int, ...] = (1, 4, 16)
    spoilt_slo: str = "phantom-slo-1200"
    spoilt_epochs: int | None = None  # None: as elsewhere
    spoilt: tuple[str, ...] = (
        *("severity0.2", "severity0.4", "severity0.6", "severity0.8", "severity1"),
        *("exposure0.8", "tilt0.8", "noise0.8", "blur0.8", "resolution0.8", "gain0.8", "haze0.8"),
        *("jpeg0.8", "decentring0.8"),
    )
    arms: tuple[str, ...] = ("none", "intensity", *GRADED)
    starts: tuple[str, ...] = (
        *("phantom_scratch", "leaves_mae", "phantom_mae", "phantom_depth", "phantom_cls"),
        "imagenet_lite0",
    )
    mask_steps: int = 400
    few: tuple[float, ...] = (0.1, 1.0)
    fractions: tuple[float, ...] = (0.05, 0.1, 0.2, 0.5, 1.0)
    mixes: tuple[float, ...] = (0.0, 0.5, 1.0)
    seeds: tuple[int, ...] = (42,)
    ablation_seeds: tuple[int, ...] = (42,)
    epochs: int = 80
    warmup_epochs: int = 5
    patience: int = 15
    batch_size: int = 60
    micro_batch: int | None = None
    lr_scale: float = 1.0
    external: str | None = "grape"  # a further dataset for the cross-modality comparison
    folds: int = 10
    fold_seeds: tuple[int, ...] = (0,)
    longer: bool = False
    left_out: tuple[str, ...] = ()
    committed: bool = False

    @property
    def results_dir(self) -> Path:
        """Where tables go; only the reference preset writes to committed folders."""
        return self._root / "results"

    @property
    def figures_dir(self) -> Path:
        """Where figures go."""
        return (project_root() if self.committed else self._root) / "figures"

    @property
    def _root(self) -> Path:
        return data_root() if self.committed else data_root() / "reproduced" / self.name

    @property
    def featured(self) -> str:
        """The backbone of figures and transfer: the last one, in RETFound's place in the paper."""
        return self.backbones[-1]

    def config(self, backbone: str, protocol: str | Protocol, seed: int) -> RunConfig:
        """The run of one backbone, protocol and seed on ``slo``."""
        sizes = {name: getattr(self, name) for name in SIZES}
        return RunConfig(self.slo, backbone, protocol, seed=seed, **sizes)

    def configs_table1(self) -> list[RunConfig]:
        """Every backbone with every protocol and seed: Table 1."""
        return self._grid(self.backbones, self.protocols, self.seeds)

    def configs_longer(self) -> list[RunConfig]:
        """The reference protocol of each backbone with twice the epochs, one seed; or none."""
        chosen = self.backbones if self.longer else ()
        configs = [self.config(backbone, REFERENCE, self.seeds[0]) for backbone in chosen]
        return [replace(config, epochs=2 * self.epochs) for config in configs]

    def configs_freezing(self) -> list[RunConfig]:
        """Every backbone with growing shares of it frozen, under L1 alone."""
        return self._grid(self.backbones, ablations.freezing(self.frozen))

    def configs_loss(self) -> list[RunConfig]:
        """The featured backbone with growing weights of the Pearson and the gradient term."""
        protocols = ablations.losses(self.lambdas_pearson, self.lambdas_gradient)
        return self._grid([self.featured], protocols)

    def configs_learning_rate(self) -> list[RunConfig]:
        """The featured backbone over encoder learning rates, under each layer-wise decay."""
        protocols = ablations.learning_rates(self.encoder_rates, self.layer_decays)
        return self._grid([self.featured], protocols)

    def configs_all(self) -> list[RunConfig]:
        """Every run of every experiment on ``slo``, each once."""
        every = [*self.configs_table1(), *self.configs_longer(), *self.configs_freezing()]
        every += [*self.configs_loss(), *self.configs_learning_rate()]
        return list(dict.fromkeys(every))

    def _grid(
        self,
        backbones: Iterable[str],
        protocols: Iterable[str | Protocol],
        seeds: Iterable[int] | None = None,
    ) -> list[RunConfig]:
        return [
            self.config(backbone, protocol, seed)
            for backbone in backbones
            for protocol in protocols
            for seed in seeds or self.ablation_seeds
        ]


_PHANTOM = Preset(
    "phantom",
    slo="phantom-slo-1200",
    cfp="phantom-cfp-1200",
    backbones=("phantom_cls", "phantom_depth", "phantom_mae"),
    # Ours, for two cores: few epochs of small batches, and learning rates raised by how much
    # narrower these encoders are than the paper's ViT-L (1024 / 128).
    epochs=8,
    warmup_epochs=1,
    batch_size=16,
    lr_scale=8.0,
    # Fewer rates than the reference, to stay within half an hour on two cores.
    encoder_rates=(1e-6, 5e-5, 1e-3),
    strategies=("readout", "probe", "last_quarter", "aggressive", "lp_ft", "lora"),
    # To stay within half an hour, too.
    left_out=(
        *("16_self_pretraining", "17_specialist_or_generalist", "18_image_quality"),
        *("19_labels_and_time", "20_camera_shift", "21_mild_to_severe", "22_translation"),
    ),
    # Fewer than the reference's, to stay within six minutes.
    shift_eyes=200,
    # One network of diffusion is adapted, which takes a minute, and draws every picture anew.
    ways=("none", "histogram", "statistics", "fourier", "stage1", "stage2", "full"),
    twins=60,
    pair_steps=300,
    pair_draws=(1, 4),
    # A third of the eyes for three times the epochs: the steps are those of the other notebooks.
    spoilt_slo="phantom-slo-400",
    spoilt_epochs=24,
    spoilt=("severity0.4", "severity0.8", "blur0.8", "jpeg0.8"),
    arms=("intensity", "severe", "mild_to_severe"),
)

PRESETS: dict[str, Preset] = {
    preset.name: preset
    for preset in (
        _PHANTOM,
        replace(
            _PHANTOM,
            name="reference",
            epochs=16,
            seeds=tuple(range(42, 52)),
            ablation_seeds=tuple(range(42, 47)),
            encoder_rates=(1e-6, 1e-5, 5e-5, 1e-4, 1e-3),
            strategies=Preset.strategies,
            strategy_gaps=(1.0, 0.5, 0.0),
            rate_factors=(0.5, 1.0, 2.0),
            adapters=("lora", "dora"),
            ranks=(1, 4, 8, 16),
            lengths=(8, 24, 80),
            shift_eyes=Preset.shift_eyes,
            shift_epochs=24,
            ways=Preset.ways,
            draws=3,
            twins=Preset.twins,
            pair_steps=Preset.pair_steps,
            pair_draws=Preset.pair_draws,
            spoilt_slo=Preset.spoilt_slo,
            spoilt_epochs=None,
            spoilt=Preset.spoilt,
            arms=Preset.arms,
            mask_steps=4000,
            few=(0.05, 0.1, 0.25, 0.5, 1.0),
            mixes=(0.0, 0.25, 0.5, 0.75, 1.0),
            fold_seeds=(0, 1, 2, 3, 4, 5),
            longer=True,
            left_out=(),
            committed=True,
        ),
        replace(
            _PHANTOM,
            name="smoke",
            slo="phantom-slo-64",
            cfp="phantom-cfp-64",
            backbones=("phantom_mae",),
            protocols=("naive", "structured"),
            frozen=(0, 1 / 2, 1),
            lambdas_pearson=(0, 10),
            lambdas_gradient=(0, 0.2),
            encoder_rates=(5e-5, 1e-4),
            layer_decays=(1.0, 0.75),
            strategies=("readout", "probe", "aggressive", "lora"),
            lengths=(1,),
            shift_eyes=48,
            ways=("none", "fourier", "stage2"),
            shots=(10,),
            shot_ways=("none",),
            twins=6,
            pair_steps=2,
            pair_draws=(1,),
            left_out=(),
            spoilt_slo="phantom-slo-64",
            spoilt_epochs=None,
            spoilt=("severity0.8", "jpeg0.8"),
            starts=("phantom_scratch", "phantom_mae"),
            mask_steps=2,
            few=(0.5, 1.0),
            fractions=(0.3, 1.0),
            mixes=(0.0, 1.0),
            epochs=1,
            warmup_epochs=0,
            external=None,
            folds=3,
        ),
        Preset(
            "paper",
            slo="fairfedmed",
            cfp="grape",
            backbones=("imagenet_vitb16", "depth_anything_v2_small@224", "retfound_mae_naturecfp"),
            starts=(
                *("retfound_mae_naturecfp", "timm:vit_large_patch16_224.mae"),
                *("retfound_dinov2_meh", "dinov2_vitl14", "dinov3_vitl16"),
            ),
            few=(0.05, 0.1, 0.25, 0.5, 1.0),
            seeds=(42, 43, 44),
            ablation_seeds=(42, 43, 44),
        ),
    )
}


def get(name: str) -> Preset:
    """Return a preset by name, or a ValueError that says which there are."""
    if name not in PRESETS:
        raise ValueError(f"unknown preset {name!r}; valid names are {sorted(PRESETS)}")
    return PRESETS[name]
