"""Whatever text comes from outside, a terminal and a log get printable lines of it only."""

from __future__ import annotations

import ast
import importlib
import json
import logging
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import nasi_ray
from nasi_ray.display.progress import LogProgress
from nasi_ray.errors import DataError
from nasi_ray.run.process import reporting_errors
from nasi_ray.storage import LOCK_NAME, LocalStorage
from tests.jobs import command

pytestmark = pytest.mark.usefixtures("blank_pictures")

HOSTILE = "a\x1b[2J\x1b]0;title\x07b\r\nerror: c\u2028d\u202ee\udcfff\x00g\x9b31mh"
NAME = HOSTILE.replace("\x00", "")
TINY = (
    *("--batch-size", "4", "--image-size", "8", "--init-channels", "2", "--num-cells", "3"),
    *("--num-workers", "0", "--num-samples", "2", "--preset", "nasi-fix"),
)
ROOT = Path(nasi_ray.__file__).parent
MAY_WRITE = {
    *("command.py", "show.py", "display/progress.py", "run/process.py", "run/supervise.py"),
    *("run/command_line.py", "commands/output.py", "commands/search.py", "commands/sweep.py"),
    *("commands/finalists.py", "commands/study.py", "commands/export.py"),
}
"""What writes to standard streams itself, and is tested here."""
CLUSTER_TOOLS = "cluster/"
"""They write what Ray and the user's own files say."""


def assert_printable(text: str) -> None:
    assert all(line.isprintable() for line in text.split("\n")), text
    assert "\nerror: c" not in text


def sources() -> dict[str, ast.Module]:
    return {str(p.relative_to(ROOT)): ast.parse(p.read_text()) for p in ROOT.rglob("*.py")}


def test_only_few_modules_write_to_standard_streams() -> None:
    writing = {
        name
        for name, tree in sources().items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and ast.unparse(node.func)
        in ("print", "sys.stdout.write", "sys.stderr.write", "warnings.warn", "os.write")
    }
    assert {n for n in writing if not n.startswith((CLUSTER_TOOLS, "storage/"))} <= MAY_WRITE


def test_what_cluster_tools_write_is_escaped() -> None:
    writes = [
        (name, ast.unparse(node.args[0]))
        for name, tree in sources().items()
        if name.startswith(CLUSTER_TOOLS)
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and ast.unparse(node.func) in ("sys.stdout.write", "sys.stderr.write")
    ]
    assert len(writes) > 10
    raw = [(name, text) for name, text in writes if not text.startswith(("escaped", "_HEADER"))]
    assert raw == []


LOGGING = sorted(
    name.removesuffix(".py").replace("/", ".")
    for name, tree in sources().items()
    if not name.startswith(CLUSTER_TOOLS)
    and any(isinstance(node, ast.Attribute) and node.attr == "getLogger" for node in ast.walk(tree))
)


@pytest.mark.parametrize("module", [*LOGGING, "botocore.endpoint", "urllib3.connectionpool"])
@pytest.mark.parametrize("level", [logging.WARNING, logging.ERROR])
def test_every_log_record_is_printable(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, module: str, level: int
) -> None:
    monkeypatch.setattr(logging.root, "handlers", [])  # pytest's own
    if module in LOGGING:
        importlib.import_module(f"nasi_ray.{module}")
        module = f"nasi_ray.{module}"
    with reporting_errors():
        logging.getLogger(module).log(level, "taking over %s", HOSTILE)
        try:
            raise ValueError(HOSTILE)
        except ValueError:
            logging.getLogger(module).log(level, "why", exc_info=True)
    err = capsys.readouterr().err
    assert err.startswith("taking over a\\x1b[2J")
    assert "Traceback" in err
    assert_printable(err)
    assert logging.root.handlers == []


def test_a_caller_with_handlers_of_its_own_has_the_log(capsys: pytest.CaptureFixture[str]) -> None:
    with reporting_errors():
        logging.getLogger("nasi_ray.x").warning("hello")
    assert capsys.readouterr().err == ""


def error(folder: Path) -> str:
    with pytest.raises(SystemExit), reporting_errors():
        raise DataError(f"cannot read {HOSTILE}")
    return "cannot read"


def message(folder: Path) -> str:

    LogProgress(sys.stderr).message(f"node {HOSTILE} is gone")
    return "is gone"


def run_directory(folder: Path) -> str:
    out = folder / NAME
    assert command.call("search.py", *TINY, "--out", out)[0] == 0
    return shown("search.py", *TINY, "--out", out, said="written to")


def foreign_file(folder: Path) -> str:
    assert command.call("search.py", *TINY, "--out", folder)[0] == 0
    (folder / "samples" / NAME).touch()
    return shown("search.py", *TINY, "--out", folder, said="is not a record file")


def lock_holder(folder: Path) -> str:
    storage = LocalStorage(folder)
    with storage.lock():
        holder = {"host": HOSTILE, "pid": HOSTILE, "since": HOSTILE}
        (folder / LOCK_NAME).write_text(json.dumps(holder))
        return shown("search.py", *TINY, "--out", folder, said="is being written by")


def image_name(folder: Path) -> str:
    (folder / "data" / NAME).mkdir(parents=True)
    (folder / "data" / "other").mkdir()
    for name in (NAME, "other"):
        (folder / "data" / name / f"{NAME}.png").write_bytes(b"broken")
    argv = ("--data", folder / "data", "--out", folder / "out")
    return shown("search.py", *TINY, *argv, said="png")


def stored_settings(folder: Path) -> str:
    assert command.call("search.py", *TINY, "--out", folder)[0] == 0
    path = folder / "identity.json"
    content = json.loads(path.read_text())
    content["identity"][f"x{HOSTILE.replace(chr(0xDCFF), '')}"] = HOSTILE.replace("\udcff", "")
    path.write_text(json.dumps(content))
    return shown("search.py", *TINY, "--out", folder, said="holds samples made with")


def answers(folder: Path) -> str:
    assert command.call("search.py", *TINY, "--out", folder)[0] == 0
    (path,) = (folder / "answers").iterdir()
    content = json.loads(path.read_text())
    content |= {"method": HOSTILE, "pairing": HOSTILE, "space": HOSTILE, "nu_asked": HOSTILE}
    path.write_text(json.dumps(content))
    from nasi_ray.command import main

    assert main(["show", str(folder)]) == 0
    return "search of"


def lines_of_a_command(folder: Path) -> str:
    from nasi_ray.commands.output import print_lines

    print_lines(f"picture written to {HOSTILE}".replace("\r\n", "\r"))
    return "picture written to"


def shown(job: str, *argv: str | Path, said: str) -> str:

    _, out, err = command.call(job, *argv)
    sys.stdout.write(out)
    sys.stderr.write(err)
    return said


CHANNELS: dict[str, Callable[[Path], str]] = {
    function.__name__: function
    for function in (
        error, message, run_directory, foreign_file, lock_holder, image_name, stored_settings,
        answers, lines_of_a_command,
    )
}  # fmt: skip
"""Each gets hostile text out, and returns what is said beside it."""


@pytest.mark.parametrize("channel", CHANNELS)
def test_what_is_printed_is_printable(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    channel: str,
) -> None:
    monkeypatch.setattr(logging.root, "handlers", [])
    said = CHANNELS[channel](tmp_path)
    out, err = capsys.readouterr()
    assert said in out + err
    assert_printable(out)
    assert_printable(err)
    shutil.rmtree(tmp_path)  # pytest itself cannot name what is in it
    tmp_path.mkdir()
