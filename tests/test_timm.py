"""timm's ``nasi_cell``: the network of the weights, or of a directory, as timm asks for it."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import timm
import torch
from timm.data.config import resolve_data_config

import nasi_ray.timm
from nasi_ray.errors import ConfigError, DataError
from nasi_ray.export.job import run_export
from nasi_ray.export.programs import fixed_images
from nasi_ray.export.settings import ExportJob
from nasi_ray.storage import open_storage
from nasi_ray.training.model import load_model, save_model
from tests.training.models import tiny_config, trained

CONFIG = tiny_config(auxiliary=True)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    save_model(open_storage(str(tmp_path)), trained(CONFIG).state_dict(), CONFIG)
    return tmp_path


def test_a_checkpoint_says_of_what_network_it_is(run: Path) -> None:
    net = timm.create_model("nasi_cell", checkpoint_path=str(run / "model.safetensors")).eval()
    x = fixed_images(CONFIG, 2)
    assert torch.equal(net(x), load_model(open_storage(str(run)))[0](x))
    assert vars(net)["num_classes"] == 3
    data = resolve_data_config(model=net)
    assert tuple(data["input_size"]) == (3, 8, 8)
    assert tuple(data["mean"]) == CONFIG.mean
    assert "nasi_cell" in timm.list_models()


def test_settings_hold_for_a_checkpoint_too(run: Path) -> None:
    path = str(run / "model.safetensors")
    net = timm.create_model("nasi_cell", checkpoint_path=path, drop_path_rate=0.3, num_classes=3)
    assert net.drop_path_prob == pytest.approx(0.3)
    with pytest.raises(ConfigError, match="num_classes is 7, and the checkpoint has 3 classes"):
        timm.create_model("nasi_cell", checkpoint_path=path, num_classes=7)
    with pytest.raises(ConfigError, match="in_chans is 1"):
        timm.create_model("nasi_cell", checkpoint_path=path, in_chans=1)


def test_images_are_prepared_as_they_were_in_the_tests(run: Path) -> None:
    data = resolve_data_config(pretrained_cfg=CONFIG.to_timm())
    assert (data["crop_pct"], data["interpolation"]) == (1.0, "bilinear")
    cropped = dataclasses.replace(CONFIG, crop_pct=0.875)
    save_model(open_storage(str(run)), trained(CONFIG).state_dict(), cropped)
    net = timm.create_model("nasi_cell", checkpoint_path=str(run / "model.safetensors"))
    data = resolve_data_config(model=net)
    assert (data["crop_pct"], data["interpolation"]) == (0.875, "bilinear")


def test_an_exported_directory_is_a_model_of_timm(run: Path) -> None:
    run_export(ExportJob(run=str(run), formats=()))
    where = f"local-dir:{run / 'export'}"
    net = timm.create_model(where, pretrained=True).eval()
    x = fixed_images(CONFIG, 2)
    expected = load_model(open_storage(str(run)))[0]
    assert torch.equal(net(x), expected(x))
    other = timm.create_model(where, pretrained=True, num_classes=7, drop_path_rate=0.1)
    assert other.drop_path_prob == pytest.approx(0.1)
    assert other.eval()(x).shape == (2, 7)
    weights = other.state_dict()
    for name, tensor in net.state_dict().items():
        assert name.startswith("classifier") or torch.equal(weights[name], tensor)
    other.load_state_dict(other.state_dict())
    with pytest.raises(ConfigError, match="in_chans is 1; the networks of cells take 3"):
        timm.create_model(where, in_chans=1)


def test_weights_that_name_no_network_are_refused() -> None:
    net = nasi_ray.timm.nasi_cell()
    with pytest.raises(ConfigError, match=r"give timm\.create_model a checkpoint_path"):
        net(torch.zeros(1, 3, 8, 8))
    with pytest.raises(DataError, match="do not name their network"):
        net.load_state_dict({})


class _Hub(BaseHTTPRequestHandler):
    """Answers as the Hugging Face Hub does when a file of a model is asked for."""

    folder: Path

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self.wfile.write(self._answer())

    def _answer(self) -> bytes:
        name = self.path.partition("?")[0].removeprefix("/user/name/resolve/main/")
        path = self.folder / name
        is_there = "/" not in name and path.is_file()
        content = path.read_bytes() if is_there else b"{}"
        self.send_response(200 if is_there else 404)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("ETag", f'"{hashlib.sha256(content).hexdigest()}"')
        self.send_header("X-Repo-Commit", "0" * 40)
        if not is_there:
            self.send_header("X-Error-Code", "EntryNotFound")
        self.end_headers()
        return content

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.mark.integration
def test_an_uploaded_export_is_a_model_of_timm(run: Path, tmp_path: Path) -> None:
    run_export(ExportJob(run=str(run), formats=()))
    folder = run / "export"
    hub = ThreadingHTTPServer(("127.0.0.1", 0), type("Hub", (_Hub,), {"folder": folder}))
    threading.Thread(target=hub.serve_forever, daemon=True).start()
    code = (
        "import sys, timm, torch, nasi_ray.timm\n"
        "hub = timm.create_model('hf-hub:user/name', pretrained=True).eval()\n"
        "here = timm.create_model(f'local-dir:{sys.argv[1]}', pretrained=True).eval()\n"
        "x = torch.rand(2, 3, 8, 8)\n"
        "assert torch.equal(hub(x), here(x))\n"
        "other = timm.create_model('hf-hub:user/name', pretrained=True, num_classes=7)\n"
        "assert other(x).shape == (2, 7)\n"
        "sys.stdout.write('equal')\n"
    )
    address = f"http://127.0.0.1:{hub.server_address[1]}"
    apart = {"HF_ENDPOINT": address, "HF_HOME": str(tmp_path / "hub"), "NO_PROXY": "127.0.0.1"}
    command = [sys.executable, "-c", code, str(folder)]
    try:
        done = subprocess.run(
            command, env={**os.environ, **apart}, capture_output=True, text=True, timeout=200
        )
    finally:
        hub.shutdown()
        hub.server_close()
    assert done.stdout == "equal", done.stderr
    assert list((tmp_path / "hub").rglob("model.safetensors"))
