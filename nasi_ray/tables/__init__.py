"""Tables of true accuracies: look up, and convert from the benchmarks' official files."""

from __future__ import annotations

from nasi_ray.tables.metric import Metric as Metric
from nasi_ray.tables.tabular import TabularBenchmark as TabularBenchmark
