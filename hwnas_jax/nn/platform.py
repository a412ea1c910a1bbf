"""Which platform a program is traced for: the default backend, unless another is named."""

import jax

platform = jax.make_user_context()
"""`with platform("tpu"):` traces for a platform that this machine need not have."""


def target_platform() -> str:
    """Returns the platform that the forms of operations are chosen for ("cpu", "gpu", "tpu").

    "onnx" is for export: every operation keeps the form that ONNX has a node for.
    """
    return platform.value or jax.default_backend()
