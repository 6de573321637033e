"""The settings of an export and its command line. Quick to import."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import Annotated, Literal, get_args

import tyro

from nasi_ray.errors import ConfigError
from nasi_ray.run.command_line import parse

Format = Literal["python", "pt2", "onnx"]
FORMATS: tuple[Format, ...] = get_args(Format)

_LICENSE = re.compile(r"[A-Za-z0-9][A-Za-z0-9.+-]{0,63}")
_ABOUT = (
    "Write a trained model for other programs: weights, configuration and a model card always, and "
    "the network in other formats, each of which is run and compared with it."
)
_PACKAGES = {"onnx": ("onnx", "onnxscript", "onnxruntime")}
_INSTALL = "install it with pip install 'nasi_ray[export]'"


def _missing(name: Format) -> list[str]:
    return [package for package in _PACKAGES.get(name, ()) if find_spec(package) is None]


def _possible() -> tuple[Format, ...]:
    return tuple(name for name in FORMATS if not _missing(name))


@dataclass(frozen=True, kw_only=True, slots=True)
class ExportJob:
    """Write a trained model for other programs.

    Raises:
        ConfigError: If a value is not allowed, or a format needs a package that is not installed.
    """

    run: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="RUN")]
    """Run directory of a training, a path or s3://bucket/prefix."""
    formats: tuple[Format, ...] = field(default_factory=_possible)
    """python: a file of Python that needs torch alone; pt2: a program of torch.export; onnx. By
    default all of them, or all but onnx where its packages are not installed."""
    out: Annotated[str | None, tyro.conf.arg(metavar="DIR")] = None
    """Where to write, a path or s3://bucket/prefix; by default RUN/export."""
    license: Annotated[str, tyro.conf.arg(metavar="ID")] = "unknown"
    """Licence of the weights in the model card, as Hugging Face spells it, such as mit."""

    def __post_init__(self) -> None:
        if not _LICENSE.fullmatch(self.license):
            raise ConfigError(
                f"license is {self.license!r}; give an identifier such as apache-2.0 or mit"
            )
        for name in self.formats:
            if missing := _missing(name):
                raise ConfigError(
                    f"format {name} needs {', '.join(missing)}; {_INSTALL}, or leave it out of "
                    "--formats"
                )

    @property
    def left_out(self) -> str:
        """What a default cannot write here, and why; empty if it writes all."""
        if self.formats != _possible():
            return ""
        needed = {name: _missing(name) for name in FORMATS if name not in self.formats}
        return "; ".join(
            f"{name} is left out; it needs {', '.join(missing)}: {_INSTALL}"
            for name, missing in needed.items()
        )

    @property
    def target(self) -> str:
        """Where to write."""
        return f"{self.run.rstrip('/')}/export" if self.out is None else self.out


def parse_export(argv: Sequence[str]) -> ExportJob:
    """Read the command line.

    Args:
        argv: Arguments without the program's name.

    Raises:
        NasiRayError: If a value is not allowed.
        SystemExit: On ``--help`` and on malformed flags (printed by tyro).
    """
    return parse(ExportJob, argv, "export", about=_ABOUT)
