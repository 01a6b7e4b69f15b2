"""What a run shows: nothing wraps in 80 columns, values are there from the first update on."""

import os
import re
import select
import struct
import subprocess
import sys
import time

import pytest
import tqdm

from minialex.train import screen
from minialex.train.screen import Screen, Silent, epoch_line

ROW = {
    "epoch": 12, "train_loss": 0.69312, "train_acc": 0.512, "val_loss": 0.6911, "val_acc": 0.531,
    "images_per_s": 123.4,
}  # fmt: skip


def test_the_line_of_an_epoch():
    line = "epoch 12/60  train 0.6931 51.2%  val 0.6911 53.1% best  1:05:00 left  123 img/s"
    assert epoch_line(ROW, 60, 3900, best=True) == line
    assert epoch_line(ROW, 60, 3900) == line.replace("best", "    ")
    assert epoch_line(ROW, 60) == line.replace("best  1:05:00 left", "    ")
    fast = epoch_line({**ROW, "images_per_s": 1234.5}, 60, 3900, best=True)
    assert fast == line.removesuffix("  123 img/s")  # the time left is worth more
    alone = {name: value for name, value in ROW.items() if not name.startswith("val")}
    assert epoch_line(alone, 60, 3900) == re.sub("  val.*best", "", line)
    assert epoch_line({**ROW, "epoch": 3}, 60, 3900, best=True) == line.replace(" 12/", "  3/")


@pytest.mark.parametrize("loss", [0, 1e-9, 0.99999, 9.99999, 12.3456, 999.999, 98765.4, 1e30])
@pytest.mark.parametrize("speed", [1e-3, 9.4, 12345.6, 1e7])
@pytest.mark.parametrize("seconds", [None, 5, 1e7])
@pytest.mark.parametrize("epochs", [1, 90, 100_000])
def test_the_line_of_an_epoch_never_wraps(loss, speed, seconds, epochs):
    row = {name: 1.0 if name.endswith("acc") else loss for name in ROW}
    row |= {"images_per_s": speed, "epoch": epochs}
    line = epoch_line(row, epochs, seconds, best=True)
    assert len(line) <= 80 and "100.0%" in line and " best" in line
    (shown,) = {float(number) for number in re.findall(r"(?:train|val) (\S+)", line)}
    assert shown == pytest.approx(loss, rel=0.05, abs=1e-4)


def test_a_log_file_has_a_line_every_so_many_updates_with_the_time_left(capsys):
    with Screen(interval=2).bar("epoch 1/3", 4000, done=1000) as bar:
        bar.update(32)  # no values yet
        bar.update(32, loss="0.7012", acc="48.0%")
        bar.update(32, loss="0.6931", acc="51.2%")
        bar.update(32)  # the values are those of before
    out, err = capsys.readouterr()
    first, second = out.splitlines()
    assert err == "" and first.startswith("  epoch 1/3  loss 0.7012  acc 48.0%  1064/4000  ")
    assert second.startswith("  epoch 1/3  loss 0.6931  acc 51.2%  1128/4000  ")
    assert re.search(r"  [\d.]+img/s  [\d:]+ left$", second)
    with Screen(interval=20).bar("validation", 320) as bar:
        for _ in range(10):
            bar.update(32, loss="0.6931")
    assert capsys.readouterr() == ("", "")


def test_a_line_of_a_log_file_never_wraps(capsys):
    with Screen(interval=1).bar("epoch 100000/100000", 10**9) as bar:
        bar.update(10**8, loss="1234567890.1234", acc="100.0%", and_more="x" * 80)
    (line,) = capsys.readouterr().out.splitlines()
    assert len(line) == 80 and line.endswith("...")


def test_a_silent_screen_shows_nothing(capsys):
    silent = Silent()
    silent.line("words")
    with silent.bar("epoch 1/3", 100) as bar:
        bar.update(10, loss="0.6931")
    bar.close()
    assert capsys.readouterr() == ("", "")


# ---------------------------------------------------------------------------------- on a terminal

PROGRAM = """
import sys, time
from minialex.train.screen import Screen
name, value, images, step, pause = eval(sys.argv[1])
screen = Screen()
screen.line("a line before")
with screen.bar(name, images) as bar:
    for _ in range(0, images, step):
        bar.update(step, loss=value, acc="51.2%")
        time.sleep(pause)
    screen.line("a line in between")
    screen.line("  " + "a long line " * 9)
screen.line("a line after")
"""


def on_a_terminal(arguments, columns=80, **variables):
    """All that the program prints on a pseudo-terminal of so many columns."""
    fcntl, termios, pty = map(pytest.importorskip, ("fcntl", "termios", "pty"))
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    command = [sys.executable, "-c", PROGRAM, repr(arguments)]
    env = {**os.environ, **variables}
    process = subprocess.Popen(command, stdin=slave, stdout=slave, stderr=slave, env=env)
    os.close(slave)
    shown, until = b"", time.monotonic() + 60
    while time.monotonic() < until and select.select([master], [], [], 60)[0]:
        try:
            part = os.read(master, 65536)
        except OSError:  # the program has ended
            break
        if not part:
            break
        shown += part
    os.close(master)
    assert process.wait(60) == 0
    return shown.decode()


@pytest.mark.parametrize("columns", [80, 60, 200, 0])  # 0: it does not say
@pytest.mark.parametrize(
    "arguments",
    [
        ("epoch 12/60", "0.6931", 4500, 500, 0.02),
        ("epoch 100000/100000 of a long name " * 3, "1e+30" * 9, 10**4, 10**3, 0.1),
        ("test", "0.6931", 3, 1, 0.15),  # slower than a picture of the bar each
    ],
)  # fmt: skip
def test_a_bar_never_wraps(columns, arguments):
    shown = on_a_terminal(arguments, columns)
    lines = [re.sub(r"\x1b\[\w", "", line) for line in re.split(r"[\r\n]+", shown)]
    assert (
        "  " + "a long line " * 6 + "a long" in lines
        and "    line a long line a long line" in lines
    )
    assert max(map(len, lines)) <= 80
    bars = [line for line in lines if "%|" in line]
    assert max(map(len, bars)) <= min(columns or 80, 80) - 1
    assert all("left" in line and "/s" in line for line in bars)
    for line in ("a line before", "a line in between", "a line after"):
        assert line in lines


def test_a_bar_shows_values_from_the_first_update_on():
    shown = on_a_terminal(("epoch 1/60", "0.6931", 100, 100, 0))
    assert "epoch 1/60  loss 0.6931  acc 51.2% 100%|" in shown


def test_without_bars_by_tqdms_own_variable_lines_stay():
    """As on clusters, where TQDM_DISABLE keeps bars out of logs."""
    arguments = ("epoch 1/60", "0.6931", 2000, 100, 0)
    shown = on_a_terminal(arguments, TQDM_DISABLE="1")
    knows = hasattr(tqdm.utils, "envwrap")  # from 4.66 on
    assert "a line after" in shown and ("|" in shown) != knows
    command, env = [sys.executable, "-c", PROGRAM, repr(arguments)], {**os.environ}
    done = subprocess.run(command, capture_output=True, text=True, env={**env, "TQDM_DISABLE": "1"})
    assert done.returncode == 0 and "loss 0.6931  acc 51.2%  2000/2000" in done.stdout, done.stderr


def test_a_terminal_that_does_not_say_how_wide_it_is(monkeypatch):
    monkeypatch.setattr(screen.sys, "stderr", object())
    assert screen.terminal_columns() == 80
