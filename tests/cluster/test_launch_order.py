"""Which machines Ray would launch for a job: its own scheduler on the shipped configuration."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from ray.autoscaler._private.util import prepare_config
from ray.autoscaler.v2.instance_manager.config import AutoscalingConfig
from ray.autoscaler.v2.scheduler import ResourceDemandScheduler, SchedulingRequest
from ray.core.generated import autoscaler_pb2, common_pb2

from nasi_ray.config import ComputeSettings, labels_of
from nasi_ray.pool.worker import worker_options
from tests.cluster.filled import filled

# The generated modules have no types.
MESSAGES: Any = autoscaler_pb2
LABELS: Any = common_pb2
# What `ray up` adds to a type from AWS's description of the machine, 70 % of the GiB as memory.
FILLED_IN: Mapping[str, tuple[str, float]] = {
    "gpu_spot": ("A10G", 32),
    "gpu_ondemand": ("A10G", 32),
    "train1": ("A10G", 32),
    "train8": ("A100", 1152),
}


TRAINING = "nasi-ray/use=training"
TRAINING_8 = f"{TRAINING},ray.io/accelerator-type=A100"


def launches(
    num_workers: int,
    selector: str,
    unavailable: tuple[str, ...] = (),
    *,
    threads: int = 1,
    is_gang: bool = False,
) -> dict[str, int]:
    """Node type -> machines that Ray's autoscaler would launch for so many workers at once.

    Args:
        num_workers: Workers with a GPU each.
        selector: Their label selector.
        unavailable: Node types of which AWS has none.
        threads: CPUs of a worker.
        is_gang: Whether they come as a placement group, as Ray Train's do.
    """
    config = prepare_config(filled("ray-cluster.yaml"))
    for name, (gpu, gib) in FILLED_IN.items():
        config["available_node_types"][name]["resources"] |= {
            "memory": int(0.7 * gib * 2**30),
            f"accelerator_type:{gpu}": 1,
        }
    autoscaling = AutoscalingConfig(config, skip_content_hash=True)
    worker = _request(selector, threads)
    request = MESSAGES.ResourceRequestByCount(request=worker, count=num_workers)
    bundles = MESSAGES.BundleSelector(resource_requests=[worker] * num_workers)
    gang = MESSAGES.GangResourceRequest(requests=[worker] * num_workers, bundle_selectors=[bundles])
    availabilities = dict.fromkeys(unavailable, 0.0)
    reply = ResourceDemandScheduler(None).schedule(
        SchedulingRequest(
            node_type_configs=autoscaling.get_node_type_configs(),
            max_num_nodes=autoscaling.get_max_num_nodes(),
            resource_requests=[] if is_gang else [request],
            gang_resource_requests=[gang] if is_gang else [],
            current_instances=[],
            idle_timeout_s=autoscaling.get_idle_timeout_s(),
            disable_launch_config_check=True,
            cloud_resource_availabilities=availabilities,
            recoverable_resource_availabilities=availabilities,
        )
    )
    return {launch.instance_type: launch.count for launch in reply.to_launch}


def _request(selector: str, threads: int) -> Any:
    """What Ray's GCS makes of the options of a worker."""
    from ray.autoscaler.v2.utils import ResourceRequestUtil

    options = worker_options(threads, 1.0, labels_of(selector))
    request = ResourceRequestUtil.make({"CPU": options["num_cpus"], "GPU": options["num_gpus"]})
    constraints = LABELS.LabelSelector()
    for key, condition in options["label_selector"].items():
        constraint = constraints.label_constraints.add()
        constraint.label_key = key
        is_negated = condition.startswith("!")
        name = "LABEL_OPERATOR_NOT_IN" if is_negated else "LABEL_OPERATOR_IN"
        constraint.operator = LABELS.LabelSelectorOperator.Value(name)
        constraint.label_values.append(condition.removeprefix("!"))
    if constraints.label_constraints:
        request.label_selectors.append(constraints)
    return request


@pytest.mark.parametrize("num_workers", [1, 4, 5, 8, 16])
def test_a_search_launches_spot_machines_only(num_workers: int) -> None:
    assert launches(num_workers, ComputeSettings().label_selector) == {"gpu_spot": num_workers}


def test_without_the_label_selector_it_would_launch_the_machine_for_training() -> None:
    assert launches(8, "") == {"train8": 1}


def test_where_there_is_no_spot_machine_it_launches_on_demand() -> None:
    selector = ComputeSettings().label_selector
    assert launches(8, selector, unavailable=("gpu_spot",)) == {"gpu_ondemand": 8}


def test_a_model_of_gpu_can_be_asked_for() -> None:
    assert launches(8, "ray.io/accelerator-type=A100") == {"train8": 1}
    assert launches(2, "ray.io/accelerator-type=A10G") == {"gpu_spot": 2}


@pytest.mark.parametrize(
    ("num_workers", "selector", "threads", "machines"),
    [
        (1, TRAINING, 8, {"train1": 1}),
        (1, TRAINING, 1, {"train1": 1}),
        (8, TRAINING_8, 12, {"train8": 1}),
        (8, TRAINING, 12, {"train8": 1}),
        # More than one machine of 8 GPUs is not in the configuration.
        (16, TRAINING_8, 12, {}),
    ],
)
def test_a_training_launches_a_machine_for_trainings(
    num_workers: int, selector: str, threads: int, machines: dict[str, int]
) -> None:
    assert launches(num_workers, selector, threads=threads, is_gang=True) == machines
