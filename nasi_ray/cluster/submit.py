"""``nasi-ray cluster submit``: run a job on a cluster, print its log, retry where that helps.

    nasi-ray cluster submit --run-id first --attempts 3 -- search --out s3://bucket/runs/first

After ``--`` comes a command line of ``nasi-ray``: search, sweep, rank, study, convert or train.
Each attempt is a submission of its own, named after the run (``first-1``, ``first-2``), and
continues from the records of those before. Called again while the run is running, the command joins
it instead of starting a second one.

The loss of a driver or its node uses an attempt, and so does a temporary error (exit status 75 of
the job: storage fails, no capacity, workers keep dying), after growing pauses of 30 s to 15
minutes. A run whose records another driver is writing is not tried again.

Exit status: 0 succeeded; 1 an error that another attempt would repeat, or a cluster that refuses
or does not answer at first; 2 a malformed flag or setting of this command; 3 gave up; 4 finished
without samples that were lost at every attempt; 130 stopped.
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

from nasi_ray.cluster.attempts import Decision, Submitter
from nasi_ray.cluster.job_api import RayJobApi, checked_address
from nasi_ray.display.formats import escaped
from nasi_ray.errors import ConfigError, NasiRayError
from nasi_ray.pool.cost import load_prices
from nasi_ray.run.command_line import parse
from nasi_ray.run.process import EXIT_INCOMPLETE

JOBS = ("search", "sweep", "rank", "study", "convert", "train")
EXIT_STATUS = {
    Decision.SUCCEEDED: 0,
    Decision.INCOMPLETE: EXIT_INCOMPLETE,
    Decision.USER_ERROR: 1,
    Decision.GAVE_UP: 3,
    Decision.STOPPED: 130,
}
_EXIT_INTERRUPTED = 130
_EXAMPLE = "-- search --out s3://bucket/runs/first"


@dataclass(frozen=True, kw_only=True, slots=True)
class Submission:
    """Run a job on a cluster, print its log, retry where that helps.

    After -- comes the job, a command line of nasi-ray (search, sweep, rank, study, convert or
    train), such as -- search --out s3://bucket/runs/first
    """

    run_id: str
    """Name of the run: letters, digits, - _ and ., at most 64."""
    address: str = "http://127.0.0.1:8265"
    """Job API of the cluster (its dashboard), http://host:port."""
    attempts: int = 3
    """Most submissions that this command makes. The loss of a driver or its node uses one, and so
    does a temporary error (storage, cluster, workers; exit status 75)."""
    price_list: str = ""
    """JSON file, node type to USD per hour; prints at the end what the nodes have cost."""
    patience_s: float = 600.0
    """How long to wait for a cluster that no longer answers, in seconds."""
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
        return shlex.join(["python", "-m", "nasi_ray", *self.arguments])

    @property
    def run_uri(self) -> str:
        """Where the run's records go; empty where ``--out`` is not given."""
        uri = ""
        for argument, following in itertools.pairwise([*self.arguments, ""]):
            if argument == "--out":
                uri = following
            elif argument.startswith("--out="):
                uri = argument.removeprefix("--out=")
        return uri

    @property
    def retry_delay_s(self) -> float:
        """Seconds until the next attempt, in which the lock of a dead driver expires."""
        # boto3 takes about as long to import as everything else together.
        from nasi_ray.storage.s3 import LEASE_S

        return LEASE_S + 10.0 if self.run_uri.startswith("s3://") else 5.0


def parse_submission(argv: Sequence[str]) -> Submission:
    """Read the command line.

    Args:
        argv: Arguments without the program's name.

    Raises:
        ConfigError: If a value is not allowed, no job is named, or its results would be deleted
            with the job's own directory.
        SystemExit: On ``--help`` and on malformed flags (printed by tyro).
    """
    own, arguments = list(argv), []
    if "--" in own:
        split = own.index("--")
        own, arguments = own[:split], own[split + 1 :]
    submission = parse(Submission, own, "cluster submit")
    submission = dataclasses.replace(submission, arguments=tuple(arguments))
    if not arguments or arguments[0] not in JOBS:
        given = f"{arguments[0]!r} is not a job" if arguments else "no job is given"
        raise ConfigError(f"{given}; after -- give one of {', '.join(JOBS)}, as in {_EXAMPLE}")
    _check_places(submission)
    return submission


def _check_places(submission: Submission) -> None:
    """Refuse results in the job's own directory, which the cluster deletes with the job."""
    job, uri = submission.arguments[0], submission.run_uri
    if job == "convert":
        pairs = itertools.pairwise(submission.arguments)
        files = [word for before, word in pairs if word[:1] != "-" and before != "--space"][1:]
        for file in files:
            if not file.startswith("/"):
                raise ConfigError(
                    f"{file!r} would be in the job's own directory, which is deleted with the "
                    "job; give convert absolute paths, on a disk of the cluster that stays"
                )
    elif not uri.startswith(("s3://", "/")):
        raise ConfigError(
            f"the {job} would write to {uri or 'runs/'} in the job's own directory, which is "
            f"deleted with the job; give -- {job} --out s3://bucket/prefix (or an absolute path "
            "on a disk that stays)"
        )


def main(argv: Sequence[str]) -> int:
    """Submit a job, wait, print how it went.

    Args:
        argv: Arguments without the program's name.

    Returns:
        Exit status; see the module.
    """
    submitter = None
    try:
        submission = parse_submission(argv)
        prices = load_prices(submission.price_list) if submission.price_list else None
        submitter = Submitter(
            RayJobApi(submission.address),
            run_id=submission.run_id,
            entrypoint=submission.entrypoint,
            attempts=submission.attempts,
            retry_delay_s=submission.retry_delay_s,
            patience_s=submission.patience_s,
            prices=prices,
        )
        status = EXIT_STATUS[submitter.run()]
    except NasiRayError as error:
        sys.stderr.write(escaped(f"error: {error}") + "\n")
        return 2 if isinstance(error, ConfigError) else 1
    except KeyboardInterrupt:
        status = _EXIT_INTERRUPTED
        if submitter is not None and submitter.current:
            current = submitter.current
            line = (
                f"stopped waiting; {current} keeps running. Run the same command to follow it "
                f"again; to stop it: ray job stop {current} --address {submission.address}"
            )
            sys.stderr.write(escaped(line) + "\n")
    if submitter is not None and (cost := submitter.cost()):
        sys.stdout.write(escaped(str(cost)) + "\n")
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
