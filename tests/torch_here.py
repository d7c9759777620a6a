"""torch, for modules of tests that all compare with it: skipped, with a line, where it is missing.

Single tests take the fixture `torch`.
"""

import pytest

REASON = "torch is not installed: python tests/install_torch.py"

torch = pytest.importorskip("torch", reason=REASON)
