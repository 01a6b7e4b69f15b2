"""Small archives of the pet photos' form, and a loopback server for them that can misbehave."""

import contextlib
import hashlib
import io
import tarfile
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
from PIL import Image

from bad_input import snapshot
from minialex.data import download_pets

HEAD = "# Image CLASS-ID SPECIES BREED-ID\n"
TRAINVAL = f"{HEAD}Abyssinian_1 1 1 1\nbeagle_2 5 2 4\nbeagle_10 5 2 4\n"
TEST = "Abyssinian_7 1 1 1\nbeagle_3 5 2 4\n"
PHOTOS = ("Abyssinian_1", "beagle_2", "beagle_10", "Abyssinian_7", "beagle_3", "unlisted_1")
ARRANGED = {
    "train/cat/Abyssinian_1.jpg",
    "train/dog/beagle_2.jpg",
    "train/dog/beagle_10.jpg",
    "test/cat/Abyssinian_7.jpg",
    "test/dog/beagle_3.jpg",
}


def photo(name):
    x = np.random.default_rng(list(name.encode())).integers(0, 256, (60, 80, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(x).save(file, "JPEG", quality=95)
    return file.getvalue()


def archive(files, mode="w:gz"):
    """The bytes of a tar archive of {path: content}, where content may be a TarInfo, for links."""
    whole = io.BytesIO()
    with tarfile.open(fileobj=whole, mode=mode) as tar:
        for path, content in files.items():
            if isinstance(content, tarfile.TarInfo):
                tar.addfile(content)
                continue
            member = tarfile.TarInfo(path)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return whole.getvalue()


def annotations(trainval=TRAINVAL, test=TEST):
    lists = {"annotations/trainval.txt": trainval.encode(), "annotations/test.txt": test.encode()}
    others = {"annotations/README": b"...", "annotations/trimaps/beagle_2.png": b"..."}
    return archive(lists | others)


def images(**more):
    photos = {f"images/{name}.jpg": photo(name) for name in PHOTOS}
    return archive({**photos, "images/x.mat": b"", **more})


ANNOTATIONS, IMAGES = annotations(), images()


class Server:
    """Serves `files` and notes each request as (name, its Range header or None).

    cut       break the connection after so many bytes of a body; None for never
    ranges    whether Range is understood
    status    answer everything with this error
    silent    accept, but do not answer
    moved     redirect /old/... to /...
    endless   send no length, and the body of images.tar.gz over and over
    drip      seconds to wait before each byte
    slow      seconds to wait before each answer
    """

    def __init__(self):
        self.files = {"annotations.tar.gz": ANNOTATIONS, "images.tar.gz": IMAGES}
        self.requests, self.cut, self.ranges, self.status = [], None, True, None
        self.silent, self.shift, self.over = False, 0, threading.Event()
        self.endless, self.drip, self.slow = False, 0, 0
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                outer.answer(self)

            def log_message(self, *args):
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}/pets/"
        serve, often = self.http.serve_forever, {"poll_interval": 0.01}
        self.thread = threading.Thread(target=serve, kwargs=often)
        self.thread.start()

    def answer(self, handler):
        name, asked = handler.path.rpartition("/")[2], handler.headers.get("Range")
        self.requests.append((name, asked))
        if self.silent:
            self.over.wait(30)
            return
        if self.status is not None:
            handler.send_error(self.status)
            return
        if handler.path.startswith("/old/"):
            handler.send_response(301)
            handler.send_header("Location", self.url + name)
            handler.end_headers()
            return
        self.over.wait(self.slow)
        body, first = self.files[name], 0
        if asked and self.ranges:
            first = int(asked.removeprefix("bytes=").removesuffix("-")) + self.shift
            if first >= len(body):
                handler.send_error(416)
                return
            handler.send_response(206)
            handler.send_header("Content-Range", f"bytes {first}-{len(body) - 1}/{len(body)}")
        else:
            handler.send_response(200)
        if not self.endless:
            handler.send_header("Content-Length", str(len(body) - first))
        handler.end_headers()
        with contextlib.suppress(OSError):  # the other end has enough
            while self.endless and name == "images.tar.gz":
                handler.wfile.write(body)
            for k in range(first, len(body)) if self.drip else ():
                handler.wfile.write(body[k : k + 1])
                if self.over.wait(self.drip):
                    return
            end = len(body) if self.cut is None else first + self.cut
            handler.wfile.write(body[first:end])

    def sums(self):
        return {name: hashlib.sha256(body).hexdigest() for name, body in self.files.items()}

    def get(self, root, **options):
        own = {"base_url": self.url, "sha256": self.sums(), "timeout": 20}
        return download_pets(root, **own | options)


def check_arranged(root):
    """`root` holds the photos as they should be in the end, and nothing else."""
    found = snapshot(root / "pets")
    assert b"CC BY-SA 4.0" in found.pop(type(root)("README.txt"))
    assert {p.as_posix() for p in found} == ARRANGED
    assert all(content == photo(p.stem) for p, content in found.items())
    # Archives and unfinished folders are gone.
    assert sorted(p.name for p in root.iterdir()) == ["pets"]
