"""Train AlexNet on drawings or photos, or resume a run.

examples:
  %(prog)s
  %(prog)s --data pets --ten-crop
  %(prog)s --resume runs/pets-owt-1
"""

# What makes a run is in plain sight in examples/train_catdog.py.  This is the same, and tells you
# beside what it does, and checks before a long run what could end it.  The options on the command
# line are made from Config; from the same, docs/options_page.py makes the page docs/options.md.

import argparse
import dataclasses
import json
import math
import re
from typing import Any

from tqdm import tqdm

from minialex.commands.main import Formatter, command_line
from minialex.data import DataLoader, PhotoError
from minialex.data.sources import default_data
from minialex.errors import ConfigError, DataError
from minialex.fast.threads import cpu_count, limit_threads
from minialex.files import locked, read_json, write_text
from minialex.gpu.devices import allow_tf32, choose_device
from minialex.train import config as settings
from minialex.train import setup
from minialex.train.chart import picture
from minialex.train.config import GROUPS, Config, change, configure, flag, value_type
from minialex.train.loop import Training
from minialex.train.photos import note_damaged, open_images
from minialex.train.ranks import HERE, join
from minialex.train.recipes import RECIPES, make_optimizer
from minialex.train.run import RunFolder, free_paths
from minialex.train.screen import Screen
from minialex.train.weights import NEEDS, torchvision_file, torchvision_options
from minialex.use.predict import find_checkpoint, run_settings

say = Screen().line
METAVARS: dict[type, str] = {int: "N", float: "X", str: "NAME"}
OF_NO_SURPRISE = (None, settings.ZERO_OR_MORE, settings.ONE_OR_MORE, settings.FINITE)
FOLDERS = {  # the two options that are no part of the settings
    "out": "folder of the new run (default: runs/<data>-<variant>-<number>)",
    "resume": "go on with the run in this folder"}  # fmt: skip


def main(options: argparse.Namespace) -> int:
    """Begin or resume a run; returns 0 when it is finished, 130 when it was stopped by Ctrl-C.

    Raises DataError, which says how to go on, for a photo that cannot be decoded.
    """
    config, folder, finished = start(options)
    if finished:
        if HERE.index == 0:
            say_finished(folder, config)
        return 0
    try:
        return train(config, folder)
    except PhotoError as error:
        if HERE.index == 0:
            note_damaged(folder.path, error)
        resume = [] if folder.new else [command_line("train", "--resume", folder.path)]
        how = " ".join([*resume, *["--skip-damaged"] * error.damaged]) or "try again"
        raise DataError(f"{error}; to go on: {how}") from None


def start(options: argparse.Namespace) -> tuple[Config, RunFolder, bool]:
    """The settings and the folder of the run, new or resumed, and whether it is finished.

    Prints on what it trains where nobody said that.  Of several ranks, the first decides.
    """
    join().check(vars(options))
    return HERE.together(lambda: find(options), first=True)


def find(options: argparse.Namespace) -> tuple[Config, RunFolder, bool]:
    """What `start` returns, for one process."""
    given = vars(options).copy()
    resume, out = given.pop("resume", None), given.pop("out", None)
    if resume is not None:
        if out is not None:
            raise ConfigError("--out cannot be changed when a run is resumed; leave it out")
        folder, before = RunFolder.open(resume)
        config = change(before, given)
        longer = config.epochs > before.epochs
        longer |= (config.patience or math.inf) > (before.patience or math.inf)
        return config, folder, folder.result.is_file() and not longer
    if "data" not in given:
        given["data"], line = default_data()
        say(line)
    if given.get("weights") == "torchvision":
        given = torchvision_options(given)
        configure(given)  # what cannot work is to be said before a long download
        given["weights"] = str(torchvision_file(report=say).absolute())
    elif "weights" in given:
        path = find_checkpoint(given["weights"]).absolute()
        if "variant" in run_settings(path):  # then it is of a run of this command
            own = vars(RunFolder.open(path.parent)[1])
            given = {**{name: own[name] for name in (*NEEDS, "image_size")}, **given}
        given["weights"] = str(path)
    config = configure(given)
    names = free_paths(config) if out is None else iter([out])
    folder = RunFolder(next(names), True, names)
    folder.check_new()
    return config, folder, False


def say_finished(folder: RunFolder, config: Config) -> None:
    """Say that there is nothing to resume, and what there is to do instead.

    Raises CheckpointError where result.json cannot be read.
    """
    result = read_json(folder.result, "remove it, and the run is tested again")
    say(f"{folder.path} is finished: {json.dumps(result)}")
    if config.ten_crop and "ten_crop_acc" not in result:
        say(f"for its ten crops: {command_line('evaluate', folder.path, '--ten-crop')}")
    else:
        say(f"to let it go on, add --epochs with more than {config.epochs}")


def train(config: Config, folder: RunFolder) -> int:
    """Train to the end or to Ctrl-C, test, and draw the curves; the exit status."""
    screen = Screen(config.log_interval)
    prepare_machine(config)
    # A new folder is not ours yet: another program may have taken it.
    run = None if folder.new else folder.path
    source, photos = HERE.together(lambda: open_images(config, run, screen))
    if photos and HERE.size > 1:
        HERE.check({f"photo {name}": about for name, about in photos.files.items()})
    for line in (source.description, *source.messages):
        say(line)
    model = setup.make_model(config, len(source.classes))
    how = config.lr, config.weight_decay, config.freeze, config.bias_rate, config.bias_decay
    optimizer = make_optimizer(config.optimizer, model, *how)
    side = model.image_size
    config = HERE.together(lambda: setup.measure_colours(config, source.train, side), first=True)
    loader, val, test = setup.make_loaders(config, source, model)
    training = Training(model, loader, optimizer, val=val, run=folder, screen=screen,
        settings=dataclasses.asdict(config), **setup.fit_options(config))  # fmt: skip
    say(f"run folder: {folder.path}")
    is_first = HERE.index == 0
    if is_first:
        with locked(folder.path):
            if photos is not None:
                photos.write(folder.path)
            folder.result.unlink(missing_ok=True)  # of a run that goes on
    try:
        training.train()
    except KeyboardInterrupt:
        if not training.stop.asked:  # nobody listened yet: before the first step
            raise
        say(f"stopped; continue with: {command_line('train', '--resume', folder.path)}")
        return 130
    if not is_first:
        return 0
    with locked(folder.path):
        # Before result.json, which marks a run as finished: else a crash could leave it without
        # curves.
        write_text(folder.curves, picture({"": training.history}))
        finish(config, folder, training, test)
    return 0


def prepare_machine(config: Config) -> None:
    """Set threads and precision as asked, and say where the run will compute."""
    if config.threads:
        limit_threads(min(config.threads, cpu_count()))
    if config.tf32:
        allow_tf32()
    device, chosen = choose_device(config.device)
    say(chosen)
    if config.tf32 and device == "cpu":
        say("--tf32 is for GPUs; on the CPU products are exact to float32")


def finish(config: Config, folder: RunFolder, training: Training, test: DataLoader) -> None:
    """Test the best weights once, write result.json, and say what came out."""
    progress = training.progress
    scores = setup.final_scores(config, training.model, test, training.screen)
    speed = len(training.loader.dataset) * len(progress.history) / progress.seconds
    folder.write_result({
        **scores, "seconds": progress.seconds, "images_per_s": speed,
        "val_acc": progress.best_acc, "best_epoch": progress.best_epoch()})  # fmt: skip
    epoch = f"(weights of epoch {progress.best_epoch()})"
    say(f"test accuracy {scores['test_acc']:.1%}, loss {scores['test_loss']:.4f} {epoch}")
    if config.ten_crop:
        say("by ten crops: accuracy {ten_crop_acc:.1%}, loss {ten_crop_loss:.4f}".format(**scores))
    say(f"trained in {tqdm.format_interval(progress.seconds)}, {speed:.1f} images/s")
    say(f"what it confuses: {command_line('evaluate', folder.path)}")


# ---------------------------------------------------------------------------------- the options


def parser() -> argparse.ArgumentParser:
    """All options of Config, in their groups, and --out and --resume.

    Only those that are given appear in its result, so that a recipe can fill in the others.
    """
    parser = argparse.ArgumentParser(usage="%(prog)s [options]", description=__doc__,
        formatter_class=Formatter, argument_default=argparse.SUPPRESS)  # fmt: skip
    groups = {name: parser.add_argument_group(name) for name in GROUPS}
    for field in settings.options():
        about, kind = field.metadata, value_type(field)
        how: dict[str, Any] = {"action": argparse.BooleanOptionalAction}
        if kind is not bool:
            how = {"type": about["parse"] or kind, "metavar": about["metavar"] or METAVARS[kind]}
        text = f"{explain(field)} (default: {default(field)})"
        groups[about["group"]].add_argument(flag(field.name), help=text.replace("%", "%%"), **how)
    for name, text in FOLDERS.items():
        groups["run"].add_argument(flag(name), metavar="RUN", help=text)
    return parser


def explain(field: dataclasses.Field) -> str:
    """What an option means, with its choices and limits."""
    text, choices, limits = (field.metadata[name] for name in ("text", "choices", "limits"))
    if not all(re.search(rf"\b{choice}\b", text) for choice in choices):
        text += f": {', '.join(choices[:-1])} or {choices[-1]}"
    if limits not in OF_NO_SURPRISE:
        text += f"; {limits[0]}"
    return text


def default(field: dataclasses.Field) -> str:
    """The default of an option; where recipes differ, of each: "drawings 2, paper 90"."""
    if shown := field.metadata["shown"]:
        return shown
    words = {True: "yes", False: "no"} if value_type(field) is bool else {}
    values = {name: recipe.get(field.name, field.default) for name, recipe in RECIPES.items()}
    texts = {name: words.get(value, str(value)) for name, value in values.items()}
    if len(set(texts.values())) == 1:
        return texts.popitem()[1]
    return ", ".join(f"{name} {text}" for name, text in texts.items())
