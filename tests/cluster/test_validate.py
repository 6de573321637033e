from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from cluster.render import TEMPLATES
from cluster.validate import check_cluster, check_text, main
from tests.cluster.filled import VALUES, filled, filled_text

Config = dict[str, Any]
Change = Callable[[Config], object]


@pytest.mark.parametrize("name", TEMPLATES)
def test_each_shipped_file_passes_once_filled(name: str) -> None:
    assert check_text(filled_text(name)) == []


@pytest.mark.parametrize("name", TEMPLATES)
def test_each_shipped_template_says_that_it_is_not_filled(name: str, tmp_path: Path) -> None:
    problems = check_text((Path(__file__).parents[2] / name).read_text())
    if name == "cluster/iam/trust-policy.json":
        assert problems == []
    else:
        assert "is not filled in; run python -m cluster.render" in str(problems[0])


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


OPEN_SSH = {
    "GroupName": "nasi",
    "IpPermissions": [
        {"IpProtocol": "tcp", "FromPort": 22, "ToPort": 22, "IpRanges": [{"CidrIp": "0.0.0.0/0"}]}
    ],
}

MUTATIONS: dict[str, tuple[Change, str]] = {
    # Ray's own validator
    "typo at the top": (lambda c: c.update(max_worker=3), "'max_worker' was unexpected"),
    "typo in a node type": (
        lambda c: c["available_node_types"]["gpu_spot"].update(prioriti=1),
        "available_node_types.gpu_spot: Additional properties are not allowed",
    ),
    "typo in docker": (lambda c: c["docker"].update(imag="x"), "'imag' was unexpected"),
    "unknown head": (lambda c: c.update(head_node_type="haed"), "`head_node_type` must be one of"),
    "minima above the maximum": (
        lambda c: c["available_node_types"]["gpu_spot"].update(min_workers=17),
        "smaller than the sum of `min_workers`",
    ),
    "text for a number": (lambda c: c.update(max_workers="16"), "'16' is not of type 'integer'"),
    # botocore
    "typo in a node_config": (
        lambda c: node(c, "gpu_spot").update(InstanceTyp="g5.2xlarge"),
        'available_node_types.gpu_spot.node_config: Unknown parameter in input: "InstanceTyp"',
    ),
    "typo deep in a node_config": (
        lambda c: node(c, "head").update(MetadataOptions={"HttpToken": "required"}),
        'Unknown parameter in MetadataOptions: "HttpToken"',
    ),
    "text for EC2's number": (
        lambda c: node(c, "head")["BlockDeviceMappings"][0]["Ebs"].update(VolumeSize="100"),
        "Invalid type for parameter BlockDeviceMappings[0].Ebs.VolumeSize",
    ),
    # policy
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
    "no token": (
        lambda c: option(c, "--env=RAY_AUTH_MODE=token", "--env=A=b"),
        "docker.run_options: no token is asked for on the head",
    ),
    "token off on the workers": (
        lambda c: c["docker"].update(worker_run_options=["--env RAY_AUTH_MODE=disabled"]),
        "no token is asked for on the worker",
    ),
    "token in the open": (
        lambda c: c["docker"]["run_options"].append("-e RAY_AUTH_TOKEN=secret"),
        "RAY_AUTH_TOKEN shows the token",
    ),
    "token not mounted": (lambda c: c.update(file_mounts={}), "file_mounts: none holds the head's"),
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
        "docker.run_options[6]: '--privileged' makes the container root",
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
    # limits
    "no maximum": (lambda c: c.pop("max_workers"), "max_workers: missing"),
    "no maximum of a type": (
        lambda c: c["available_node_types"]["train8"].pop("max_workers"),
        "available_node_types.train8.max_workers: missing",
    ),
    "a type above the cluster": (
        lambda c: c["available_node_types"]["train8"].update(max_workers=100),
        "available_node_types.train8.max_workers: 100 is above the cluster's max_workers, 16",
    ),
    "a maximum out of reach": (
        lambda c: c.update(max_workers=200),
        "max_workers: 200 cannot be reached: the node types add up to 25",
    ),
    "never idle": (
        lambda c: c["available_node_types"]["train8"].pop("idle_timeout_s"),
        "available_node_types.train8.idle_timeout_s: missing",
    ),
    "stopped nodes kept": (
        lambda c: c["provider"].update(cache_stopped_nodes=True),
        "provider.cache_stopped_nodes: must be false",
    ),
    "on-demand first": (
        lambda c: c["available_node_types"]["gpu_ondemand"].update(priority=10),
        "available_node_types.gpu_spot.priority: must be above that of gpu_ondemand",
    ),
    "a wrong label": (
        lambda c: node(c, "gpu_spot").pop("InstanceMarketOptions"),
        "ray.io/market-type is 'spot' on nodes that are on-demand",
    ),
    "nobody watches": (
        lambda c: c["worker_start_ray_commands"].pop(),
        "worker_start_ray_commands: must start cluster/spot_watcher.py",
    ),
    "another cloud": (lambda c: c.update(provider={"type": "gcp"}), "provider.type: must be aws"),
    "no types": (lambda c: c.update(available_node_types=3), "file: Ray cannot read it"),
    "no provider": (lambda c: c.pop("provider"), "provider.type: must be aws"),
}


@pytest.mark.parametrize("name", MUTATIONS)
def test_a_fault_is_found_where_it_is(name: str) -> None:
    change, message = MUTATIONS[name]
    # Anchors would make one change reach several node types.
    config = yaml.safe_load(yaml.dump(filled("ray-cluster.yaml"), Dumper=_NoAlias))
    change(config)
    problems = [str(problem) for problem in check_cluster(config)]
    assert any(message in problem for problem in problems), problems
    assert not any("\n" in problem for problem in problems)


class _NoAlias(yaml.SafeDumper):  # type: ignore[misc]
    def ignore_aliases(self, data: object) -> bool:
        return True


def test_exit_codes_and_lines(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good, bad = tmp_path / "good.yaml", tmp_path / "bad.yaml"
    good.write_text(filled_text("ray-cluster.yaml"))
    bad.write_text(filled_text("ray-cluster.yaml").replace("127.0.0.1", "0.0.0.0"))
    assert main([str(good)]) == 0
    assert capsys.readouterr().out == f"{good}: ok\n"
    assert main([str(good), str(bad)]) == 1
    output = capsys.readouterr()
    assert output.out == f"{good}: ok\n"
    assert output.err.startswith(f"{bad}: head_start_ray_commands[1]: --dashboard-host is 0.0.0.0")
    assert output.err.count("\n") == 1


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("x.yaml", b"a: [", "no valid YAML"),
        ("x.yaml", b"", "empty"),
        ("x.yaml", b"just words", "no mapping"),
        ("x.yaml", b"\xff\xfe\x00", "cannot read"),
        ("x.yaml", b"provider: {type: aws}\navailable_node_types: []", "not of type 'object'"),
        ("x.yaml", b"provider: {type: aws}\ndocker: 1", "Ray cannot read it"),
        ("x.json", b"{'a': 1}", "no valid JSON"),
        ("x.json", b'{"Statement": 1}', "Statement: missing or no list"),
    ],
)
def test_what_is_no_configuration_is_one_line(
    name: str,
    content: bytes,
    message: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    assert main([str(path)]) == 1
    error = capsys.readouterr().err
    assert message in error
    assert "Traceback" not in error


def test_a_missing_file_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["/nowhere.yaml"]) == 1
    assert capsys.readouterr().err.startswith("error: cannot read /nowhere.yaml")


def test_templates_can_be_checked_in_place(capsys: pytest.CaptureFixture[str]) -> None:
    template = str(Path(__file__).parents[2] / "ray-cluster.yaml")
    flags = [word for name, value in VALUES.items() for word in ("--set", f"{name}={value}")]
    assert main(["--render", *flags, template]) == 0
    assert capsys.readouterr().out.endswith("ok\n")
