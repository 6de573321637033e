"""Which machines Ray would launch for a search: its own scheduler on the shipped configuration."""

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
    "train8": ("A100", 1152),
}


def launches(num_workers: int, selector: str, unavailable: tuple[str, ...] = ()) -> dict[str, int]:
    """Node type -> machines that Ray's autoscaler would launch for so many workers at once."""
    config = prepare_config(filled("ray-cluster.yaml"))
    for name, (gpu, gib) in FILLED_IN.items():
        config["available_node_types"][name]["resources"] |= {
            "memory": int(0.7 * gib * 2**30),
            f"accelerator_type:{gpu}": 1,
        }
    autoscaling = AutoscalingConfig(config, skip_content_hash=True)
    request = MESSAGES.ResourceRequestByCount(request=_request(selector), count=num_workers)
    availabilities = dict.fromkeys(unavailable, 0.0)
    reply = ResourceDemandScheduler(None).schedule(
        SchedulingRequest(
            node_type_configs=autoscaling.get_node_type_configs(),
            max_num_nodes=autoscaling.get_max_num_nodes(),
            resource_requests=[request],
            current_instances=[],
            idle_timeout_s=autoscaling.get_idle_timeout_s(),
            disable_launch_config_check=True,
            cloud_resource_availabilities=availabilities,
            recoverable_resource_availabilities=availabilities,
        )
    )
    return {launch.instance_type: launch.count for launch in reply.to_launch}


def _request(selector: str) -> Any:
    """What Ray's GCS makes of the options of a worker."""
    from ray.autoscaler.v2.utils import ResourceRequestUtil

    options = worker_options(1, 1.0, labels_of(selector))
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
