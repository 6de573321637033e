"""Batches of images and labels: loading data sets, and batches as pure functions of an index."""

from __future__ import annotations

from nasi_ray.data.batches import Batches as Batches
from nasi_ray.data.batches import ImageBatches as ImageBatches
from nasi_ray.data.batches import RandomBatches as RandomBatches
from nasi_ray.data.batches import make_batches as make_batches
from nasi_ray.data.batches import resolve_labels as resolve_labels
from nasi_ray.data.cifar import CIFAR_NAMES as CIFAR_NAMES
from nasi_ray.data.image_set import ImageSet as ImageSet
from nasi_ray.data.image_set import data_identity as data_identity
from nasi_ray.data.image_set import make_image_set as make_image_set
from nasi_ray.data.load import load_images as load_images
