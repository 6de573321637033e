"""Ray's job API for the submitter: token, one-line errors, submissions by id."""

from __future__ import annotations

import json
import logging
import os
import urllib.parse
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from nasi_ray.cluster.parameters import PACKAGE, RUNTIME_ENV, checkout, template_path
from nasi_ray.errors import ClusterError, ConfigError
from nasi_ray.files import SETTINGS_BYTES, read_text

_TOKEN_ADVICE = (
    "set RAY_AUTH_TOKEN to the cluster's token, or RAY_AUTH_TOKEN_PATH to the file that holds it "
    "(by default ~/.ray/auth_token)"
)


class UnreachableError(ClusterError):
    """The job API does not answer at the moment."""


@dataclass(frozen=True, kw_only=True, slots=True)
class JobState:
    """A submission as the cluster knows it."""

    status: str
    """PENDING, RUNNING, STOPPED, SUCCEEDED or FAILED."""
    exit_code: int | None = None
    """Of the driver's shell; None unless the driver ended by itself."""
    entrypoint: str = ""
    message: str = ""
    """What Ray says about the status."""


class JobApi(Protocol):
    """What the submitter asks of a cluster; every call may raise ``ClusterError``."""

    def states(self) -> Mapping[str, JobState]:
        """All submissions the cluster knows, by id."""

    def state(self, submission_id: str) -> JobState | None:
        """One submission; None if the cluster does not know it."""

    def submit(self, submission_id: str, entrypoint: str, metadata: Mapping[str, str]) -> bool:
        """Submit; False if the id is taken (by another submitter, just now)."""

    def logs(self, submission_id: str) -> str:
        """All that the job has printed."""

    def nodes(self) -> Sequence[Mapping[str, Any]]:
        """The cluster's nodes, as ``ray.nodes()`` lists them."""


class RayJobApi:
    """The job API of a Ray cluster.

    Args:
        address: ``http(s)://host:port`` of the dashboard.

    Raises:
        ConfigError: If the address is malformed, or the token's file cannot be read.
        ClusterError: If it does not answer or refuses.
    """

    def __init__(self, address: str) -> None:
        self._address = checked_address(address)
        token = read_token(os.environ)
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}
        from ray.job_submission import JobSubmissionClient

        # Ray logs every ignore file that it reads; importing it sets the level.
        for name in ("ray", "ray.dashboard.modules.dashboard_sdk"):
            logging.getLogger(name).setLevel(logging.ERROR)
        with self._one_line():
            self._client = JobSubmissionClient(self._address, headers=dict(self._headers))

    def states(self) -> dict[str, JobState]:
        """See ``JobApi``."""
        with self._one_line():
            jobs = self._client.list_jobs()
        return {job.submission_id: _state(job) for job in jobs if job.submission_id}

    def state(self, submission_id: str) -> JobState | None:
        """See ``JobApi``."""
        try:
            with self._one_line():
                return _state(self._client.get_job_info(submission_id))
        except UnreachableError:
            raise
        except ClusterError:
            if submission_id not in self.states():
                return None
            raise

    def submit(self, submission_id: str, entrypoint: str, metadata: Mapping[str, str]) -> bool:
        """See ``JobApi``."""
        runtime_env = {**json.loads(template_path(RUNTIME_ENV).read_text()), **_own_code()}
        try:
            with self._one_line():
                self._client.submit_job(
                    entrypoint=entrypoint,
                    submission_id=submission_id,
                    runtime_env=runtime_env,
                    metadata=dict(metadata),
                )
        except UnreachableError:
            raise
        except ClusterError:
            if submission_id in self.states():
                return False
            raise
        return True

    def logs(self, submission_id: str) -> str:
        """See ``JobApi``."""
        with self._one_line():
            return str(self._client.get_job_logs(submission_id))

    def nodes(self) -> list[dict[str, Any]]:
        """See ``JobApi``."""
        from ray.util.state import StateApiClient
        from ray.util.state.common import ListApiOptions, StateResource

        with self._one_line():
            client = StateApiClient(self._address, headers=dict(self._headers))
            rows: list[Any] = client.list(StateResource.NODES, ListApiOptions(detail=True), False)
        return [
            {"NodeID": row.node_id, "Alive": row.state == "ALIVE", "Labels": row.labels}
            for row in rows
        ]

    @contextmanager
    def _one_line(self) -> Iterator[None]:
        """Turn what Ray's clients raise into errors of one line."""
        from ray.exceptions import AuthenticationError
        from ray.util.state.exception import RayStateApiException

        try:
            yield
        except AuthenticationError as error:
            reason = "the token is not the cluster's" if self._headers else "no token was given"
            raise ClusterError(f"{self._address} refused: {reason}; {_TOKEN_ADVICE}") from error
        except OSError as error:
            raise UnreachableError(
                f"no job API answers at {self._address}; check that the cluster is up and the "
                "tunnel to its dashboard open (ray dashboard CLUSTER.yaml)"
            ) from error
        except (RuntimeError, ValueError, RayStateApiException) as error:
            first = (str(error).strip().splitlines() or [type(error).__name__])[0]
            raise ClusterError(f"{self._address}: {first}") from error


def _own_code() -> dict[str, Any]:
    """What a submission sends along, so that it runs the code of whoever submits it."""
    root = checkout()
    if root is not None:
        return {"working_dir": str(root)}  # less what .rayignore names
    return {"py_modules": [str(PACKAGE)], "excludes": ["__pycache__"]}


def checked_address(address: str) -> str:
    """The address of a job API, without a trailing slash.

    Raises:
        ConfigError: If it is of another form.
    """
    try:
        parts = urllib.parse.urlsplit(address)
        is_url = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_url = False
    if not is_url:
        raise ConfigError(
            f"{address!r} is not the address of a job API; give http://host:port of the dashboard "
            "(port 8265 by default)"
        )
    return address.rstrip("/")


def read_token(environ: Mapping[str, str]) -> str | None:
    """The token, where Ray looks for it; None if there is none or RAY_AUTH_MODE is ``disabled``.

    Args:
        environ: RAY_AUTH_TOKEN, RAY_AUTH_TOKEN_PATH and HOME are read.

    Raises:
        ConfigError: If the file that RAY_AUTH_TOKEN_PATH names cannot be read.
    """
    if environ.get("RAY_AUTH_MODE") == "disabled":
        return None
    if environ.get("RAY_AUTH_TOKEN"):
        return environ["RAY_AUTH_TOKEN"].strip()
    named = environ.get("RAY_AUTH_TOKEN_PATH")
    path = Path(named) if named else Path(environ.get("HOME", "/")) / ".ray" / "auth_token"
    try:
        return read_text(path, SETTINGS_BYTES).strip() or None
    except (OSError, UnicodeDecodeError) as error:
        if named:
            raise ConfigError(f"cannot read the token of RAY_AUTH_TOKEN_PATH: {error}") from error
        return None


def _state(job: Any) -> JobState:
    return JobState(
        status=str(job.status),
        exit_code=job.driver_exit_code,
        entrypoint=job.entrypoint,
        message=job.message or "",
    )
