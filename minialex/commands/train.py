"""temporary"""

from minialex.commands.options import training_parser


def parser():
    return training_parser(
        "Train AlexNet on drawings or photos.",
        """\
examples:
  %(prog)s                            drawings: no download, two minutes
  %(prog)s --data pets --ten-crop     photos, which are downloaded once
  %(prog)s --resume runs/pets-owt-1   go on with a run""",
    )


def main(options):
    print(options)
    return 0
