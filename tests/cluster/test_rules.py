"""What must fit together: machines and what is asked of them, and a file's objects."""

from __future__ import annotations

import gzip
import json
from importlib.resources import files

import pytest
import yaml

from nasi_ray.cluster.rules import Machine, find_machine
from nasi_ray.cluster.validate import check_text
from tests.cluster.filled import filled_text


def test_machines_have_what_moto_copied_from_aws() -> None:
    resource = files("moto") / "ec2" / "resources" / "instance_types.json.gz"
    known = json.loads(gzip.decompress(resource.read_bytes()))
    found = {name: machine for name in known if (machine := find_machine(name))}
    assert {"g5.2xlarge", "p4d.24xlarge", "m6i.xlarge", "p5.48xlarge"} <= set(found)
    for name, machine in found.items():
        of_aws = known[name]
        (gpu,) = of_aws.get("GpuInfo", {}).get("Gpus") or [{"Count": 0, "Name": None}]
        cores = of_aws["VCpuInfo"]["DefaultVCpus"]
        assert machine == Machine(cores, gpu["Count"], gpu["Name"]), name
        assert of_aws["ProcessorInfo"]["SupportedArchitectures"] == ["x86_64"], name


@pytest.mark.parametrize("name", ["g5g.2xlarge", "m7g.xlarge", "trn1.2xlarge", "g5.3xlarge", "x"])
def test_arm_and_unknown_machines_are_told_apart(name: str) -> None:
    assert find_machine(name) is None


def without(name: str, *left_out: int) -> str:
    documents = list(yaml.safe_load_all(filled_text(f"cluster/kuberay/{name}.yaml")))
    text: str = yaml.safe_dump_all(d for i, d in enumerate(documents) if i not in left_out)
    return text


@pytest.mark.parametrize(
    ("name", "left_out", "message"),
    [
        ("raycluster", 0, "the Namespace, or its NetworkPolicy for all other pods, is missing"),
        ("raycluster", 3, "the Namespace, or its NetworkPolicy for all other pods, is missing"),
        ("raycluster", 4, "no NetworkPolicy selects the pods by their label"),
        ("rayjob", 0, "no NetworkPolicy selects the pods by their label"),
    ],
)
def test_pods_without_their_policies_are_told(name: str, left_out: int, message: str) -> None:
    (problem,) = check_text(without(name, left_out))
    assert str(problem) == f"file: {message}; add it"
    assert check_text(without(name)) == []
