"""How weights follow their gradient, in a search and in training."""

import optax

# Adam's square root has no derivative at zero, and second-order search goes through it.
_UNDER_ROOT = 1e-16


def make_weight_optimizer(
    name: str, schedule: optax.Schedule, *, weight_decay: float
) -> optax.GradientTransformation:
    """Returns SGD with Nesterov momentum 0.9 and decay in the gradient, or AdamW with it outside.

    AdamW: Loshchilov and Hutter, ICLR 2019; its decay is multiplied by the learning rate alone.

    Args:
      name: "sgd" or "adamw".
      schedule: the learning rate by step.
      weight_decay: of all weights.
    """
    if name == "adamw":
        return optax.adamw(schedule, eps_root=_UNDER_ROOT, weight_decay=weight_decay)
    return optax.chain(
        optax.add_decayed_weights(weight_decay), optax.sgd(schedule, momentum=0.9, nesterov=True)
    )
