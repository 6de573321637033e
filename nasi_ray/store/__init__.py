"""The records of a run: every sample or score, kept whole, and the settings that made them."""

from nasi_ray.store.identity import IdentityValue as IdentityValue
from nasi_ray.store.identity import read_identity as read_identity
from nasi_ray.store.read_run import read_run as read_run
from nasi_ray.store.record_store import RecordStore as RecordStore
from nasi_ray.store.row_format import Row as Row
from nasi_ray.store.row_format import RowFormat as RowFormat
from nasi_ray.store.sample_rows import SampleRows as SampleRows
from nasi_ray.store.score_rows import ScoreRows as ScoreRows
from nasi_ray.store.writer import RecordWriter as RecordWriter
