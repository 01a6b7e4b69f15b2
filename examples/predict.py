"""Cat or dog?  Class and probability of photos, by a trained checkpoint."""

import argparse
import json
import sys
from pathlib import Path

from minialex.cli import run_main
from minialex.errors import DataError
from minialex.gpu.devices import choose_device
from minialex.use.predict import Predictor, find_photos


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkpoint", type=Path, help="best.safetensors of a run folder")
    parser.add_argument("photos", type=Path, nargs="+", help="photos, or folders of photos")
    parser.add_argument("--json", action="store_true", help="one JSON object per line")
    parser.add_argument("--ten-crop", action="store_true", help="mean over ten crops of each photo")
    parser.add_argument("--device", default="auto", help="cpu, gpu or auto (default)")
    options = parser.parse_args()

    device, _ = choose_device(options.device)
    predictor = Predictor(options.checkpoint, device)
    failed = 0
    for path in find_photos(options.photos):
        try:
            answer = predictor.predict(path, options.ten_crop)
        except DataError as error:  # one bad photo does not stop the rest
            print(f"error: {error}", file=sys.stderr)
            failed += 1
            continue
        if options.json:
            print(json.dumps(answer))
        else:
            print(f"{answer['class']}  {answer['probability']:6.1%}  {answer['file']}")
    return 2 if failed else 0


if __name__ == "__main__":
    run_main(main)
