"""The answers of a run side by side: ``nasi-ray show RUN``."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from nasi_ray.display.formats import escaped
from nasi_ray.errors import RecordConflictError, RecordCorruptError
from nasi_ray.run.command_line import parse

if TYPE_CHECKING:
    from nasi_ray.storage import Storage

_NONE = "-"
_SETTINGS = (
    *("objective", "estimator", "method", "ν", "μ", "normalize", "pairing"),
    *("max params", "max madds"),
)
_OF_A_SWEEP = ("num_samples", "objective", "estimator")
"""Settings that are told of every sweep."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ShowJob:
    """List the answers of a search, ranking or sweep side by side."""

    run: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="RUN")]
    """Run directory, a path or s3://bucket/prefix."""


def main(argv: Sequence[str]) -> int:
    """Parse, read, print."""
    job = parse(ShowJob, argv, "show")
    sys.stdout.write("".join(f"{escaped(line)}\n" for line in show_lines(job.run)))
    return 0


def show_lines(uri: str) -> list[str]:
    """The answers of a run in text.

    Args:
        uri: Run directory.

    Raises:
        RecordConflictError: If there is no run, or it has no answer yet.
        RecordCorruptError: If an answer cannot be read, or is of another version.
        StorageError: If the storage fails.
    """
    from nasi_ray.storage import open_storage

    storage = open_storage(uri)
    answers = _read_answers(storage)
    if not answers:
        raise RecordConflictError(
            f"{storage.uri} has no answers; name the --out of a search, ranking or sweep that is "
            "done"
        )
    try:
        return _lines_of(storage.uri, answers)
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        raise _altered(f"an answer in {storage.uri}") from error


def _read_answers(storage: Storage) -> list[Mapping[str, Any]]:
    from nasi_ray.run.finish import ANSWERS
    from nasi_ray.run.schemas import (
        RANKING_SCHEMA,
        RESULT_SCHEMA,
        SWEEP_SCHEMA,
        TRAINING_SCHEMA,
        refuse_other_schema,
    )

    known = (RESULT_SCHEMA, SWEEP_SCHEMA, RANKING_SCHEMA)
    names = sorted(name for name in storage.list(ANSWERS) if name.endswith(".json"))
    latest = [n for n in storage.list("") if n in ("result.json", "ranking.json", "sweep.json")]
    answers: list[Mapping[str, Any]] = []
    for name in names or latest:
        where = f"{storage.uri}/{name}"
        try:
            answer = dict(json.loads(storage.read(name)))
        except (ValueError, TypeError, RecursionError):
            raise _altered(where) from None
        if answer.get("schema") == TRAINING_SCHEMA:
            raise RecordConflictError(
                f"{storage.uri} is the run directory of a training, which has no answers; "
                "nasi-ray report describes it"
            )
        refuse_other_schema(answer, where, *known)
        answers.append(answer)
    return answers


def _altered(what: str) -> RecordCorruptError:
    return RecordCorruptError(
        f"{what} cannot be read (incomplete or changed); delete it and run the same command again: "
        "it is rebuilt from the stored records"
    )


def _lines_of(uri: str, answers: Sequence[Mapping[str, Any]]) -> list[str]:
    if "proxies" in answers[0]:
        from nasi_ray.ranking.text import ranking_lines

        return "\n".join(map(ranking_lines, answers)).splitlines()
    if "combinations" in answers[0]:
        return _sweep_lines(uri, answers)
    return _search_lines(uri, answers)


def _sweep_lines(uri: str, answers: Sequence[Mapping[str, Any]]) -> list[str]:
    from nasi_ray.display.formats import printable, wrapped
    from nasi_ray.sweep.text import sweep_lines

    asked = [_asked_of_sweep(answer) for answer in answers]
    names = dict.fromkeys((*_OF_A_SWEEP, *(name for settings in asked for name in settings)))
    told = [
        name
        for name in names
        if name in _OF_A_SWEEP or len({str(s[name]) for s in asked if name in s}) > 1
    ]
    lines: list[str] = []
    for answer, settings in zip(answers, asked, strict=True):
        seeds = ", ".join(map(str, answer["seeds"]))
        # What --set varies heads each of its tables.
        varied = answer["combinations"][0]["set"]
        shown = [f"{n} {_short(settings[n])}" for n in told if n in settings and n not in varied]
        lines += [printable(f"{uri}: sweep of {answer['space']}")]
        lines += [*wrapped(", ".join([f"seeds {seeds}", *shown])), ""]
        lines += [*sweep_lines(answer).splitlines(), ""]
    return lines[:-1]


def _asked_of_sweep(answer: Mapping[str, Any]) -> Mapping[str, Any]:
    """The settings of a sweep's answer; those of earlier versions do not name all."""
    if "settings" in answer:
        left_out = ("space", "seed", "set")
        return {k: v for k, v in answer["settings"].items() if k not in left_out}
    point = answer["combinations"][0]
    sources: list[Mapping[str, Any]] = [*point["searches"][:1], point["consensus"] or {}]
    return {n: one[n] for one in sources for n in (*_OF_A_SWEEP, "method") if n in one}


def _search_lines(uri: str, answers: Sequence[Mapping[str, Any]]) -> list[str]:
    from nasi_ray.display.formats import printable, wrapped
    from nasi_ray.display.tables import text_table

    first = answers[0]
    cells = list(dict.fromkeys(_cell(answer) for answer in answers))
    ordered = sorted(answers, key=lambda a: (a["num_samples"], *_settings(a), str(a.get("nu"))))
    table = [_settings(answer) for answer in ordered]
    same = [len(set(column)) == 1 for column in zip(*table, strict=True)]
    headings = [name for name, is_same in zip(_SETTINGS, same, strict=True) if not is_same]
    rows = [
        (
            str(answer["num_samples"]),
            *(value for value, is_same in zip(settings, same, strict=True) if not is_same),
            _stands(answer),
            f"cell {cells.index(_cell(answer)) + 1}",
        )
        for answer, settings in zip(ordered, table, strict=True)
    ]
    # What all answers share needs no column, and what none of them reads no mention.
    shared = [
        f"{name} {value}"
        for name, value, is_same in zip(_SETTINGS, table[0], same, strict=True)
        if is_same and value != _NONE
    ]
    lines = [printable(f"{uri}: search of {first['space']}, seed {first['seed']}")]
    lines += [*wrapped(", ".join(shared)), ""]
    lines += [*text_table(("T", *headings, "stands", "selects"), rows), ""]
    return [*lines, *(printable(f"cell {i}: {cell}") for i, cell in enumerate(cells, start=1))]


def _settings(answer: Mapping[str, Any]) -> tuple[str, ...]:
    """What an answer was made with; answers of earlier versions are all of the trace norm."""
    of_e = (
        str(answer.get("method", _NONE)),
        _short(answer.get("nu_asked")),
        _short(answer.get("mu")),
        str(answer.get("normalize", "max")) if "mu" in answer else _NONE,
    )
    return (
        str(answer.get("objective", "trace-norm")),
        str(answer.get("estimator", "straight-through")),
        *of_e,
        str(answer["pairing"]),
        _short(answer.get("max_params")),
        _short(answer.get("max_madds")),
    )


def _cell(answer: Mapping[str, Any]) -> str:
    if "genotype" not in answer:
        return str(answer["architecture"])
    from nasi_ray.spaces import Genotype

    return Genotype.from_dict(answer["genotype"]).to_string()


def _stands(answer: Mapping[str, Any]) -> str:
    """How many decisions about what the cell keeps stand when samples are drawn again."""
    from nasi_ray.statistics import DECIDED_AT, SIGNIFICANT_AT

    if "kept_probabilities" in answer:
        known = answer["kept_probabilities"].values()
        return f"{sum(p is not None and p >= DECIDED_AT for p in known)} of {len(known)}"
    # Answers of earlier versions have standard errors alone.
    margins, errors = answer["kept_margins"], answer["kept_margin_errors"]
    num = sum(
        errors[name] is not None and margin > 0 and margin >= SIGNIFICANT_AT * errors[name]
        for name, margin in margins.items()
    )
    return f"{num} of {len(margins)}"


def _short(value: object) -> str:
    if value is None:
        return _NONE
    return f"{value:g}" if isinstance(value, float) else str(value)
