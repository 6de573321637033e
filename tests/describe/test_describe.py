"""``nasi-ray describe``: counts, limits, where cells come from, and errors."""

from __future__ import annotations

import json
import os
import random
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from nasi_ray import command
from nasi_ray.describe.job import describe, describe_lines
from nasi_ray.describe.settings import DescribeJob
from nasi_ray.errors import ConfigError
from nasi_ray.networks.genotype_network import GenotypeNetwork
from nasi_ray.run.counts import count
from nasi_ray.run.limits import largest_channels, parse_number
from nasi_ray.spaces.final_network import final_network
from nasi_ray.spaces.genotype import Genotype
from nasi_ray.spaces.nb1shot1 import S1, S3
from nasi_ray.spaces.nb201 import NB201
from nasi_ray.spaces.network_costs import NetworkCost, costs_of
from tests.spaces.cells import DARTS_V1, DARTS_V2, random_genotype
from tests.storage.test_local_links import PLANTS, plant_hard_link
from tests.training.models import tiny_config

V2 = Genotype.parse(DARTS_V2)
NB201_CELL = "|nor_conv_3x3~0|+|nor_conv_1x1~0|skip_connect~1|+|none~0|nor_conv_3x3~1|none~2|"


@pytest.fixture
def file(tmp_path: Path) -> str:
    path = tmp_path / "cell.txt"
    path.write_text(DARTS_V2)
    return str(path)


def status(*argv: str) -> int:
    try:
        return command.main(["describe", *argv])
    except SystemExit as end:
        return int(end.code or 0)


def described(capsys: pytest.CaptureFixture[str], *argv: str) -> dict[str, Any]:
    assert status(*argv, "--json") == 0
    content: dict[str, Any] = json.loads(capsys.readouterr().out)
    return content


def test_the_published_cell_has_its_size(file: str, capsys: pytest.CaptureFixture[str]) -> None:
    found = described(capsys, "--genotype", file)
    assert Genotype.from_dict(found["genotype"]) == V2
    assert (found["init_channels"], found["num_cells"], found["num_classes"]) == (36, 20, 10)
    assert (found["parameters"], found["auxiliary_parameters"]) == (3_349_342, 476_426)
    imagenet = ("--network", "imagenet", "--init-channels", "48")
    on_imagenet = described(capsys, "--genotype", file, *imagenet)
    assert (on_imagenet["parameters"], on_imagenet["num_cells"]) == (4_718_752, 14)
    assert status("--genotype", file) == 0
    text = capsys.readouterr().out
    assert "darts on cifar10: C=36, 20 cells, 10 classes, 32 px" in text
    assert "C=36, 1 cell, 10 classes" in describe_lines({**found, "num_cells": 1})
    assert all(number in text for number in ("3,349,342", "476,426", f"{found['madds']:,}"))
    assert max(map(len, text.splitlines())) <= 80


def test_activations_are_the_elements_that_convolutions_put_out() -> None:
    network = final_network(init_channels=3, num_cells=3)
    found = count(lambda: GenotypeNetwork(V2, network), image_size=16)
    net, elements = GenotypeNetwork(V2, network).eval(), []
    for module in net.modules():
        if isinstance(module, nn.Conv2d):
            module.register_forward_hook(lambda m, x, y: elements.append(y.numel()))
    net(torch.zeros(1, 3, 16, 16))
    assert found.activations == sum(elements)


@pytest.mark.parametrize("limit", ["max_madds", "max_params"])
def test_the_largest_network_within_a_limit_is_found(limit: str) -> None:
    generator = random.Random(limit)
    for _ in range(4):
        cell = random_genotype(generator)
        most = generator.randint(400_000, 4_000_000)
        asked = {limit: str(most), "architecture": cell.to_string(), "num_cells": 4}
        found = describe(DescribeJob(**asked))  # type: ignore[arg-type]
        channels, field = found["init_channels"], limit.removeprefix("max_")
        position = ["params", "madds"].index(field)
        below, above = (
            costs_of(cell, network).total(cell)[position]
            for network in (
                final_network(init_channels=c, num_cells=4) for c in (channels, channels + 1)
            )
        )
        assert below <= most < above
        assert found["parameters" if field == "params" else "madds"] == below


def test_both_limits_hold_at_once() -> None:
    def cost(channels: int) -> NetworkCost:
        return NetworkCost(channels**2, 10 * channels)

    inf = float("inf")
    assert largest_channels(cost, 50, inf) == 7
    assert largest_channels(cost, 49, 65) == 6
    assert largest_channels(cost, inf, 40, smallest=3) == 4
    with pytest.raises(ConfigError, match=r"narrowest network \(C=3\) has 9 parameters and 30"):
        largest_channels(cost, 8, inf, smallest=3)
    with pytest.raises(ConfigError, match="C=4096 is still within the limits"):
        largest_channels(cost, 1e9, inf)


@pytest.mark.parametrize("seed", range(20))
def test_few_networks_are_counted_to_find_the_largest(seed: int) -> None:
    draw = random.Random(seed)
    square, line, rest = draw.uniform(1, 500), draw.uniform(0, 5000), draw.uniform(0, 3000)
    # Some cells split channels among nodes, so that costs grow in steps.
    step = draw.choice((1, 1, 3))
    counted: set[int] = set()

    def cost(channels: int) -> NetworkCost:
        counted.add(channels)
        wide = channels - channels % step
        return NetworkCost(int(square * wide**2 + line * channels + rest), channels)

    for channels in (1, 2, 36, 500, 4095):
        limit = cost(channels).params + draw.randint(0, 2)
        counted.clear()
        found = largest_channels(cost, limit, float("inf"))
        assert len(counted) <= 16
        assert cost(found).params <= limit < cost(found + 1).params


def test_numbers_have_a_letter_at_most() -> None:
    assert parse_number("n", "600M") == parse_number("n", "0.6g") == 600e6
    assert (parse_number("n", "12"), parse_number("n", "4k")) == (12, 4000)
    assert parse_number("n", None) == float("inf")
    for text in ("", "M", "0", "-1", "1e6", "4T", "nan", "4 M M"):
        with pytest.raises(ConfigError, match="give a number such as 600M"):
            parse_number("max_madds", text)


@pytest.mark.parametrize("space", [S1, S3, NB201], ids=["s1", "s3", "nb201"])
def test_benchmark_networks_are_described(space: Any, capsys: pytest.CaptureFixture[str]) -> None:
    architecture = space.random(np.random.default_rng(0))
    text = ("--space", space.name, "--architecture", architecture.to_string())
    found = described(capsys, *text)
    assert found["parameters"] == architecture.num_params()
    assert (found["auxiliary_parameters"], found["init_channels"]) == (0, space.num_channels)
    assert 0 < found["activations"] < found["madds"]
    if space is NB201:
        small = described(capsys, *text, "--max-madds", "2M")
        wider = described(capsys, *text, "--init-channels", str(small["init_channels"] + 1))
        assert small["madds"] <= 2e6 < wider["madds"]


def test_cells_come_from_files_and_run_directories(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    small = ("--num-cells", "3", "--init-channels", "4")
    run = tmp_path / "run"
    run.mkdir()
    (run / "genotype.json").write_text(V2.to_json())
    (run / "result.json").write_text(json.dumps({"space": "darts", "genotype": V2.to_dict()}))
    (tmp_path / "cell.json").write_text(json.dumps(V2.to_dict()))
    for source in (run, run / "genotype.json", tmp_path / "cell.json"):
        found = described(capsys, "--genotype", str(source), *small)
        assert Genotype.from_dict(found["genotype"]) == V2
    (run / "result.json").write_text(json.dumps({"space": "nb201", "architecture": NB201_CELL}))
    found = described(capsys, "--genotype", str(run))
    assert (found["space"], found["architecture"]) == ("nb201", NB201_CELL)


@pytest.mark.parametrize("space", ["darts", "s1"])
def test_the_cell_of_a_trained_model_can_be_described(
    space: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tiny_config(space)
    (tmp_path / "model.json").write_text(json.dumps(config.to_dict()))
    (tmp_path / "result.json").write_text('{"top1": 91.0}')
    found = described(capsys, "--genotype", str(tmp_path))
    assert found["space"] == space
    assert found["init_channels"] == (36 if space == "darts" else 128)


def test_a_search_can_be_described(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    size = ("--batch-size", "2", "--image-size", "8", "--init-channels", "2", "--num-cells", "3")
    out = ("--num-workers", "0", "--num-samples", "2", "--out", str(tmp_path))
    assert command.main(["search", *size, *out]) == 0
    capsys.readouterr()
    found = described(capsys, "--genotype", str(tmp_path), "--num-cells", "3")
    result = json.loads((tmp_path / "result.json").read_text())
    assert found["genotype"] == result["genotype"]


def test_the_picture_is_of_the_kind_its_name_says(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, start in (("a.svg", b"<?xml"), ("new/b.PNG", b"\x89PNG"), (".svg", b"<?xml")):
        path = tmp_path / name
        for cell in (
            ("--architecture", DARTS_V1, "--num-cells", "3"),
            ("--space", "nb201", "--architecture", NB201_CELL),
        ):
            assert status(*cell, "--picture", str(path)) == 0
            assert path.read_bytes().startswith(start)
            assert f"picture written to {path}" in capsys.readouterr().out


@pytest.mark.parametrize("plant", PLANTS)
def test_a_picture_is_written_through_no_link(
    plant: Callable[[Path, Path], None], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "home").mkdir()
    victim, place = tmp_path / "home" / "victim", tmp_path / "cell.png"
    victim.write_bytes(b"precious")
    plant(place, victim)
    code = status("--architecture", DARTS_V1, "--num-cells", "3", "--picture", str(place))
    # A new file takes the place of one name of a file and leaves the others.
    assert code == (0 if plant is plant_hard_link else 1)
    assert code == 0 or f"cannot write {place}: it is " in capsys.readouterr().err
    assert victim.read_bytes() == b"precious"
    assert os.listdir(tmp_path / "home") == ["victim"]


@pytest.mark.parametrize(
    ("argv", "code", "message"),
    [
        (("--genotype", "{none}"), 1, "which cannot be read (No such file or directory)"),
        (("--genotype", "{bad}"), 1, "no genotype can be read"),
        (("--genotype", "{binary}"), 1, "which cannot be read"),
        (("--genotype", "{empty}"), 1, "has none of model.json, result.json, genotype.json"),
        (("--genotype", "{torn}"), 1, "names no architecture"),
        (("--genotype", "{file}", "--architecture", "x"), 2, "give a cell: either"),
        (("--genotype", "{file}", "--init-channels", "0"), 2, "init_channels is 0"),
        (("--genotype", "{file}", "--init-channels", "9999"), 2, "must be 1 to 4096"),
        (("--genotype", "{file}", "--num-cells", "0"), 2, "num_cells is 0; it must be"),
        (("--genotype", "{file}", "--max-madds", "1K"), 2, "narrowest network (C=1)"),
        (("--genotype", "{file}", "--max-madds", "99999G"), 2, "still within the limits"),
        (("--genotype", "{file}", "--picture", "{bad}/a.svg"), 1, "cannot write"),
        (
            ("--genotype", "{file}", "--init-channels", "4", "--max-params", "4M"),
            2,
            "init_channels is 4, but --max-madds and --max-params choose it",
        ),
        (
            ("--genotype", "{file}", "--network", "imagenet", "--init-channels", "1"),
            2,
            "init_channels is 1; it must be at least 2",
        ),
        (("--space", "nb201", "--architecture", "|x|"), 2, "is not of the form |op~0|"),
        (("--space", "s1", "--architecture", "{s1}", "--init-channels", "1"), 2, "at least 2"),
        (("--space", "s1", "--architecture", "{s1}", "--num-cells", "9"), 2, "fixes it"),
        (("--space", "s1", "--architecture", "{s1}", "--network", "imagenet"), 2, "32 pixels"),
        (
            ("--space", "s1", "--architecture", "{s1}", "--init-channels", "9999"),
            2,
            "init_channels is 9999; it must be at most 4096",
        ),
    ],
)
def test_errors_are_one_line(
    argv: tuple[str, ...],
    code: int,
    message: str,
    file: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "bad").write_text("Genotype(normal=os)")
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    (tmp_path / "empty").mkdir()
    (tmp_path / "torn").mkdir()
    (tmp_path / "torn/result.json").write_text('{"space":')
    places = {name: str(tmp_path / name) for name in ("none", "bad", "binary", "empty", "torn")}
    places |= {"file": file, "s1": S1.architecture(0).to_string()}
    filled = [re.sub(r"\{(\w+)\}", lambda found: places[found[1]], word) for word in argv]
    assert status(*filled) == code
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    assert message in line
