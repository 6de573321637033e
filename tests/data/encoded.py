"""Small encoded images and Parquet files for the data tests."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from nasi_ray.data.image_set import ImageSet, make_image_set

IMAGE_TYPE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


def pixels(seed: int, height: int, width: int) -> npt.NDArray[np.uint8]:
    """Random RGB, shape (height, width, 3)."""
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def encode(image: Image.Image, image_format: str = "PNG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, image_format, **options)
    return buffer.getvalue()


def png(seed: int, height: int = 8, width: int = 8) -> bytes:
    return encode(Image.fromarray(pixels(seed, height, width)))


def write_parquet(
    path: Path,
    images: Sequence[Any],
    labels: Sequence[Any],
    *,
    image_column: str = "img",
    label_column: str = "label",
    image_type: Any = IMAGE_TYPE,
    label_type: Any = None,
    class_names: Sequence[str] | None = None,
) -> Path:
    """Write rows in the Hugging Face layout; plain bytes are wrapped into the struct."""
    rows = [
        {"bytes": image, "path": f"{i}.png"} if image_type == IMAGE_TYPE and type(image) is bytes
        else image
        for i, image in enumerate(images)
    ]  # fmt: skip
    table = pa.table(
        {
            image_column: pa.array(rows, image_type),
            label_column: pa.array(labels, label_type or pa.int64()),
        }
    )
    if class_names is not None:
        features = {label_column: {"names": list(class_names), "_type": "ClassLabel"}}
        text = json.dumps({"info": {"features": features}})
        table = table.replace_schema_metadata({"huggingface": text})
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path)
    return path


def image_set(num_images: int = 40, image_size: int = 8, num_classes: int = 4) -> ImageSet:
    """Random images; the labels go round the classes."""
    rng = np.random.default_rng(5)
    return make_image_set(
        rng.integers(0, 256, (num_images, 3, image_size, image_size), dtype=np.uint8),
        np.arange(num_images, dtype=np.int64) % num_classes,
        num_classes=num_classes,
        source="test images",
    )
