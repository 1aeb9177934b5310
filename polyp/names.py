"""Names of models and datasets in tables, figures and the viewer."""

from collections import defaultdict
from collections.abc import Sequence

# By config. Models of users and other packages are named as their config.
MODELS = {
    "unet": "plain U-Net",
    "unet_wide": "wide plain U-Net",
    "p4unet": "p4 U-Net",
    "p4munet": "p4m U-Net",
    "se2unet": "SE(2) U-Net",
    "se2unet_bilinear": "bilinear SE(2) U-Net",
    "se2unet_separable": "separable SE(2) U-Net",
    "lieunet": "Lie U-Net",
    "isounet": "isotropic U-Net",
    "steerableunet": "steerable U-Net",
    "steerableunet_matched": "matched steerable U-Net",
    "so2unet": "SO(2) U-Net",
    "symmetrized": "symmetrized network",
    "canonicalized": "canonicalized network",
}
DATASETS = {
    "cvc": "CVC-ClinicDB",
    "kvasir": "Kvasir-SEG",
    "colondb": "CVC-ColonDB",
    "etis": "ETIS-Larib",
    "polypgen": "PolypGen",
    "pranet": "PraNet's data",
    "synthetic": "synthetic scenes",
}


def model_names(configs: Sequence[str]) -> list[str]:
    """The name of each model. A model and its `_small` one have the same, unless both are there:
    both are called as their config then."""
    names = [MODELS.get(config.removesuffix("_small"), config) for config in configs]
    by_name: dict[str, set[str]] = defaultdict(set)
    for config, name in zip(configs, names, strict=True):
        by_name[name].add(config)
    return [
        name if len(by_name[name]) == 1 else config
        for config, name in zip(configs, names, strict=True)
    ]


def system_name(config: str, name: str | None) -> str:
    """The name of one system: its own, or that of its model's config."""
    return name or model_names([config])[0]


def dataset_name(config: str) -> str:
    """The name of a dataset, by its config; that of others is their config."""
    return DATASETS.get(config, config)
