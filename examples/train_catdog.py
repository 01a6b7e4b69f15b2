"""Train AlexNet on cats and dogs, in plain sight: what `minialex train` does, step by step.

    python examples/train_catdog.py                                drawings, no download
    python examples/train_catdog.py --data pets --epochs 10        photos

The options are those of `minialex train` (see --help), and so is what comes out, to the bit: stop
with Ctrl-C, and go on with --resume RUN.  Take from here what a program of your own needs.
"""

import dataclasses

import minialex as mx
from minialex.commands.main import run_main
from minialex.commands.train import parser, prepare_machine, start
from minialex.data import open_source
from minialex.train.recipes import make_optimizer
from minialex.train.setup import (
    final_scores,
    fit_options,
    make_loaders,
    make_model,
    measure_colours,
)


def main() -> int:
    # The options: those that you give, and for all others what a recipe says.
    config, run, _ = start(parser().parse_args())
    prepare_machine(config)

    # The data: images and labels to train on, to choose the best epoch by, and to test with.
    source = open_source(config.data, seed=config.seed, limit=config.limit)
    print(source.description)

    # The network: AlexNet, with an answer for each class.
    model = make_model(config, len(source.classes))

    # The optimizer: it moves the parameters of the model against their gradient.
    optimizer = make_optimizer(config.optimizer, model, config.lr, config.weight_decay)

    # The batches: images cropped, perhaps mirrored, and brought to the scale that suits a network.
    config = measure_colours(config, source.train, model.image_size)
    train, val, test = make_loaders(config, source, model)

    # The training: epoch after epoch; at the end, the model has the weights of the best.
    settings = dataclasses.asdict(config)
    mx.fit(model, train, optimizer, val=val, run=run, settings=settings, **fit_options(config))

    # The test: images that had no say in anything until now.
    scores = final_scores(config, model, test)
    run.write_result(scores)
    print(f"test accuracy {scores['test_acc']:.1%}, loss {scores['test_loss']:.4f}")
    return 0


if __name__ == "__main__":
    run_main(main)
