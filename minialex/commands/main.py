"""usage: minialex COMMAND ...

AlexNet in NumPy and CuPy: trained, asked and looked into.

commands:
  train     train AlexNet on drawings or photos, or resume a run
  predict   which class photos belong to, by a trained network
  evaluate  loss and accuracy of a trained network on test images
  pictures  what a trained network looks for: filters, saliency, Grad-CAM ...
  curves    loss and accuracy of one or several runs, as a picture
  doctor    what this machine offers to a training run, and what it lacks

minialex COMMAND --help lists the options of a command.

example:
  minialex train --out runs/first
  minialex predict runs/first my_cat.jpg
"""

# (`minialex --help` prints what stands above.)  Errors that the user can fix become one line.

import argparse
import importlib
import shlex
import signal
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NoReturn

import minialex
from minialex import startup
from minialex.errors import ConfigError, MinialexError, choose
from minialex.gpu.diagnosis import is_out_of_memory
from minialex.train.ranks import HERE
from minialex.train.screen import silence

# Each is a module beside this one, with parser() and main(options).
COMMANDS = ("train", "predict", "evaluate", "pictures", "curves", "doctor")
LONGEST = 400  # letters of an error's line
# Help of 80 columns, however wide the terminal is.
Formatter = partial(argparse.RawDescriptionHelpFormatter, max_help_position=26, width=80)


def run() -> None:
    """The program."""
    if startup.WAITS:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    run_main(lambda: main(sys.argv[1:]))


def main(arguments: list[str]) -> int:
    """Run the command that `arguments` name; returns its exit status.

    Raises ConfigError where there is no such command.
    """
    name = arguments[0] if arguments else "--help"
    if name in ("-h", "--help"):
        print((__doc__ or "").replace("minialex ", f"{command_line()} "), end="")
        return 0
    if name == "--version":
        print(f"minialex {minialex.__version__}")
        return 0
    choose("command", name, COMMANDS)
    # Only this one is imported, so that the doctor works where another lacks something.
    command = importlib.import_module(f"minialex.commands.{name}")
    parser = command.parser()
    parser.prog, parser.formatter_class = command_line(name), Formatter
    parser.error = refuse
    if wrong := [word for word in arguments if word.endswith("=--")]:
        refuse(f"{wrong[0]}: that is no value")  # argparse would make a list of it
    # Else argparse takes no FOLDER that stands behind an option.
    parse = parser.parse_args if "--" in arguments else parser.parse_intermixed_args
    return command.main(parse(arguments[1:]))


def refuse(message: str) -> NoReturn:
    """Raise ConfigError for a command line that cannot be read: one line, as for all errors."""
    raise ConfigError(f"{message}; --help lists the options")


def command_line(*words: object) -> str:
    """A command as it has to be typed: `minialex ...` if it was, else `python -m minialex ...`."""
    typed = Path(sys.argv[0]).stem == "minialex"
    program = ["minialex"] if typed else ["python", "-m", "minialex"]
    return shlex.join([*program, *map(str, words)])


def run_main(main: Callable[[], int]) -> None:
    """Run `main` and exit with its status; errors that the user can fix become one line, status 2.

    Any other error is a bug, and keeps its traceback.
    """
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # for names that the terminal has no letters for
            stream.reconfigure(errors="backslashreplace")
    line = ""
    try:
        status = main()
        print(end="", flush=True)
    except MinialexError as error:
        status, line = 2, f"error: {error}"
    except BrokenPipeError:  # the reader of our output, such as `head`, has gone
        status = 1
    except OSError as error:  # a disk, or a folder that may not be entered
        name = "" if error.filename is None else f": {str(error.filename)!r}"
        status, line = 2, f"error: {error.strerror or error}{name}"
    except KeyboardInterrupt:  # before the first step, after the last one, or the second Ctrl-C
        status, line = 130, "interrupted"
    except Exception as error:
        if is_out_of_memory(error):
            line = "the memory of the GPU is full; use a smaller --batch-size, or a --memory-limit"
        elif isinstance(error, MemoryError):
            line = "out of memory; use a smaller --batch-size"
        else:
            raise
        status, line = 2, f"error: {line}"
    line = " ".join(line.splitlines())  # a value that was typed may have several
    if len(line) > LONGEST:
        line = f"{line[: LONGEST // 2]} ... {line[-LONGEST // 2 :]}"
    if line and HERE.index and not HERE.agreed:
        line = f"{HERE.names[HERE.index]}: {line}"
    try:
        if line and HERE.speaks() and sys.stderr:
            print(line, file=sys.stderr)
        print(end="", flush=True)
    except (OSError, ValueError):
        silence(sys.stdout)
    HERE.leave(status)
    sys.exit(status)
