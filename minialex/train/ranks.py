"""Ranks -- one run on several processes, on one machine or on many: the same run, to the bit.

    mpiexec -n 4 minialex train ...

MPI starts the program four times.  Each process is a *rank*; they pass each other arrays, and
together make the steps that one alone would make:

    1. load      each rank loads its own images of the batch: whole groups of GROUP, in order
    2. head      and takes them, group by group, through the convolutions (see fast/sequential.py)
    3. collect   what comes out there is small, and every rank gets that of all images
    4. the rest  dense layers, loss and the gradient of both are computed for the whole batch: large
                 layers in slices, of which each rank owns some (see slices.py), the rest by every
                 rank alike; what travels are activations
    5. back      each rank takes its own groups back through the convolutions
    6. add       the groups' gradients are added, and all get the sum
    7. update    every rank updates its own slices, and alike what has no owner

(Convolutions do 95 % of AlexNet's work and have 6 % of its weights.  So Krizhevsky 2014, "One weird
trick for parallelizing convolutional neural networks", deals out the images there, and the weights
where these are: two ranks with 128 images send each other 10 MB of activations, in place of 218 of
gradients.)

Why the bits are the same.  Rounding makes (a + b) + c another number than a + (b + c).  In one
process the gradients of the groups are added from the first to the last, and so they are here:

    rank 0    s = g0 + g1       sends s to rank 1
    rank 1    s = (s + g2) + g3         sends s to rank 2, and so on; the last has the sum

piece by piece, so that all ranks are busy.  All else is computed for the same images at once as in
one process, whoever does it.  A GPU alone takes its batch in one piece, not in groups: there, 2 and
4 ranks agree to the bit, and with one GPU but for rounding.

What can go wrong.  MPI waits for a rank that is gone, for ever.  So all agree in each step whether
to go on: a photo that one cannot read, or Ctrl-C that one has heard, ends them all at the same
step, with a checkpoint.  A rank that fails by itself aborts the others.  And a thread of each tells
the others every second that it is there: where one is silent for SILENCE seconds, the run ends.
Only rank 0 writes files and shows anything.  (What ranks of one run tell each other goes by
mpi4py's serializer.)
"""

import atexit
import faulthandler
import importlib
import itertools
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from minialex.errors import ConfigError, MinialexError
from minialex.fast.threads import GROUP, cpu_count, limit_threads, pieces
from minialex.xp import Array, to_cpu, to_device, where_is

# Where MPICH and Intel MPI, Open MPI and Slurm say how many ranks there are, and which this one is.
STARTED = {"PMI_SIZE": "PMI_RANK", "OMPI_COMM_WORLD_SIZE": "OMPI_COMM_WORLD_RANK",
           "SLURM_STEP_NUM_TASKS": "SLURM_PROCID"}  # fmt: skip
PATIENCE, SILENCE = 60, 6  # seconds: until all have started, until a silent one is taken for gone
PIECE = 1 << 18  # numbers of a gradient that travel at a time


class Ranks:
    """`size` ranks, of which this process is number `index`; alone, it has nobody to ask.

    agreed      whether all end for the same reason
    dealt       whether the network takes this rank's images alone, see dealt.py
    idle        whether there is none of them in the batch
    waits       whether this rank waits for others, ends whether it has nothing more to do
    received    bytes of other ranks
    """

    index, size, received = 0, 1, 0
    agreed = dealt = idle = waits = ends = False

    def join(self, MPI: Any) -> None:
        """Take part in the ranks that MPI has started."""
        self.MPI, self.comm, self.over = MPI, MPI.COMM_WORLD.Dup(), threading.Event()
        self.index, self.size = self.comm.Get_rank(), self.comm.Get_size()
        host, knows = socket.gethostname(), hasattr(os, "sched_getaffinity")
        cores = os.sched_getaffinity(0) if knows else set(range(cpu_count()))
        self.hosts, all_cores, processes = zip(*self.agree((host, cores, os.getpid())), strict=True)
        names = enumerate(zip(self.hosts, processes, strict=True))
        self.names = [f"rank {k} (process {process} on {one})" for k, (one, process) in names]
        here = [own for own, one in zip(all_cores, self.hosts, strict=True) if one == host]
        limit_threads(max(1, len(set().union(*here)) // len(here)))
        if self.index:
            sys.stdout = open(os.devnull, "w", errors="backslashreplace")  # noqa: SIM115
        sys.excepthook = self.failed
        self.heard = dict.fromkeys({*range(self.size)} - {self.index}, time.monotonic())
        self.beats, self.watcher = self.comm.Dup(), threading.Thread(target=self.watch, daemon=True)
        if MPI.Query_thread() == MPI.THREAD_MULTIPLE:
            self.watcher.start()
            atexit.register(self.end)

    # ------------------------------------------------------------------------ what they agree on

    def agree(self, thing: Any) -> list[Any]:
        """What each rank called `agree` with."""
        if self.size == 1:
            return [thing]
        dumps, loads = self.MPI.pickle.dumps, self.MPI.pickle.loads
        own, counts = np.frombuffer(dumps(thing), np.uint8), np.empty(self.size, np.int64)
        self.wait(self.comm.Iallgather(np.array([own.size]), counts))
        found = np.empty(counts.sum(), np.uint8)
        self.wait(self.comm.Iallgatherv(own, [found, counts]))
        self.received += found.size - own.size
        return [loads(part.tobytes()) for part in np.split(found, counts.cumsum()[:-1])]

    def together(self, do: Callable[[], Any], first: bool = False) -> Any:
        """do(), or with `first` what it gives on rank 0.

        A MinialexError, which users can mend, is raised on all ranks if it is on one.
        """
        if self.size == 1:
            return do()
        result = wrong = None
        try:
            result = None if first and self.index else do()
        except MinialexError as error:
            wrong = type(error), str(error), vars(error)
        answers = self.agree((wrong, result if first else None))
        for rank, (wrong, _) in enumerate(answers):
            if wrong:
                kind, text, details = wrong
                where = f"{self.names[rank]}: " if rank else ""
                self.agreed, again = True, kind.__new__(kind, where + text)
                vars(again).update(details)
                raise again
        return answers[0][1] if first and self.index else result

    def any(self, flag: bool) -> bool:
        """Whether `flag` is set on any rank."""
        if self.size > 1:
            self.agreed = flag = any(self.agree(flag))
        return flag

    def check(self, mine: dict[str, Any]) -> None:
        """Raise ConfigError where a rank has another value than rank 0 under one of these names."""
        first, *others = self.agree(mine)
        for rank, other in enumerate(others, start=1):
            for name in sorted(first.keys() | other.keys()):
                one, two = repr(first.get(name)), repr(other.get(name))
                if one != two:
                    self.agreed, what = True, f"{self.names[rank]} differs from rank 0 in {name}"
                    raise ConfigError(f"{what}: {two:.80}, not {one:.80}")

    # -------------------------------------------------------------------------- a batch in parts

    def own(self, N: int) -> slice:
        """This rank's images of a batch of N: whole groups."""
        groups = -(-N // GROUP)
        first, end = (-(-groups * k // self.size) * GROUP for k in (self.index, self.index + 1))
        return slice(first, min(N, end))

    def whole(self, own: list[Array], like: Array) -> Array:
        """What all ranks have of a batch, such as images or labels, in its order; where `like` is.

        `own` are this rank's parts, if it has any.
        """
        parts = itertools.chain(*self.agree([to_cpu(part) for part in own]))
        return to_device(np.concatenate([part for part in parts if len(part)]), where_is(like))

    def add(self, rows: Array) -> Array:
        """The sum (P,) of the rows (n, P) of all ranks, in order: rank 0's first row first."""
        host, is_last, sent = to_cpu(rows), self.index + 1 == self.size, []
        total = np.empty(rows.shape[1], rows.dtype)
        for piece in pieces(total.size, -(-total.size // PIECE)):
            part, more = total[piece], host
            if self.index:
                self.wait(self.comm.Irecv(part, self.index - 1))
            else:
                part[...], more = host[0, piece], host[1:]
            for row in more:
                part += row[piece]
            if not is_last:
                sent.append(self.comm.Isend(part, self.index + 1))
        for request in [*sent, self.comm.Ibcast(total, self.size - 1)]:
            self.wait(request)
        self.received += total.nbytes * ((self.index > 0) + (not is_last))
        return to_device(total, where_is(rows))

    def share(self, vectors: list[Array], rank: int = 0) -> None:
        """Let all have what rank 0, or another, has in these vectors."""
        for vector in vectors if self.size > 1 else []:
            host = to_cpu(vector)
            self.wait(self.comm.Ibcast(host, rank))
            vector[...] = to_device(host, where_is(vector))

    # ------------------------------------------------------------------------------ how they end

    def wait(self, request: Any) -> None:
        """Wait until MPI has done what was requested; Ctrl-C is heard meanwhile."""
        self.waits = True
        for pause in itertools.chain(itertools.repeat(0, 100), itertools.repeat(1e-4)):
            if request.Test():
                break
            time.sleep(pause)
        self.waits = False

    def watch(self) -> None:
        """In a thread: tell others every second that this rank lives; end all where one is dead."""
        last = time.monotonic()
        while not self.over.wait(1):
            for other in self.heard:
                self.beats.Isend(b"", other, int(self.ends)).Free()
            self.hear()
            now = time.monotonic()
            if now - last > SILENCE / 2:  # this rank was stopped itself, and perhaps all were
                self.heard = dict.fromkeys(self.heard, now)
            last = now
            silent = [other for other, when in self.heard.items() if now - when > SILENCE]
            if silent and self.waits:
                time.sleep(min(self.index, 2))  # one of the others may say it first
                print(f"error: {self.names[silent[0]]} is silent: all end", file=sys.stderr)
                self.agreed = False
                self.leave(1)

    def hear(self) -> None:
        """Note which of the others live; one that ends before this one is no help any more."""
        status = self.MPI.Status()
        while self.beats.Iprobe(status=status):
            other, ends = status.Get_source(), status.Get_tag()
            self.beats.Recv(bytearray(), other, ends)
            if self.ends or not ends:
                self.heard[other] = time.monotonic()

    def end(self) -> None:
        """The end of this process, for which it waits with the others: MPI would hang."""
        self.ends, self.heard = True, dict.fromkeys(self.heard, time.monotonic())
        self.wait(self.beats.Ibarrier())
        getattr(signal, "alarm", int)(SILENCE)  # from here on only the system's clock watches
        self.over.set()
        self.watcher.join()
        self.wait(self.beats.Ibarrier())
        self.hear()  # what is left, of which MPI would speak
        self.MPI.Finalize()
        getattr(signal, "alarm", int)(0)

    def speaks(self) -> bool:
        """Whether it is for this rank to say why it ends: where all do, rank 0 says it."""
        if self.index and not self.agreed:
            time.sleep(2)  # rank 0 may have failed alike, and ends this one
        return not (self.index and self.agreed)

    def leave(self, status: int) -> None:
        """End the others as well, unless they end by themselves."""
        if self.size > 1 and status and not self.agreed:
            time.sleep(0.5)  # else the last lines are lost
            self.comm.Abort(status)

    def failed(self, *error: Any) -> None:
        """After an error that nobody caught: its lines, and the end of all."""
        if self.speaks():
            print(f"{self.names[self.index]}:", file=sys.stderr)
            sys.__excepthook__(*error)
        self.leave(1)


HERE = Ranks()


def join() -> Ranks:
    """The ranks that this process belongs to: itself alone, unless MPI has started several.

    MINIALEX_RANKS=0 says that it is alone, as programs are that a rank starts.
    Raises ConfigError where these cannot work together.
    """
    names = [name for name in STARTED if int(os.environ.get(name) or 1) > 1]
    if not names or HERE.size > 1 or os.environ.get("MINIALEX_RANKS") == "0":
        return HERE
    count, index = (int(os.environ.get(name) or 0) for name in (names[0], STARTED[names[0]]))
    # MPI waits for ranks that do not start, and lets Python do nothing meanwhile.
    faulthandler.dump_traceback_later(PATIENCE, exit=True)
    try:
        MPI: Any = importlib.import_module("mpi4py.MPI")
        size = MPI.COMM_WORLD.Get_size()
        lacks = f"mpi4py belongs to another MPI than the program that started them ({size})"
    except (ImportError, RuntimeError) as error:
        size, lacks = 0, f"they need mpi4py: pip install 'minialex[mpi]' ({error})"
    if size == count:
        HERE.join(MPI)
        os.environ["MINIALEX_RANKS"] = "0"
    faulthandler.cancel_dump_traceback_later()
    if size != count:
        if index:
            sys.exit(2)  # rank 0 says it
        raise ConfigError(f"{count} processes were started to train together, but {lacks}")
    return HERE
