"""The loop's own step, on one batch and without moving the parameters."""

from minialex.losses import softmax_cross_entropy
from minialex.optim import SGD
from minialex.train.loop import Training
from minialex.train.memory import Chunks
from minialex.train.progress import Meter, Progress


class BatchGradient:
    """`of_batch(x, labels, step)`: loss and right answers; the gradient is then in `of_batch.g`."""

    step = Training.step

    def __init__(self, model, chunk, N, label_smoothing=0.0, loss=softmax_cross_entropy):
        self.net = model
        self.model, self.optimizer = model, SGD(model, lr=0.0)
        self.chunks = Chunks(model, self.optimizer, chunk, N)
        self.meter = Meter(self.optimizer.theta, self.chunks.most)
        self.loss, self.label_smoothing = loss, label_smoothing

    def steps_done(self):
        return self.number

    def learning_rate(self):
        return 0.0

    def __call__(self, x, labels, step):
        self.number, progress = step, Progress()
        self.step(x, labels)
        self.meter.read_back(progress)
        return progress.means()[0], progress.sums[1]

    @property
    def g(self):
        return self.optimizer.g
