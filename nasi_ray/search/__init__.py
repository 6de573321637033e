"""A search: missing samples -> runner -> records, and records -> α* and the cell.

Scores of a ranking are collected alike. No Ray and no files here: the runner and the store are
handed in.
"""

from nasi_ray.search.collecting import collect as collect
from nasi_ray.search.collecting import collect_rows as collect_rows
from nasi_ray.search.score_board import ScoreBoard as ScoreBoard
from nasi_ray.search.summary import RESULT_SCHEMA as RESULT_SCHEMA
from nasi_ray.search.summary import summarise as summarise
