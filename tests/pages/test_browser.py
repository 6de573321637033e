"""A page in a browser: it draws without an error, and its cell is Python's."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

import nasi_ray
from nasi_ray.pages.html import to_html
from nasi_ray.pages.job import parts_of
from nasi_ray.search.run import Run
from nasi_ray.spaces import Genotype
from nasi_ray.spaces.base import Architecture
from nasi_ray.spaces.darts import input_names
from nasi_ray.spaces.nb201 import NB201Architecture
from nasi_ray.storage import LocalStorage
from nasi_ray.training.metrics import COLUMNS, write_metrics
from tests.pages.runs import HOSTILE, make_run, make_sweep

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(
        CHROMIUM is None or DRIVER is None,
        reason="there is no chromium and chromedriver; apt-get install chromium chromium-driver",
    ),
]

_FLAGS = (
    *("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
    "--disable-dev-shm-usage",
)


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[webdriver.Chrome]:
    options = webdriver.ChromeOptions()
    options.binary_location = str(CHROMIUM)
    for flag in (*_FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('chromium')}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(str(DRIVER)))
    yield driver
    driver.quit()


def opened(browser: webdriver.Chrome, uri: str, *, width: int = 1280) -> dict[str, Any]:
    """Open the page of a run; returns its data."""
    page = Path(uri) / "report.html"
    page.write_bytes(to_html(parts_of(uri)))
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    browser.get(page.as_uri())
    wait(lambda: browser.execute_script("return document.documentElement.dataset.drawn"))
    data: dict[str, Any] = json.loads(
        browser.execute_script("return document.getElementById('page-data').textContent")
    )
    return data


def wait(condition: Any, seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "the page did not get there"
        time.sleep(0.05)


def problems(browser: webdriver.Chrome) -> list[str]:
    return [entry["message"] for entry in browser.get_log("browser")]  # type: ignore[no-untyped-call]


def cell_of(browser: webdriver.Chrome, space: str) -> Architecture:
    """The cell that the page shows."""
    form = browser.find_element(By.CSS_SELECTOR, ".explorer")
    rows = json.loads(form.get_attribute("data-cell") or "[]")
    if space == "nb201":
        return NB201Architecture(tuple(row["op"] for row in rows))
    if space == "darts":
        names, concat = input_names(4), (2, 3, 4, 5)
        normal, reduce = (
            tuple((r["op"], names.index(r["sources"][0])) for r in rows if r["cell"] == cell)
            for cell in ("normal", "reduce")
        )
        return Genotype(normal=normal, normal_concat=concat, reduce=reduce, reduce_concat=concat)
    from nasi_ray.spaces.nb1shot1 import NB1Shot1Architecture

    blocks = ["input", *(row["target"] for row in rows)]
    parents = tuple(tuple(blocks.index(name) for name in row["sources"]) for row in rows)
    return NB1Shot1Architecture(parents=parents, ops=tuple(row["op"] for row in rows[:-1]))


def type_into(browser: webdriver.Chrome, name: str, text: str) -> None:
    field = browser.find_element(By.CSS_SELECTOR, f".explorer .{name}")
    field.send_keys(Keys.CONTROL, "a")
    field.send_keys(text)


def make_training(path: Path) -> str:
    rows = [dict.fromkeys(COLUMNS, float(epoch)) | {"epoch": epoch} for epoch in (1, 2, 3)]
    write_metrics(LocalStorage(path), rows)
    return str(path)


def make_study(path: Path) -> str:
    content = {"schema": "nasi_ray.study/2", "command": "nasi-ray study x " * 20, "runs": []}
    (path / "table2.json").write_text(json.dumps(content))
    wide = " | ".join(["a long heading"] * 20)
    (path / "table2.md").write_text(f"# T\n\n| {wide} |\n|---|\n| {wide} |\n")
    return str(path)


@pytest.mark.parametrize("width", [390, 1280, 1920])
@pytest.mark.parametrize(
    "make", [partial(make_run, worker=HOSTILE), make_sweep, make_training, make_study]
)
def test_all_figures_are_drawn_without_an_error(
    browser: webdriver.Chrome, tmp_path: Path, make: Callable[[Path], str], width: int
) -> None:
    data = opened(browser, make(tmp_path), width=width)
    for figure in data["figures"]:
        marks = browser.find_elements(By.CSS_SELECTOR, f"#{figure} svg g.mark-group path")
        assert len(marks) > 1, figure
    assert problems(browser) == []
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width


@pytest.mark.parametrize("space", ["darts", "s1", "nb201"])
@pytest.mark.parametrize(
    "settings",
    [
        {"method": "fix", "normalize": "max"},
        {"method": "ada", "normalize": "max", "nu": 300.0},
        {"method": "fix", "normalize": "each", "nu": "q40", "norm_epsilon": 0.5, "xi": 3.0},
        {"method": "fix", "normalize": "each", "nu": "sweep"},
    ],
)
def test_the_replayed_cell_is_pythons(
    browser: webdriver.Chrome, tmp_path: Path, space: str, settings: dict[str, Any]
) -> None:
    uri = make_run(tmp_path, space=space, num_samples=40, **settings)
    opened(browser, uri)
    run = Run.open(uri)
    assert cell_of(browser, space) == run.cell(**{"nu": 20.0, "mu": 2.0} | settings)
    seen = set()
    for nu, mu in (("5", "2"), ("12.5", "0.5"), ("31", "3"), ("1e9", "2"), ("0", "1")):
        type_into(browser, "nu", nu)
        type_into(browser, "mu", mu)
        asked = settings | {"nu": float(nu), "mu": float(mu)}
        expected = run.cell(**asked)
        wait(lambda e=expected: cell_of(browser, space) == e, 3)
        seen.add(expected.to_string())
    assert len(seen) > 1
    browser.find_element(By.CSS_SELECTOR, ".explorer .reset").click()
    assert cell_of(browser, space) == run.cell(**{"nu": 20.0, "mu": 2.0} | settings)
    assert problems(browser) == []


def test_the_number_of_samples_is_moved_by_keys(browser: webdriver.Chrome, tmp_path: Path) -> None:
    uri = make_run(tmp_path, num_samples=40)
    data = opened(browser, uri)
    (explorer,) = data["explorers"].values()
    numbers = [step["label"] for step in explorer["steps"]]
    slider = browser.find_element(By.CSS_SELECTOR, ".explorer .step")
    for number in numbers[-2::-1]:
        slider.send_keys(Keys.ARROW_LEFT)
        expected = Run.open(uri).cell(num_samples=number, nu=20.0)
        wait(lambda e=expected: cell_of(browser, "darts") == e, 3)
    found = browser.find_element(By.CSS_SELECTOR, ".explorer .found").text
    assert found.startswith(f"T {numbers[0]}: another cell; ")


def test_a_seed_can_be_chosen(browser: webdriver.Chrome, tmp_path: Path) -> None:
    tiny = {"batch_size": 2, "image_size": 8, "init_channels": 2, "num_cells": 3, "num_workers": 0}
    out = str(tmp_path)
    nasi_ray.sweep("nb201", seeds=range(3), num_samples=4, out=out, progress=None, **tiny)
    opened(browser, out)
    content = json.loads((tmp_path / "sweep.json").read_text())["combinations"][0]
    assert cell_of(browser, "nb201").to_string() == content["consensus"]["architecture"]
    options = browser.find_elements(By.CSS_SELECTOR, ".explorer option")
    for option, search in zip(options, content["searches"], strict=False):
        option.click()
        wait(lambda s=search: cell_of(browser, "nb201").to_string() == s["architecture"], 3)
    assert problems(browser) == []


def test_controls_have_names_and_the_keyboard_reaches_them(
    browser: webdriver.Chrome, tmp_path: Path
) -> None:
    opened(browser, make_run(tmp_path))
    unnamed = browser.execute_script(
        "return [...document.querySelectorAll('input, select, button')].filter(c =>"
        " !c.labels?.length && !c.ariaLabel && !c.textContent.trim()).map(c => c.outerHTML)"
    )
    assert unnamed == []
    browser.find_element(By.TAG_NAME, "body").send_keys(Keys.TAB)
    assert browser.switch_to.active_element.text == "Skip to the content"
