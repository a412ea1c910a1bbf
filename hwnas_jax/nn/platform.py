"""The platform that a program is traced for: the default backend, unless another is named."""

import jax

platform = jax.make_user_context()
"""`with platform("tpu"):` traces for a platform that this machine does not need to have."""


def target_platform() -> str:
    """Returns the platform that decides the form of an operation ("cpu", "gpu", "tpu", "onnx").

    "onnx" is for export: every operation then has a form for which ONNX has a node.
    """
    return platform.value or jax.default_backend()
