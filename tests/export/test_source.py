"""A network as one file of Python: it computes the same, and needs nothing of this package."""

from __future__ import annotations

import ast
import random

import pytest
import torch

from nasi_ray.errors import ConfigError
from nasi_ray.export.programs import fixed_images, largest_difference, python_program
from nasi_ray.export.source import python_source
from nasi_ray.spaces import SPACES, Genotype
from nasi_ray.spaces.genotype import GENOTYPE_OPS
from nasi_ray.training.model import ModelConfig
from tests.spaces.cells import random_genotype
from tests.training.models import ARCHITECTURES, tiny_config, trained


def same(config: ModelConfig) -> bool:
    net = trained(config)
    return largest_difference(net, python_program(net, config)[1], config) == 0.0


@pytest.mark.parametrize("space", ARCHITECTURES)
def test_the_file_computes_what_the_network_does(space: str) -> None:
    assert same(tiny_config(space))


def test_every_operation_and_stem_can_be_written() -> None:
    edges = tuple((op, i % 2) for i, op in enumerate(GENOTYPE_OPS))
    concat = tuple(range(2, 2 + len(edges) // 2))
    cell = Genotype(normal=edges, normal_concat=concat, reduce=edges, reduce_concat=concat)
    assert same(tiny_config(architecture=cell.to_json()))
    drawn = random_genotype(random.Random(0)).to_json()
    assert same(tiny_config(architecture=drawn, network="imagenet", image_size=33))


@pytest.mark.parametrize("space", ARCHITECTURES)
def test_the_file_names_nothing_of_this_package(space: str) -> None:
    tree = ast.parse(python_source(tiny_config(space)))
    imported = {
        str(node.module if isinstance(node, ast.ImportFrom) else node.names[0].name)
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
    }
    assert not {name for name in imported if name.startswith("nasi_ray")}
    roots = {name.partition(".")[0] for name in imported}
    assert roots - {"numpy"} <= {
        *("__future__", "abc", "collections", "dataclasses", "functools", "itertools", "pathlib"),
        *("typing", "torch", "safetensors"),
    }
    assert ("numpy" in roots) == (space == "s1")


def test_the_file_prepares_images_as_training_does() -> None:
    config, names = tiny_config(), {"__name__": "exported_model", "__file__": "model.py"}
    source = python_source(config)
    facts = ast.parse(source[source.index("IMAGE_SIZE") : source.index("class Genotype")])
    function = ast.parse(source[source.index("def prepare") :])
    scope: dict[str, object] = {**names, "torch": torch}
    exec(compile(ast.Module([*facts.body, *function.body], []), "model.py", "exec"), scope)
    pixels = torch.full((2, 3, 8, 8), 51, dtype=torch.uint8)
    prepared = scope["prepare"](pixels)  # type: ignore[operator]
    expected = [(0.2 - mean) / std for mean, std in zip(config.mean, config.std, strict=True)]
    torch.testing.assert_close(prepared[0, :, 0, 0], torch.tensor(expected))
    assert prepared.shape == pixels.shape
    assert scope["CLASS_NAMES"] == ("ant", "bee", "cat")


def test_class_names_cannot_add_code() -> None:
    names = ('")\nimport os', "$build", "'''")
    source = python_source(tiny_config(class_names=names))
    assigned = next(
        node.value
        for node in ast.parse(source).body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "CLASS_NAMES"
    )
    assert ast.literal_eval(assigned) == names


def test_cells_of_other_packages_have_no_file(monkeypatch: pytest.MonkeyPatch) -> None:
    class Other:
        pass

    config = tiny_config("s1")
    monkeypatch.setattr(ModelConfig, "parsed", lambda self: Other())
    with pytest.raises(ConfigError, match="leave python out of --formats"):
        python_source(config)
    assert "s1" in SPACES.names()


def test_images_of_the_comparison_are_fixed() -> None:
    config = tiny_config()
    assert torch.equal(fixed_images(config, 3), fixed_images(config, 3))
    assert fixed_images(config, 3).shape == (3, 3, 8, 8)
