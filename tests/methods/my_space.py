"""A space from a user's own file: three dense blocks, for images of two by two grey pixels."""

from tests.search.dense import DenseSpace


class DenseBlocks(DenseSpace):
    """Three decisions, a supernet that compiles in a moment."""

    name = "dense_blocks"
    summary = "three dense blocks"

    def __init__(self, input_shape, num_outputs):
        self.input_shape, self.num_outputs, self.args = tuple(input_shape), num_outputs, {}
