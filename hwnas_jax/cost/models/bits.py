"""What precision costs: products of single bits, and the size of the stored parameters.

Both are sums over the operations of a network, so their expectation over independent choices is
exact: weight bits times activation bits of a layer multiply as the two choices do.

References: Cai and Vasconcelos, "Rethinking Differentiable Search for Mixed-Precision Neural
Networks" (EdMIPS), CVPR 2020 (section 4.3).
"""

from hwnas_jax.nn.quantise import FULL
from hwnas_jax.spaces.base import Operation, Space
from hwnas_jax.spaces.core.terms import Terms, sum_terms

_BITS_OF_KIB = 8 * 1024


def bit_operations(operation: Operation) -> int:
    """Returns products of single bits for one image; both factors have 32 at full precision."""
    counted = operation.bit_operations
    return operation.macs * FULL**2 if counted is None else counted


def size_bits(operation: Operation) -> int:
    """Returns the bits of the stored parameters, 32 each at full precision."""
    return operation.params * FULL if operation.size_bits is None else operation.size_bits


def bit_terms(space: Space) -> dict[str, Terms]:
    """Returns `bit_operations` and `size_kib` as sums over the gates.

    Empty where the space has no operation of few bits.
    """
    operations = space.operations()[0]
    if all(operation.bit_operations is None for operation in operations.values()):
        return {}
    return {
        "bit_operations": sum_terms(
            space, {name: bit_operations(op) for name, op in operations.items()}
        ),
        "size_kib": sum_terms(
            space, {name: size_bits(op) / _BITS_OF_KIB for name, op in operations.items()}
        ),
    }
