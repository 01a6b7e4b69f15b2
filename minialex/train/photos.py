"""The photos of a run: looked at before its first step, and the same ones until its end.

A network must never be tested on photos that it was trained on.  So a run keeps in photos.json

    folder     where its photos are
    files      {file: [part, class, fingerprint]}; the part is "train", "val" or "test"
    left_out   {file: why}: those that cannot be read, and those beyond --limit

When it goes on, these decide.  Photos that are new are left out; it refuses to go on where one is
gone, or is another one now.

To look at a photo is to read its header and its end, which shows nearly all damage.  What only
decoding shows ends a run in its midst, and the fingerprint is then "damaged"; with --skip-damaged
all photos are decoded beforehand.
"""

import dataclasses
import os
from collections import defaultdict
from pathlib import Path
from typing import Any

from minialex.data import PhotoError, Photos, Source, open_source
from minialex.data.files import look_at
from minialex.data.sources import PARTS
from minialex.errors import CheckpointError, ConfigError, DataError
from minialex.files import locked, read_json, write_json
from minialex.train.config import Config
from minialex.train.screen import Silent

NEW, DAMAGED = "", "damaged"  # fingerprints of photos that may be what they are now


@dataclasses.dataclass
class RunPhotos:
    """What photos.json holds, see above."""

    folder: str
    files: dict[str, list[str]]
    left_out: dict[str, str]

    @classmethod
    def read(cls, run: Path) -> "RunPhotos | None":
        """Those of the run in a folder; None where it has no such file.

        Raises CheckpointError where it cannot be read.
        """
        path = run / "photos.json"
        try:
            found = read_json(path)
            for file in found.pop("damaged", ()):  # as version 0.8.1 noted it
                found["files"][file][2] = DAMAGED
            photos = cls(**found)
            photos.source()
            return photos
        except FileNotFoundError:
            return None
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise CheckpointError(f"{str(path)!r} is damaged ({error}); start a new run") from None

    def write(self, run: Path) -> None:
        """Write photos.json.  Raises CheckpointError where the disk refuses."""
        write_json(run / "photos.json", vars(self), indent=0)

    def path(self, file: str) -> str:
        """Where a file is."""
        return os.path.join(self.folder, file)

    def file(self, path: str) -> str:
        """What the photo at a path is called here."""
        return Path(os.path.relpath(path, self.folder)).as_posix()

    def source(self) -> Source:
        """The photos as datasets."""
        classes = sorted({name for _, name, _ in self.files.values()})
        found: dict[str, list[tuple[str, int]]] = {part: [] for part in PARTS}
        for file, (part, name, _) in self.files.items():
            found[part].append((self.path(file), classes.index(name)))
        parts: dict[str, Any] = {part: Photos(classes, found[part]) for part in PARTS}
        what = f"photos in {self.folder!r}"
        return Source(**parts, classes=classes, what=what, folder=Path(self.folder))

    def check(self, screen: Any, skip: bool = False, part: str | None = None) -> None:
        """Look at all photos, or those of a part: they must be those of the run.

        Raises DataError where one is gone or has changed, but for those that are new or damaged,
        which may be mended; and where one cannot be read, unless `skip`.
        """
        if not os.path.isdir(self.folder):
            raise DataError(f"{self.folder!r} does not exist; correct it in photos.json of the run")
        known = {file: own for file, (of, _, own) in self.files.items() if part in (None, of)}
        # Where decoding showed damage, there may be more of it: all of it is to be said at once.
        decode = skip or DAMAGED in known.values()
        found = look_at(map(self.path, known), screen, decode)
        wrong, bad = [], {}
        for (file, own), now in zip(known.items(), found.values(), strict=True):
            there, any_will_do = os.path.exists(self.path(file)), own in (NEW, DAMAGED)
            if isinstance(now, PhotoError) and (there or any_will_do):
                bad[file] = str(now)
            elif any_will_do:
                self.files[file][2] = str(now)
            elif now != own:
                wrong.append(f"{file!r} is {'another one' if there else 'gone'}")
        if wrong:
            text = f"{len(wrong):,} photos in {self.folder!r} are not those of the run"
            some = ", ".join(wrong[:3]) + " ..." * (len(wrong) > 3)
            raise DataError(f"{text}: {some}; put them back, or start anew")
        report(bad, len(known), skip, screen)
        self.leave_out(bad)

    def leave_out(self, bad: dict[str, str]) -> None:
        """Go on without some files.

        Raises DataError where a part has none left, or a class none to learn from.
        """
        lost = {tuple(self.files.pop(file)[:2]) for file in bad}
        left = {tuple(place[:2]) for place in self.files.values()}
        for part, name in lost - left:
            if part == "train" or part not in {other for other, _ in left}:
                raise DataError(f"{part} has no photo of {name!r} left that can be read")
        self.left_out |= bad

    def others(self) -> set[str]:
        """The photos that are in the folder now, and that the run does not know."""
        try:
            there = open_source(self.folder, seed=0)
        except DataError:  # the folder has another form now, which matters to new runs alone
            return set()
        now = {self.file(path) for part in PARTS for path, _ in getattr(there, part).samples}
        return now - self.files.keys() - self.left_out.keys()

    def twins(self) -> list[str]:
        """A line each where the same photo is in two parts, and in two classes."""
        places, lines = defaultdict(list), []
        for file, (part, name, value) in self.files.items():
            places[value].append((part, name, file))
        for k, what in enumerate(("parts", "classes")):
            if pairs := [(a, b) for a, *more in places.values() for b in more if a[k] != b[k]]:
                some = " and ".join(f"{place[2]!r} ({place[k]})" for place in pairs[0])
                lines.append(f"{len(pairs):,} photos are in two {what}, byte for byte: {some}")
        return lines


def open_images(config: Config, run: Path | None, screen: Any
) -> tuple[Source, RunPhotos | None]:  # fmt: skip
    """The images of a run, all photos looked at; and what photos.json is to hold, if anything.

    `run` is its folder, None for one that has none yet.  Raises DataError for photos that cannot be
    read, unless `config.skip_damaged`, and where those of a run are not what they were;
    CheckpointError where a run did not note them, or is on drawings that are no longer drawn.
    """
    if run is not None and (photos := RunPhotos.read(run)) is not None:
        photos.check(screen, config.skip_damaged)
        if count := len(photos.others()):
            screen.line(f"left out: {count:,} photos that are new since the run began")
        return photos.source(), photos
    drawn, others = config.data == "drawings", config.edition != Config.edition
    if run is not None and (others if drawn else any(run.glob("*.safetensors"))):
        raise lost(run, config.data, "begin a new one from its weights: --weights")
    source = open_source(config.data, seed=config.seed, limit=config.limit)
    if source.folder is None:
        return source, None
    photos = RunPhotos(os.path.abspath(source.folder), {}, {})
    for part in PARTS:
        for path, label in getattr(source, part).samples:
            photos.files[photos.file(path)] = [part, source.classes[label], NEW]
    photos.check(screen, config.skip_damaged)
    if config.limit:
        photos.left_out |= dict.fromkeys(sorted(photos.others()), "beyond --limit")
    for line in photos.twins():
        screen.line(line)
    found = photos.source()
    return dataclasses.replace(found, what=source.what, messages=source.messages), photos


def run_source(
    run: Path, settings: dict[str, Any], spec: str | None = None, part: str | None = None
) -> Source:
    """The images that a run is trained on, or those that `spec` names.

    `settings` are those in the run's config.json.  The photos of `part` are compared with those
    that the run had: raises DataError where they have changed, CheckpointError where the run did
    not note them or is on drawings of another version, ConfigError where nobody knows what it is
    trained on.
    """
    photos, own = RunPhotos.read(run), data_of(run, settings)
    is_own = own is not None and (spec is None or os.path.realpath(spec) == os.path.realpath(own))
    if photos and is_own:
        if part is not None:
            photos.check(Silent(), part=part)
        return photos.source()
    if not (what := spec or own):
        raise ConfigError("it is not known what the network was trained on; say so by --data")
    if is_own and own != "drawings":
        raise lost(run, what, "show it others: --data")
    if spec is None and settings.get("edition", 1) != Config.edition:
        raise lost(run, what, "show it those of today: --data drawings")
    return open_source(what, seed=settings.get("seed", 0), limit=settings.get("limit"))


def lost(run: Path, data: str, then: str) -> CheckpointError:
    """The error for a run of which nobody has the images any more, or knows which they were."""
    text = "has no photos.json (version 0.3.0 wrote none), so that nobody knows its test photos"
    if data == "drawings":
        text = "is on drawings of another version, which this one does not draw"
    return CheckpointError(f"{str(run)!r} {text}; {then}")


def data_of(run: Path, settings: dict[str, Any]) -> str | None:
    """What a run is trained on: the folder of its photos, or what its settings name."""
    photos = RunPhotos.read(run)
    return photos.folder if photos else settings.get("data")


def report(bad: dict[str, str], count: int, skip: bool, screen: Any) -> None:
    """Say of each bad photo what is wrong.  Raises DataError, unless they are to be skipped."""
    for why in bad.values():
        screen.line(why)
    what = f"{len(bad):,} of {count:,} photos cannot be read"
    if bad and not skip:
        why = why if len(bad) == 1 else f"{what}, see above"
        raise DataError(f"{why}; mend it, or go on without: --skip-damaged")
    if bad:
        screen.line(f"left out: {what}")


def note_damaged(run: Path, error: PhotoError) -> None:
    """Note in photos.json of a run, if there is one, that a file could not be decoded."""
    photos = RunPhotos.read(run)
    if photos is not None and error.damaged and (file := photos.file(error.path)) in photos.files:
        photos.files[file][2] = DAMAGED
        with locked(run):
            photos.write(run)
