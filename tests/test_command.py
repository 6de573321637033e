"""The command ``nasi-ray``: what it says, how fast, and with which status it ends."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from nasi_ray import command
from nasi_ray.errors import StorageError, StorageRefusedError
from nasi_ray.pages import job as pages_job
from nasi_ray.version import __version__

TINY = (
    *("--batch-size", "2", "--image-size", "8", "--init-channels", "2", "--num-cells", "3"),
    *("--num-workers", "0", "--preset", "nasi-fix"),
)


def status(*argv: str) -> int:
    """The exit status of ``nasi-ray argv``."""
    try:
        return command.main(argv)
    except SystemExit as end:
        return int(end.code or 0)


def test_help_lists_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    for argv in ((), ("-h",), ("--help",)):
        assert status(*argv) == 0
        out = capsys.readouterr().out
        assert all(f"\n  {name} " in out for name in command.COMMANDS)
        assert "Exit status: 0 done; 1 " in out
        assert all(len(line) <= 80 for line in out.splitlines())


def test_the_version_is_the_packages(capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("version", "--version"):
        assert status(name) == 0
        assert capsys.readouterr().out.startswith(f"nasi_ray {__version__} (Python 3.")


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (("serch",), "unknown command 'serch'; choose one of cluster, confidence, convert"),
        (("cluster", "up"), "unknown cluster tool 'up'; choose one of render, submit, validate"),
        (("search", "--num-samples", "0"), "num_samples is 0; it must be at least 1"),
        (("search", "--space", "s1", "--num-cells", "2"), "num_cells is 2; s1 needs at least 3"),
        (("search", "--config", "no.yaml"), "cannot read the settings in no.yaml"),
        (("rank", "--proxies", "snap"), "unknown proxy 'snap'"),
        (("rank", "--labels", "true"), "which has no labels"),
        (("study", "cells", "--preset", "best"), "unknown preset 'best'"),
        (("describe",), "give a cell: either --genotype with a file or run directory"),
        (("describe", "--architecture", "x"), "architecture: no genotype can be read"),
        (("describe", "--genotype", "x", "--space", "y"), "unknown space 'y'"),
        (("describe", "--genotype", "x", "--max-params", "4T"), "max_params is '4T'; give a"),
        (("describe", "--genotype", "x", "--picture", "cell.gif"), "it must end with .svg or"),
        (("replay", "x", "--grid", "mux=1"), "the grid has no setting 'mux'; did you mean mu?"),
        (("confidence", "x", "--set", "mu=1,2"), "set has 2 values of mu; give one, or use replay"),
        (("export", "x", "--license", "my own"), "license is 'my own'; give an identifier"),
        (("export", "x", "--out", "s4://x"), "unsupported run directory 's4://x'"),
        (("report",), "no run was given; name the --out of a search"),
        (("report", "x", "--out", "y"), "out is 'y'; give a file that ends in .html"),
        (("rank", "--space", "darts"), "architectures is all, but DARTS cells cannot be"),
    ],
)
def test_slips_are_one_line_and_status_2(
    argv: tuple[str, ...], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert status(*argv) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    assert message in line


@pytest.mark.parametrize(
    "argv",
    [
        ("search", "--help"),
        ("sweep", "--help"),
        ("sweep", "--seeds", "3:1"),
        ("rank", "--help"),
        ("study", "--help"),
        ("convert", "--help"),
        ("show", "--help"),
        ("report", "--help"),
        ("replay", "--help"),
        ("confidence", "--help"),
        ("describe", "--help"),
        ("describe", "--genotype", "x", "--max-madds", "much"),
        ("search", "--num-samples", "thirty"),
        ("search", "--num-samples", "0"),
    ],
)
def test_neither_help_nor_slips_import_what_takes_long(argv: tuple[str, ...]) -> None:
    code = (
        "import sys\n"
        "from nasi_ray.command import main\n"
        "try:\n    main(sys.argv[1:])\n"
        "except SystemExit:\n    pass\n"
        "found = [m for m in ('torch', 'ray', 'scipy', 'pyarrow', 'boto3', 'matplotlib')"
        " if m in sys.modules]\n"
        "sys.stderr.write(f'heavy: {found}')\n"
    )
    done = subprocess.run([sys.executable, "-c", code, *argv], capture_output=True, text=True)
    assert done.stderr.endswith("heavy: []")


@pytest.mark.integration
def test_a_search_imports_nothing_that_only_trainings_need(tmp_path: Path) -> None:
    code = (
        "import contextlib, io, sys\n"
        "from nasi_ray.command import main\n"
        "with contextlib.redirect_stdout(io.StringIO()):  # so that the job runs in this process\n"
        "    assert not main(sys.argv[1:])\n"
        "found = {'timm', 'torchvision', 'ray.tune', 'ray.train'} & {*sys.modules}\n"
        "sys.stderr.write(f'heavy: {sorted(found)}')\n"
    )
    tiny = ("--batch-size", "2", "--image-size", "8", "--init-channels", "2", "--num-workers", "0")
    search = ("search", "--space", "nb201", *tiny, "--num-samples", "2")
    command = [sys.executable, "-c", code, *search, "--out", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.stderr.endswith("heavy: []"), done.stderr
    assert (tmp_path / "report.html").exists()


def test_completion_scripts_know_all_jobs(capsys: pytest.CaptureFixture[str]) -> None:
    assert status("--tyro-print-completion", "bash") == 0
    out = capsys.readouterr().out
    words = (*command.COMMANDS, "--num-samples", "table2", "--stop-when-stable", "validate")
    assert [word for word in words if word not in out] == []


def test_the_settings_that_a_run_writes_repeat_it(
    tmp_path: Path, evaluated: list[int], capsys: pytest.CaptureFixture[str]
) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    assert status("search", *TINY, "--mu", "1.5", "--num-samples", "4", "--out", str(first)) == 0
    settings = yaml.safe_load((first / "settings.yaml").read_text())
    assert (settings["job"], settings["num_cells"], settings["out"]) == ("search", 3, str(first))
    evaluated.clear()
    assert status("search", "--config", str(first / "settings.yaml")) == 0
    assert evaluated == []
    config = ("--config", str(first / "settings.yaml"))
    assert status("search", *config, "--mu", "2", "--out", str(second)) == 0
    assert evaluated == [0, 1, 2, 3]
    results = [json.loads((out / "result.json").read_text()) for out in (first, second)]
    assert [result["mu"] for result in results] == [1.5, 2.0]
    assert results[0]["samples"] == results[1]["samples"]
    assert f"written to {second}: result.json, settings.yaml, " in capsys.readouterr().out


def test_the_settings_that_a_study_and_a_ranking_write_repeat_them(
    tmp_path: Path, evaluated: list[int], capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "study"
    flags = ("--space", "s1", "--seeds", "0", "--num-samples", "2", "--out", str(out))
    assert status("study", "cells", *TINY, *flags) == 0
    before = json.loads((out / "cells-s1.json").read_text())["result"]
    evaluated.clear()
    assert status("study", "cells", "--config", str(out / "cells-s1.yaml")) == 0
    assert evaluated == []
    assert json.loads((out / "cells-s1.json").read_text())["result"] == before
    ranks = tmp_path / "rank"
    ranking = ("--space", "nb201", "--architectures", "2", "--proxies", "synflow")
    size = ("--num-channels", "2", "--batch-size", "2", "--image-size", "8", "--num-workers", "0")
    assert status("rank", *ranking, *size, "--out", str(ranks)) == 0
    first = json.loads((ranks / "ranking.json").read_text())["proxies"]
    assert status("rank", "--config", str(ranks / "settings.yaml")) == 0
    assert json.loads((ranks / "ranking.json").read_text())["proxies"] == first


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("mu: [", "is not YAML"),
        ("just words", "has no settings; give lines such as 'mu: 2.0'"),
        ("mu: 1\nnu: 3\nmu: 2", "my.yaml gives mu twice, in lines 1 and 3; give it once"),
        ("num-samples: 1\nnum_samples: 2", "gives num_samples twice, in lines 1 and 2"),
        ("job: search\njob: search", "gives job twice"),
        ("job: rank\nmu: 2", "has settings for `rank`, not for `search`; give a file for `search`"),
        ("nmu: 2", "has no setting 'nmu'; did you mean nu?"),
        ("mu: much", "mu is 'much' in"),
        ("mu: -1", "mu is -1.0; it must be at least 0"),
        ("preset: best", "unknown preset 'best'"),
    ],
)
def test_configuration_files_are_checked(
    tmp_path: Path, text: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "my.yaml").write_text(text)
    assert status("search", "--config", str(tmp_path / "my.yaml")) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line


def test_every_answer_is_kept_and_shown_side_by_side(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = ("--out", str(tmp_path / "run"))
    for flags in (("--nu", "1"), ("--nu", "100"), ("--method", "ada"), ("--nu", "1")):
        assert status("search", *TINY, "--num-samples", "4", *flags, *out) == 0
    assert len(list((tmp_path / "run/answers").iterdir())) == 3
    capsys.readouterr()
    assert status("show", str(tmp_path / "run")) == 0
    text = capsys.readouterr().out
    assert len([line for line in text.splitlines() if line.startswith("4 ")]) == 3
    assert "cell 1: Genotype(normal=[" in text
    latest = json.loads((tmp_path / "run/result.json").read_text())
    assert latest["nu_asked"] == 1.0


def test_a_place_without_answers_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert status("show", str(tmp_path)) == 1
    assert "has no answers; name the --out of a search" in capsys.readouterr().err


def test_options_without_effect_are_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ("--space", "s1", "--pairing", "shared-op", "--gpus-per-worker", "0.5")
    assert status("search", *TINY, *flags, "--num-samples", "2", "--out", str(tmp_path)) == 0
    notes = [line for line in capsys.readouterr().err.splitlines() if line.startswith("note: ")]
    assert notes == [
        "note: --pairing has no effect: cells of s1 have nothing to pair",
        "note: --gpus-per-worker has no effect: there are no workers",
    ]


@pytest.mark.usefixtures("blank_pictures")
def test_a_file_that_a_run_wrote_gives_no_options(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    small = ("--batch-size", "2", "--image-size", "8", "--num-workers", "0", "--no-report")
    nb201 = ("--space", "nb201", *small)
    sizes = ("--init-channels", "2", "--num-cells", "3", "--num-samples", "2")
    rank = ("--architectures", "2", "--proxies", "synflow", "--num-channels", "2")
    for argv, name, notes in (
        (("search", *nb201, *sizes, "--pairing", "shared-op"), "settings.yaml", ["--pairing"]),
        (("sweep", *nb201, *sizes, "--seeds", "0", "--nu", "3"), "settings.yaml", ["--nu"]),
        (("study", "cells", *nb201, *sizes, "--seeds", "0", "--split", "test"),
         "cells-nb201.yaml", ["--split"]),
        (("rank", *nb201, *rank, "--subset-seed", "1"), "settings.yaml", []),
        (("rank", *nb201, *rank, "--capacity-timeout-s", "9"), "settings.yaml",
         ["--capacity-timeout-s"]),
    ):  # fmt: skip
        out = tmp_path / f"{argv[0]}{len(notes)}"
        command_name = argv[:2] if argv[0] == "study" else argv[:1]
        assert status(*argv, "--out", str(out)) == 0
        assert notes_of(capsys) == notes
        assert status(*command_name, "--config", str(out / name)) == 0
        assert notes_of(capsys) == []
    config = tmp_path / "search1" / "settings.yaml"
    assert status("search", "--config", str(config), "--gpus-per-worker", "0.5") == 0
    assert notes_of(capsys) == ["--gpus-per-worker"]
    by_hand = tmp_path / "mine.yaml"
    by_hand.write_text("pairing: shared-op\n")
    assert (
        status("search", "--config", str(by_hand), *nb201, *sizes, "--out", str(config.parent)) == 0
    )
    assert notes_of(capsys) == ["--pairing"]


def notes_of(capsys: pytest.CaptureFixture[str]) -> list[str]:
    """The first option of each note."""
    return re.findall("^note: (--[a-z-]+)", capsys.readouterr().err, re.MULTILINE)


def test_settings_that_conflict_are_refused_before_data_are_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = ("--num-samples", "2", "--out", str(tmp_path))
    assert status("search", *TINY, *out) == 0
    capsys.readouterr()
    for flags, message in (
        (("--seed", "1"), "holds samples made with seed=0; asked for seed=1"),
        (("--data", str(tmp_path / "no-such"), "--seed", "1"), "seed=1"),
        (("--data", "CIFAR10"), 'made with data="random"'),
        (("--device", "cuda"), 'asked for device="cuda"'),
    ):
        assert status("search", *TINY, *flags, *out) == 1
        assert message in capsys.readouterr().err


@pytest.mark.usefixtures("blank_pictures")
def test_a_job_ends_with_its_page_or_says_why_not(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    search = ("search", *TINY, "--num-samples", "4", "--out", str(tmp_path))
    page = tmp_path / "report.html"
    assert status(*search, "--no-report") == 0
    assert not page.exists()
    assert "page: " not in capsys.readouterr().out
    assert status(*search) == 0
    assert capsys.readouterr().out.splitlines()[-1] == f"page: {page}"
    assert page.read_text().startswith("<!DOCTYPE html>")

    only = "only the page is missing: run the same command again to write it"
    for error, code, told in (
        (StorageError("full; free some"), 75, f"error: full; free some; {only}"),
        (StorageRefusedError("not yours"), 0, "note: no page was written: not yours"),
        (ValueError("no\nengine"), 0, "note: no page was written: no engine"),
    ):

        def fail(job: object, error: Exception = error) -> None:
            raise error

        monkeypatch.setattr(pages_job, "run_report", fail)
        assert status(*search) == code
        out, err = capsys.readouterr()
        assert out.splitlines()[-1].startswith(f"written to {tmp_path}: ")
        assert err.splitlines()[-1] == told


@pytest.mark.integration
def test_a_search_in_this_process_imports_neither_ray_nor_sympy(tmp_path: Path) -> None:
    code = (
        "import contextlib, io, sys\n"
        "from nasi_ray.command import main\n"
        "with contextlib.redirect_stdout(io.StringIO()):  # so that the job runs in this process\n"
        "    assert not main(sys.argv[1:])\n"
        'sys.stderr.write(f\'heavy: {sorted({"ray", "sympy"} & {*sys.modules})}\')\n'
    )
    tiny = ("--batch-size", "2", "--image-size", "8", "--init-channels", "2", "--num-workers", "0")
    search = ("search", "--space", "nb201", *tiny, "--num-samples", "8", "--no-report")
    command = [sys.executable, "-c", code, *search, "--out", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.stderr.endswith("heavy: []"), done.stderr
