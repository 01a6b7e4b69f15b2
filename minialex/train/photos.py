"""The photos of a run: looked at before its first step, and the same ones until its end.

A network must never be tested on photos that it was trained on.  So a run keeps in photos.json
where its photos are, which part each belongs to, and a fingerprint of each:

    folder     where they are
    parts      {"train": {class: {file: fingerprint}}, "val": ..., "test": ...}
    left_out   {file: why}: those that cannot be read, and those beyond --limit
    damaged    files whose damage showed only when they were decoded, in training or in the test

When it goes on, these decide.  Photos that are new are left out; it refuses to go on where one is
gone, or is another one now.
"""

import dataclasses
import json
import os
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from minialex.data import PhotoError, Photos, Source, open_rgb, open_source
from minialex.data.files import look_at
from minialex.data.sources import describe, paths_of
from minialex.errors import CheckpointError, DataError
from minialex.train.checkpoint import write_text
from minialex.train.config import Config
from minialex.train.screen import Silent

PARTS = ("train", "val", "test")
SHOWN = 3  # files named where one line has to do for many


@dataclass
class RunPhotos:
    """What photos.json holds, see above."""

    folder: str
    parts: dict[str, dict[str, dict[str, str]]]
    left_out: dict[str, str]
    damaged: list[str]

    @classmethod
    def read(cls, run: Path) -> "RunPhotos | None":
        """Those of the run in a folder; None where it has no such file.

        Raises CheckpointError where it cannot be read.
        """
        file = run / "photos.json"
        try:
            found = cls(**json.loads(file.read_text(encoding="utf-8")))
            for part in PARTS:
                for photos in found.parts[part].values():
                    dict(photos)
            return found
        except FileNotFoundError:
            return None
        except OSError as error:
            raise CheckpointError(f"cannot read {str(file)!r}: {error.strerror}") from None
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            raise CheckpointError(f"{str(file)!r} is damaged ({error}); start a new run") from None

    def write(self, run: Path) -> None:
        """Write photos.json.  Raises CheckpointError where the disk refuses."""
        write_text(run / "photos.json", json.dumps(dataclasses.asdict(self), indent=0) + "\n")

    def source(self) -> Source:
        """The photos as datasets."""
        classes = sorted(self.parts["train"])
        parts = []
        for part in PARTS:
            found = [
                (os.path.join(self.folder, file), classes.index(name), f"{name}/{file}")
                for name, files in sorted(self.parts[part].items())
                for file in files
            ]
            samples = [(path, label) for path, label, _ in found]
            parts.append(Photos(classes, samples, [name for *_, name in found]))
        train, val, test = parts
        text = describe(f"photos in {self.folder!r}", train, val, test)
        return Source(train, val, test, classes, text, folder=Path(self.folder))

    def files(self, part: str | None = None) -> dict[str, str]:
        """{file: fingerprint} of a part, or of all."""
        chosen = [self.parts[name] for name in PARTS if part in (None, name)]
        groups = (files for classes in chosen for files in classes.values())
        return {file: value for files in groups for file, value in files.items()}

    def path(self, file: str) -> str:
        """Where a file is."""
        return os.path.join(self.folder, file)

    def file(self, path: str) -> str:
        """What a photo is called here."""
        return Path(os.path.relpath(path, self.folder)).as_posix()

    def set(self, file: str, value: str | None) -> None:
        """Give a file another fingerprint; None takes it out."""
        for part in self.parts.values():
            for files in part.values():
                if value is None:
                    files.pop(file, None)
                elif file in files:
                    files[file] = value

    def leave_out(self, bad: dict[str, str]) -> None:
        """Go on without some files.  Raises DataError where a class has no photo left."""
        for file, why in bad.items():
            self.set(file, None)
            self.left_out[file] = why
        for part in PARTS:
            for name, files in self.parts[part].items():
                if not files:
                    raise DataError(f"class {name!r} has no {part} photo that can be read")

    def check(self, screen: Any, skip: bool = False, part: str | None = None) -> None:
        """Look at all photos, or those of a part, again: they must be those of the run.

        Raises DataError where one is gone or changed, or, unless `skip`, cannot be read.
        """
        kept = self.files(part)
        found = look_at([self.path(file) for file in kept], screen)
        wrong: dict[str, str] = {}
        bad: dict[str, str] = {}
        for file, before in kept.items():
            path = self.path(file)
            result = decoded(path, found[path]) if file in self.damaged else found[path]
            if isinstance(result, PhotoError):
                gone = not os.path.exists(path) and file not in self.damaged
                (wrong if gone else bad)[file] = "gone" if gone else str(result)
            elif file in self.damaged:  # mended
                self.set(file, result)
            elif result != before:
                wrong[file] = "changed"
        self.damaged = [file for file in self.damaged if file in bad]
        if wrong:
            raise DataError(
                f"photos of the run are gone or have changed in {self.folder!r}: {some(wrong)};"
                " put them back, or start a new run"
            )
        report(bad, len(kept), skip, screen)
        self.leave_out(bad)

    def twins(self) -> list[str]:
        """A line each where the same photo is in two parts, and in two classes."""
        places = defaultdict(list)
        for part, classes in self.parts.items():
            for name, files in classes.items():
                for file, value in files.items():
                    places[value].append((part, name, file))
        lines = []
        for k, what in enumerate(("parts", "classes")):
            found = [p for p in places.values() if len({place[k] for place in p}) > 1]
            if found:
                one = found[0][0]
                two = next(place for place in found[0] if place[k] != one[k])
                lines.append(
                    f"the same photo, byte for byte, is in two {what}: {len(found):,} times, such"
                    f" as {one[2]!r} ({one[k]}) and {two[2]!r} ({two[k]})"
                )
        return lines

    def say_new(self, screen: Any) -> None:
        """Count the photos that are there now and were not when the run began."""
        try:
            now = open_source(self.folder, seed=0)
        except DataError:  # it has another form now, which matters only to new runs
            return
        there = {self.file(path) for path in paths_of((now.train, now.val, now.test))}
        if new := there - self.files().keys() - self.left_out.keys():
            screen.line(f"left out: {len(new):,} photos that are new since the run began")


def open_images(
    config: Config, run: Path, screen: Any, damaged: Iterable[str] = ()
) -> tuple[Source, RunPhotos | None]:
    """The images of a run, all photos looked at; and what photos.json is to hold, if anything.

    `damaged` are files that could not be decoded before.  Raises DataError for photos that cannot
    be read, unless `config.skip_damaged`, and where those of a run are not what they were.
    """
    photos = RunPhotos.read(run)
    if photos is not None:
        photos.check(screen, config.skip_damaged)
        photos.say_new(screen)
        return photos.source(), photos
    if config.by_position and config.data != "drawings":
        screen.line("the run is of an earlier version, which noted no photos: none are compared")
    if config.by_position or config.data == "drawings":
        own: Any = run_source(run, vars(config))
        return own, None
    source, seen, bad = look(config, screen, set(damaged))
    photos = RunPhotos(os.path.abspath(source.folder or ""), {}, {}, [])
    for part in PARTS:
        found: dict[str, dict[str, str]] = {name: {} for name in source.classes}
        for path, label in getattr(source, part).samples:
            found[source.classes[label]][photos.file(path)] = seen[path]
        photos.parts[part] = found
    photos.left_out = {photos.file(path): "beyond --limit" for path in sorted(source.unused)}
    photos.left_out |= {photos.file(path): why for path, why in bad.items()}
    for line in photos.twins():
        screen.line(line)
    return source, photos


def look(config: Config, screen: Any, damaged: set[str]) -> tuple[Source, Any, dict[str, str]]:
    """The images of a new run, the fingerprints of its photos, and what is wrong with others."""
    seen: dict[str, str | PhotoError] = {}
    bad: dict[str, str] = {}
    while True:  # with a limit, others take the places of those that cannot be read
        source = open_source(config.data, seed=config.seed, limit=config.limit, leave_out=bad)
        paths = [path for path in paths_of(map(source.__getattribute__, PARTS)) if path not in seen]
        found = look_at(sorted(paths), screen)
        found |= {path: decoded(path, found[path]) for path in damaged & found.keys()}
        new = {path: str(why) for path, why in found.items() if isinstance(why, PhotoError)}
        seen |= found
        bad |= new
        report(new, len(found), config.skip_damaged, screen)
        if not new:
            return source, seen, bad


def run_source(
    run: Path, settings: dict[str, Any], spec: str | None = None, part: str | None = None
) -> Source | None:
    """The images that a run is trained on, or those that `spec` names; None where nobody knows.

    `settings` are those in the run's config.json.  The photos of `part` are compared with those
    that the run had: raises DataError where they have changed.
    """
    photos, data = RunPhotos.read(run), settings.get("data")
    is_own = spec is None or same_folder(spec, photos.folder if photos else data)
    if photos and is_own:
        if part is not None:
            photos.check(Silent(), part=part)
        return photos.source()
    what = spec or data
    if what is None:
        return None
    # Version 0.3.0 and before did not note how they chose parts; they did it by position.
    old = data is not None and is_own and settings.get("by_position", True)
    seed, limit = settings.get("seed", 0), settings.get("limit")
    return open_source(what, seed=seed, limit=limit, by_position=old)


def same_folder(one: str, other: str | None) -> bool:
    """Whether both are the same folder."""
    return other is not None and os.path.realpath(one) == os.path.realpath(other)


def decoded(path: str, result: str | PhotoError) -> str | PhotoError:
    """`result` of a photo, or what is found when all of it is decoded."""
    try:
        open_rgb(path)
    except PhotoError as error:
        return error
    return result


def some(files: dict[str, str]) -> str:
    """How many files, and the first of them."""
    shown = ", ".join(f"{file!r} ({why})" for file, why in list(files.items())[:SHOWN])
    return f"{len(files):,}, {'such as ' if len(files) > SHOWN else ''}{shown}"


def report(bad: dict[str, str], count: int, skip: bool, screen: Any) -> None:
    """Say of each bad photo what is wrong.  Raises DataError, unless they are to be skipped."""
    if len(bad) == 1 and not skip:
        raise DataError(f"{next(iter(bad.values()))}; to go on without it: --skip-damaged")
    for why in bad.values():
        screen.line(why)
    if bad and not skip:
        raise DataError(
            f"{len(bad):,} of {count:,} photos cannot be read, see above: mend them, or go on"
            " without them by --skip-damaged"
        )
    if bad:
        screen.line(f"left out: {len(bad):,} photos that cannot be read")


def note_damaged(run: Path, error: PhotoError) -> bool:
    """Note in photos.json that a file could not be decoded; whether the run has begun."""
    photos = RunPhotos.read(run)
    if photos is not None and error.damaged and photos.file(error.path) in photos.files():
        photos.damaged = sorted({*photos.damaged, photos.file(error.path)})
        photos.write(run)
    return (run / "config.json").exists()
