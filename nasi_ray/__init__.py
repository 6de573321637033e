"""Neural Architecture Search at Initialization (NASI), exact, replayable and parallel on Ray.

What an analysis needs is here; importing it starts nothing and imports neither torch nor Ray:

    table, space = read_run("runs/cifar10")
    result = estimate(table, EstimateConfig(num_samples=100, nu=50.0))
    cell = get_space(space).select(get_space(space).split(result.alpha))
"""

from nasi_ray.config import EstimateConfig as EstimateConfig
from nasi_ray.nasi.estimator import Estimate as Estimate
from nasi_ray.nasi.estimator import Margin as Margin
from nasi_ray.nasi.estimator import estimate as estimate
from nasi_ray.nasi.estimator import margins as margins
from nasi_ray.ranking.scores import ProxyScores as ProxyScores
from nasi_ray.ranking.scores import RunScores as RunScores
from nasi_ray.ranking.scores import read_scores as read_scores
from nasi_ray.records.reader import read_run as read_run
from nasi_ray.records.rows import SampleTable as SampleTable
from nasi_ray.spaces import Genotype as Genotype
from nasi_ray.spaces import get_space as get_space

__version__ = "0.1.0"
