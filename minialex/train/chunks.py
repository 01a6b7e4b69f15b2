"""A batch at once, or in chunks of it where memory is short.

The loss is a mean over the N images of the batch, so its gradient is a sum with one term per image,
and may be summed in parts: for chunks of n_1, n_2 ... images with mean losses L_1, L_2 ...,

    L = sum over k of (n_k / N) L_k         dL/dtheta = sum over k of (n_k / N) dL_k/dtheta

Chunks are taken in order, so the result does not depend on anything but their size, and on that
only in the last digits: the same numbers are added in another order.  A layer that needs the whole
batch, such as a batch normalization, makes chunks impossible.
"""

from collections.abc import Generator
from typing import Any

from minialex.attach import mixers
from minialex.errors import ConfigError
from minialex.layers.layer import Layer
from minialex.optimizer import Optimizer
from minialex.params import Params


class Chunks:
    """Parts of at most `size` images of batches of up to `batch_size`, for `optimizer`'s gradient.

    Raises ConfigError for several parts of a model that has a layer which needs the whole batch.
    """

    def __init__(self, model: Layer, optimizer: Optimizer, size: int, batch_size: int):
        if size < batch_size and (whole := list(mixers(model))):
            raise ConfigError(f"a batch cannot be taken in chunks: {whole[0]} needs all its images")
        self.size, self.optimizer, self.most = size, optimizer, -(-batch_size // size)
        self.part_grad = Params()
        self.part: Any = None  # a vector as long as the gradient, made when it is needed

    def of(self, N: int) -> Generator[tuple[slice, float, Params]]:
        """(images, their share of the batch, the grad for backward to write to), part by part.

        The gradient of the first part replaces the last batch's, those of the others are added to
        it when the next part is asked for.
        """
        if self.part is None and self.size < N:
            self.part = self.optimizer.zeros()
            self.part_grad = self.optimizer.views(self.part)
        for start in range(0, N, self.size):
            images = slice(start, min(N, start + self.size))
            share = (images.stop - start) / N
            yield images, share, self.optimizer.grad if start == 0 else self.part_grad
            if start > 0:
                self.optimizer.g += self.part
