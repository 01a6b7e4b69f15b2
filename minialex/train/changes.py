"""Changes -- a schedule as a table: from which epoch on, whose learning rate is how large.

Who trains by hand looks at the curves, stops the program, changes a number and goes on.  What
Krizhevsky did so in 2012 he noted below his settings, and recipes.py has it as a table.  Its rows
are (share, factors, colours): from `share` of the epochs on, rounded up to a whole one, each
parameter has its first rate times the factor of the first pattern that fits its name, or 1 where
none does; and unless `colours`, the random colours end.
"""

import copy
from typing import Any

from minialex.data import ColourShift, Compose, DataLoader


def name_of(schedule: Any) -> str:
    """The schedule from step to step: a table has none beside its own."""
    return schedule if isinstance(schedule, str) else "constant"


def begin_epoch(run: Any) -> DataLoader:
    """Let `run`, a Training, have what its table says of the epoch that begins, if it has one.

    Returns the loader of that epoch.
    """
    if isinstance(run.schedule, str) or callable(run.schedule):
        return run.loader
    rows = [row for row in run.schedule if row[0] * run.epochs <= run.progress.epoch + 1e-6]
    _, factors, colours = rows[-1] if rows else (0, {}, True)
    run.optimizer.scale(factors)
    steps = run.loader.transform.transforms
    kept = [step for step in steps if not isinstance(step, ColourShift)]
    if not colours and len(kept) < len(steps):
        run.loader = copy.copy(run.loader)
        run.loader.read_from(run.loader.dataset, Compose(kept))
    return run.loader
