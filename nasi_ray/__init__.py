"""Neural Architecture Search at Initialization (NASI), exact, replayable and parallel on Ray.

    import nasi_ray

    result = nasi_ray.search("s1", seed=1, out="runs/s1")     # an existing run is continued
    print(result.architecture.to_string(), result.margins)
    print(nasi_ray.open_run("runs/s1").cell(num_samples=400, nu="q25").to_string())

The jobs are ``search``, ``sweep``, ``finalists``, ``train``, ``rank`` and ``study``. ``replay``,
``confidence``, ``open_run``, ``load_model`` and ``read_scores`` read what they leave; ``report``
writes a page about it. ``add_space``, ``add_proxy`` and ``add_data_source`` add your own. Importing
the package imports neither torch nor Ray.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

# Some functions have the names of packages. Loading a package sets its name here, once, so the
# packages come first; `from nasi_ray.search.job import ...` finds them all the same.
import nasi_ray.finalists
import nasi_ray.replay
import nasi_ray.search
import nasi_ray.study
import nasi_ray.sweep  # noqa: F401
from nasi_ray.api import (
    add_data_source,
    add_proxy,
    add_space,
    confidence,
    finalists,
    load_model,
    open_run,
    rank,
    replay,
    report,
    search,
    study,
    sweep,
    train,
)
from nasi_ray.version import __version__

if TYPE_CHECKING:
    from nasi_ray.config import ComputeSettings as ComputeSettings
    from nasi_ray.config import EstimateConfig as EstimateConfig
    from nasi_ray.config import SampleConfig as SampleConfig
    from nasi_ray.errors import NasiRayError as NasiRayError
    from nasi_ray.finalists.job import FinalistResult as FinalistResult
    from nasi_ray.nasi.estimator import Estimate as Estimate
    from nasi_ray.nasi.estimator import Margin as Margin
    from nasi_ray.nasi.estimator import estimate as estimate
    from nasi_ray.nasi.estimator import margins as margins
    from nasi_ray.ranking.result import RankingResult as RankingResult
    from nasi_ray.ranking.scores import ProxyScores as ProxyScores
    from nasi_ray.ranking.scores import RunScores as RunScores
    from nasi_ray.ranking.scores import read_scores as read_scores
    from nasi_ray.records.reader import read_run as read_run
    from nasi_ray.records.rows import SampleTable as SampleTable
    from nasi_ray.replay.job import Replay as Replay
    from nasi_ray.search.result import SearchResult as SearchResult
    from nasi_ray.search.run import Run as Run
    from nasi_ray.spaces import Genotype as Genotype
    from nasi_ray.spaces import get_space as get_space
    from nasi_ray.training.result import TrainResult as TrainResult

_WHERE = {
    "ComputeSettings": "nasi_ray.config",
    "Estimate": "nasi_ray.nasi.estimator",
    "EstimateConfig": "nasi_ray.config",
    "FinalistResult": "nasi_ray.finalists.job",
    "Genotype": "nasi_ray.spaces",
    "Margin": "nasi_ray.nasi.estimator",
    "NasiRayError": "nasi_ray.errors",
    "ProxyScores": "nasi_ray.ranking.scores",
    "RankingResult": "nasi_ray.ranking.result",
    "Replay": "nasi_ray.replay.job",
    "Run": "nasi_ray.search.run",
    "RunScores": "nasi_ray.ranking.scores",
    "SampleConfig": "nasi_ray.config",
    "SampleTable": "nasi_ray.records.rows",
    "TrainResult": "nasi_ray.training.result",
    "SearchResult": "nasi_ray.search.result",
    "estimate": "nasi_ray.nasi.estimator",
    "get_space": "nasi_ray.spaces",
    "margins": "nasi_ray.nasi.estimator",
    "read_run": "nasi_ray.records.reader",
    "read_scores": "nasi_ray.ranking.scores",
}

__all__ = [
    "ComputeSettings",
    "Estimate",
    "EstimateConfig",
    "FinalistResult",
    "Genotype",
    "Margin",
    "NasiRayError",
    "ProxyScores",
    "RankingResult",
    "Replay",
    "Run",
    "RunScores",
    "SampleConfig",
    "SampleTable",
    "SearchResult",
    "__version__",
    "add_data_source",
    "add_proxy",
    "add_space",
    "confidence",
    "estimate",
    "finalists",
    "get_space",
    "load_model",
    "margins",
    "open_run",
    "rank",
    "read_run",
    "read_scores",
    "replay",
    "report",
    "search",
    "study",
    "sweep",
    "train",
]


if not TYPE_CHECKING:  # else a type checker would take any name for one of ours

    def __getattr__(name: str) -> Any:
        if name in _WHERE:
            return getattr(importlib.import_module(_WHERE[name]), name)
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
