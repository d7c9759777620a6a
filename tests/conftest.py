"""Settings of the whole suite: strict promotion, eight CPU devices, checked types below floor 4."""

import jax
from jaxtyping import install_import_hook

jax.config.update("jax_num_cpu_devices", 8)
jax.config.update("jax_numpy_dtype_promotion", "strict")

# The inner floors have exact signatures: beartype holds every call of the suite against them.
CHECKED = tuple(f"jaxconv.{m}" for m in ("shapes", "spec", "reference", "methods", "choose"))
install_import_hook(CHECKED, "beartype.beartype")
