"""Settings by flat names: from the command line, a configuration file, or Python keywords.

A job's settings are a dataclass of dataclasses. Field names are unique in all of it, so that
``num_samples`` alone identifies a field.
"""

from __future__ import annotations

import argparse
import dataclasses
import difflib
import os
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Annotated, Any, TypeVar, cast, get_type_hints

import tyro

from nasi_ray.config import ComputeSettings
from nasi_ray.errors import ConfigError
from nasi_ray.files import SETTINGS_BYTES, read_text, user_path
from nasi_ray.run.command_line import parse
from nasi_ray.storage.base import Storage

J = TypeVar("J")

ConfigFile = Annotated[
    str | None,
    tyro.conf.arg(
        metavar="FILE",
        help="YAML file of settings, such as the settings.yaml of a run; flags override it.",
    ),
]


def flat_settings(job: Any) -> dict[str, Any]:
    """Name -> value of every setting of a job.

    Args:
        job: A dataclass, nested or not.
    """
    found: dict[str, Any] = {}
    for field in dataclasses.fields(job):
        value = getattr(job, field.name)
        found |= flat_settings(value) if dataclasses.is_dataclass(value) else {field.name: value}
    return found


def with_settings(job: J, settings: Mapping[str, Any], *, where: str) -> J:
    """A job with some settings replaced.

    Args:
        job: A dataclass, nested or not.
        settings: Name -> value; lists stand for tuples.
        where: Where the settings were given, for messages.

    Raises:
        ConfigError: If a name is unknown, or a value has the wrong type or is not allowed.
    """
    known = list(flat_settings(job))
    for name in settings:
        if name not in known:
            near = difflib.get_close_matches(str(name), known, n=1)
            hint = f"did you mean {near[0]}?" if near else f"choose one of {', '.join(known)}"
            raise ConfigError(f"{where} has no setting {str(name)!r}; {hint}")
    return cast(J, _replaced(job, settings, where))


def _replaced(job: Any, settings: Mapping[str, Any], where: str) -> Any:
    hints = get_type_hints(type(job), include_extras=True)
    changed: dict[str, Any] = {}
    for field in dataclasses.fields(job):
        value = getattr(job, field.name)
        if dataclasses.is_dataclass(value):
            changed[field.name] = _replaced(value, settings, where)
        elif field.name in settings:
            given = settings[field.name]
            changed[field.name] = _validated(field.name, given, hints[field.name], where)
    return dataclasses.replace(job, **changed)


def _validated(name: str, value: Any, expected: Any, where: str) -> Any:
    import pydantic  # slow to import; only files and keywords need it

    if isinstance(value, os.PathLike):
        value = os.fspath(value)
    elif hasattr(value, "item"):  # a number of NumPy's
        value = value.item()
    try:
        return pydantic.TypeAdapter(expected).validate_python(value)
    except pydantic.ValidationError as error:
        wants = "; or ".join(dict.fromkeys(e["msg"].lower() for e in error.errors()))
        raise ConfigError(f"{name} is {value!r} in {where}; {wants}") from None


def read_settings(path: str, job: str) -> dict[str, Any]:
    """The settings of a configuration file.

    Args:
        path: A YAML file of names and values; its ``job``, if present, names the job.
        job: The job to run: ``search``, ``rank``, ...

    Raises:
        ConfigError: If it cannot be read, has another format, names a setting twice, or is for
            another job.
    """
    settings = _read_file(path)
    made_for = settings.pop("job", job)
    if made_for != job:
        raise ConfigError(
            f"{path} has settings for `{str(made_for)[:40]}`, not for `{job}`; give a file for "
            f"`{job}`"
        )
    return settings


def _read_file(path: str) -> dict[str, Any]:
    import yaml

    try:
        loader = yaml.SafeLoader(read_text(user_path(path), SETTINGS_BYTES))
        node = loader.get_single_node()
        # Before the content is made, which merges what << names.
        keys = [key for key, _ in node.value] if isinstance(node, yaml.MappingNode) else []
        content = None if node is None else loader.construct_document(node)
    except (OSError, ValueError) as error:
        raise ConfigError(f"cannot read the settings in {path}: {error}") from None
    except (yaml.YAMLError, RecursionError) as error:
        reason = " ".join(str(error).split())
        raise ConfigError(f"{path} is not YAML ({reason}); give lines such as 'mu: 2.0'") from None
    if not isinstance(content, dict):
        raise ConfigError(f"{path} has no settings; give lines such as 'mu: 2.0'")
    lines: dict[str, int] = {}
    for key in keys:
        name, line = str(key.value).replace("-", "_"), key.start_mark.line + 1
        if name in lines:
            raise ConfigError(
                f"{path} gives {name} twice, in lines {lines[name]} and {line}; give it once"
            )
        lines[name] = line
    return {str(name).replace("-", "_"): value for name, value in content.items()}


def parse_job(
    argv: Sequence[str], name: str, default: Callable[[Mapping[str, Any]], J], *deciding: str
) -> J:
    """Read a job's command line; precedence: default < ``--config`` < flag.

    Args:
        argv: Arguments without the program's name.
        name: Of the job: ``search``, ``rank``, ...
        default: From what is given of ``deciding`` to the job's defaults.
        deciding: Options that the defaults depend on, with underscores.

    Raises:
        NasiRayError: If a name or value is not allowed.
        SystemExit: On ``--help`` and on malformed flags (printed by tyro).
    """
    given = given_options(argv, "config", *deciding)
    path = given.pop("config")
    settings = read_settings(path, name) if path is not None else {}
    known = {**settings, **{name: value for name, value in given.items() if value is not None}}
    job = with_settings(default(known), settings, where=str(path))
    return parse(type(job), argv, name, default=job, config=(tyro.conf.OmitArgPrefixes,))


def settings_yaml(job: Any, name: str, **resolved: Any) -> bytes:
    """A configuration file that repeats a job; ``read_settings`` reads it.

    Args:
        job: The job.
        name: Of the job: ``search``, ``rank``, ...
        resolved: Values in place of the job's own, such as ``num_cells`` in place of auto.
    """
    import yaml

    settings = {**flat_settings(job), **resolved}
    settings.pop("config", None)
    lists = {k: list(v) if isinstance(v, tuple) else v for k, v in settings.items()}
    text: str = yaml.safe_dump({"job": name, **lists}, sort_keys=False, allow_unicode=True)
    return text.encode(errors="surrogateescape")


def refuse_other_job(storage: Storage, name: str) -> None:
    """Make sure that a run directory is not that of another kind of job.

    Args:
        storage: The run directory.
        name: Of the job: ``search``, ``rank``, ...

    Raises:
        ConfigError: If its ``settings.yaml`` is of another job.
        StorageError: If the storage fails.
    """
    import yaml

    try:
        content = yaml.safe_load(storage.read("settings.yaml"))
    except (FileNotFoundError, ValueError, RecursionError, yaml.YAMLError):
        return
    made_for = content.get("job") if isinstance(content, dict) else None
    if made_for not in (None, name):
        raise ConfigError(
            f"{storage.uri} is the run directory of a `{str(made_for)[:40]}`, not of a `{name}`; "
            "give another --out"
        )


def given_options(argv: Sequence[str], *names: str) -> dict[str, str | None]:
    """Read some options before the whole command line is parsed.

    Args:
        argv: Arguments.
        names: Of the options, with underscores.

    Returns:
        Name -> value; None if the option is not given.
    """
    first = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    for name in names:
        first.add_argument(f"--{name.replace('_', '-')}", f"--{name}", dest=name)
    try:
        return vars(first.parse_known_args(list(argv))[0])
    except argparse.ArgumentError:
        return dict.fromkeys(names)  # a value is missing: parsing the whole command line reports it


def changed_from(
    job: Any, default: Any, written: Mapping[str, Any] = MappingProxyType({})
) -> Iterator[str]:
    """Names of the settings in which a job differs from another, and from what a run has written.

    Args:
        job: A dataclass, nested or not.
        default: Another.
        written: Of ``written_by_a_run``.
    """
    other = flat_settings(default)
    return (
        name
        for name, value in flat_settings(job).items()
        if value != other.get(name) and (name not in written or value != written[name])
    )


def written_by_a_run(job: Any) -> Mapping[str, Any]:
    """The settings of ``--config`` if a run wrote it, which names also those that nobody gave.

    Args:
        job: With ``config`` and ``compute``.

    Returns:
        Nothing for a file that names only some settings of ``compute``, as people do.
    """
    if job.config is None:
        return {}
    try:
        settings = _read_file(job.config)
    except ConfigError:  # the job may be on another machine
        return {}
    if not flat_settings(job.compute).keys() <= settings.keys():
        return {}
    return {k: tuple(v) if isinstance(v, list) else v for k, v in settings.items()}


def compute_options_without_effect(
    compute: ComputeSettings, written: Mapping[str, Any]
) -> list[str]:
    """At most one note: the worker options that were given although there are no workers."""
    if compute.num_workers != 0:
        return []
    names = ("gpus_per_worker", "capacity_timeout_s", "label_selector", "address", "price_list")
    changed = changed_from(compute, ComputeSettings(num_workers=0), written)
    given = [f"--{name.replace('_', '-')}" for name in changed if name in names]
    have = "has" if len(given) == 1 else "have"
    return [f"{', '.join(given)} {have} no effect: there are no workers"] if given else []


def data_options_without_effect(data: str, changed: Collection[str]) -> list[str]:
    """At most one note: the options about a data set that were given although data are random."""
    names = ("split", "image_column", "label_column", "skip_broken")
    given = [f"--{name.replace('_', '-')}" for name in names if name in changed]
    have = "has" if len(given) == 1 else "have"
    if not given or data != "random":
        return []
    return [f"{', '.join(given)} {have} no effect: no data set is named"]
