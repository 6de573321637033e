"""One run at Weights & Biases or MLflow, through their own clients, which are optional packages."""

from __future__ import annotations

import itertools
import os
import secrets
import time
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

Figures = Mapping[str, float]
Point = tuple[int, Figures]
"""A step (≥ 1), such as an epoch, and what is measured there."""

_TIMEOUT_S = 30
_MAX_VALUE, _MAX_AT_ONCE = 6000, 100


class Service(Protocol):
    """A run at a service."""

    @property
    def run_id(self) -> str:
        """What it is opened again by."""

    @property
    def last_step(self) -> int | None:
        """The last step that the service has, 0 if there is none; None: it cannot tell."""

    def log(self, points: Sequence[Point]) -> None:
        """Send what was measured, by ascending steps."""

    def end(self, summary: Mapping[str, Any] | None) -> None:
        """End the run: with final figures and texts, or None if it is to go on later."""


class WandbRun:
    """A run at Weights & Biases."""

    def __init__(
        self, project: str, run_id: str | None, name: str, group: str, settings: Mapping[str, Any]
    ) -> None:
        # Else it may ask for a key, and prints between our lines.
        os.environ.setdefault("WANDB_SILENT", "true")
        import wandb

        self._run = wandb.init(
            project=project,
            id=run_id or secrets.token_hex(6),
            name=name,
            group=group or None,
            config=dict(settings),
            allow_val_change=True,
            resume="allow",
            # A run of the caller's own stays as it is.
            reinit="create_new",
            settings=wandb.Settings(
                console="off",
                silent=True,
                init_timeout=_TIMEOUT_S,
                finish_timeout=_TIMEOUT_S,
                finish_timeout_raises=True,
            ),
        )

    @staticmethod
    def place(project: str) -> list[str]:
        """What tells the places of runs apart."""
        entity = os.environ.get("WANDB_ENTITY", "")
        return [os.environ.get("WANDB_BASE_URL", ""), entity, project]

    @property
    def run_id(self) -> str:
        """See ``Service``."""
        return str(self._run.id)

    @property
    def last_step(self) -> int | None:
        """See ``Service``; the run's own step is the one that comes next."""
        return None if self._run.offline else max(0, self._run.step - 1)

    def log(self, points: Sequence[Point]) -> None:
        """See ``Service``."""
        for step, figures in points:
            self._run.log(dict(figures), step=step)

    def end(self, summary: Mapping[str, Any] | None) -> None:
        """See ``Service``."""
        self._run.summary.update(dict(summary or {}))
        self._run.finish(exit_code=int(summary is None))


class MlflowRun:
    """A run of an MLflow experiment."""

    def __init__(
        self, project: str, run_id: str | None, name: str, group: str, settings: Mapping[str, Any]
    ) -> None:
        # By default a server that does not answer is asked for several minutes.
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", str(_TIMEOUT_S))
        from mlflow.tracking import MlflowClient

        self._client = MlflowClient()
        if run_id is not None and self._is_there(run_id):
            self._client.update_run(run_id, status="RUNNING")
            self._run_id = run_id
            return
        found = self._client.get_experiment_by_name(project)
        experiment = (
            self._client.create_experiment(project) if found is None else found.experiment_id
        )
        tags = {"group": group} if group else {}
        self._run_id = self._client.create_run(experiment, run_name=name, tags=tags).info.run_id
        self._log_settings(settings)

    @staticmethod
    def place(project: str) -> list[str]:
        """What tells the places of runs apart."""
        import mlflow

        return [str(mlflow.get_tracking_uri()), project]

    def _is_there(self, run_id: str) -> bool:
        from mlflow.exceptions import MlflowException

        try:
            return bool(self._client.get_run(run_id).info.lifecycle_stage == "active")
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            return False

    def _log_settings(self, settings: Mapping[str, Any]) -> None:
        from mlflow.entities import Param

        params = (Param(name, str(value)[:_MAX_VALUE]) for name, value in settings.items())
        while some := list(itertools.islice(params, _MAX_AT_ONCE)):
            self._client.log_batch(self._run_id, params=some)

    @property
    def run_id(self) -> str:
        """See ``Service``."""
        return str(self._run_id)

    @property
    def last_step(self) -> int:
        """See ``Service``."""
        client, run_id = self._client, self._run_id
        names = client.get_run(run_id).data.metrics
        known = (client.get_metric_history(run_id, name) for name in itertools.islice(names, 1))
        return max((metric.step for history in known for metric in history), default=0)

    def log(self, points: Sequence[Point]) -> None:
        """See ``Service``."""
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        metrics = (
            Metric(name, float(value), now, step)
            for step, figures in points
            for name, value in figures.items()
        )
        while some := list(itertools.islice(metrics, _MAX_AT_ONCE)):
            self._client.log_batch(self._run_id, metrics=some)

    def end(self, summary: Mapping[str, Any] | None) -> None:
        """See ``Service``; texts become tags."""
        figures = {k: v for k, v in (summary or {}).items() if not isinstance(v, str)}
        self.log([(0, figures)])
        for name, text in (summary or {}).items():
            if isinstance(text, str):
                self._client.set_tag(self._run_id, name, text[:_MAX_VALUE])
        self._client.set_terminated(self._run_id, "KILLED" if summary is None else "FINISHED")


SERVICES: dict[str, type[WandbRun] | type[MlflowRun]] = {"wandb": WandbRun, "mlflow": MlflowRun}
"""Name, which is that of the package -> its runs."""
