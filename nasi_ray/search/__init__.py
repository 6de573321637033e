"""A search: missing samples -> runner -> records, and records -> α* and the cell.

No Ray and no files here: the runner and the store are handed in.
"""

from nasi_ray.search.collecting import collect as collect
from nasi_ray.search.summary import RESULT_SCHEMA as RESULT_SCHEMA
from nasi_ray.search.summary import summarise as summarise
