"""What opens the cluster, or lets its nodes do more than they need, is found."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.cluster.filled import check_told, problems_after

Config = dict[str, Any]
Change = Callable[[Config], object]


def node(config: Config, name: str) -> Config:
    found: Config = config["available_node_types"][name]["node_config"]
    return found


def command(config: Config, old: str, new: str) -> None:
    commands = config["head_start_ray_commands"]
    assert any(old in c for c in commands)
    config["head_start_ray_commands"] = [c.replace(old, new) for c in commands]


def option(config: Config, old: str, new: str) -> None:
    options = config["docker"]["run_options"]
    assert any(old in o for o in options)
    config["docker"]["run_options"] = [o.replace(old, new) for o in options]


def worker_docker(config: Config, options: list[str]) -> None:
    config["available_node_types"]["gpu_spot"]["docker"] = {"worker_run_options": options}


OPEN_SSH = {
    "GroupName": "nasi",
    "IpPermissions": [
        {"IpProtocol": "tcp", "FromPort": 22, "ToPort": 22, "IpRanges": [{"CidrIp": "0.0.0.0/0"}]}
    ],
}

MUTATIONS: dict[str, tuple[Change, str]] = {
    "SSH from anywhere": (
        lambda c: c["provider"].update(security_group=OPEN_SSH),
        "provider.security_group.IpPermissions[0].IpRanges[0].CidrIp: open to 0.0.0.0/0",
    ),
    "IPv6 from anywhere": (
        lambda c: c["provider"].update(security_group={"GroupName": "::/0"}),
        "open to ::/0",
    ),
    "a group that Ray makes": (
        lambda c: c["provider"].update(security_group={"GroupName": "nasi"}),
        "provider.security_group: Ray adds SSH from 0.0.0.0/0",
    ),
    "half of the internet": (
        lambda c: c["provider"].update(security_group={"GroupName": "128.0.0.0/1"}),
        "open to 128.0.0.0/1",
    ),
    "a group by name": (
        lambda c: node(c, "head").update(SecurityGroupIds=["default"]),
        "available_node_types.head.node_config.SecurityGroupIds: 'default' is not sg-",
    ),
    "no group": (
        lambda c: node(c, "gpu_spot").pop("SecurityGroupIds"),
        "available_node_types.gpu_spot.node_config.SecurityGroupIds: missing",
    ),
    "dashboard open": (
        lambda c: command(c, "--dashboard-host=127.0.0.1", "--dashboard-host=0.0.0.0"),
        "head_start_ray_commands[1]: --dashboard-host is 0.0.0.0",
    ),
    "dashboard left to Ray": (
        lambda c: command(c, "--dashboard-host=127.0.0.1", ""),
        "head_start_ray_commands[1]: give --dashboard-host=127.0.0.1",
    ),
    "Ray's start commands": (
        lambda c: c.pop("head_start_ray_commands"),
        "--dashboard-host is 0.0.0.0",
    ),
    "dashboard given twice": (
        lambda c: command(c, "127.0.0.1", "127.0.0.1 --dashboard-host localhost"),
        "head_start_ray_commands[1]: gives --dashboard-host more than once",
    ),
    "a second Ray": (
        lambda c: c["head_start_ray_commands"].append("true; ray start --head --port=1"),
        "head_start_ray_commands[2]: give --dashboard-host=127.0.0.1",
    ),
    "an open Ray before the start": (
        lambda c: c.update(head_setup_commands=["ray start --head --dashboard-host ::"]),
        "head_setup_commands[0]: --dashboard-host is ::",
    ),
    "an open Ray on one node type": (
        lambda c: c["available_node_types"]["gpu_spot"].update(
            initialization_commands=["python -m ray.scripts.scripts start --head"]
        ),
        "available_node_types.gpu_spot.initialization_commands[0]: give --dashboard-host",
    ),
    "no token": (
        lambda c: option(c, "--env=RAY_AUTH_MODE=token", "--env=A=b"),
        "docker.run_options of head, gpu_spot, gpu_ondemand, train8: no token is asked for",
    ),
    "token off on the workers": (
        lambda c: c["docker"].update(worker_run_options=["--env RAY_AUTH_MODE=disabled"]),
        "docker.run_options of gpu_spot, gpu_ondemand, train8: no token is asked for",
    ),
    "token in the open": (
        lambda c: c["docker"]["run_options"].append("-e RAY_AUTH_TOKEN=secret"),
        "RAY_AUTH_TOKEN shows the token",
    ),
    "token of the machine": (
        lambda c: c["docker"]["run_options"].append("-e RAY_AUTH_MODE"),
        "no token is asked for",
    ),
    "token off on one node type": (
        lambda c: worker_docker(c, ["--env=RAY_AUTH_MODE=disabled"]),
        "docker.run_options of gpu_spot: no token is asked for",
    ),
    "token off in a command": (
        lambda c: command(c, "ray start", "RAY_AUTH_MODE=disabled ray start"),
        "head_start_ray_commands[1]: may not touch RAY_AUTH_",
    ),
    "token off in a command of one node type": (
        lambda c: c["available_node_types"]["gpu_spot"].update(
            worker_setup_commands=["export RAY_AUTH_MODE=disabled"]
        ),
        "available_node_types.gpu_spot.worker_setup_commands[0]: may not touch RAY_AUTH_",
    ),
    "token not mounted": (
        lambda c: c.update(file_mounts={}),
        "none of file_mounts holds RAY_AUTH_TOKEN_PATH (/home/ray/.nasi/auth_token)",
    ),
    "all the home on every node": (
        lambda c: c["file_mounts"].update({"/home/ray/.nasi": "~/"}),
        "file_mounts./home/ray/.nasi: copies all of ~/ to every node",
    ),
    "no profile": (
        lambda c: node(c, "train8").pop("IamInstanceProfile"),
        "available_node_types.train8.node_config.IamInstanceProfile: missing",
    ),
    "workers with the head's profile": (
        lambda c: node(c, "gpu_spot").update(IamInstanceProfile={"Name": "nasi-head"}),
        "available_node_types.gpu_spot.node_config.IamInstanceProfile: is the head's",
    ),
    "IMDSv1": (
        lambda c: node(c, "gpu_spot")["MetadataOptions"].update(HttpTokens="optional"),
        "gpu_spot.node_config.MetadataOptions: HttpTokens must be required",
    ),
    "no IMDS options": (
        lambda c: node(c, "train8").pop("MetadataOptions"),
        "train8.node_config.MetadataOptions: HttpTokens must be required",
    ),
    "many hops": (
        lambda c: node(c, "head")["MetadataOptions"].update(HttpPutResponseHopLimit=64),
        "HttpPutResponseHopLimit must be 1 or 2",
    ),
    "no IMDS at all": (
        lambda c: node(c, "gpu_spot")["MetadataOptions"].update(HttpEndpoint="disabled"),
        "gpu_spot.node_config.MetadataOptions: HttpEndpoint must be enabled",
    ),
    "an image by tag": (
        lambda c: c["docker"].update(image="rayproject/ray:latest"),
        "docker.image: 'rayproject/ray:latest' is not pinned",
    ),
    "a worker image by tag": (
        lambda c: c["docker"].update(worker_image="nasi:1"),
        "docker.worker_image: 'nasi:1' is not pinned",
    ),
    "Ray's default AMI": (
        lambda c: node(c, "gpu_spot").pop("ImageId"),
        "gpu_spot.node_config.ImageId: missing",
    ),
    "Ray's nightly wheel": (
        lambda c: c.pop("setup_commands"),
        "setup_commands[1]: installs a wheel",
    ),
    "a privileged container": (
        lambda c: c["docker"]["run_options"].append("--privileged"),
        "docker.run_options of head, gpu_spot, gpu_ondemand, train8: '--privileged' may give",
    ),
    "a privileged node type": (
        lambda c: worker_docker(c, ["--privileged"]),
        "docker.run_options of gpu_spot: '--privileged' may give",
    ),
    "root": (lambda c: c["docker"]["run_options"].append("-u 0"), "'-u' may give"),
    "root in full": (
        lambda c: c["docker"]["run_options"].append("--user=0"),
        "'--user=0' may give",
    ),
    "variables of a file": (
        lambda c: c["docker"]["run_options"].append("--env-file=/tmp/x"),
        "'--env-file=/tmp/x' may give",
    ),
    "an option without its end": (
        lambda c: c["docker"]["run_options"].append("--label='a"),
        "cannot be split: No closing quotation",
    ),
    "all the machine's files": (
        lambda c: worker_docker(c, ["-v", "/:/host"]),
        "docker.run_options of gpu_spot: / may hold keys or start programs",
    ),
    "Docker's socket": (
        lambda c: worker_docker(c, ["--volume=/mnt/../var/run/docker.sock:/x"]),
        "/mnt/../var/run/docker.sock may hold keys or start programs",
    ),
    "no disk": (
        lambda c: node(c, "gpu_spot").pop("BlockDeviceMappings"),
        "available_node_types.gpu_spot.node_config.BlockDeviceMappings: missing",
    ),
    "a disk of the machine only": (
        lambda c: node(c, "head").update(
            BlockDeviceMappings=[{"DeviceName": "/dev/sdb", "VirtualName": "ephemeral0"}]
        ),
        "available_node_types.head.node_config.BlockDeviceMappings: missing",
    ),
    "a disk in the clear": (
        lambda c: node(c, "head")["BlockDeviceMappings"][0]["Ebs"].pop("Encrypted"),
        "available_node_types.head.node_config.BlockDeviceMappings[0]: Encrypted",
    ),
    "work on the head": (
        lambda c: c["available_node_types"]["head"].update(resources={"CPU": 4, "GPU": 0}),
        "available_node_types.head.resources: CPU must be 0",
    ),
    "a job killed at once": (
        lambda c: option(c, "STOP_WAIT_TIME_S=60", "STOP_WAIT_TIME_S=3"),
        "RAY_JOB_STOP_WAIT_TIME_S is 3",
    ),
}


FINE: dict[str, Change] = {
    "options of a container": lambda c: c["docker"]["run_options"].extend(
        ["-e A=b", "-eC=d", "--env", "E=f", "--shm-size 8g", "--gpus=all", "--init", "-m=8g"]
    ),
    "data of the machine": lambda c: worker_docker(c, ["-v /data/imagenet:/data:ro"]),
    "a volume of Docker's": lambda c: worker_docker(c, ["--volume=some_cache-1:/cache"]),
    "localhost": lambda c: command(c, "--dashboard-host=127.0.0.1", "--dashboard-host localhost"),
    "a command over two lines": lambda c: command(c, "--dashboard-host", "\\\n  --dashboard-host"),
    "a watcher with options": lambda c: c["worker_start_ray_commands"].__setitem__(
        2, "cd /tmp && A=1 exec /usr/bin/python3.11 -u /opt/spot_watcher.py --address=x"
    ),
    "a watcher by the command": lambda c: c["worker_start_ray_commands"].__setitem__(
        2, "setsid nasi-ray cluster watch-spot --address=x &"
    ),
}


@pytest.mark.parametrize("name", FINE)
def test_what_is_no_fault_passes(name: str) -> None:
    assert problems_after(FINE[name]) == []


@pytest.mark.parametrize("name", MUTATIONS)
def test_a_fault_is_found_where_it_is(name: str) -> None:
    change, message = MUTATIONS[name]
    check_told(problems_after(change), message)
