"""Kill a training run, at each file call of its saves and at random moments, and let it go on.

The process is killed by SIGKILL, before a file call (with half of a write done) or at any time.
Then the run is resumed to its end, and must have left what an undisturbed run leaves: the same
bits, no file more, and none changed but those of the run.
"""

import os
import signal

from common import (
    Report,
    call,
    difference,
    make_photos,
    outcome,
    resume,
    scratch,
    snapshot,
    start,
    without,
)
from watch import FileCall, watch

EPOCHS, TIMES = 2, 3  # how often a random run is killed at most
HOW = ("--device=cpu", "--width=0.02", "--image-size=67", "--batch-size=4",
       "--data=photos", f"--epochs={EPOCHS}", "--keep-last")  # fmt: skip


def dying_at(moment: int, log: str):
    """A function that watches the process, and kills it at its file call number `moment`.

    The names of all calls until then come into the file `log`.
    """

    def begin() -> None:
        names = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        count = 0

        def note(one: FileCall) -> None:
            nonlocal count
            os.write(names, f"{one}\n".encode())
            if count == moment:
                if one.kind == "write":
                    os.write(one.handle, one.data[: len(one.data) // 2])
                os.kill(os.getpid(), signal.SIGKILL)
            count += 1

        watch(note)

    return begin


def main() -> None:
    options, rng = start(__doc__.splitlines()[0], 200, "kills")
    report = Report(options.verbose)
    with scratch() as folder:
        make_photos(folder / "photos")
        how = (*HOW, "--workers=0")
        whole = call("train", *how, "--out", "whole", before=dying_at(-1, "calls"))
        assert whole.status == 0, whole.err
        expected, photos = outcome(folder / "whole"), snapshot(folder / "photos")
        calls = (folder / "calls").read_text().splitlines()
        print(f"a run makes {len(calls)} file calls, {whole.seconds:.1f} s", flush=True)
        run = folder / "run"

        def check(name: str, ended) -> None:
            faults = ended.faults(statuses=(0,), lines=0)
            if not faults:
                found = outcome(run)
                found["config.json"] = found["config.json"].replace('"workers": 1', '"workers": 0')
                if differ := difference(found, expected):
                    faults.append(f"another outcome: {differ}")
            if snapshot(folder / "photos") != photos:
                faults.append("photos have changed")
            report.case(name, "runs that came to the same", faults)

        # At each file call; where there are more than may be tried, at some.
        moments = sorted(rng.sample(range(len(calls)), min(len(calls), options.count * 3 // 4)))
        for moment in moments:
            without(run)
            died = call("train", *how, "--out", run, before=dying_at(moment, "log"))
            name = f"call {moment} ({calls[moment]})"
            if died.status != -signal.SIGKILL:
                report.case(name, "", [f"not killed: {died.status} {died.err}"])
                continue
            check(name, resume(run, *how))

        how = (*HOW, "--workers=1")
        done = len(moments)
        while done < options.count:
            without(run)
            kills = 0
            for _ in range(min(TIMES, options.count - done)):
                moment = rng.uniform(0.03, 1.0) * whole.seconds
                ended = resume(run, *how, kill_after=moment)
                if ended.status == 0:
                    break
                kills += 1
            done += kills
            check(f"{kills} random kills", resume(run, *how))
        report.counts["kills at file calls"] = len(moments)
        report.counts["kills at random moments"] = done - len(moments)
    report.end()


if __name__ == "__main__":
    main()
