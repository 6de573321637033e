"""The answers of a run side by side: ``nasi-ray show RUN``."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import tyro

from nasi_ray.display.formats import escaped
from nasi_ray.errors import RecordConflictError, RecordCorruptError
from nasi_ray.run.process import EXIT_STATUSES


@dataclass(frozen=True, kw_only=True, slots=True)
class ShowJob:
    """List the answers of a search or ranking side by side."""

    run: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="RUN")]
    """Run directory, a path or s3://bucket/prefix."""


def main(argv: Sequence[str]) -> int:
    """Parse, read, print."""
    job = tyro.cli(
        ShowJob,
        prog="nasi-ray show",
        args=list(argv),
        description=f"{ShowJob.__doc__}\n\n{EXIT_STATUSES}",
    )
    sys.stdout.write("".join(f"{escaped(line)}\n" for line in show_lines(job.run)))
    return 0


def show_lines(uri: str) -> list[str]:
    """The answers of a run in text.

    Args:
        uri: Run directory.

    Raises:
        RecordConflictError: If there is no run, or it has no answer yet.
        RecordCorruptError: If an answer cannot be read.
        StorageError: If the storage fails.
    """
    from nasi_ray.run.finish import ANSWERS
    from nasi_ray.storage import open_storage

    storage = open_storage(uri)
    names = sorted(name for name in storage.list(ANSWERS) if name.endswith(".json"))
    latest = [n for n in storage.list("") if n in ("result.json", "ranking.json")]
    answers = []
    for name in names or latest:
        try:
            answers.append(json.loads(storage.read(name)))
        except (ValueError, RecursionError):
            raise RecordCorruptError(
                f"{storage.uri}/{name} cannot be read (torn or altered); delete it and run the "
                "same command again: the records answer at once"
            ) from None
    if not answers:
        raise RecordConflictError(
            f"{storage.uri} has no answers; name the --out of a search or ranking that is done"
        )
    if "proxies" in answers[0]:
        from nasi_ray.ranking.text import ranking_lines

        return "\n".join(ranking_lines(answer) for answer in answers).splitlines()
    return _search_lines(storage.uri, answers)


def _search_lines(uri: str, answers: Sequence[Mapping[str, Any]]) -> list[str]:
    from nasi_ray.display.formats import printable
    from nasi_ray.display.tables import text_table

    first = answers[0]
    cells = list(dict.fromkeys(_cell(answer) for answer in answers))
    rows = [
        (
            str(answer["num_samples"]),
            str(answer["method"]),
            _short(answer.get("nu_asked")),
            _short(answer["mu"]),
            str(answer.get("normalize", "max")),
            str(answer["pairing"]),
            _significant(answer),
            f"cell {cells.index(_cell(answer)) + 1}",
        )
        for answer in sorted(answers, key=lambda a: (a["num_samples"], a["method"], str(a["nu"])))
    ]
    headings = ("T", "method", "ν", "μ", "normalize", "pairing", "significant", "selects")
    lines = [printable(f"{uri}: search of {first['space']}, seed {first['seed']}"), ""]
    lines += [*text_table(headings, rows), ""]
    return [*lines, *(printable(f"cell {i}: {cell}") for i, cell in enumerate(cells, start=1))]


def _cell(answer: Mapping[str, Any]) -> str:
    if "genotype" not in answer:
        return str(answer["architecture"])
    from nasi_ray.spaces import Genotype

    return Genotype.from_dict(answer["genotype"]).to_string()


def _significant(answer: Mapping[str, Any]) -> str:
    from nasi_ray.statistics import SIGNIFICANT_AT

    margins, errors = answer["kept_margins"], answer["kept_margin_errors"]
    num = sum(
        errors[name] is not None and margin > 0 and margin >= SIGNIFICANT_AT * errors[name]
        for name, margin in margins.items()
    )
    return f"{num} of {len(margins)}"


def _short(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
