"""A model to train or to use: what its network is built from, and its files in a run directory.

``model.json`` holds the configuration and ``model.safetensors`` the parameters and running
statistics. Neither file can run code when it is read.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import pydantic
import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from nasi_ray.errors import ConfigError, DataError, InvalidGenotypeError, UnknownNameError
from nasi_ray.networks.by_space import make_standalone
from nasi_ray.networks.genotype_network import GenotypeNetwork
from nasi_ray.networks.initialization import Initialization, build
from nasi_ray.run.schemas import MODEL_SCHEMA
from nasi_ray.spaces import Genotype, TabularArchitecture, get_tabular_space, parse_architecture
from nasi_ray.spaces.final_network import NETWORKS, FinalNetwork, final_network
from nasi_ray.storage import Storage

MODEL_JSON = "model.json"
WEIGHTS = "model.safetensors"
CONFIG_TENSOR = "nasi_ray.model"
"""Name of a tensor of bytes in ``model.safetensors``: the text of ``model.json``. So the one file
says what network it is of, also to those who see its tensors only."""

NetworkName = Literal["cifar10", "cifar100", "imagenet", "benchmark"]


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelConfig:
    """Everything that determines a network but its parameters, and what its images are.

    Raises:
        ConfigError: If a value is out of its range, or values do not go together.
        InvalidGenotypeError: If the architecture is not in the notation of its space.
        UnknownNameError: If the space is not known.
    """

    space: str
    architecture: str
    """In the notation of its space; a DARTS cell as ``Genotype.parse`` reads it."""
    network: NetworkName
    """DARTS cells: a network of ``spaces.final_network``; others: ``benchmark``, their own."""
    init_channels: int
    """C, the channels of the first cells."""
    num_cells: int | None
    """L; None for ``benchmark``, which fixes it."""
    num_classes: int
    image_size: int
    """Height and width of the images in pixels."""
    auxiliary: bool = False
    """Whether an auxiliary tower is trained along."""
    mean: tuple[float, float, float]
    """Of each channel, with pixels scaled to [0, 1]; images are (pixel / 255 - mean) / std."""
    std: tuple[float, float, float]
    """As ``mean``; above 0."""
    class_names: tuple[str, ...] = ()
    """In the order of the labels; empty if they are not known."""
    crop_pct: float = 1.0
    """Share of an image's shorter side that the tested centre crop has, as timm calls it; the
    image is resized to 1 / share of the crop before, bilinearly."""

    def __post_init__(self) -> None:
        is_darts = isinstance(self.parsed(), Genotype)
        if is_darts == (self.network == "benchmark"):
            allowed = ", ".join(NETWORKS) if is_darts else "benchmark"
            raise ConfigError(f"network is {self.network}; cells of {self.space} have {allowed}")
        if not is_darts and (self.auxiliary or self.num_cells is not None):
            raise ConfigError(
                f"the benchmark's network of {self.space} has no auxiliary tower, and fixes its "
                "number of cells; leave auxiliary and num_cells out"
            )
        if self.class_names and len(self.class_names) != self.num_classes:
            raise ConfigError(
                f"{len(self.class_names)} class_names for {self.num_classes} classes; give one "
                "for each, or none"
            )
        if min(self.std) <= 0:
            raise ConfigError(f"std is {self.std}; every number must be above 0")
        if not is_darts:
            smallest = get_tabular_space(self.space).min_channels
            if self.init_channels < smallest:
                raise ConfigError(
                    f"init_channels is {self.init_channels}; it must be at least {smallest}"
                )
        self.layout()

    def parsed(self) -> TabularArchitecture:
        """The architecture."""
        return parse_architecture(self.space, self.architecture)

    def layout(self) -> FinalNetwork:
        """The network but for its cell; of ``benchmark`` its sizes only."""
        return final_network(
            "cifar10" if self.network == "benchmark" else self.network,
            init_channels=self.init_channels,
            num_cells=self.num_cells,
            num_classes=self.num_classes,
            image_size=self.image_size,
        )

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready; the architecture as in ``genotype.json`` or ``result.json``."""
        fields = dataclasses.asdict(self)
        del fields["architecture"]
        return {"schema": MODEL_SCHEMA, **self.parsed().fields(), **fields}

    def to_timm(self) -> dict[str, Any]:
        """What timm calls the ``pretrained_cfg``: what images are, and what the classes are."""
        return {
            "input_size": (3, self.image_size, self.image_size),
            "mean": self.mean,
            "std": self.std,
            "crop_pct": self.crop_pct,
            "interpolation": "bilinear",
            "num_classes": self.num_classes,
            "label_names": self.class_names or None,
            "classifier": "classifier",
        }

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> ModelConfig:
        """Read ``to_dict``.

        Raises:
            DataError: If it is of another schema, or not a configuration.
        """
        if fields.get("schema") != MODEL_SCHEMA:
            raise DataError(
                f"schema of a model is {str(fields.get('schema'))[:100]!r}; this version reads "
                f"{MODEL_SCHEMA!r}"
            )
        names = {field.name for field in dataclasses.fields(cls)}
        given = {name: value for name, value in fields.items() if name in names}
        if "genotype" in fields:
            given["architecture"] = json.dumps(fields["genotype"])
        try:
            # The dictionary as JSON, since only there a list is a tuple in strict mode.
            return pydantic.TypeAdapter(cls).validate_json(json.dumps(given), strict=True)
        except pydantic.ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"])) or "(all)"
            raise DataError(f"model setting {where}: {first['msg'].lower()}") from None
        except (ConfigError, InvalidGenotypeError, UnknownNameError) as error:
            raise DataError(f"not a model: {error}") from None


def constructor(config: ModelConfig) -> Callable[[], nn.Module]:
    """What makes the network, on any device and with parameters of torch's own initialisation."""
    architecture = config.parsed()
    if isinstance(architecture, Genotype):
        return partial(GenotypeNetwork, architecture, config.layout(), auxiliary=config.auxiliary)
    return partial(
        make_standalone,
        config.space,
        architecture,
        num_classes=config.num_classes,
        num_channels=config.init_channels,
        trainable=True,
    )


def build_model(
    config: ModelConfig, *, seed: int = 0, init: Initialization = "default"
) -> nn.Module:
    """Build a network of torch's own operations, in float32 on the CPU.

    Parameters that no gradient reaches (of a node that nothing uses) do not require one, as
    distributed training demands.

    Args:
        config: The network.
        seed: Seed of its parameters, in [0, 2⁶³); the global generator is not used.
        init: How they are drawn.

    Returns:
        A module called as ``net(x)`` with x of shape (batch, 3, image_size, image_size). It
        returns logits, shape (batch, classes); with an auxiliary tower, while training, the logits
        of both.
    """
    make = constructor(config)
    net = build(make, seed=seed, dtype=torch.float32, init=init)
    for name in _without_gradient(make, config.image_size):
        net.get_parameter(name).requires_grad_(False)
    return net


def model_files(state_dict: Mapping[str, Tensor], config: ModelConfig) -> dict[str, bytes]:
    """Name -> content of ``model.safetensors`` and ``model.json``.

    Args:
        state_dict: Of ``build_model(config)``, on any device.
        config: The network.
    """
    text = f"{json.dumps(config.to_dict(), indent=2, ensure_ascii=False)}\n".encode()
    tensors = {name: t.detach().cpu().contiguous() for name, t in state_dict.items()}
    tensors[CONFIG_TENSOR] = torch.frombuffer(bytearray(text), dtype=torch.uint8)
    return {WEIGHTS: safetensors.torch.save(tensors), MODEL_JSON: text}


def save_model(storage: Storage, state_dict: Mapping[str, Tensor], config: ModelConfig) -> None:
    """Write ``model_files``.

    Raises:
        StorageError: If the storage fails.
    """
    for name, data in model_files(state_dict, config).items():
        storage.write(name, data)


def load_config(storage: Storage) -> ModelConfig:
    """Read ``model.json``.

    Raises:
        DataError: If it is missing or not a configuration.
        StorageError: If the storage fails.
    """
    where = f"{storage.uri}/{MODEL_JSON}"
    try:
        fields = json.loads(storage.read(MODEL_JSON))
        return ModelConfig.from_dict(fields if isinstance(fields, dict) else {})
    except FileNotFoundError:
        raise DataError(
            f"{storage.uri} has no {MODEL_JSON}; give the run directory of a training that has "
            "ended"
        ) from None
    except (ValueError, RecursionError) as error:
        raise DataError(f"{where} is not JSON ({error})") from None
    except DataError as error:
        raise DataError(f"{where}: {error}") from None


def config_of(state_dict: Mapping[str, Tensor]) -> ModelConfig | None:
    """What weights say of their network; None if they do not.

    Raises:
        DataError: If it is of another schema, or not a configuration.
    """
    said = state_dict.get(CONFIG_TENSOR)
    if said is None:
        return None
    try:
        fields = json.loads(bytes(said.tolist()))
    except (ValueError, TypeError, RecursionError) as error:
        raise DataError(f"{CONFIG_TENSOR} in the weights is not JSON ({error})") from None
    return ModelConfig.from_dict(fields if isinstance(fields, dict) else {})


def load_model(storage: Storage) -> tuple[nn.Module, ModelConfig]:
    """Read both files.

    Returns:
        The network in evaluation mode, on the CPU, and its configuration.

    Raises:
        DataError: If a file is missing or broken, or the weights are of another network.
        StorageError: If the storage fails.
    """
    config = load_config(storage)
    where = f"{storage.uri}/{WEIGHTS}"
    try:
        tensors = safetensors.torch.load(storage.read(WEIGHTS))
    except FileNotFoundError:
        raise DataError(f"{storage.uri} has {MODEL_JSON}, but no {WEIGHTS}") from None
    except SafetensorError as error:
        raise DataError(f"{where} is not a safetensors file ({error})") from None
    said = config_of(tensors)
    if said is not None and said != config:
        raise DataError(
            f"{where} belongs to another network than {MODEL_JSON}; give a run directory whose two "
            "files belong together"
        )
    tensors.pop(CONFIG_TENSOR, None)
    net = build_model(config)
    try:
        net.load_state_dict(tensors)
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:200]
        raise DataError(f"{where} is not of the network in {MODEL_JSON}: {reason}") from None
    return net.eval(), config


def make_on_meta(config: ModelConfig) -> nn.Module:
    """The network on torch's meta device: it takes no memory and computes nothing."""
    with torch.device("meta"):
        return constructor(config)()


def _without_gradient(make: Callable[[], nn.Module], image_size: int) -> list[str]:
    """Names of the parameters that the output does not depend on."""
    with torch.device("meta"), torch.enable_grad():  # nothing is computed
        net = make().train()
        output = net(torch.empty((2, 3, image_size, image_size)))
        outputs = output if isinstance(output, tuple) else (output,)
        torch.autograd.backward([logits.sum() for logits in outputs])
    return [name for name, parameter in net.named_parameters() if parameter.grad is None]
