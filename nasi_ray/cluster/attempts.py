"""The attempts of one run: what to do about a submission, and the loop that does it."""

from __future__ import annotations

import contextlib
import enum
import re
import sys
import time
from collections.abc import Callable, Mapping
from typing import TypeVar

from nasi_ray.cluster.job_api import JobApi, JobState, UnreachableError
from nasi_ray.display.formats import escaped, escaped_lines
from nasi_ray.errors import ClusterError, ConfigError
from nasi_ray.pool.cost import CostMeter, PriceList
from nasi_ray.run.process import EXIT_INCOMPLETE, EXIT_RETRYABLE

T = TypeVar("T")

_POLL_S = 2.0
_LOG_CHARS_PER_POLL = 100_000
_MIN_ERROR_DELAY_S = 30.0
_MAX_ERROR_DELAY_S = 900.0
_USER_ERRORS = (1, 2)
"""Exit statuses of a job that another attempt would repeat: a lasting error (or a bug), a malformed
flag or setting."""


class Decision(enum.Enum):
    """What to do about a submission."""

    WAIT = "is running"
    RETRY = "was lost"
    RETRY_LATER = "failed with a temporary error"
    SUCCEEDED = "succeeded"
    INCOMPLETE = "finished, but some results are missing"
    USER_ERROR = "failed"
    STOPPED = "was stopped"
    GAVE_UP = "did not finish, and there are no attempts left"


def decide(state: JobState | None, attempts_left: int) -> Decision:
    """What to do about a submission.

    Args:
        state: As the cluster reports it; None: the cluster does not know it (a new head).
        attempts_left: Submissions still allowed after this one (≥ 0).
    """
    if state is not None:
        if state.status in ("PENDING", "RUNNING"):
            return Decision.WAIT
        if state.status == "SUCCEEDED":
            return Decision.SUCCEEDED
        if state.status == "STOPPED":
            return Decision.STOPPED
        if state.exit_code in _USER_ERRORS:
            return Decision.USER_ERROR
        if state.exit_code == EXIT_INCOMPLETE:
            # The job itself has tried the lost samples many times, at last on healthy workers.
            return Decision.INCOMPLETE
    if attempts_left == 0:
        return Decision.GAVE_UP
    is_temporary = state is not None and state.exit_code == EXIT_RETRYABLE
    return Decision.RETRY_LATER if is_temporary else Decision.RETRY


def error_delay_s(loss_delay_s: float, num_errors: int) -> float:
    """Time until the next attempt after a temporary error: it doubles, up to 15 minutes.

    Args:
        loss_delay_s: Time until the next attempt after a loss, in seconds; the least returned.
        num_errors: Attempts so far that failed with such an error (≥ 1).
    """
    delay_s = max(_MIN_ERROR_DELAY_S, loss_delay_s) * 2.0 ** (num_errors - 1)
    return max(loss_delay_s, min(delay_s, _MAX_ERROR_DELAY_S))


def last_attempt(run_id: str, known: Mapping[str, JobState]) -> int:
    """The number of a run's latest submission; 0 if there is none.

    Args:
        run_id: Name of the run.
        known: All submissions of the cluster, by id.
    """
    pattern = re.compile(re.escape(run_id) + r"-([1-9][0-9]*)")
    matches = (pattern.fullmatch(submission_id) for submission_id in known)
    return max((int(match[1]) for match in matches if match), default=0)


class Submitter:
    """Follows one run to its end: submits or joins, prints the logs, retries where that helps.

    Args:
        api: The cluster.
        run_id: Name of the run.
        entrypoint: Shell command of the job.
        attempts: Submissions at most (≥ 1), including the one that is joined.
        retry_delay_s: Time between the loss of one attempt and the next, in seconds; longer after
            temporary errors (see ``error_delay_s``).
        patience_s: How long to wait for a cluster that does not answer, in seconds.
        prices: Prices of node types; None: no cost is computed.
        sleep: Replaces ``time.sleep``.
        clock: Replaces ``time.monotonic``.
    """

    def __init__(
        self,
        api: JobApi,
        *,
        run_id: str,
        entrypoint: str,
        attempts: int,
        retry_delay_s: float,
        patience_s: float,
        prices: PriceList | None = None,
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._api = api
        self._run_id = run_id
        self._entrypoint = entrypoint
        self._attempts = attempts
        self._retry_delay_s = retry_delay_s
        self._patience_s = patience_s
        self._prices = prices
        self._sleep = sleep
        self._clock = clock
        self._meter = CostMeter()
        self._num_printed = 0
        self.current = ""
        """Id of the submission being watched; empty before there is one."""

    def run(self) -> Decision:
        """Follow the run to its end.

        Returns:
            SUCCEEDED, INCOMPLETE, USER_ERROR, STOPPED or GAVE_UP.

        Raises:
            ClusterError: If the cluster refuses, or does not answer at first.
            ConfigError: If the run is already running with another command.
        """
        known = self._api.states()
        attempt = max(1, last_attempt(self._run_id, known))
        if decide(known.get(self._id(attempt)), 0) is Decision.WAIT:
            self._join(attempt, known[self._id(attempt)])
        else:
            attempt = last_attempt(self._run_id, known) + 1
            self._submit(attempt)
        try:
            return self._follow(attempt)
        except UnreachableError as error:
            _say(
                f"{error}; {self.current} may still be running; run the same command again to "
                "follow it"
            )
            return Decision.GAVE_UP

    def cost(self) -> str | None:
        """One line: what the nodes cost while they were watched; None without prices."""
        return None if self._prices is None else self._meter.summary(self._prices)

    def _follow(self, attempt: int) -> Decision:
        num_errors = 0
        for attempts_left in range(self._attempts - 1, -1, -1):
            decision, state = self._watch(attempts_left)
            _say(f"{self.current} {decision.value}{_cause(decision, state)}")
            delay_s = self._retry_delay_s
            if decision is Decision.RETRY_LATER:
                num_errors += 1
                delay_s = error_delay_s(delay_s, num_errors)
            elif decision is not Decision.RETRY:
                break
            _say(f"next attempt in {delay_s:.0f} s")
            self._sleep(delay_s)
            attempt += 1
            self._submit(attempt)
        return decision

    def _id(self, attempt: int) -> str:
        return f"{self._run_id}-{attempt}"

    def _submit(self, attempt: int) -> None:
        name = self._id(attempt)
        metadata = {"run_id": self._run_id, "attempt": str(attempt)}
        if self._patiently(lambda: self._api.submit(name, self._entrypoint, metadata)):
            self.current, self._num_printed = name, 0
            _say(f"submitted {name}")
        else:
            self._join(attempt, self._patiently(lambda: self._api.state(name)))

    def _join(self, attempt: int, state: JobState | None) -> None:
        name = self._id(attempt)
        if state is not None and state.entrypoint != self._entrypoint:
            raise ConfigError(
                f"{name} is running with another command ({state.entrypoint}); stop it first "
                f"(ray job stop {name}), or choose another run id"
            )
        self.current, self._num_printed = name, 0
        _say(f"{name} is running; following it")

    def _watch(self, attempts_left: int) -> tuple[Decision, JobState | None]:
        while True:
            state = self._patiently(lambda: self._api.state(self.current))
            decision = decide(state, attempts_left)
            self._print_logs()
            self._observe()
            if decision is not Decision.WAIT:
                return decision, state
            # The API always sends the whole log, so long logs are read less often.
            self._sleep(_POLL_S * (1 + self._num_printed // _LOG_CHARS_PER_POLL))

    def _patiently(self, ask: Callable[[], T]) -> T:
        """Ask until there is an answer, for ``patience_s`` at most."""
        silent_since: float | None = None
        while True:
            try:
                return ask()
            except UnreachableError as error:
                now = self._clock()
                if silent_since is None:
                    silent_since = now
                    _say(f"{error}; trying again for {self._patience_s:.0f} s")
                if now - silent_since >= self._patience_s:
                    raise
            self._sleep(_POLL_S)

    def _print_logs(self) -> None:
        try:
            logs = self._api.logs(self.current)
        except ClusterError:
            return  # they come with the next read
        sys.stdout.write(escaped_lines(logs[self._num_printed :]))
        sys.stdout.flush()
        self._num_printed = max(self._num_printed, len(logs))

    def _observe(self) -> None:
        if self._prices is not None:
            with contextlib.suppress(ClusterError):
                self._meter.observe(self._api.nodes(), self._clock())


def _cause(decision: Decision, state: JobState | None) -> str:
    if decision in (Decision.SUCCEEDED, Decision.STOPPED):
        return ""
    if state is None:
        return ": the cluster no longer knows it"
    if state.exit_code is not None:
        return f": exit status {state.exit_code}"
    return f": {(state.message.strip().splitlines() or ['no reason given'])[0][:200]}"


def _say(line: str) -> None:
    sys.stderr.write(escaped(line) + "\n")
