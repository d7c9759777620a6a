"""The info command, with the plugin and without."""

import json

import jax
from typer.testing import CliRunner

import jaxconv
from jaxconv._core.methods import METHODS, onednn
from jaxconv.cli.app import app


def _info(*arguments):
    result = CliRunner().invoke(app, ["info", *arguments])
    assert (result.exit_code, result.stderr) == (0, "")
    return result.stdout


def test_json_names_versions_devices_and_methods():
    found = json.loads(_info("--json"))
    assert found["packages"]["jaxconv"] == jaxconv.__version__
    assert found["packages"]["jax"] == jax.__version__
    assert len(found["devices"]) == len(jax.devices())
    assert list(found["methods"]) == list(METHODS)
    assert found["methods"]["lax"] == {
        "summary": "XLA's own convolution",
        "contractions": ["output", "input", "kernel"],
        "available": True,
        "needs": "",
        "note": None,
    }


def test_why_a_method_is_not_available(monkeypatch):
    monkeypatch.setattr(onednn, "plugin", lambda: "the plugin jaxconv-onednn is not installed")
    assert json.loads(_info("--json"))["methods"]["onednn"] == {
        "summary": "oneDNN and own kernels in C++, where jaxconv-onednn is installed",
        "contractions": ["output", "input", "kernel"],
        "available": False,
        "needs": METHODS["onednn"].needs,
        "note": "the plugin jaxconv-onednn is not installed",
    }
    assert "no: the plugin jaxconv-onednn" in " ".join(_info().split())
