"""`python -m minialex` is the program `minialex`."""

from minialex.commands.main import run

if __name__ == "__main__":
    run()
