from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nasi_ray.cluster.attempts import Decision, Submitter, decide, error_delay_s, last_attempt
from nasi_ray.cluster.job_api import JobState, UnreachableError, checked_address, read_token
from nasi_ray.cluster.submit import main, parse_submission
from nasi_ray.errors import ClusterError, ConfigError
from nasi_ray.pool.cost import PriceList

ENTRYPOINT = "python -m nasi_ray search --out /runs/a"
CONVERT = ("convert", "nasbench201", "/data/NATS-tss-v1_0-3ffb9-simple")
OUT = ("--", "search", "--out", "s3://bucket/runs/a")


def ended(status: str, exit_code: int | None = None, message: str = "") -> JobState:
    return JobState(status=status, exit_code=exit_code, entrypoint=ENTRYPOINT, message=message)


RUNNING = ended("RUNNING")
DRIVER_KILLED = ended("FAILED", 137)
TEMPORARY = ended("FAILED", 75)
NODE_LOST = ended("FAILED", None, "Job supervisor actor died: its node was lost\nmore")
NO_ANSWER = UnreachableError("no job API answers at http://head")


@pytest.mark.parametrize(
    ("state", "attempts_left", "decision"),
    [
        (ended("PENDING"), 0, Decision.WAIT),
        (RUNNING, 2, Decision.WAIT),
        (ended("SUCCEEDED", 0), 2, Decision.SUCCEEDED),
        (ended("STOPPED"), 2, Decision.STOPPED),
        (ended("FAILED", 1), 2, Decision.USER_ERROR),
        (ended("FAILED", 2), 2, Decision.USER_ERROR),
        (ended("FAILED", 4), 2, Decision.INCOMPLETE),
        (DRIVER_KILLED, 1, Decision.RETRY),
        (ended("FAILED", -9), 1, Decision.RETRY),
        (ended("FAILED", 130), 1, Decision.RETRY),
        (TEMPORARY, 1, Decision.RETRY_LATER),
        (TEMPORARY, 0, Decision.GAVE_UP),
        (NODE_LOST, 1, Decision.RETRY),
        (None, 1, Decision.RETRY),
        (DRIVER_KILLED, 0, Decision.GAVE_UP),
        (NODE_LOST, 0, Decision.GAVE_UP),
        (None, 0, Decision.GAVE_UP),
    ],
)
def test_only_losses_and_temporary_errors_are_tried_again(
    state: JobState | None, attempts_left: int, decision: Decision
) -> None:
    assert decide(state, attempts_left) is decision


def test_attempts_are_counted_by_run() -> None:
    known = dict.fromkeys(
        ["a-1", "a-10", "a-2", "a-b-11", "a-011", "xa-12", "a.b-13", "a"], RUNNING
    )
    assert last_attempt("a", known) == 10
    assert last_attempt("a-b", known) == 11
    assert last_attempt("a.b", known) == 13
    assert last_attempt("aXb", known) == 0


class FakeCluster:
    """Plays a list of states for each submission; an exception in the list is raised."""

    def __init__(self, *lives: Sequence[JobState | UnreachableError | None]) -> None:
        self._lives: Iterator[Sequence[JobState | UnreachableError | None]] = iter(lives)
        self.known: dict[str, list[JobState | UnreachableError | None]] = {}
        self.submitted: list[tuple[str, str, dict[str, str]]] = []
        self.time_s = 0.0
        self.texts: dict[str, str] = {}

    def states(self) -> Mapping[str, JobState]:
        return {k: v[0] for k, v in self.known.items() if isinstance(v[0], JobState)}

    def state(self, submission_id: str) -> JobState | None:
        life = self.known[submission_id]
        state = life.pop(0) if len(life) > 1 else life[0]
        if isinstance(state, UnreachableError):
            raise state
        return state

    def submit(self, submission_id: str, entrypoint: str, metadata: Mapping[str, str]) -> bool:
        if submission_id in self.known:
            return False
        self.submitted.append((submission_id, entrypoint, dict(metadata)))
        self.known[submission_id] = list(next(self._lives))
        return True

    def logs(self, submission_id: str) -> str:
        text = self.texts.setdefault(submission_id, f"log of {submission_id}: ")
        self.texts[submission_id] = text + "."
        return text

    def nodes(self) -> Sequence[Mapping[str, Any]]:
        return [{"NodeID": "1", "Alive": True, "Labels": {"ray.io/node-group": "head"}}]

    def sleep(self, seconds: float) -> None:
        self.time_s += seconds

    def clock(self) -> float:
        return self.time_s


def submitter(
    cluster: FakeCluster, attempts: int = 3, prices: PriceList | None = None
) -> Submitter:
    return Submitter(
        cluster,
        run_id="a",
        entrypoint=ENTRYPOINT,
        attempts=attempts,
        retry_delay_s=70.0,
        patience_s=100.0,
        prices=prices,
        sleep=cluster.sleep,
        clock=cluster.clock,
    )


def test_every_attempt_is_a_submission_named_after_the_run(
    capsys: pytest.CaptureFixture[str],
) -> None:
    cluster = FakeCluster([RUNNING, DRIVER_KILLED], [NODE_LOST], [RUNNING, ended("SUCCEEDED", 0)])
    assert submitter(cluster).run() is Decision.SUCCEEDED
    assert cluster.submitted == [
        (f"a-{number}", ENTRYPOINT, {"run_id": "a", "attempt": str(number)}) for number in (1, 2, 3)
    ]
    assert cluster.time_s >= 2 * 70.0
    assert capsys.readouterr().err.splitlines() == [
        "submitted a-1",
        "a-1 was lost: exit status 137",
        "next attempt in 70 s",
        "submitted a-2",
        "a-2 was lost: Job supervisor actor died: its node was lost",
        "next attempt in 70 s",
        "submitted a-3",
        "a-3 succeeded",
    ]


def test_temporary_errors_are_tried_again_after_growing_pauses(
    capsys: pytest.CaptureFixture[str],
) -> None:
    cluster = FakeCluster([TEMPORARY], [TEMPORARY], [NODE_LOST], [TEMPORARY])
    assert submitter(cluster, attempts=4).run() is Decision.GAVE_UP
    said = capsys.readouterr().err.splitlines()
    assert said[1] == "a-1 failed with a temporary error: exit status 75"
    assert [line for line in said if "next" in line] == [
        f"next attempt in {seconds} s" for seconds in (70, 140, 70)
    ]
    assert said[-1] == "a-4 did not finish, and there are no attempts left: exit status 75"


@given(loss_s=st.floats(0.0, 2000.0), num=st.integers(1, 1000))
def test_pauses_after_errors_grow_and_have_an_end(loss_s: float, num: int) -> None:
    delay_s = error_delay_s(loss_s, num)
    assert max(30.0, loss_s) <= delay_s <= max(900.0, loss_s)
    assert delay_s <= error_delay_s(loss_s, num + 1)


@pytest.mark.parametrize(
    ("last", "decision"),
    [(ended("FAILED", 1), Decision.USER_ERROR), (ended("STOPPED"), Decision.STOPPED)],
)
def test_an_error_of_the_user_and_a_stop_end_it(last: JobState, decision: Decision) -> None:
    cluster = FakeCluster([RUNNING, last], [ended("SUCCEEDED", 0)])
    assert submitter(cluster).run() is decision
    assert len(cluster.submitted) == 1


@given(attempts=st.integers(1, 6), num_losses=st.integers(0, 8))
def test_it_submits_once_per_loss_and_never_more_than_allowed(
    attempts: int, num_losses: int
) -> None:
    cluster = FakeCluster(*[[RUNNING, None]] * num_losses, [ended("SUCCEEDED", 0)])
    decision = submitter(cluster, attempts).run()
    assert len(cluster.submitted) == min(attempts, num_losses + 1)
    assert decision is (Decision.SUCCEEDED if num_losses < attempts else Decision.GAVE_UP)


def test_logs_are_printed_once_without_gaps(capsys: pytest.CaptureFixture[str]) -> None:
    cluster = FakeCluster([RUNNING, RUNNING, DRIVER_KILLED], [RUNNING, ended("SUCCEEDED", 0)])
    submitter(cluster).run()
    assert capsys.readouterr().out == "log of a-1: ..log of a-2: ."


def test_a_running_run_is_joined(capsys: pytest.CaptureFixture[str]) -> None:
    cluster = FakeCluster()
    cluster.known = {"a-1": [DRIVER_KILLED], "a-2": [RUNNING, RUNNING, ended("SUCCEEDED", 0)]}
    assert submitter(cluster).run() is Decision.SUCCEEDED
    assert cluster.submitted == []
    assert "a-2 is running; following it" in capsys.readouterr().err


def test_a_run_that_has_ended_is_continued_by_the_next_number() -> None:
    cluster = FakeCluster([ended("SUCCEEDED", 0)])
    cluster.known = {"a-1": [ended("STOPPED")], "a-2": [ended("FAILED", 1)]}
    submitter(cluster).run()
    assert [name for name, _, _ in cluster.submitted] == ["a-3"]


def test_of_two_submitters_at_the_same_moment_one_joins() -> None:
    class Late(FakeCluster):
        def states(self) -> Mapping[str, JobState]:
            return {}

    cluster = Late()
    cluster.known = {"a-1": [RUNNING, ended("SUCCEEDED", 0)]}
    assert submitter(cluster).run() is Decision.SUCCEEDED
    assert cluster.submitted == []


def test_a_run_that_runs_another_command_is_not_joined() -> None:
    cluster = FakeCluster()
    cluster.known = {
        "a-1": [JobState(status="RUNNING", entrypoint="python -m nasi_ray search --seed 1")]
    }
    with pytest.raises(ConfigError, match=r"--seed 1.*another run id"):
        submitter(cluster).run()


def test_a_silent_cluster_is_waited_for(capsys: pytest.CaptureFixture[str]) -> None:
    cluster = FakeCluster([RUNNING, *[NO_ANSWER] * 20, RUNNING, ended("SUCCEEDED", 0)])
    assert submitter(cluster).run() is Decision.SUCCEEDED
    assert capsys.readouterr().err.count("trying again for 100 s") == 1


def test_patience_ends(capsys: pytest.CaptureFixture[str]) -> None:
    cluster = FakeCluster([RUNNING, NO_ANSWER])
    assert submitter(cluster).run() is Decision.GAVE_UP
    assert 100.0 <= cluster.time_s < 110.0
    told = capsys.readouterr().err
    assert "a-1 may still be running; run the same command again to follow it" in told


def test_the_cost_of_the_nodes_while_they_were_watched_is_one_line() -> None:
    cluster = FakeCluster([RUNNING] * 1800 + [ended("SUCCEEDED", 0)])
    priced = submitter(cluster, prices=PriceList(usd_per_hour={"head": 0.5}, source="prices.json"))
    priced.run()
    assert priced.cost() == "cost: head 1.00 h: about $0.50 (prices: prices.json)"
    assert submitter(cluster).cost() is None


def test_long_logs_are_asked_for_less_often() -> None:
    class Talkative(FakeCluster):
        num_asked = 0

        def logs(self, submission_id: str) -> str:
            self.num_asked += 1
            return "x" * 1_000_000

    cluster = Talkative([RUNNING] * 100 + [ended("SUCCEEDED", 0)])
    submitter(cluster).run()
    assert cluster.time_s / cluster.num_asked > 20.0


def test_arguments_after_the_dashes_reach_the_job_as_they_are() -> None:
    job_line = ["search", "--data", "a b; $(x)", "--out=/runs/a"]
    submission = parse_submission(["--run-id", "a", "--attempts", "5", "--", *job_line])
    assert submission.attempts == 5
    assert submission.run_uri == "/runs/a"
    assert submission.entrypoint == "python -m nasi_ray search --data 'a b; $(x)' --out=/runs/a"


@pytest.mark.parametrize(
    "job_line",
    [
        "rank --space s1 --table /data/s1.parquet --out /runs/rank",
        "study table2 --space s1 --out s3://bucket/runs/study",
        "convert nasbench101 /data/nasbench.tfrecord /data/t.parquet --space s1 --space s3",
        "convert show /data/t.parquet",
    ],
)
def test_any_job_can_be_submitted(job_line: str) -> None:
    submission = parse_submission(["--run-id", "a", "--", *job_line.split()])
    assert submission.entrypoint == f"python -m nasi_ray {job_line}"


def test_the_lock_of_a_dead_driver_on_s3_runs_out_before_the_next_attempt() -> None:
    on_disk = ["--run-id", "a", "--", "rank", "--out", "/runs/a"]
    assert parse_submission(["--run-id", "a", *OUT]).retry_delay_s > 60.0
    assert parse_submission(on_disk).retry_delay_s <= 10.0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--run-id", "../a", *OUT], "run id '../a' is not allowed"),
        (["--run-id", ".a", *OUT], "not allowed"),
        (["--run-id", "a/b", *OUT], "not allowed"),
        (["--run-id", "a b", *OUT], "not allowed"),
        (["--run-id", "a\n", *OUT], "not allowed"),
        (["--run-id", "", *OUT], "not allowed"),
        (["--run-id", "a" * 65, *OUT], "not allowed"),
        (["--run-id", "ä", *OUT], "not allowed"),
        (["--run-id", "a", "--attempts", "0", *OUT], "attempts is 0; it must be at least 1"),
        (["--run-id", "a", "--patience-s", "nan", *OUT], "patience_s is nan"),
        (["--run-id", "a", "--address", "head:6379", *OUT], "give http://host:port"),
        (["--run-id", "a", "--address", "ray://head:10001", *OUT], "give http://host:port"),
        (["--run-id", "a"], "no job is given; after -- give one of search, sweep, rank, study"),
        (["--run-id", "a", "--", "--out", "/runs/a"], "'--out' is not a job; after -- give one"),
        (["--run-id", "a", "--", "version"], "'version' is not a job; after -- give one of"),
        (["--run-id", "a", "--", "search"], "give -- search --out s3://bucket/prefix"),
        (["--run-id", "a", "--", "train"], "the train would write to runs/ in the job's own"),
        (["--run-id", "a", "--", "study", "cells"], "give -- study --out s3://bucket/prefix"),
        (["--run-id", "a", "--", "rank", "--out", "runs/a"], "write to runs/a in the job's own"),
        (["--run-id", "a", "--", "search", "--out"], "give -- search --out s3://bucket/prefix"),
        (["--run-id", "a", "--", *CONVERT, "t.parquet"], "'t.parquet' would be in the job's own"),
        (["--run-id", "a", "--price-list", "/no/such", *OUT], "cannot read the price list"),
    ],
)
def test_settings_that_cannot_work_are_one_line(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    check_one_line(message, capsys)


def test_a_cluster_that_does_not_answer_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--run-id", "a", "--address", "http://127.0.0.1:1", *OUT]) == 1
    check_one_line("no job API answers at", capsys)


def check_one_line(message: str, capsys: pytest.CaptureFixture[str]) -> None:
    out, err = capsys.readouterr()
    assert out == ""
    assert message in err
    assert err.startswith("error: ")
    assert len(err.splitlines()) == 1


@pytest.mark.parametrize(
    "address", ["http://127.0.0.1:8265", "https://ray.example/", "http://[::1]:8265"]
)
def test_an_address_is_a_url(address: str) -> None:
    assert checked_address(address) == address.rstrip("/")


@pytest.mark.parametrize("address", ["", "auto", "http://", "http://head:port", "file:///etc"])
def test_anything_else_is_none(address: str) -> None:
    with pytest.raises(ConfigError, match="not the address of a job API"):
        checked_address(address)


def test_the_token_is_found_as_ray_finds_it(tmp_path: Path) -> None:
    home = {"HOME": str(tmp_path)}
    assert read_token(home) is None
    (tmp_path / ".ray").mkdir()
    (tmp_path / ".ray" / "auth_token").write_text("of the home\n")
    (tmp_path / "other").write_text("of the path")
    named = {**home, "RAY_AUTH_TOKEN_PATH": str(tmp_path / "other")}
    assert read_token(home) == "of the home"
    assert read_token(named) == "of the path"
    assert read_token({**named, "RAY_AUTH_TOKEN": "given"}) == "given"
    assert read_token({**named, "RAY_AUTH_MODE": "disabled"}) is None
    with pytest.raises(ConfigError, match="RAY_AUTH_TOKEN_PATH"):
        read_token({"RAY_AUTH_TOKEN_PATH": str(tmp_path / "missing")})


def test_a_refusal_in_mid_wait_is_not_waited_out() -> None:
    class Refusing(FakeCluster):
        def state(self, submission_id: str) -> JobState | None:
            raise ClusterError("refused")

    with pytest.raises(ClusterError, match="refused"):
        submitter(Refusing([RUNNING])).run()
