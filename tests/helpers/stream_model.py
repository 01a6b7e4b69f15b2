"""A model of a GPU's streams, to find out whether a program waits for all that it must wait for.

Orders (a copy, a mark, a wait, a read by a kernel) queue up in streams and are carried out later:
those of one stream in turn, those of different streams in any order that the waits between them
allow.  A *schedule* decides how far each stream has come whenever the host does something.  CUDA
allows them all, so a program must compute the same under each; the emulated GPU knows one schedule
only.
"""

import collections
import random
import sys
from types import ModuleType, SimpleNamespace

import numpy as np

from minialex.train import prefetch


class Order:
    """Something that a stream was told to do, once `after` is done."""

    def __init__(self, action=None, after=None):
        self.action, self.after, self.done = action, after, False


class Stream:
    """A queue of orders."""

    def __init__(self, world):
        self.world, self.queue = world, []
        world.streams.append(self)

    def tell(self, action=None, after=None):
        self.queue.append(Order(action, after))
        order = self.queue[-1]
        self.world.go_on()
        return order

    def wait_event(self, event):
        self.tell(after=event.mark)

    def synchronize(self):
        while self.queue:
            self.world.carry_out(self.queue[0])

    def is_ready(self):
        return bool(self.queue) and (self.queue[0].after is None or self.queue[0].after.done)

    def advance(self):
        """Carry out the first order, which is ready."""
        order = self.queue.pop(0)
        if order.action:
            order.action()
        order.done = True


class Event:
    """A mark in a stream."""

    def __init__(self, world):
        self.world, self.mark = world, None

    def record(self, stream):
        self.mark = stream.tell()

    @property
    def done(self):
        self.world.go_on()
        return self.mark is None or self.mark.done

    def synchronize(self):
        self.world.carry_out(self.mark)


class Memory(np.ndarray):
    """Memory of the device, as bytes or in any view."""

    def set(self, source, stream):
        stream.tell(lambda: np.copyto(self, source))


class World:
    """The streams, and `schedule(world)`, which lets some of them advance."""

    def __init__(self, schedule):
        self.streams, self.schedule = [], schedule
        self.compute = Stream(self)
        self.blocks, self.given = collections.defaultdict(list), collections.Counter()

    def go_on(self):
        self.schedule(self)

    def run(self, streams, most=10**9):
        """Advance these as far as they can, or by so many orders."""
        for _ in range(most):
            ready = [stream for stream in streams if stream.is_ready()]
            if not ready:
                return
            ready[0].advance()

    def carry_out(self, order):
        """Do `order`, and what must come before it, but nothing else."""
        while order is not None and not order.done:
            stream = next(s for s in self.streams if order in s.queue)
            if stream.is_ready():
                stream.advance()
            else:
                self.carry_out(stream.queue[0].after)

    def allocate(self, kind, shape, dtype):
        """Memory, full of 0xFF when it is new."""
        blocks, number = self.blocks[kind, shape], self.given[kind, shape]
        if number == len(blocks):
            blocks.append(np.full(shape, 0xFF, dtype).view(kind))
        self.given[kind, shape] += 1
        return blocks[number]

    def free_all(self):
        """What was allocated until now is free and will be given out again, as CuPy's pool does."""
        self.given.clear()

    def modules(self):
        """What stands for the modules cupy and cupyx."""
        cupy, cupyx = ModuleType("cupy"), ModuleType("cupyx")
        cupy.empty = lambda shape, dtype: self.allocate(Memory, shape, dtype)
        cupy.cuda = SimpleNamespace(
            get_current_stream=lambda: self.compute,
            Stream=lambda non_blocking: Stream(self),
            Event=lambda disable_timing: Event(self),
        )
        cupyx.empty_pinned = lambda shape, dtype: self.allocate(np.ndarray, shape, dtype)
        return {"cupy": cupy, "cupyx": cupyx}


def at_random(seed):
    """A schedule that lets streams advance by chance."""
    rng = random.Random(seed)

    def schedule(world):
        for _ in range(rng.randrange(6)):
            world.run([rng.choice(world.streams)], most=1)

    return schedule


SCHEDULES = {
    "at once": lambda world: world.run(world.streams),
    "as late as possible": lambda world: None,
    "computation late": lambda world: world.run(world.streams[1:]),
    "copies late": lambda world: world.run(world.streams[:1]),
    **{f"by chance {seed}": at_random(seed) for seed in range(20)},
}


def reserve_at_once(slot, size):
    """Slot.reserve without the mark that the copy waits for."""
    slot.pinned, slot.memory = (
        sys.modules["cupyx"].empty_pinned((size,), np.uint8),
        sys.modules["cupy"].empty(size, np.uint8),
    )


# What to patch, and how, to take a wait of the program away.
BUGS = {
    "computation does not wait for the copy": (prefetch.Slot, "receive", lambda slot: slot.batch),
    "the host does not wait for the copy": (prefetch.Slot, "wait_until_sent", lambda slot: None),
    "the copy does not wait for the computation": (prefetch.Slot, "release", lambda slot: None),
    "the first copies do not wait for the last epoch": (prefetch.Slot, "reserve", reserve_at_once),
    "one slot": (prefetch, "SLOTS", 1),
}
