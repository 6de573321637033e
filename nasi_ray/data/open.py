"""Open a data set: the user's name or path decides how it is read. No image is decoded."""

from __future__ import annotations

import os
from pathlib import Path

from nasi_ray.data.folder import open_folder
from nasi_ray.data.hub import PREFIX, cache_folder, find_snapshot
from nasi_ray.data.image_set import ImageSet
from nasi_ray.data.lazy import LazyImages
from nasi_ray.data.left_out import count, describe, kind, walk
from nasi_ray.data.options import ReadOptions
from nasi_ray.data.parquet import open_parquet_set
from nasi_ray.data.parquet_files import choose_split, find_files, splits_of
from nasi_ray.data.s3_path import PREFIX as S3_PREFIX
from nasi_ray.data.s3_path import DataPath, listed_s3
from nasi_ray.data.sources import SOURCES
from nasi_ray.data.splits import is_meant
from nasi_ray.errors import DataError, UnknownNameError

_PATHS = [
    *("hf:OWNER/NAME", "a Parquet file or directory", "an image folder (class/file)"),
    "one of these at s3://bucket/prefix",
]
READ_TRAIN = ReadOptions()


def open_images(
    source: str, options: ReadOptions = READ_TRAIN, *, image_size: int = 32
) -> LazyImages:
    """Find the images of a data set and read their labels.

    Args:
        source: A name (``CIFAR10``, ``MNIST``, ... or a plug-in's), ``hf:OWNER/NAME`` for a data
            set in the cache of Hugging Face's hub, or the path of a Parquet file, of a directory of
            them (Hugging Face layout) or of an image folder, or ``s3://bucket/prefix`` of one of
            these. To read a folder with one of those names, write ``./CIFAR10``.
        options: What to read of it.
        image_size: Height and width in pixels of a data set that is known by name, which is read
            into memory; files keep their size.

    Raises:
        ConfigError: If a column is named where there are none.
        UnknownNameError: If ``source`` is neither a known name nor a path.
        DataError: If the data are missing or empty, or their labels or files are broken.
        StorageError: If S3 cannot be reached.
        ValueError: If ``source`` is ``random`` (nothing to open).
    """
    if source == "random":
        raise ValueError("random data are drawn, not loaded; see RandomBatches")
    if source in SOURCES:
        return _in_memory(read_named(source, options, image_size=image_size), options)
    try:
        return _open_path(_existing_path(source), options, source=source)
    except OSError as error:
        raise DataError(f"{source}: cannot be read ({error})") from error


def read_named(source: str, options: ReadOptions, *, image_size: int) -> ImageSet:
    """Read a data set that is known by name; see ``sources``."""
    options.refuse_columns(source, "a named data set")
    return SOURCES.get(source)(image_size=image_size, split=options.split)


def _in_memory(images: ImageSet, options: ReadOptions) -> LazyImages:
    return LazyImages(
        labels=images.labels,
        num_classes=images.num_classes,
        class_names=images.class_names,
        source=images.source,
        digest=images.digest,
        found=(),
        encoded=images,
        skip_broken=options.skip_broken,
    )


def _sources() -> list[str]:
    return ["random", *SOURCES.names(), *_PATHS]


def _existing_path(source: str) -> DataPath:
    if source.startswith(S3_PREFIX):
        found = listed_s3(source)
        if not found.exists():
            raise DataError(
                f"there is no object at or below {source}; check the bucket and the prefix"
            )
        return found
    if "://" in source:
        raise DataError(
            f"data {source!r} is neither a path nor s3://bucket/prefix; copy it here and name its "
            "directory"
        )
    path = Path(os.path.expanduser(cache_folder(source)))
    if source and path.exists():
        return find_snapshot(path)
    if source.startswith(PREFIX):
        raise DataError(
            f"data {source!r} is not in the cache (looked for {path}); where there is a network: "
            f"hf download --repo-type dataset {source.removeprefix(PREFIX)}"
        )
    if len(path.parts) > 1 or source.startswith((".", "~")) or path.suffix:
        raise DataError(
            f"no such file or directory: {source}; data can be {', '.join(_sources())} "
            f"(looked in {Path.cwd()})"
        )
    raise UnknownNameError("data source", source, _sources())


def _open_path(path: DataPath, options: ReadOptions, *, source: str) -> LazyImages:
    split = options.split
    if not path.is_dir():
        _refuse_arrow(path, source)
        if not is_meant(path.stem, split):
            raise DataError(
                f"{source}: no split {split!r}: it is one file without splits; leave the split out"
            )
        return open_parquet_set([path], options, source=source, read=["1 file"])
    if not any(path.iterdir()):
        raise DataError(f"{source}: the directory is empty; data can be {', '.join(_sources())}")
    files = find_files(path, ".parquet")
    if not files:
        _refuse_arrow(path, source)
        return open_folder(path, options, source=source)
    chosen = choose_split(files, path, split)
    named = {file for file in files if splits_of(file, path, split)}
    found, left_out = walk(path)
    left_out += [kind(file) for file in found if file not in named.union(chosen)]
    read = [f"split {'/'.join(sorted(splits_of(chosen[0], path, split)))}"] if named else []
    return open_parquet_set(
        chosen,
        options,
        source=source,
        read=[*read, count(len(chosen), "file"), describe(left_out)],
    )


def _refuse_arrow(path: DataPath, source: str) -> None:
    """Say how to make Parquet of Arrow files, which Hugging Face's ``save_to_disk`` writes."""
    if path.is_file():
        if path.suffix.lower() != ".arrow":
            return
        how = "datasets.Dataset.from_file(FILE).to_parquet(NEW_FILE)"
    elif not find_files(path, ".arrow"):
        return
    elif (path / "dataset_dict.json").exists():
        how = "datasets.load_from_disk(DIRECTORY)['train'].to_parquet(NEW_FILE)"
    elif (path / "state.json").exists():
        how = "datasets.load_from_disk(DIRECTORY).to_parquet(NEW_FILE)"
    elif any(child.is_dir() for child in path.iterdir()):
        return
    else:
        how = "datasets.Dataset.from_file(FILE).to_parquet(NEW_FILE)"
    raise DataError(f"{source}: Arrow files are not supported; convert them to Parquet: {how}")
