"""``nasi-ray export``: the files, what is refused, and that no file is written that is wrong."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml

from nasi_ray.errors import ConfigError, DataError, ExportError
from nasi_ray.export import job, settings
from nasi_ray.export.job import export_lines, run_export
from nasi_ray.export.programs import BATCHES, fixed_images
from nasi_ray.export.settings import ExportJob
from nasi_ray.storage import open_storage
from nasi_ray.training.model import ModelConfig, load_model, save_model
from tests.training.models import ARCHITECTURES, tiny_config, trained

RESULT = {
    "top1": 91.2,
    "top5": 99.5,
    "recipe": "quick",
    "data": "cifar10 | of pictures",
    "versions": {"torch": "2.9"},
}


def saved(directory: Path, config: ModelConfig) -> str:
    """A run directory as a training leaves it."""
    storage = open_storage(str(directory))
    save_model(storage, trained(config).state_dict(), config)
    storage.write("result.json", json.dumps(RESULT).encode())
    return str(directory)


def test_weights_configuration_and_card_are_always_written(tmp_path: Path) -> None:
    run = saved(tmp_path / "run", tiny_config("s1"))
    content = run_export(ExportJob(run=run, formats=(), license="mit"))
    out = tmp_path / "run" / "export"
    assert sorted(path.name for path in out.iterdir()) == sorted(content["files"])
    assert json.loads((out / "export.json").read_text()) == json.loads(json.dumps(content))
    _, front, body = (out / "README.md").read_text().split("---\n", 2)
    card = yaml.safe_load(front)
    assert card["license"] == "mit"
    metrics = card["model-index"][0]["results"][0]["metrics"]
    assert [metric["value"] for metric in metrics] == [91.2, 99.5]
    assert "| data | cifar10 \\| of pictures |" in body
    assert "0;0,1;0,1;0,1;0,1|3,1,m,3" in body
    assert f"| parameters | {content['parameters']:,} |" in body
    assert "model.py" not in body


def test_the_auxiliary_tower_is_left_out(tmp_path: Path) -> None:
    config = tiny_config(auxiliary=True)
    run = saved(tmp_path / "run", config)
    content = run_export(ExportJob(run=run, formats=("python",), out=str(tmp_path / "out")))
    assert content["differences"] == {"python": 0.0}
    whole, (net, exported) = (
        load_model(open_storage(run))[0],
        load_model(open_storage(str(tmp_path / "out"))),
    )
    assert not exported.auxiliary
    assert not any(name.startswith("auxiliary") for name in net.state_dict())
    x = fixed_images(config, 2)
    assert torch.equal(net(x), whole(x))
    assert {"cell.svg", "cell.png", "model.py"} <= set(content["files"])
    lines = export_lines(content)
    assert "model.py  0.0e+00" in lines
    assert lines.endswith("export.json, README.md")


def test_weights_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    config = tiny_config("s1")
    tensors = trained(config).state_dict()
    tensors["classifier.bias"][0] = torch.nan
    save_model(open_storage(str(tmp_path)), tensors, config)
    with pytest.raises(DataError, match=r"classifier\.bias in .* not finite"):
        run_export(ExportJob(run=str(tmp_path)))
    assert not (tmp_path / "export").exists()


def test_a_file_that_computes_something_else_is_not_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = saved(tmp_path / "run", tiny_config("s1"))
    broken = (b"source", lambda x: torch.full((len(x), 3), torch.nan))
    monkeypatch.setattr(job, "python_program", lambda net, config: broken)
    with pytest.raises(ExportError, match=r"model\.py differs from the network by nan"):
        run_export(ExportJob(run=run, formats=("python",)))
    out = tmp_path / "run" / "export"
    assert {p.name for p in out.iterdir()} == {"model.safetensors", "model.json", "config.json"}


def test_what_cannot_be_exported_is_refused_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"has no model\.json"):
        run_export(ExportJob(run=str(tmp_path)))
    run = saved(tmp_path / "run", tiny_config("s1"))
    with pytest.raises(ConfigError, match="out is the run directory"):
        run_export(ExportJob(run=run, out=f"{run}/../run", formats=()))
    with pytest.raises(ConfigError, match=r"license is 'my own'; give an identifier"):
        ExportJob(run=run, license="my own")
    open_storage(run).write("result.json", b"{")
    with pytest.raises(DataError, match=r"result\.json is not JSON"):
        run_export(ExportJob(run=run, formats=()))


def test_a_run_without_figures_says_so(tmp_path: Path) -> None:
    run = saved(tmp_path / "run", tiny_config("nb201"))
    open_storage(run).delete("result.json")
    run_export(ExportJob(run=run, formats=()))
    card = (tmp_path / "run" / "export" / "README.md").read_text()
    assert "| accuracy | not stated by the run |" in card
    assert "model-index" not in card


def test_a_missing_package_is_named_before_anything_is_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(settings, "find_spec", lambda name: None if name == "onnx" else object())
    with pytest.raises(ConfigError, match=r"onnx needs onnx; .*pip install 'nasi_ray\[export\]'"):
        ExportJob(run="nowhere", formats=("python", "onnx"))
    assert ExportJob(run="nowhere", formats=("python", "pt2")).target == "nowhere/export"
    possible = ExportJob(run="runs/x")
    assert possible.formats == ("python", "pt2")
    assert possible.left_out == (
        "onnx is left out; it needs onnx: install it with pip install 'nasi_ray[export]'"
    )
    assert ExportJob(run="runs/x", formats=("python",)).left_out == ""


ALONE = """
import sys
sys.modules["nasi_ray"] = None
import torch
import model
net = model.load()
torch.save([net(x) for x in torch.load("inputs.pt")], "outputs.pt")
program = torch.export.load("model.pt2").module()
torch.save([program(x) for x in torch.load("inputs.pt")], "program.pt")
assert not [name for name in sys.modules if name.startswith("nasi_ray.")]
"""


@pytest.mark.integration
@pytest.mark.parametrize(
    "space",
    ["darts", *(pytest.param(s, marks=pytest.mark.slow) for s in ARCHITECTURES if s != "darts")],
)
def test_all_formats_are_loaded_where_this_package_is_not(tmp_path: Path, space: str) -> None:
    config = tiny_config(space, auxiliary=space == "darts")
    run, out = saved(tmp_path / "run", config), tmp_path / "out"
    done = subprocess.run(
        [sys.executable, "-m", "nasi_ray", "export", run, "--out", str(out)],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "model.onnx" in done.stdout
    assert json.loads((out / "export.json").read_text())["differences"]["onnx"] < 1e-4
    inputs = [fixed_images(config, batch) for batch in BATCHES]
    torch.save(inputs, out / "inputs.pt")
    subprocess.run([sys.executable, "-c", ALONE], cwd=out, check=True)
    net, _ = load_model(open_storage(run))
    for name in ("outputs.pt", "program.pt"):
        for found, x in zip(torch.load(out / name), inputs, strict=True):
            torch.testing.assert_close(found, net(x), rtol=1e-5, atol=1e-5)


@pytest.mark.integration
def test_onnx_takes_batches_of_any_size(tmp_path: Path) -> None:
    import onnxruntime

    config = tiny_config(num_cells=1)
    run = saved(tmp_path / "run", config)
    run_export(ExportJob(run=run, formats=("onnx",)))
    session = onnxruntime.InferenceSession(tmp_path / "run" / "export" / "model.onnx")
    net, _ = load_model(open_storage(run))
    for batch in (1, 2, 7):
        x = fixed_images(config, batch)
        (logits,) = session.run(["logits"], {"images": x.numpy()})
        torch.testing.assert_close(torch.from_numpy(logits), net(x), rtol=1e-4, atol=1e-4)
    about = session.get_modelmeta().custom_metadata_map
    assert (
        ModelConfig.from_dict(json.loads(about["model.json"])) == load_model(open_storage(run))[1]
    )
