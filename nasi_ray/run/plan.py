"""Resolve settings once, before anything is computed, to a plan of the run."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from nasi_ray.config import ComputeSettings, Device, SampleConfig
from nasi_ray.data.labels import resolve_labels
from nasi_ray.data.options import ReadOptions
from nasi_ray.errors import ConfigError, RecordConflictError
from nasi_ray.pool.cost import PriceList, load_prices
from nasi_ray.records import IdentityValue, RowFormat, read_identity, refuse_other_settings
from nasi_ray.run.identity import SAMPLING_VERSION, DataSource, find_source, read_source
from nasi_ray.storage import Storage, open_storage

_KNOWN_LATER = ("data", "device", "torch")
"""Settings that only the images, the cluster and the installation determine."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class RunPlan:
    """A run: where it is kept, what its records are made of, and who evaluates them."""

    storage: Storage
    data: str
    """The images, as the user named them."""
    options: ReadOptions
    """What is read of them."""
    source: DataSource
    """Where they are."""
    device: Device
    """``auto`` only if there are no records yet and the cluster decides."""
    compute: ComputeSettings
    """Where to evaluate; without GPUs if the device is the CPU."""
    prices: PriceList | None
    settings: Mapping[str, IdentityValue]
    """The part of the identity that follows from the settings."""
    stored: Mapping[str, Any] | None
    """The identity of the stored records; None if there are none."""
    is_same_source: bool
    """Whether the data are in the same place as for the stored records, and unchanged."""

    def stored_identity(self) -> dict[str, IdentityValue] | None:
        """The identity of this run, if it is known without reading the images; else None.

        The data count as those of the records if none of their files has changed.
        """
        if self.stored is None or not self.is_same_source:
            return None
        return self._resolved({name: self.stored.get(name) for name in self._names_known_later})

    def fresh_identity(
        self, data: Mapping[str, IdentityValue], device: str, torch_version: str
    ) -> dict[str, IdentityValue]:
        """The identity of the records that will be evaluated.

        Args:
            data: What the images determine: ``data``, and ``num_classes`` of a data set.
            device: ``cpu`` or ``cuda``.
            torch_version: Of this process.
        """
        # Kernels differ between releases of torch, and are taken to be equal in patch releases.
        version = ".".join(torch_version.split(".")[:2])
        return self._resolved({**data, "device": device, "torch": version})

    def refuse_other_settings(
        self,
        rows: RowFormat[Any, Any],
        data: Mapping[str, IdentityValue] | None = None,
    ) -> None:
        """Refuse records made with other settings, before Ray is started.

        Args:
            rows: The records' format.
            data: What the images say, as for ``fresh_identity``; None: they are not read yet.

        Raises:
            RecordConflictError: If a setting differs; names each difference.
        """
        if self.stored is None:
            return
        resolved = {name: self.stored.get(name) for name in self._names_known_later}
        if data is not None:
            resolved |= data
        elif "random" in (self.source.source, resolved["data"]):
            resolved["data"] = self.source.source
        refuse_other_settings(self.storage, self._resolved(resolved), rows)

    def refuse_other_version(self, oldest: int = SAMPLING_VERSION) -> None:
        """Refuse to add samples to those of a version that would evaluate others.

        Args:
            oldest: The oldest ``sampling_version`` that evaluates these samples as this one does.

        Raises:
            RecordConflictError: If the records were made with an older one, or a newer one.
        """
        version = self.settings.get("sampling_version", SAMPLING_VERSION)
        if not (isinstance(version, int) and oldest <= version <= SAMPLING_VERSION):
            raise RecordConflictError(
                f"{self.storage.uri} holds samples made with sampling_version={version}; this "
                f"program makes version {SAMPLING_VERSION}, whose samples differ in the last "
                "digits; ask only for what is stored, use another --out, or use the version of "
                "nasi_ray that made them"
            )

    @property
    def _names_known_later(self) -> tuple[str, ...]:
        # A data set brings its own classes.
        is_random = self.source.source == "random"
        return _KNOWN_LATER if is_random else (*_KNOWN_LATER, "num_classes")

    def _resolved(self, known: Mapping[str, IdentityValue]) -> dict[str, IdentityValue]:
        device = {} if self.device == "auto" else {"device": self.device}
        return {**self.settings, **known, **device}


RUNS_VARIABLE = "NASI_RUNS"
"""Environment variable: where relative run directories are, a path or ``s3://bucket/prefix``."""

# Set for the command of a job that was submitted to Ray.
_RAY_JOB_VARIABLE = "RAY_JOB_CONFIG_JSON_ENV_VAR"


def settle_uri(uri: str) -> str:
    """The run directory that a user means.

    Args:
        uri: An absolute path or ``s3://bucket/prefix``, which stays as it is; or a relative path,
            which begins at ``$NASI_RUNS`` where that is set, else at the current directory.

    Raises:
        ConfigError: If it is relative in a job that was submitted to Ray: the current directory is
            then a copy that Ray deletes.
    """
    if _is_absolute(uri):
        return uri
    if base := os.environ.get(RUNS_VARIABLE):
        return f"{base.rstrip('/')}/{uri}"
    refuse_lost_place("out", uri, f", or s3://bucket/prefix, or set {RUNS_VARIABLE} to one")
    return uri


def settle_beside(out: str | None, beside: str) -> str:
    """Where to write what is made of a run.

    Args:
        out: As the user named it (``settle_uri``); None: beside the run.
        beside: A place inside the run directory that is read.

    Raises:
        ConfigError: As ``settle_uri``, for either place.
    """
    if out is not None:
        return settle_uri(out)
    refuse_lost_place("out", beside, ", or s3://bucket/prefix")
    return beside


def refuse_lost_place(setting: str, path: str, others: str = "") -> None:
    """Refuse a relative path to write to in a job that was submitted to Ray.

    Args:
        setting: Its name, for the message.
        path: As the user named it.
        others: What else may be given, for the message.

    Raises:
        ConfigError: If it is in the job's copy of the working directory.
    """
    if _RAY_JOB_VARIABLE in os.environ and not _is_absolute(path):
        raise ConfigError(
            f"{setting} is {path!r}, which is in the job's own copy of the working directory, and "
            f"Ray deletes that; give an absolute path that all drivers see{others}"
        )


def _is_absolute(uri: str) -> bool:
    return "://" in uri or os.path.isabs(os.path.expanduser(uri))


def plan_run(
    uri: str,
    *,
    samples: SampleConfig,
    compute: ComputeSettings,
    settings: Mapping[str, IdentityValue],
) -> RunPlan:
    """Resolve what a run is.

    Args:
        uri: Run directory.
        samples: Its data, labels and device.
        compute: Where to evaluate.
        settings: What distinguishes its records from others; labels and threads are added here.

    Raises:
        ConfigError: If a setting is not allowed.
        RecordCorruptError: If the identity of an existing run cannot be read.
        StorageError: If the storage fails.
    """
    labels = resolve_labels(samples.labels, samples.data)
    prices = load_prices(compute.price_list) if compute.price_list else None
    storage = open_storage(settle_uri(uri))
    source = find_source(samples.data)
    found = read_identity(storage)
    stored = None if found is None else found[0]
    before = None if stored is None else read_source(storage)
    device = samples.device
    if device == "auto" and stored is not None and stored.get("device") in ("cpu", "cuda"):
        device = stored["device"]
    if device == "cpu" and compute.gpus_per_worker == "auto":
        compute = dataclasses.replace(compute, gpus_per_worker=0.0)
    resolved = {**settings, "labels": labels, "threads_per_worker": compute.threads_per_worker}
    if stored is not None and "sampling_version" in settings:
        # Complete records answer whatever made them; refuse_other_version guards the others.
        resolved["sampling_version"] = stored.get("sampling_version")
    return RunPlan(
        storage=storage,
        data=samples.data,
        options=ReadOptions.of(samples),
        source=source,
        device=device,
        compute=compute,
        prices=prices,
        settings=resolved,
        stored=stored,
        is_same_source=before is not None and source.may_be(before),
    )
