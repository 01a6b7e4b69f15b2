"""Train AlexNet on cats and dogs: drawings by default, photos with --data.

--help lists the options.
"""

from minialex.cli import run_main, train, training_parser


def main() -> int:
    return train(vars(training_parser().parse_args()))


if __name__ == "__main__":
    run_main(main)
