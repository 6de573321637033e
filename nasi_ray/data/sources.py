"""Data sets by name; ``docs/extending.md`` says how to add one. Light to import."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from nasi_ray.registry import Registry

if TYPE_CHECKING:
    from nasi_ray.data.image_set import ImageSet


class Source(Protocol):
    """Reads a data set."""

    def __call__(self, *, image_size: int, split: str) -> ImageSet:
        """Read one split into memory; ``image_set.make_image_set`` makes the return value.

        Args:
            image_size: Height and width S of the images in pixels.
            split: Name of the split; ``train`` unless ``--split`` says otherwise.

        Raises:
            DataError: If the split is unknown, or the data cannot be read.
        """


SOURCES: Registry[Source] = Registry(
    "data source",
    "nasi_ray.data",
    {
        "CIFAR10": "nasi_ray.data.torchvision_sets:read_cifar10",
        "CIFAR100": "nasi_ray.data.torchvision_sets:read_cifar100",
        "MNIST": "nasi_ray.data.torchvision_sets:read_mnist",
        "FashionMNIST": "nasi_ray.data.torchvision_sets:read_fashion_mnist",
        "KMNIST": "nasi_ray.data.torchvision_sets:read_kmnist",
        "EMNIST-balanced": "nasi_ray.data.torchvision_sets:read_emnist_balanced",
        "EMNIST-letters": "nasi_ray.data.torchvision_sets:read_emnist_letters",
        "EMNIST-digits": "nasi_ray.data.torchvision_sets:read_emnist_digits",
        "SVHN": "nasi_ray.data.torchvision_sets:read_svhn",
        "STL10": "nasi_ray.data.torchvision_sets:read_stl10",
    },
)
