"""What a training run shows: a bar on a terminal, lines in a log file, and a line per epoch.

A terminal has 80 columns, and a line that wraps makes a bar leave its remains behind.  So nothing
here is wider: where there is too much to say, the least important goes.
"""

import contextlib
import io
import os
import sys
import textwrap
from typing import Any

from tqdm import tqdm

COLUMNS = 80
ON_A_TERMINAL = "{desc} {percentage:3.0f}%|{bar}| {rate_fmt} {remaining} left"
IN_A_LOG = "  {desc}  {n_fmt}/{total_fmt}  {rate_fmt}  {remaining} left"


class Bar(contextlib.AbstractContextManager["Bar"]):
    """The progress through some images; `with screen.bar(...) as bar:` closes it.  Shows nothing.

    Base of the bars that do show something.
    """

    def update(self, n: int, **values: str) -> None:
        """n more images are done; `values`, such as loss="0.6931", are shown until there are new.

        A call without values leaves them as they are.
        """

    def close(self) -> None:
        """Take the bar from the screen."""

    def __exit__(self, *error: object) -> None:
        self.close()


class Silent:
    """A screen that shows nothing."""

    def line(self, text: str) -> None:
        """Show nothing."""

    def bar(self, name: str, images: int, done: int = 0) -> Bar:
        """A bar that shows nothing."""
        return Bar()

    def curves(self, history: list[dict[str, float]]) -> None:
        """Show no curves of a history."""


class Screen(Silent):
    """Bars on stderr where that is a terminal, else a line every `interval` updates; and lines."""

    def __init__(self, interval: int = 20):
        self.interval = interval

    def line(self, text: str) -> None:
        """Print a line that stays, above the bar if there is one.

        On a terminal, what is longer than its 80 columns goes on in another line.  Where nothing
        can be printed any more, since a disk is full or `head` has seen enough, nothing is.
        """
        if on_terminal(sys.stdout):
            text = textwrap.fill(text, COLUMNS, subsequent_indent="    ",
                break_long_words=False, break_on_hyphens=False)  # fmt: skip
        encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
        try:
            tqdm.write(text.encode(encoding, "backslashreplace").decode(encoding))
            sys.stdout.flush()
        except (OSError, ValueError, AttributeError):
            silence(sys.stdout)

    def bar(self, name: str, images: int, done: int = 0) -> Bar:
        """A bar for `images` images, `done` of which are done already."""
        return ImageBar(name, images, done, log=None if on_terminal(sys.stderr) else self)


class ImageBar(Bar):
    """A tqdm bar that never wraps, and vanishes when it is closed; `file` None is stderr.

    With a `log` it is a line there every so many updates, if it has values.
    """

    def __init__(self, name: str, images: int, done: int, log: Screen | None = None,
        file: Any = None):  # fmt: skip
        # One less, since some terminals wrap in the last one.
        columns = min(terminal_columns(), COLUMNS) - 1
        self.most = max(1, columns - 38)  # of name and values: speed and time left find room
        self.name, self.text, self.log, self.updates = shorten(name, self.most // 2), "", log, 0
        how = {"ncols": columns, "bar_format": ON_A_TERMINAL, "file": file}
        if log:  # tqdm counts and does not draw: not before the delay is over, and to nowhere
            how = {"bar_format": IN_A_LOG, "delay": 1e9, "file": io.StringIO(), "disable": False}
        self.tqdm = tqdm(desc=self.name, total=images, initial=done, unit="img", leave=False,
            miniters=1, **how)  # fmt: skip

    def update(self, n: int, **values: str) -> None:
        first = values and not self.text
        if values:
            words = "  ".join(f"{name} {value}" for name, value in values.items())
            self.text = shorten(f"{self.name}  {words}", self.most)
            self.tqdm.set_description_str(self.text, refresh=False)
        self.updates += 1
        self.tqdm.update(n)
        if self.log:
            if self.text and self.updates % self.log.interval == 0:
                self.log.line(shorten(str(self.tqdm), COLUMNS))
        elif first:  # tqdm waits a tenth of a second before it draws anything new
            self.tqdm.refresh()

    def close(self) -> None:
        self.tqdm.close()


def on_terminal(stream: Any) -> bool:
    """Whether a stream shows on a terminal; one that is closed, or None, does not."""
    try:
        return stream.isatty()
    except (ValueError, AttributeError):
        return False


def silence(stream: Any) -> None:
    """Let what is written to a stream of the system's from now on, and at the end, go nowhere."""
    with contextlib.suppress(OSError, ValueError, AttributeError), open(os.devnull, "wb") as null:
        os.dup2(null.fileno(), stream.fileno())


def epoch_line(row: dict[str, Any], epochs: int, left_seconds: float | None = None,
    best: bool = False) -> str:  # fmt: skip
    """A row of the history as a line of at most 80 columns.

    `left_seconds` is how long the run will still take, None or 0 where that need not be said;
    `best` is whether this epoch was the best so far.
    """
    width = len(str(epochs))
    line = f"epoch {row['epoch']:>{width}}/{epochs}"
    for part in ("train", "val"):
        if f"{part}_loss" in row:  # a run may have no validation
            line += f"  {part} {_loss(row[f'{part}_loss'])} {row[f'{part}_acc']:.1%}"
    if "val_loss" in row:
        line += " best" if best else "     "
    left = f"{tqdm.format_interval(left_seconds)} left" if left_seconds else ""
    for part in (left, _speed(row["images_per_s"])):
        if part and len(line) + 2 + len(part) <= COLUMNS:
            line += f"  {part}"
    return line.rstrip()


def shorten(text: str, most: int) -> str:
    """`text`, or where it is longer than `most` characters, its beginning and three dots."""
    return text if len(text) <= most else f"{text[: max(0, most - 3)]}..."[:most]


def terminal_columns() -> int:
    """How wide the terminal of stderr is; 80 where it does not say."""
    try:
        return os.get_terminal_size(sys.stderr.fileno()).columns or COLUMNS
    except (OSError, ValueError, AttributeError):
        return COLUMNS


def _loss(value: float) -> str:
    """Six characters: "0.6931", "12.345"; of numbers that need more, the power of ten."""
    digits = len(str(int(value))) if 0 <= value < 9999.5 else 5
    return f"{value:.{5 - digits}f}" if digits < 5 else f"{value:.0e}"


def _speed(images_per_s: float) -> str:
    return f"{images_per_s:,.0f} img/s" if images_per_s >= 9.5 else f"{images_per_s:.1f} img/s"
