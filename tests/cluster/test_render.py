from __future__ import annotations

from pathlib import Path

import pytest

from nasi_ray.cluster.parameters import PARAMETERS, PLACEHOLDER, TEMPLATES, template_path
from nasi_ray.cluster.render import check_token_directory, main
from nasi_ray.errors import ConfigError
from tests.cluster.filled import VALUES


@pytest.fixture(autouse=True)
def home(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty home directory, and no values around."""
    for name in PARAMETERS:
        monkeypatch.delenv(name, raising=False)
    path = tmp_path_factory.mktemp("home")
    monkeypatch.setenv("HOME", str(path))
    return path


def flags(values: dict[str, str]) -> list[str]:
    return [word for name, value in values.items() for word in ("--set", f"{name}={value}")]


def test_every_template_is_filled_and_each_parameter_is_of_use(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--out", str(tmp_path / "a" / "b"), *flags(VALUES)]) == 0
    written = [Path(line) for line in capsys.readouterr().out.splitlines()]
    assert [path.name for path in written] == [Path(name).name for name in TEMPLATES]
    assert not [path for path in written if PLACEHOLDER.search(path.read_text())]
    used = {n for name in TEMPLATES for n in PLACEHOLDER.findall(template_path(name).read_text())}
    assert used == set(PARAMETERS)


def test_values_come_from_the_environment_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in VALUES.items():
        monkeypatch.setenv(name, value)
    assert main(["--out", str(tmp_path), "--only", "cluster/iam/run-policy.json"]) == 0
    assert [path.name for path in tmp_path.iterdir()] == ["run-policy.json"]
    assert "arn:aws:s3:::nasi-123456789012/runs/*" in (tmp_path / "run-policy.json").read_text()


def test_nothing_is_written_when_a_value_is_missing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    values = {name: value for name, value in VALUES.items() if name != "NASI_IMAGE"}
    assert main(["--out", str(tmp_path / "out"), *flags(values)]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ray-cluster.yaml: no value for NASI_IMAGE")
    assert error.count("\n") == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("setting", ["NASI_REGION", "=x", "NASI_REGION=", "OTHER=1"])
def test_malformed_settings_are_one_line(
    setting: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--out", str(tmp_path), "--set", setting]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_an_output_that_is_a_file_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    assert main(["--out", str(tmp_path / "file"), *flags(VALUES)]) == 2
    assert capsys.readouterr().err.startswith("error: cannot write to")


def test_a_directory_with_the_token_alone_is_taken(tmp_path: Path, home: Path) -> None:
    (home / ".nasi").mkdir()
    assert main(["--out", str(tmp_path / "empty"), *flags(VALUES)]) == 0
    (home / ".nasi" / "auth_token").touch()
    assert main(["--out", str(tmp_path / "full"), *flags(VALUES)]) == 0


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("~/", "NASI_TOKEN_DIR is '~/'; it must be the directory on this machine, named nasi..."),
        ("~/.ssh", "NASI_TOKEN_DIR is '~/.ssh'; it must be"),
        ("/root", "NASI_TOKEN_DIR is '/root'; it must be"),
        ("~/nasi/..", "NASI_TOKEN_DIR is '~/nasi/..'; it must be"),
        ("~/.nasi/../.aws", "NASI_TOKEN_DIR is '~/.nasi/../.aws'; it must be"),
        ("~nobody-of-this-name/nasi", "NASI_TOKEN_DIR is '~nobody-of-this-name/nasi'; it must be"),
        ("~/nasi", "would copy id_rsa and all the rest of it to every node; give a directory that"),
        ("~/nasi-folder", "would copy auth_token and all the rest"),
        ("~/nasi-file", "NASI_TOKEN_DIR is ~/nasi-file: "),
    ],
)
def test_no_more_than_the_token_goes_to_the_nodes(
    value: str, message: str, tmp_path: Path, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (home / "nasi").mkdir()
    for name in ("auth_token", "id_rsa"):
        (home / "nasi" / name).touch()
    (home / "nasi-folder" / "auth_token").mkdir(parents=True)
    (home / "nasi-file").touch()
    values = flags({**VALUES, "NASI_TOKEN_DIR": value})
    assert main(["--out", str(tmp_path / "out"), *values]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_the_tokens_directory_is_looked_at_only_where_it_is_used(
    tmp_path: Path, home: Path
) -> None:
    (home / "nasi").mkdir()
    (home / "nasi" / "id_rsa").touch()
    values = flags({**VALUES, "NASI_TOKEN_DIR": "~/nasi"})
    only = ("--only", "cluster/security-group.json")
    assert main(["--out", str(tmp_path / "out"), *only, *values]) == 0


def test_an_empty_home_is_refused_too(home: Path) -> None:
    with pytest.raises(ConfigError, match="which `ray up` would copy whole"):
        check_token_directory(str(home))


def test_no_link_is_followed_by_what_is_rendered(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "victim").write_text("precious")
    (tmp_path / "ray-cluster.yaml").symlink_to(tmp_path / "victim")
    assert main(["--out", str(tmp_path), *flags(VALUES)]) == 2
    assert "ray-cluster.yaml: it is a link; remove it" in capsys.readouterr().err
    assert (tmp_path / "victim").read_text() == "precious"
