"""Runs for tests of pages: toy records, real answers, in a fraction of a second."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from nasi_ray.config import EstimateConfig
from nasi_ray.nasi.consensus import consensus_of
from nasi_ray.records.identity import IdentityValue
from nasi_ray.records.rows import Sample
from nasi_ray.records.sample_rows import SampleRows
from nasi_ray.records.store import RecordStore
from nasi_ray.run.finish import to_json
from nasi_ray.run.schemas import SWEEP_SCHEMA
from nasi_ray.search.cell_plot import cell_files
from nasi_ray.search.result import describe_alpha
from nasi_ray.search.run import Run
from nasi_ray.spaces import get_space
from nasi_ray.storage import LocalStorage

HOSTILE = "</script><script>alert(1)</script>'\"&<!--"


def make_run(
    path: Path,
    *,
    space: str = "darts",
    num_samples: int = 30,
    seed: int = 0,
    data: str = "random",
    worker: str = "toy",
    ended: Mapping[int, float] | None = None,
    settings: dict[str, Any] | None = None,
    **estimate: Any,
) -> str:
    """A search that looks as if it had been run."""
    storage = LocalStorage(path)
    identity: dict[str, IdentityValue] = {
        "space": space,
        "seed": seed,
        "temperature": 1.0,
        "sample_per": "step",
    }
    found = get_space(space)
    rng = np.random.default_rng(seed)
    samples = [
        Sample(
            index=t,
            status="ok",
            trace_norm=float(rng.lognormal(3.0)),
            grad=rng.standard_normal(found.num_logits),
            choices=rng.integers(0, 2, size=len(found.decisions)),
            seconds=0.5,
            worker=worker,
            ended=(ended or {}).get(t),
        )
        for t in range(num_samples)
    ]
    store = RecordStore.open(storage, identity=identity, rows=SampleRows(found.num_logits))
    store.append(samples)
    asked = {"method": "fix", "nu": 20.0, "mu": 2.0, "normalize": "max"} | estimate
    result = Run.open(storage.uri).result(**asked)
    content = {**result.content, "seconds": 1.0, "versions": {"python": "3"}}
    storage.write("result.json", to_json(content))
    drawn = cell_files(content, result.architecture)
    for name in ("cell.svg", "genotype.json"):
        if name in drawn:
            storage.write(name, drawn[name])
    written = {"job": "search", "space": space, "data": data, **(settings or {})}
    storage.write("settings.yaml", yaml.safe_dump(written).encode())
    return storage.uri


def make_sweep(path: Path, *, space: str = "nb201", pairings: Sequence[Any] = ()) -> str:
    """A sweep of three seeds, with a combination for each pairing.

    Args:
        path: Its run directory.
        space: Name of the space.
        pairings: What ``--set`` gives; none: there is one combination.
    """
    storage = LocalStorage(path)
    runs = [make_run(path / "runs" / f"seed{i}", space=space, seed=i) for i in range(3)]
    sets: list[dict[str, Any]] = [{"pairing": pairing} for pairing in pairings] or [{}]
    points = [_point(runs, space, changed) for changed in sets]
    content = {"space": space, "seeds": [0, 1, 2], "combinations": points, "failures": {}}
    storage.write("sweep.json", to_json({"schema": SWEEP_SCHEMA, **content}))
    storage.write("settings.yaml", b"job: sweep\n")
    return storage.uri


def _point(runs: Sequence[str], space: str, changed: dict[str, Any]) -> dict[str, Any]:
    """A combination of settings."""
    asked: dict[str, Any] = {"method": "fix", "nu": 20.0, "normalize": "max", **changed}
    results = [Run.open(uri).result(**asked) for uri in runs]
    of_space, config = get_space(space), EstimateConfig(nu=20.0, **changed)
    found = consensus_of([r.estimate for r in results], of_space, config)
    names = ("seed", "num_samples", "architecture", "genotype", "kept_probabilities", "num_params")
    searches = [
        {**{n: r.content[n] for n in names if n in r.content}, "run": r.uri} for r in results
    ]
    consensus = {
        **found.architecture.fields(),
        **describe_alpha(found.estimate, of_space),
        "num_searches": len(runs),
        "num_selected": sum(r.architecture == found.architecture for r in results),
        "space": space,
        "votes": found.votes,
    }
    return {"set": changed, "searches": searches, "consensus": consensus}
