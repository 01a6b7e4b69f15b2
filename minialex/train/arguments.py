"""What `fit` may be told: looked at before anything is done, and before a folder is made."""

from typing import Any

from minialex.data import DataLoader
from minialex.errors import ConfigError, check_sizes, is_number

COUNTS = {"epochs": 1, "log_interval": 1, "warm_up": 0, "plateau": 1}  # and the least of each
COUNTS_OR_NONE = {"patience": 1, "memory_limit": 1}


def check_arguments(run: Any) -> None:
    """Raise ConfigError where `run`, a Training, has arguments that cannot work."""
    if getattr(run.optimizer, "model", None) is not run.model:
        raise ConfigError("fit: the optimizer is another model's; make it as Adam(model)")
    loaders = {"loader": run.loader} if run.val is None else {"loader": run.loader, "val": run.val}
    for name, found in loaders.items():
        if not isinstance(found, DataLoader):
            line = f"fit: {name} must be a DataLoader, got {type(found).__name__}"
            raise ConfigError(f"{line}; make it as DataLoader(dataset, batch_size)")
    given = {name: n for name, n in COUNTS_OR_NONE.items() if getattr(run, name) is not None}
    try:
        for name, least in {**COUNTS, **given}.items():
            check_sizes("fit", least, **{name: getattr(run, name)})
    except ValueError as error:
        raise ConfigError(str(error)) from None
    if run.plain and run.memory_limit is not None:
        raise ConfigError("fit: plain pages keep to no memory_limit; leave one of them out")
    if not is_number(run.label_smoothing, below=1):
        raise ConfigError(f"fit: label_smoothing must be in [0, 1), got {run.label_smoothing!r}")
