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
from minialex.errors import check, is_number


def name_of(run: Any) -> str:
    """The schedule of `run`, a Training, from step to step: a table has none beside its own.

    Raises ConfigError for a table that cannot work, and for what is no schedule.
    """
    if isinstance(run.schedule, str):
        return run.schedule
    rule = "a schedule is a name, a function or a table of rows (share, factors, colours)"
    check(isinstance(run.schedule, list | tuple), rule, run.schedule)
    for row in run.schedule:
        is_row = isinstance(row, list | tuple) and len(row) == 3
        check(is_row and is_number(row[0]) and isinstance(row[1], dict), rule, row)
        run.optimizer.scale(row[1])
    end(run)
    return "constant"


def end(run: Any) -> None:
    """Let the optimizer have its own rates, as before the table of `run`, if it has one."""
    if not (isinstance(run.schedule, str) or callable(run.schedule)):
        run.optimizer.scale({})


def begin_epoch(run: Any) -> DataLoader:
    """Let `run`, a Training, have what its table says of the epoch that begins, if it has one.

    Returns the loader of that epoch.
    """
    if isinstance(run.schedule, str) or callable(run.schedule):
        return run.loader
    begun = [row for row in run.schedule if row[0] * run.epochs <= run.progress.epoch + 1e-6]
    _, factors, colours = max(begun, key=lambda row: row[0], default=(0, {}, True))
    run.optimizer.scale(factors)
    loader, steps = run.loader, run.loader.transform.transforms
    kept = [step for step in steps if not isinstance(step, ColourShift)]
    if not colours and len(kept) < len(steps):
        loader = copy.copy(loader)  # the run's own has them, for rows in which they come back
        loader.read_from(loader.dataset, Compose(kept))
    return loader
