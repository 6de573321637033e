"""The model ``nasi_cell`` of timm; importing this module registers it.

    import timm
    import nasi_ray.timm

    net = timm.create_model("nasi_cell", checkpoint_path="runs/train/model.safetensors")
    net = timm.create_model("local-dir:runs/train/export", pretrained=True)
    net = timm.create_model("hf-hub:user/name", pretrained=True, num_classes=20)

The first form reads the network from the weights' file, so that the model can do nothing before.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from timm.models import build_model_with_cfg, register_model
from torch import Tensor, nn

from nasi_ray.errors import ConfigError, DataError
from nasi_ray.networks.genotype_network import GenotypeNetwork
from nasi_ray.training.model import CONFIG_TENSOR, ModelConfig, build_model, config_of

__all__ = ["nasi_cell"]


@register_model
def nasi_cell(
    pretrained: bool = False, *, config: Mapping[str, Any] | None = None, **settings: Any
) -> nn.Module:
    """The network of a cell, called with normalised images, shape (batch, 3, height, width).

    Args:
        pretrained: Whether to load the weights that timm's ``local-dir:`` or ``hf-hub:`` names.
        config: Content of ``model.json``; None: as the weights say that are loaded into it.
        settings: timm's; of these ``num_classes`` and ``drop_path_rate`` (DARTS cells) matter.

    Raises:
        ConfigError: If the images are to have another number of channels than 3.
        DataError: If the configuration is not of a model.
    """
    if config is None:
        return _Unread(settings)
    parsed = ModelConfig.from_dict(config)
    given = {name: value for name, value in settings.items() if value is not None}
    return build_model_with_cfg(
        _make,
        "nasi_cell",
        pretrained,
        pretrained_filter_fn=_without_config,
        config=parsed,
        **{"pretrained_cfg": parsed.to_timm(), **given},
    )


def _make(
    config: ModelConfig,
    *,
    num_classes: int | None = None,
    in_chans: int = 3,
    drop_path_rate: float = 0.0,
    **others: Any,
) -> nn.Module:
    if in_chans != 3:
        raise ConfigError(f"in_chans is {in_chans}; the networks of cells take 3 channels")
    net: Any = build_model(config)
    if num_classes is not None and num_classes != config.num_classes:
        net.classifier = nn.Linear(net.classifier.in_features, num_classes)
    if isinstance(net, GenotypeNetwork):
        net.drop_path_prob = drop_path_rate
    net.num_classes = net.classifier.out_features
    net.num_features = net.classifier.in_features
    net.register_load_state_dict_pre_hook(_drop_config)
    made: nn.Module = net
    return made


def _drop_config(
    module: nn.Module, state_dict: dict[str, Tensor], prefix: str, *args: object
) -> None:
    state_dict.pop(f"{prefix}{CONFIG_TENSOR}", None)


def _without_config(state_dict: dict[str, Tensor], model: nn.Module) -> dict[str, Tensor]:
    """What timm loads into a model, which may have another number of classes."""
    return {name: tensor for name, tensor in state_dict.items() if name != CONFIG_TENSOR}


class _Unread(nn.Module):
    """Becomes the network that the first state loaded into it says, as torch's lazy modules do."""

    def __init__(self, settings: Mapping[str, Any]) -> None:
        """Keep timm's settings for the network."""
        super().__init__()
        self._settings = dict(settings)

    def forward(self, x: Tensor) -> Tensor:
        """Refuse."""
        raise ConfigError(
            "nasi_cell has no network yet; give timm.create_model a checkpoint_path, or config"
        )

    def load_state_dict(
        self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False
    ) -> Any:
        """Become the network, and load.

        Raises:
            DataError: If the state does not say of what network it is.
        """
        config = config_of(state_dict)
        if config is None:
            raise DataError(
                "the weights do not name their network; give those that nasi-ray train or nasi-ray "
                "export wrote, or give timm.create_model a config"
            )
        classes = self._settings.get("num_classes")
        if classes not in (None, config.num_classes):
            raise ConfigError(
                f"num_classes is {classes}, and the checkpoint has {config.num_classes} classes; "
                'leave it out, or give "local-dir:FOLDER" with pretrained=True in place of '
                "checkpoint_path"
            )
        net = nasi_cell(config=config.to_dict(), **self._settings)
        self.__class__ = type(net)
        self.__dict__ = net.__dict__
        return net.load_state_dict(state_dict, strict=strict, assign=assign)
