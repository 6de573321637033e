"""A network as one file of Python that needs torch alone.

The file is put together from the source of this package: the class of the network and everything
that its code names, one after another. So it is the same program, and works where this package is
not installed.
"""

from __future__ import annotations

import ast
import importlib
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from string import Template
from typing import NamedTuple

from nasi_ray.errors import ConfigError
from nasi_ray.networks.genotype_network import GenotypeNetwork
from nasi_ray.networks.standalone_nb101 import NB101Network
from nasi_ray.networks.standalone_nb201 import NB201Network, torch_avg_pool
from nasi_ray.spaces import Genotype
from nasi_ray.spaces.final_network import FinalNetwork
from nasi_ray.spaces.nb1shot1 import NB1Shot1Architecture
from nasi_ray.spaces.nb201 import NB201Architecture
from nasi_ray.training.model import WEIGHTS, ModelConfig
from nasi_ray.version import __version__

_PACKAGE = __name__.partition(".")[0]
_IMPORTS = (
    "from pathlib import Path",
    "from torch import Tensor",
    "from torch import nn",
    "import safetensors.torch",
    "import torch",
)
_FILE = '''"""The network of a cell of $space, in torch alone.

    from model import load, prepare

    net = load()                      # of $weights beside this file
    logits = net(prepare(pixels))     # 0 to 255, shape (batch, 3, $size, $size)

Written by nasi_ray $version, most of it from its source (Apache-2.0).
"""

from __future__ import annotations

$imports

$facts


$definitions


def build() -> nn.Module:
    """The network with new parameters, for images as ``prepare`` makes them."""
    return $build


def load(path: str | Path = Path(__file__).with_name("$weights")) -> nn.Module:
    """The trained network in evaluation mode, on the CPU."""
    net, tensors = build(), safetensors.torch.load_file(path)
    net.load_state_dict({name: tensors[name] for name in net.state_dict()})
    return net.eval()


def prepare(pixels: Tensor) -> Tensor:
    """Images as in training, from pixels of 0 to 255, shape (batch, 3, height, width)."""
    mean, std = (torch.tensor(x, device=pixels.device).view(3, 1, 1) for x in (MEAN, STD))
    return (pixels / 255 - mean) / std
'''


class _Parts(NamedTuple):
    """What the file of one kind of architecture holds."""

    roots: tuple[Callable[..., object], ...]
    """The class of the network, and what its arguments name."""
    own: str
    """Definitions that stand in for classes of this package."""
    args: tuple[str, ...]
    """Source of the network's arguments."""


def python_source(config: ModelConfig) -> str:
    """Write the file.

    Args:
        config: The network; its auxiliary tower is left out.

    Raises:
        ConfigError: If the architecture is of a space of another package.
    """
    parts = _parts(config)
    bundle = _Bundle({name for node in ast.parse(parts.own).body for name in _defined(node)})
    for root in parts.roots:
        bundle.add(root.__module__, root.__name__)
    imports = set(_IMPORTS)
    if parts.own:
        imports |= {"from typing import Any", "from typing import NamedTuple"}
    if any("np." in arg for arg in parts.args):
        imports.add("import numpy as np")
    args = "".join(f"        {arg},\n" for arg in parts.args)
    return Template(_FILE).substitute(
        version=__version__,
        space=config.space,
        weights=WEIGHTS,
        size=config.image_size,
        imports="\n".join(sorted(imports | bundle.imports)),
        facts="\n".join(f"{name} = {value!r}" for name, value in _facts(config).items()),
        definitions="\n\n\n".join([parts.own, *bundle.definitions]).strip(),
        build=f"{parts.roots[0].__name__}(\n{args}    )",
    )


def _facts(config: ModelConfig) -> dict[str, object]:
    return {
        "IMAGE_SIZE": config.image_size,
        "MEAN": config.mean,
        "STD": config.std,
        "CLASS_NAMES": config.class_names,
    }


def _parts(config: ModelConfig) -> _Parts:
    architecture = config.parsed()
    if isinstance(architecture, Genotype):
        layout = config.layout()
        kinds = [
            f"class {type(thing).__name__}(NamedTuple):\n"
            + "\n".join(f"    {field}: Any" for field in thing.__slots__)
            for thing in (architecture, layout)
        ]
        args = (_call(architecture), _call(layout), "auxiliary=False")
        return _Parts((GenotypeNetwork,), "\n\n\n".join(kinds), args)
    sizes = (f"num_channels={config.init_channels}", f"num_classes={config.num_classes}")
    if isinstance(architecture, NB201Architecture):
        own = "class NB201Architecture(NamedTuple):\n    ops: Any"
        cell = f"NB201Architecture(\n            {architecture.ops!r}\n        )"
        return _Parts((NB201Network, torch_avg_pool), own, (cell, *sizes, "pool=torch_avg_pool"))
    if isinstance(architecture, NB1Shot1Architecture):
        matrix = f"np.array({architecture.matrix().tolist()})"
        return _Parts((NB101Network,), "", (matrix, repr(architecture.vertex_ops()), *sizes))
    raise ConfigError(
        f"no Python file can be written for architectures of {config.space}; leave python out of "
        "--formats"
    )


def _call(thing: Genotype | FinalNetwork) -> str:
    """The call of a constructor, a line for every argument."""
    lines = [f"            {name}={getattr(thing, name)!r},\n" for name in thing.__slots__]
    return f"{type(thing).__name__}(\n{''.join(lines)}        )"


class _Bundle:
    """Definitions in an order in which each follows those that it needs.

    Args:
        known: Names that are defined elsewhere.
    """

    def __init__(self, known: set[str]) -> None:
        self.definitions: list[str] = []
        self.imports: set[str] = set()
        self._known = dict.fromkeys(known, "")

    def add(self, module: str, name: str, *, is_annotation: bool = False) -> None:
        """Add what a module calls by a name, and all that it needs.

        Args:
            module: The module.
            name: The name.
            is_annotation: Whether only annotations, which are not evaluated, hold the name; then
                classes are left out.
        """
        node = _definitions(module).get(name)
        if node is None or self._known.get(name) in ("", module):
            return  # a builtin, or known
        if isinstance(node, ast.Import | ast.ImportFrom):
            self._import(node, name, is_annotation)
            return
        if is_annotation and isinstance(node, ast.ClassDef):
            return
        if name in self._known:
            raise ValueError(f"{name} is defined in {module} and in {self._known[name]}")
        self._known |= dict.fromkeys(_defined(node), module)
        for needed, of_annotation in _names(node):
            self.add(module, needed, is_annotation=of_annotation)
        self.definitions.append(_text(module, node))

    def _import(self, node: ast.Import | ast.ImportFrom, name: str, is_annotation: bool) -> None:
        if isinstance(node, ast.ImportFrom) and str(node.module).startswith(_PACKAGE):
            self.add(str(node.module), name, is_annotation=is_annotation)
            return
        alias = next(alias for alias in node.names if name in (alias.asname, alias.name))
        start = f"from {node.module} " if isinstance(node, ast.ImportFrom) else ""
        self.imports.add(f"{start}import {ast.unparse(alias)}")


def _names(node: ast.AST, *, is_annotation: bool = False) -> Iterator[tuple[str, bool]]:
    """The names in a definition, and whether an annotation holds them."""
    if isinstance(node, ast.Name):
        yield node.id, is_annotation
    for field, value in ast.iter_fields(node):
        for child in value if isinstance(value, list) else [value]:
            if isinstance(child, ast.AST):
                yield from _names(
                    child, is_annotation=is_annotation or field in ("annotation", "returns")
                )


@cache
def _definitions(module: str) -> dict[str, ast.stmt]:
    """Name -> the statement of a module that defines it."""
    body = ast.parse(_source(module)).body
    return {name: node for node in body for name in _defined(node)}


def _defined(node: ast.stmt) -> list[str]:
    """The names that a statement defines."""
    if isinstance(node, ast.FunctionDef | ast.ClassDef):
        return [node.name]
    if isinstance(node, ast.Import | ast.ImportFrom):
        return [alias.asname or alias.name for alias in node.names]
    targets = getattr(node, "targets", [getattr(node, "target", ast.Constant(None))])
    return [n.id for target in targets for n in ast.walk(target) if isinstance(n, ast.Name)]


@cache
def _source(module: str) -> str:
    return Path(str(importlib.import_module(module).__file__)).read_text(encoding="utf-8")


def _text(module: str, node: ast.stmt) -> str:
    decorators = node.decorator_list if isinstance(node, ast.FunctionDef | ast.ClassDef) else []
    first = min([node.lineno, *(decorator.lineno for decorator in decorators)])
    lines = _source(module).splitlines()[first - 1 : node.end_lineno]
    return "\n".join(lines)
