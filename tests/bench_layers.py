"""Small layers and a network for the tests of the bench, and its command."""

import pytest
from typer.testing import CliRunner

from jaxconv.bench import cases
from jaxconv.bench.networks.definitions import Network
from jaxconv.bench.numerics import PRECISIONS
from jaxconv.cli.app import app

TINY = cases.Layer(name="tiny", x=(2, 6, 5, 4), w=(3, 3, 2, 6), padding=1, groups=2, quick=True)
DEPTHWISE = cases.depthwise("causal", (2, 12, 16), 4, padding="causal")
NETWORK = Network(
    name="two layers",
    define=lambda layers, x: layers.conv(layers.conv_norm(x, 4, 3), 4, 3),
    image=(6, 6, 4),
)
EVERY_PRECISION = pytest.mark.parametrize("precision", PRECISIONS.values(), ids=PRECISIONS)


def bench(*arguments):
    """Run `jaxconv bench` in this process."""
    return CliRunner().invoke(app, ["bench", *map(str, arguments)])
