from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from nasi_ray.cluster.parameters import TEMPLATES, template_path
from nasi_ray.cluster.validate import check_document, check_text, main
from tests.cluster.filled import (
    VALUES,
    check_told,
    filled,
    filled_text,
    problems_after,
    without_aliases,
)

Config = dict[str, Any]
Change = Callable[[Config], object]


@pytest.mark.parametrize("name", TEMPLATES)
def test_each_shipped_file_passes_once_filled(name: str) -> None:
    assert check_text(filled_text(name)) == []


@pytest.mark.parametrize("name", TEMPLATES)
def test_each_shipped_template_says_that_it_is_not_filled(name: str, tmp_path: Path) -> None:
    problems = check_text(template_path(name).read_text())
    if name == "cluster/iam/trust-policy.json":
        assert problems == []
    else:
        assert "is not filled in; run nasi-ray cluster render" in str(problems[0])


def node(config: Config, name: str) -> Config:
    found: Config = config["available_node_types"][name]["node_config"]
    return found


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
    "a type's minimum above its maximum": (
        lambda c: c["available_node_types"]["gpu_spot"].update(min_workers=3, max_workers=2),
        "available_node_types.gpu_spot.max_workers: 2 is below min_workers, 3",
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
        "worker_start_ray_commands: must run `python -m nasi_ray.cluster.spot_watcher`",
    ),
    "nobody watches, but says so": (
        lambda c: c["worker_start_ray_commands"].__setitem__(2, "echo python spot_watcher.py"),
        "worker_start_ray_commands: must run `python -m nasi_ray.cluster.spot_watcher`",
    ),
    "another program watches": (
        lambda c: c["worker_start_ray_commands"].__setitem__(2, "python not_spot_watcher.py"),
        "worker_start_ray_commands: must run `python -m nasi_ray.cluster.spot_watcher`",
    ),
    "another module watches": (
        lambda c: c["worker_start_ray_commands"].__setitem__(2, "python -m my.spot_watcher"),
        "worker_start_ray_commands: must run `python -m nasi_ray.cluster.spot_watcher`",
    ),
    "another command of nasi-ray": (
        lambda c: c["worker_start_ray_commands"].__setitem__(2, "nasi-ray cluster render"),
        "worker_start_ray_commands: must run `python -m nasi_ray.cluster.spot_watcher`",
    ),
    "workers of the head's type": (
        lambda c: c["available_node_types"]["head"].update(max_workers=1),
        "available_node_types.head.max_workers: must be 0",
    ),
    "another cloud": (lambda c: c.update(provider={"type": "gcp"}), "provider.type: must be aws"),
    "no types": (lambda c: c.update(available_node_types=3), "file: Ray cannot read it"),
    "no provider": (lambda c: c.pop("provider"), "provider.type: must be aws"),
}


@pytest.mark.parametrize("name", MUTATIONS)
def test_a_fault_is_found_where_it_is(name: str) -> None:
    change, message = MUTATIONS[name]
    check_told(problems_after(change), message)


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


def bomb(value: str) -> bytes:
    """A short document whose every line names the one before it five times."""
    lines = (f"k{i}: &k{i} {value.format(f'k{i - 1}')}" for i in range(1, 30))
    return "\n".join(["k0: &k0 {a: 1, b: 2}", *lines]).encode()


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("x.yaml", b"a: [", "invalid YAML"),
        ("x.yaml", b"", "empty"),
        ("x.yaml", b"just words", "not a mapping"),
        ("x.yaml", b"\xff\xfe\x00", "cannot read"),
        ("x.yaml", b"provider: {type: aws}\navailable_node_types: []", "not of type 'object'"),
        ("x.yaml", b"provider: {type: aws}\ndocker: 1", "Ray cannot read it"),
        ("x.json", b"{'a': 1}", "invalid JSON"),
        ("x.json", b'{"Statement": 1}', "Statement: missing or not a list"),
        ("x.yaml", b"[" * 100_000, "nested deeper than"),
        ("x.json", b"[" * 100_000, "nested deeper than"),
        ("x.yaml", b"[" * 60 + b"]" * 60, "nested deeper than 50 levels"),
        ("x.yaml", b"x: 2020-13-45", "line 1 is a timestamp"),
        ("x.yaml", b"x: !!set {a}", "line 1 is a set"),
        ("x.yaml", b"x: !!bool maybe", "invalid value"),
        ("x.yaml", b"x: " + b"9" * 5000, "invalid value"),
        ("x.json", b'{"x": ' + b"9" * 5000 + b"}", "invalid JSON"),
        ("x.yaml", b"x: &a [*a]", "line 1 contains itself"),
        ("x.yaml", b"{1: 2, provider: {type: aws}}", "line 1 is a key that is not text"),
        ("x.yaml", b"{[a]: b}", "line 1 is a key that is not text"),
        ("x.yaml", b"a: 1\na: 2", "line 2 gives 'a' a second time"),
        ("x.yaml", bomb("[*{0}, *{0}, *{0}, *{0}, *{0}]"), "holds more than 50000 values"),
        ("x.yaml", bomb("{{<<: [*{0}, *{0}, *{0}, *{0}, *{0}]}}"), "holds more than 50000"),
        ("x.yaml", b"#" * 300_000, "larger than 256 KiB"),
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
    assert all(line.startswith((f"{path}: ", "error: ")) for line in error.splitlines())


def test_a_missing_file_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["/nowhere.yaml"]) == 1
    assert capsys.readouterr().err.startswith("error: cannot read /nowhere.yaml")


def test_malformed_values_are_told_from_problems(capsys: pytest.CaptureFixture[str]) -> None:
    template = str(template_path("ray-cluster.yaml"))
    assert main(["--render", "--set", "NASI_REGION=mars", template]) == 2
    assert capsys.readouterr().err.startswith("error: NASI_REGION is 'mars'; it must be")
    with pytest.raises(SystemExit, match="2"):
        main(["--set", "NASI_REGION=us-west-2", template])
    assert "--set has no effect without --render" in capsys.readouterr().err


def test_templates_can_be_checked_in_place(capsys: pytest.CaptureFixture[str]) -> None:
    template = str(template_path("ray-cluster.yaml"))
    flags = [word for name, value in VALUES.items() for word in ("--set", f"{name}={value}")]
    assert main(["--render", *flags, template]) == 0
    assert capsys.readouterr().out.endswith("ok\n")


def places(content: Any, depth: int) -> Iterator[tuple[Any, Any]]:
    """Each container below a value, down to a depth, with each of its keys or indices."""
    keys = content if isinstance(content, dict) else range(len(content))
    for key in list(keys):
        yield content, key
        if depth > 1 and isinstance(content[key], dict | list):
            yield from places(content[key], depth - 1)


@pytest.mark.parametrize("name", TEMPLATES)
def test_no_value_anywhere_is_more_than_a_problem(name: str) -> None:
    document = without_aliases(filled(name))
    for container, key in places(document, 4):
        kept = container[key]
        for value in (None, [3], {"a": None}, "x"):
            container[key] = value
            assert "\n" not in "".join(map(str, check_document(document)))
        container[key] = kept
    assert check_document(document) == []
