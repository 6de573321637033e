"""Make a Parquet table from NAS-Bench-201 or NATS-Bench's topology data, by the nats-bench package.

The files are unpickled, which runs any code they hold: convert only files you trust.
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any, ClassVar

import pyarrow as pa

from nasi_ray.errors import DataError, InvalidGenotypeError
from nasi_ray.spaces.nb201 import NB201Architecture
from nasi_ray.tables.metric import Metric, nb201_metric
from nasi_ray.tables.nasbench101 import Progress
from nasi_ray.tables.table_file import check_source, make_table, replacing

_SETS = (
    ("cifar10-valid", "x-valid", "cifar10", "valid"),
    ("cifar10", "ori-test", "cifar10", "test"),
    ("cifar100", "x-valid", "cifar100", "valid"),
    ("cifar100", "x-test", "cifar100", "test"),
    ("ImageNet16-120", "x-valid", "imagenet16_120", "valid"),
    ("ImageNet16-120", "x-test", "imagenet16_120", "test"),
)
"""NATS-Bench's data set and evaluation set, and the data set and split that they are."""
_EPOCHS = (12, 200)

_Key = tuple[str, str, int]
"""NATS-Bench's data set and evaluation set, and the schedule."""


def convert_natsbench(
    source: str | Path, target: str | Path, *, on_progress: Progress | None = None
) -> int:
    """Convert a file of NAS-Bench-201, or a file or folder of NATS-Bench's topology data.

    The table has ``index``, ``arch`` and, for those of the 12- and 200-epoch schedules that the
    source has, lists ``<data set>_<split>_accuracy_<epochs>ep`` in percent, one entry a trial, in
    the order of the seeds. CIFAR-10: validation after training on 25,000 images, test after
    training on all 50,000; the others' validation and test sets are the benchmark's two halves.

    Args:
        source: ``NATS-tss-v1_0-*.pickle.pbz2``, or the folder ``NATS-tss-v1_0-*-simple``, which is
            read one architecture at a time; or the older ``NAS-Bench-201-v1_*.pth``.
        target: Parquet file to write; replaced only when the conversion has succeeded.
        on_progress: Called with the architectures read and their total.

    Returns:
        Number of architectures.

    Raises:
        DataError: If the nats-bench package or the source is missing, the source has other
            contents, or the target cannot be written.
    """
    path = check_source(source, target, folder_allowed=True)
    with replacing(target) as write:
        api = _open(path)
        archs = _architectures(api, path)
        metrics: dict[_Key, Metric] = {
            (name, images, epochs): nb201_metric(dataset, split, epochs, num_trials=None)
            for name, images, dataset, split in _SETS
            for epochs in _EPOCHS
        }
        values: dict[_Key, list[list[float]]] = {key: [] for key in metrics}
        for index in range(len(archs)):
            for key, trials in _read(api, index, path).items():
                values[key].append(trials)
            if path.is_dir():
                api.arch2infos_dict.pop(index, None)  # the package keeps everything it has read
            if on_progress:
                on_progress(index + 1, len(archs))
        lists = {metrics[key]: trials for key, trials in values.items() if any(trials)}
        if not lists:
            raise DataError(f"{source} has no accuracies; give NATS-Bench's topology data")
        write(_table(archs, lists))
    return len(archs)


def _table(archs: list[str], lists: dict[Metric, list[list[float]]]) -> pa.Table:
    columns: dict[str, tuple[pa.Array, Metric | None]] = {
        "index": (pa.array(range(len(archs)), pa.int32()), None),
        "arch": (pa.array(archs, pa.string()), None),
    }
    for metric, trials in lists.items():
        columns[metric.column] = (pa.array(trials, pa.list_(pa.float64())), metric)
    return make_table(columns)


def _open(source: Path) -> Any:
    try:
        package = import_module("nats_bench")
    except ImportError as error:
        raise DataError(
            "converting NATS-Bench needs the nats-bench package: pip install 'nasi_ray[nats]'"
        ) from error
    try:
        if source.suffix == ".pth":
            return _OldBenchmark(source)
        return package.create(str(source), "tss", fast_mode=source.is_dir(), verbose=False)
    except Exception as error:  # whatever unpickling a broken file raises
        raise DataError(
            f"{source} cannot be read as NATS-Bench's topology data: {_reason(error)}; "
            "give NATS-tss-v1_0-*.pickle.pbz2 or the folder NATS-tss-v1_0-*-simple (or "
            "NAS-Bench-201-v1_*.pth), or fetch it again"
        ) from error


class _OldBenchmark:
    """``NAS-Bench-201-v1_*.pth``, as the nats-bench package has its own files.

    Given the whole content, the package would copy it twice.
    """

    _SCHEDULES: ClassVar = {"12": "less", "200": "full"}

    def __init__(self, source: Path) -> None:
        torch = import_module("torch")
        content = torch.load(source, map_location="cpu", weights_only=False)
        self._archs, self._infos = content["meta_archs"], content["arch2infos"]

    def __len__(self) -> int:
        return len(self._archs)

    def arch(self, index: int) -> Any:
        return self._archs[index]

    def query_meta_info_by_index(self, index: int, hp: str) -> Any:
        results = import_module("nats_bench.api_utils").ArchResults
        return results.create_from_state_dict(self._infos[index][self._SCHEDULES[hp]])


def _architectures(api: Any, source: Path) -> list[str]:
    try:
        archs = [api.arch(index) for index in range(len(api))]
        for arch in archs:
            NB201Architecture.from_string(arch)
    except (TypeError, InvalidGenotypeError) as error:
        raise DataError(
            f"{source} is not NATS-Bench's topology data (NATS-tss-*): {error}"
        ) from error
    return archs


def _read(api: Any, index: int, source: Path) -> dict[_Key, list[float]]:
    """Accuracies in percent by seed; empty if the architecture lacks the data set."""
    what, trials = "data", {}
    try:
        for epochs in _EPOCHS:
            what = f"{epochs}-epoch data"
            info = api.query_meta_info_by_index(index, hp=str(epochs))
            present = info.get_dataset_names()
            for name, images, *_ in _SETS:
                what = f"{name} {images} accuracy after {epochs} epochs"
                runs = info.query(name) if name in present else {}
                trials[name, images, epochs] = [
                    _accuracy(runs[seed], images, epochs) for seed in sorted(runs)
                ]
    except Exception as error:  # whatever unpickling a broken file raises
        raise DataError(
            f"{source}: architecture {index} has no readable {what}: {_reason(error)}; fetch the "
            "data again"
        ) from error
    return trials


def _accuracy(run: Any, images: str, epochs: int) -> float:
    if run.get_total_epoch() != epochs:
        raise ValueError(f"it was trained {run.get_total_epoch()} epochs")
    accuracy = float(run.get_eval(images)["accuracy"])
    if not 0.0 <= accuracy <= 100.0:
        raise ValueError(f"an accuracy is {accuracy}; it must be 0 to 100")
    return accuracy


def _reason(error: Exception) -> str:
    # The text of many errors says nothing alone: "'x-valid@11'", or it is empty.
    kind = "" if type(error) is ValueError else f"{type(error).__name__}: "
    return f"{kind}{error}".replace("\n", " ")
