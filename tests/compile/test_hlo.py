"""The reader of program texts, against closed forms."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh, PartitionSpec

from hwnas_jax.compile.hlo import tally

TEXT = """\
HloModule toy, is_scheduled=true

%sum (a: f32[], b: f32[]) -> f32[] {
  %a = f32[]{:T(128)} parameter(0)
  %b = f32[]{:T(128)} parameter(1)
  ROOT %add = f32[]{:T(128)} add(%a, %b), backend_config={"estimated_cycles":"9999"}
}

%fused (p: f32[8,8,8,16], w: f32[3,3,16,16]) -> f32[8,8,8,16] {
  %p = f32[8,8,8,16]{3,0,2,1:T(8,128)} parameter(0)
  %w = f32[3,3,16,16]{3,2,1,0:T(8,128)} parameter(1)
  %zero = f32[8,8,8,16]{3,0,2,1:T(8,128)} broadcast(%p), backend_config={"estimated_cycles":"777"}
  ROOT %conv = f32[8,8,8,16]{3,0,2,1:T(8,128)S(1)} convolution(%p, %w), window={size=3x3 pad=1_1x1_1}, dim_labels=b01f_01io->b01f
}

%cheap (t: (f32[8,8,8,16], f32[3,3,16,16])) -> f32[8,8,8,16] {
  %t = (f32[8,8,8,16]{3,2,1,0:T(8,128)}, /*index=1*/f32[3,3,16,16]{3,2,1,0:T(8,128)}) parameter(0)
  ROOT %g = f32[8,8,8,16]{3,2,1,0} get-tuple-element(%t), index=0, backend_config={"estimated_cycles":"50"}
}

%dear (t2: (f32[8,8,8,16], f32[3,3,16,16])) -> f32[8,8,8,16] {
  %t2 = (f32[8,8,8,16]{3,2,1,0:T(8,128)}, f32[3,3,16,16]{3,2,1,0:T(8,128)}) parameter(0)
  %x = f32[8,8,8,16]{3,2,1,0} get-tuple-element(%t2), index=0
  %y = f32[3,3,16,16]{3,2,1,0} get-tuple-element(%t2), index=1
  %r = f32[100]{0:T(128)} all-reduce(%x), channel_id=1, to_apply=%sum
  ROOT %fusion = f32[8,8,8,16]{3,0,2,1:T(8,128)} fusion(%x, %y), kind=kOutput, calls=%fused, backend_config={"estimated_cycles":"40"}
}

%body (s: (s32[], f32[8,8,8,16])) -> (s32[], f32[8,8,8,16]) {
  %s = (s32[]{:T(128)}, f32[8,8,8,16]{3,0,2,1:T(8,128)}) parameter(0)
  %c = f32[8,8,8,16]{3,0,2,1:T(8,128)} conditional(%i, %u, %u), branch_computations={%cheap, %dear}
  %start = f32[7]{0} all-reduce-start(%s), to_apply=%sum
  %done = f32[7]{0} all-reduce-done(%start)
  ROOT %tuple = (s32[]{:T(128)}, f32[8,8,8,16]{3,0,2,1:T(8,128)}) tuple(%i, %c)
}

%condition (s2: (s32[], f32[8,8,8,16])) -> pred[] {
  %five = s32[]{:T(128)} constant(5)
  %s2 = (s32[]{:T(128)}, f32[8,8,8,16]{3,0,2,1:T(8,128)}) parameter(0)
  %i2 = s32[]{:T(128)} get-tuple-element(%s2), index=0
  ROOT %lt = pred[]{:T(512)} compare(%i2, %five), direction=LT
}

ENTRY %main (x0: f32[8,8,8,16]) -> f32[8,8,8,16] {
  %x0 = f32[8,8,8,16]{3,2,1,0:T(8,128)} parameter(0)
  %copy = f32[8,8,8,16]{3,0,2,1:T(8,128)} copy(%x0), backend_config={"estimated_cycles":"3"}
  ROOT %while = (s32[]{:T(128)}, f32[8,8,8,16]{3,0,2,1:T(8,128)}) while(%copy), condition=%condition, body=%body
}
"""  # noqa: E501


def test_loops_multiply_and_the_dearest_branch_counts():
    """3x3 on 8x8 with padding reads 22 of 24 places a line: 3 * 8 less one at each end."""
    assert tally(TEXT) == {
        "flops": 5 * 2 * 8 * 22 * 22 * 16 * 16,
        "cycles": 3 + 5 * 50,
        "all-reduce": 5 * 2,
        "all-reduce bytes": 5 * (400 + 28),
    }


def test_a_loop_of_unknown_length_counts_once_and_is_told():
    found = tally(TEXT.replace("direction=LT", "direction=NE"))
    assert found["unknown loops"] == 1
    assert found["all-reduce"] == 2


def test_text_without_a_program_is_refused():
    with pytest.raises(ValueError, match="no program text"):
        tally("nothing")


def places(size, taps, stride, dilation):
    """Returns how many taps of how many outputs read inside the image, one axis, counted out."""
    pad = dilation * (taps // 2)
    outputs = (size + 2 * pad - dilation * (taps - 1) - 1) // stride + 1
    return sum(
        0 <= out * stride - pad + tap * dilation < size
        for out in range(outputs) for tap in range(taps)
    )  # fmt: skip


@pytest.mark.parametrize(
    ("size", "taps", "stride", "dilation"), [(8, 3, 1, 1), (9, 5, 2, 1), (7, 3, 1, 2), (8, 1, 1, 1)]
)
def test_convolutions_and_their_gradients(size, taps, stride, dilation):
    """Value and both gradients of a convolution are as many multiply-adds each."""
    pad = dilation * (taps // 2)

    def convolve(x, w):
        return jax.lax.conv_general_dilated(
            x, w, (stride, stride), ((pad, pad), (pad, pad)), rhs_dilation=(dilation, dilation),
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
        )  # fmt: skip

    def both(x, w, g):
        y, back = jax.vjp(convolve, x, w)
        return y, *back(g)

    x, w = jnp.ones((2, size, size, 4)), jnp.ones((taps, taps, 4, 6))
    lowered = jax.jit(both).lower(x, w, convolve(x, w))
    text = lowered.compiler_ir("hlo").as_hlo_text()
    expected = 2 * 2 * 4 * 6 * places(size, taps, stride, dilation) ** 2
    assert tally(text)["flops"] == 3 * expected


def test_products_inside_scans_and_switches():
    def run(x, index):
        def one(x, _):
            branches = [lambda v: v, lambda v: v @ v, lambda v: v @ v @ v]
            return jax.lax.switch(index, branches, x), None

        return jax.lax.scan(one, x, None, length=7)[0]

    lowered = jax.jit(run).lower(jnp.ones((32, 32)), 1)
    found = tally(lowered.compiler_ir("hlo").as_hlo_text())
    assert found["flops"] == 7 * 2 * 2 * 32**3
    assert not found["unknown loops"]


def test_collectives_of_a_compiled_program():
    mesh = Mesh(np.array(jax.devices()), ("d",))

    def local(x):
        def one(x, _):
            return x + jax.lax.pmean(x, "d"), None

        return jax.lax.scan(one, x, None, length=3)[0]

    split = PartitionSpec("d")
    function = jax.jit(
        jax.shard_map(local, mesh=mesh, in_specs=split, out_specs=split, check_vma=False)
    )
    found = tally(function.lower(np.ones((8, 10), np.float32)).compile().as_text())
    assert (found["all-reduce"], found["all-reduce bytes"]) == (3, 3 * 40)
