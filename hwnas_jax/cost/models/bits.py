"""What precision costs: products of single bits, and the size of the stored parameters.

Both are sums over the operations of a network. Their expectation over independent choices is exact,
because the weight bits and the activation bits of a layer are chosen independently.

References: Cai and Vasconcelos, "Rethinking Differentiable Search for Mixed-Precision Neural
Networks" (EdMIPS), CVPR 2020 (section 4.3).
"""

from hwnas_jax.nn.quantise import FULL
from hwnas_jax.spaces.base import Operation, Space
from hwnas_jax.spaces.core.terms import Terms, sum_terms

BIT_METRICS = ("bit_operations", "size_kib")
_BITS_OF_KIB = 8 * 1024


def bit_operations(operation: Operation) -> int:
    """Returns products of single bits for one image; at full precision factors have 32 bits."""
    own = operation.bit_operations
    return operation.macs * FULL**2 if own is None else own


def size_bits(operation: Operation) -> int:
    """Returns the bits of the stored parameters; at full precision each has 32."""
    return operation.params * FULL if operation.size_bits is None else operation.size_bits


def has_bits(space: Space) -> bool:
    """Returns whether a space has operations of few bits."""
    operations = space.operations()[0].values()
    return any(operation.bit_operations is not None for operation in operations)


def bit_terms(space: Space) -> dict[str, Terms]:
    """Returns `BIT_METRICS` as sums over the gates; empty unless `has_bits`."""
    if not has_bits(space):
        return {}
    operations = space.operations()[0]
    return {
        "bit_operations": sum_terms(
            space, {name: bit_operations(op) for name, op in operations.items()}
        ),
        "size_kib": sum_terms(
            space, {name: size_bits(op) / _BITS_OF_KIB for name, op in operations.items()}
        ),
    }
