"""The Triton kernels, as `plain` names them. Importing this module needs Triton."""

from providers.local.engine.compute.kernels.activation import activate
from providers.local.engine.compute.kernels.norms import add_norm
from providers.local.engine.compute.kernels.products import product
from providers.local.engine.compute.kernels.rope import rotate
from providers.local.engine.compute.kernels.splitkv import decode

__all__ = ["activate", "add_norm", "decode", "product", "rotate"]
