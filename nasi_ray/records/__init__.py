"""The records of a run: every sample or score, kept whole, and the settings that made them."""

from nasi_ray.records.format import Row as Row
from nasi_ray.records.format import RowFormat as RowFormat
from nasi_ray.records.identity import IdentityValue as IdentityValue
from nasi_ray.records.identity import read_identity as read_identity
from nasi_ray.records.identity import refuse_other_settings as refuse_other_settings
from nasi_ray.records.measurement_rows import MeasurementRows as MeasurementRows
from nasi_ray.records.reader import read_run as read_run
from nasi_ray.records.sample_rows import SampleRows as SampleRows
from nasi_ray.records.score_rows import ScoreRows as ScoreRows
from nasi_ray.records.store import RecordStore as RecordStore
