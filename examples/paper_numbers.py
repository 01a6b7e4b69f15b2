"""Neurons, parameters, connections and receptive fields of AlexNet, beside the numbers of the paper."""

import argparse

from minialex.cli import run_main
from minialex.models.paper_numbers import table


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--variant", default="2012", help="2012 (default), ungrouped or owt")
    print(table(parser.parse_args().variant))
    return 0


if __name__ == "__main__":
    run_main(main)
