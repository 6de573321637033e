"""Submit a search to a cluster and see it through: logs, and other attempts where they help.

    python -m cluster.submit --run-id first --attempts 3 -- --out s3://bucket/runs/first

What follows ``--`` are the arguments of ``jobs/search.py``. Each attempt is a submission of its
own, named after the run (``first-1``, ``first-2``), and continues from the records of those
before. Called again while the run is on, the command joins it instead of starting a second one.

The loss of a driver or its node uses an attempt, and so do errors that may pass by themselves (exit
status 75 of the search: storage that fails, no capacity, workers that keep dying), after growing
pauses of 30 s to 15 minutes. A run that another driver holds is not tried again.

Exit status: 0 succeeded, 1 an error that another attempt would repeat, 3 gave up, 4 answered
without samples that were lost at every attempt, 130 stopped.
"""

from __future__ import annotations

import dataclasses
import itertools
import re
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass

import tyro

from cluster.attempts import Decision, Submitter
from cluster.job_api import RayJobApi, checked_address
from nasi_ray.errors import ConfigError, NasiRayError
from nasi_ray.pool.cost import load_prices
from nasi_ray.run.process import EXIT_INCOMPLETE
from nasi_ray.storage.s3 import LEASE_S

EXIT_STATUS = {
    Decision.SUCCEEDED: 0,
    Decision.INCOMPLETE: EXIT_INCOMPLETE,
    Decision.USER_ERROR: 1,
    Decision.GAVE_UP: 3,
    Decision.STOPPED: 130,
}
_EXIT_INTERRUPTED = 130


@dataclass(frozen=True, kw_only=True, slots=True)
class Submission:
    """Submit a search and see it through; the arguments of jobs/search.py follow after --."""

    run_id: str
    """Name of the run: letters, digits, - _ and ., at most 64."""
    address: str = "http://127.0.0.1:8265"
    """Job API of the cluster (its dashboard), http://host:port."""
    attempts: int = 3
    """Submissions this command makes at most; the loss of a driver or its node uses them, and
    errors that may pass (storage, cluster, workers; exit status 75)."""
    price_list: str = ""
    """JSON file, node type to USD per hour: tells in the end what the nodes seen have cost."""
    patience_s: float = 600.0
    """How long the cluster may not answer, once it has, before giving up, in seconds."""
    arguments: tyro.conf.Suppress[tuple[str, ...]] = ()

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", self.run_id):
            raise ConfigError(
                f"run id {self.run_id!r} is not allowed; use 1 to 64 letters, digits, '-', '_' "
                "and '.', the first a letter or digit"
            )
        if self.attempts < 1:
            raise ConfigError(f"attempts is {self.attempts}; it must be at least 1")
        if not self.patience_s > 0:
            raise ConfigError(f"patience_s is {self.patience_s}; it must be positive")
        checked_address(self.address)

    @property
    def entrypoint(self) -> str:
        """The shell command of the job."""
        return shlex.join(["python", "jobs/search.py", *self.arguments])

    @property
    def run_uri(self) -> str:
        """Where the run's records go; empty if that is not said."""
        uri = ""
        for argument, following in itertools.pairwise([*self.arguments, ""]):
            if argument == "--out":
                uri = following
            elif argument.startswith("--out="):
                uri = argument.removeprefix("--out=")
        return uri

    @property
    def retry_delay_s(self) -> float:
        """Seconds to wait before another attempt, in which a dead driver's lock runs out."""
        return LEASE_S + 10.0 if self.run_uri.startswith("s3://") else 5.0


def parse_submission(argv: Sequence[str]) -> Submission:
    """Read the command line.

    Raises:
        ConfigError: If a value is not allowed, or the records would go with the job.
        SystemExit: On ``--help`` and on malformed flags (printed by tyro).
    """
    own, arguments = list(argv), []
    if "--" in own:
        split = own.index("--")
        own, arguments = own[:split], own[split + 1 :]
    job = tyro.cli(Submission, args=own, prog="python -m cluster.submit")
    job = dataclasses.replace(job, arguments=tuple(arguments))
    if not job.run_uri.startswith(("s3://", "/")):
        raise ConfigError(
            f"the search would write to {job.run_uri or 'runs/'}, inside the job's own directory, "
            "which goes with the job; give -- --out s3://bucket/prefix (or an absolute path on a "
            "disk that stays)"
        )
    return job


def main(argv: Sequence[str] | None = None) -> int:
    """Submit, wait, say how it went."""
    submitter = None
    try:
        job = parse_submission(sys.argv[1:] if argv is None else argv)
        prices = load_prices(job.price_list) if job.price_list else None
        submitter = Submitter(
            RayJobApi(job.address),
            run_id=job.run_id,
            entrypoint=job.entrypoint,
            attempts=job.attempts,
            retry_delay_s=job.retry_delay_s,
            patience_s=job.patience_s,
            prices=prices,
        )
        status = EXIT_STATUS[submitter.run()]
    except NasiRayError as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    except KeyboardInterrupt:
        status = _EXIT_INTERRUPTED
        if submitter is not None and submitter.current:
            sys.stderr.write(
                f"no longer waiting; {submitter.current} goes on. The same command joins it again; "
                f"to stop it: ray job stop {submitter.current} --address {job.address}\n"
            )
    if submitter is not None and (cost := submitter.cost()):
        sys.stdout.write(f"{cost}\n")
    return status


if __name__ == "__main__":
    sys.exit(main())
