"""The program: which command runs, what is printed, and how it ends."""

import importlib
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import minialex
from bad_input import refused
from minialex.commands import main as program
from minialex.errors import ConfigError, DataError

TYPED = "/somewhere/bin/minialex"


def test_help_lists_the_commands_with_a_line_each_and_an_example(capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", [TYPED])
    for arguments in ([], ["--help"], ["-h"]):
        assert program.main(arguments) == 0
        lines = capsys.readouterr().out.splitlines()
        assert [line.split()[0] for line in lines if line[:2] == "  "][:6] == [*program.COMMANDS]
        assert "  minialex train --out runs/first" in lines and max(map(len, lines)) <= 80


def test_every_command_is_a_module_with_a_parser_and_a_main(monkeypatch, capsys):
    for name in program.COMMANDS:
        module = importlib.import_module(f"minialex.commands.{name}")
        assert callable(module.main)
        with pytest.raises(SystemExit) as end:
            program.main([name, "--help"])
        lines = capsys.readouterr().out.splitlines()
        assert end.value.code == 0 and max(map(len, lines)) <= 80, name


def test_the_version(capsys):
    assert program.main(["--version"]) == 0
    assert capsys.readouterr().out == f"minialex {minialex.__version__}\n"


def test_two_dashes_are_no_value():
    with refused(ConfigError, "--seed=--: that is no value"):
        program.main(["train", "--seed=--"])


def test_an_unknown_command():
    with refused(ConfigError, "unknown command 'trian'; choose train, predict, evaluate"):
        program.main(["trian"])


@pytest.mark.parametrize(
    ("typed", "command"),
    [
        (TYPED, "minialex"), ("C:/Scripts/minialex.exe", "minialex"),
        ("/x/minialex/__main__.py", "python -m minialex"),
        ("examples/train_catdog.py", "python -m minialex"), ("-c", "python -m minialex"),
    ],
)  # fmt: skip
def test_a_command_to_type_is_one_that_works_here(monkeypatch, typed, command):
    monkeypatch.setattr(sys, "argv", [typed, "train"])
    assert program.command_line() == command
    line = program.command_line("train", "--resume", Path("runs/my run"))
    assert line == f"{command} train --resume 'runs/my run'"


@pytest.mark.parametrize(
    ("error", "status", "line"),
    [
        (KeyboardInterrupt(), 130, "interrupted"),
        (MemoryError(), 2, "error: out of memory; use a smaller --batch-size"),
        (DataError("no photos"), 2, "error: no photos"),
        (PermissionError(13, "Permission denied", "a/b"), 2, "error: Permission denied: 'a/b'"),
        (OSError(28, "No space left on device"), 2, "error: No space left on device"),
        (OSError("no words"), 2, "error: no words"),
        (ConfigError("unknown --lr 'a\nb'"), 2, "error: unknown --lr 'a b'"),
        (ConfigError("x" * 999 + "end"), 2, f"error: {'x' * 193} ... {'x' * 197}end"),
    ],
)
def test_ends_from_outside(capsys, error, status, line):
    def main():
        raise error

    with pytest.raises(SystemExit) as end:
        program.run_main(main)
    assert end.value.code == status
    assert capsys.readouterr().err == f"{line}\n"


def test_as_a_program():
    command = [sys.executable, "-m", "minialex"]
    done = subprocess.run([*command, "--help"], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("usage: python -m minialex COMMAND")
    done = subprocess.run([*command, "dance"], capture_output=True, text=True)
    assert done.returncode == 2 and done.stderr.startswith("error: unknown command 'dance'")


def test_the_doctor_needs_no_other_command():
    check = (
        "import sys; from minialex.commands.main import main; main(['doctor']);"
        "print(*sorted(m for m in sys.modules if m.startswith('minialex.commands.')))"
    )
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "minialex.commands.doctor minialex.commands.main"


@pytest.mark.skipif(sys.platform == "win32", reason="a shell of POSIX")
@pytest.mark.parametrize(
    ("where", "status", "line"),
    [
        ("> /dev/full", 2, "error: No space left on device\n"), (">&-", 0, ""),
        ("2>&-", 0, ""), (">&- 2>&-", 0, ""), ("> /dev/full 2>&-", 2, ""),
        ("> /dev/full 2> /dev/full", 2, ""), ("| true", None, ""),
    ],
)  # fmt: skip
def test_output_that_cannot_be_written_is_one_line(where, status, line):
    command = f"set -o pipefail; '{sys.executable}' -m minialex --help {where}"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True)
    assert done.stderr == line
    assert done.returncode == status or status is None


# Ctrl-C at the moment when a module is imported.
INTERRUPTED = """
import os, runpy, signal, sys
class Finder:
    def find_spec(name, path=None, target=None):
        if name == sys.argv[1]:
            os.kill(os.getpid(), signal.SIGINT)
sys.meta_path.insert(0, Finder)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="signals are POSIX's")
@pytest.mark.parametrize("name", ["minialex.layers", "numpy", "minialex.train.loop"])
def test_ctrl_c_while_the_program_is_read_in_ends_it_without_a_word(name):
    code = INTERRUPTED + "sys.argv = ['/bin/minialex', 'NAME']\n".replace("NAME", name)
    code += "from minialex.commands.main import run\nprint('too late')\n"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (-signal.SIGINT, "", "")


@pytest.mark.skipif(sys.platform == "win32", reason="signals are POSIX's")
def test_ctrl_c_while_a_command_is_read_in_is_a_word():
    code = INTERRUPTED + "sys.argv = ['/bin/minialex', 'minialex.commands.doctor']\n"
    code += "from minialex.commands import main\nsys.argv = ['minialex', 'doctor']\n"
    code = code.replace("name == sys.argv[1]", "name == 'minialex.commands.doctor'") + "main.run()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "interrupted\n")


def test_a_program_of_the_users_keeps_its_ctrl_c(tmp_path):
    code = "import signal, minialex; print(signal.getsignal(2) is signal.default_int_handler)"
    for arguments in (["-c", code], ["-m", "mine"]):
        (tmp_path / "mine.py").write_text(code)
        done = subprocess.run(
            [sys.executable, *arguments], cwd=tmp_path, capture_output=True, text=True
        )
        assert done.stdout == "True\n"
