"""PyTorch's .pth files without PyTorch: what is written is read, and what is hostile is refused."""

import contextlib
import io
import os
import pickle
import pickletools
import resource
import struct
import tracemalloc
import zipfile
from collections import OrderedDict

import numpy as np
import pytest

import minialex as mx
from bad_input import refused
from minialex.errors import CheckpointError
from minialex.train.checkpoint import load_checkpoint, state_dict
from minialex.train.torch_file import MOST_PICKLED, pickled, pth_bytes, read_pth

MOST = 600 * 10**6  # bytes
NUMBERS = np.arange(6, dtype="<f4")
TENSORS = {"weight": NUMBERS.reshape(2, 3)}


def archive(pickle=None, compression=zipfile.ZIP_STORED, **parts):
    """The bytes of a .pth file with this pickle, by default that of TENSORS."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as made:
        made.writestr("x/data.pkl", pickled(TENSORS) if pickle is None else pickle)
        for name, data in {"data/0": NUMBERS.tobytes(), "version": b"3\n", **parts}.items():
            made.writestr(f"x/{name}", data)
    return file.getvalue()


def names(what, arguments=b")"):
    """A pickle {"a": what(*arguments)}."""
    return b"\x80\x02}X\x01\x00\x00\x00ac" + what.encode() + b"\n" + arguments + b"Rs."


class Raw:
    """A value for `pickle.dumps` that says itself how it is pickled."""

    def __init__(self, *reduced):
        self.reduced = reduced

    def __reduce__(self):
        return self.reduced


def tensor(shape=(2, 3), strides=(3, 1), offset=0, kind="FloatStorage", count=6, key="0", **more):
    """The pickle of {"weight": a tensor}, whatever its sizes are."""

    def push(value):  # without PROTO and STOP, and without a memo, which others would overwrite
        return pickletools.optimize(pickle.dumps(value, 2))[2:-1]

    storage = more.get("about")
    if storage is None:
        storage = b"(" + push("storage") + b"ctorch\n" + kind.encode() + b"\n"
        storage += push(key) + push("cpu") + push(count) + b"t"
    made = b"ctorch._utils\n_rebuild_tensor_v2\n(" + storage + b"Q" + push(offset) + push(shape)
    made += push(strides) + b"\x89ccollections\nOrderedDict\n)RtR"
    return b"\x80\x02}" + push("weight") + made + b"s."


def bomb():
    """Many parts that are the same million bytes of the file."""
    body = archive(**{"data/0": bytes(10**6)})
    at = body.index(b"PK\x01\x02")
    end = body.index(b"PK\x05\x06")
    with zipfile.ZipFile(io.BytesIO(body)) as made:
        offset = made.getinfo("x/data/0").header_offset
    entries = []
    for k in range(2000):
        name = f"x/data/{k:05}".encode()
        entries.append(struct.pack("<4s4B4HL2L5H2L", b"PK\x01\x02", 20, 3, 20, 0, 0, 0, 0, 33, 0,
            10**6, 10**6, len(name), 0, 0, 0, 0, 0, offset) + name)  # fmt: skip
    listed = body[at:end] + b"".join(entries)
    count = 3 + len(entries)
    return (
        body[:at]
        + listed
        + struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, count, count, len(listed), at, 0)
    )


def patched(old, new, body=None):
    body = archive() if body is None else body
    assert old in body and len(old) == len(new)
    return body.replace(old, new)


def listed(parts):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as made:
        for k in range(parts):
            made.writestr(zipfile.ZipInfo(f"x/{k:060}"), b"")
    return file.getvalue()


@contextlib.contextmanager
def at_most(size):
    """Within the block, the system gives this process no more than `size` bytes beyond its own."""
    before = resource.getrlimit(resource.RLIMIT_AS)
    with open("/proc/self/statm") as file:
        now = int(file.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (now + size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


TWICE = io.BytesIO(archive())
with zipfile.ZipFile(TWICE, "a") as made, pytest.warns(UserWarning):
    made.writestr("x/data.pkl", pickled(TENSORS))

FUNCTIONS = (
    "os\nsystem", "posix\nsystem", "nt\nsystem", "subprocess\nPopen", "subprocess\ncheck_output",
    "builtins\neval", "builtins\nexec", "builtins\ngetattr", "builtins\n__import__",
    "__builtin__\neval", "builtins\nopen", "shutil\nrmtree", "runpy\n_run_code", "runpy\nrun_path",
    "importlib\nimport_module", "pickle\nloads", "_pickle\nloads", "torch\nload", "torch.hub\nload",
    "torch.jit\nload", "numpy\nload", "functools\npartial", "operator\nattrgetter", "ctypes\nCDLL",
    "collections\nCounter", "collections\nOrderedDict.popitem", "collections OrderedDict\n",
    "torch._utils\n_rebuild_sparse_tensor", "torch\nBFloat16Storage", "webbrowser\nopen",
    "torch.storage\n_load_from_bytes", "minialex.train.torch_file\nread_pth", "code\ninteract",
    "socket\ncreate_connection",
)  # fmt: skip
OPCODES = {
    "INST": b"(ios\nsystem\n.", "OBJ": b"(}o.", "NEWOBJ": b"})\x81.",
    "NEWOBJ_EX": b"})}\x92.", "STACK_GLOBAL": b"}}\x93.",
    "EXT1": b"\x82\x01.", "EXT2": b"\x83\x01\x00.", "EXT4": b"\x84\x01\x00\x00\x00.",
    "PERSID": b"P0\n.", "BYTEARRAY8": b"\x96" + bytes(8) + b".", "NEXT_BUFFER": b"\x97.",
    "EMPTY_LIST": b"].", "EMPTY_SET": b"\x8f.", "FROZENSET": b"(\x91.", "DICT": b"(d.",
    "DUP": b"}2.", "POP": b"}0.", "STRING": b"S'a'\n.", "BINBYTES": b"B\x02\x00\x00\x00ab.",
    "LONG4": b"\x8b\x01\x00\x00\x00\x01.", "INT": b"I1\n.", "FLOAT": b"F1\n.",
}  # fmt: skip
DEEP = b"\x80\x02}" + b")" + b"q\x00h\x00\x86" * 60 + b"K\x01s."  # a key of 2^60 parts
HOSTILE = {
    **{f"names {name!r}": (archive(names(name, b"X\x02\x00\x00\x00ls\x85")), "no state dict needs")
       for name in FUNCTIONS},
    **{f"opcode {name}": (archive(body), f"has opcode {name}, which no state dict needs")
       for name, body in OPCODES.items()},
    "code by Python's pickle": (archive(pickle.dumps({"a": Raw(os.mkdir, ("ran",))}, 2)), "mkdir"),
    "code as the state": (archive(pickle.dumps(Raw(OrderedDict, (), Raw(os.mkdir, ("ran",))), 2)),
                          "mkdir"),
    "code as a key": (archive(b"\x80\x02}cos\nmkdir\nX\x03\x00\x00\x00ran\x85RK\x01s."), "mkdir"),
    "an unknown opcode": (archive(b"\x80\x02\xff."), ""),
    "a pickle that does not end": (archive(b"\x80\x02}"), ""),
    "a pickle that is cut": (archive(b"\x80\x02X\xff\xff\x00\x00a"), ""),
    "an empty pickle": (archive(b""), ""),
    "a stack that is empty": (archive(b"\x80\x02s."), ""),
    "nothing to give": (archive(b"\x80\x02."), ""),
    "a mark that lacks": (archive(b"\x80\x02}u."), ""),
    "a memo that lacks": (archive(b"\x80\x02h\x07."), ""),
    "a function that is none": (archive(b"\x80\x02K\x01)R."), ""),
    "a class that is called": (archive(names("torch\nFloatStorage")), ""),
    "a text that is called": (archive(b"\x80\x02X\x02\x00\x00\x00os)R."), ""),
    "a function as a tensor": (archive(b"\x80\x02}X\x01\x00\x00\x00accollections\nOrderedDict\ns."),
                               "'a' is no tensor"),
    "a number": (archive(pickle.dumps(5, 2)), "state dict"),
    "a number beside": (archive(pickle.dumps({"epoch": 5}, 2)), "'epoch' is no tensor"),
    "a dictionary inside": (archive(pickle.dumps({"state_dict": {}}, 2)), "'state_dict' is no"),
    "names that are numbers": (archive(b"\x80\x02}K\x01K\x01s."), "are not names"),
    "names too deep to compare": (archive(DEEP), "are not names"),
    "an uneven number of items": (archive(b"\x80\x02}(X\x01\x00\x00\x00au."), ""),
    "a pickle of ten million parts": (archive(b"\x80\x02" + b"}" * 10**7 + b"."), "data.pkl"),
    "a pickle of two million parts": (archive(b"\x80\x02" + b"}" * (MOST_PICKLED - 3) + b"."), ""),
    "texts of many gigabytes": (archive(b"\x80\x02\x8d" + b"\xff" * 7 + b"\x7f."), ""),
    "an offset beyond": (archive(tensor(offset=1)), "beyond its storage"),
    "an offset before": (archive(tensor(offset=-1)), "beyond its storage"),
    "strides beyond": (archive(tensor(strides=(4, 1))), "beyond its storage"),
    "strides of 2^62": (archive(tensor((5,), (2**62,))), "beyond its storage"),
    "strides of 2^62, used once": (archive(tensor((1,), (2**62,))), ""),
    "strides backwards": (archive(tensor(strides=(-3, 1), offset=3)), "beyond its storage"),
    "strides of zero, repeated": (archive(tensor((10**9,), (0,))), "beyond its storage"),
    "a shape too large": (archive(tensor((2, 4))), "beyond its storage"),
    "a shape of 2^70": (archive(tensor((2**70, 2**70), (1, 1))), "beyond its storage"),
    "a shape below zero": (archive(tensor((-2, -3))), "beyond its storage"),
    "no numbers in endless rows": (archive(tensor((0, 2**62), (1, 1))), ""),
    "no numbers in 2^1000 rows": (archive(tensor((0, 2**1000), (1, 1))), ""),
    "a shape without strides": (archive(tensor(strides=())), ""),
    "a shape of 99 axes": (archive(tensor((1,) * 99, (1,) * 99)), ""),
    "a shape that is a text": (archive(tensor(shape="ab")), ""),
    "sizes of floats": (archive(tensor((2.0, 3.0))), ""),
    "a tensor of a number": (archive(tensor(about=b"K\x01")), ""),
    "a storage of four things": (archive(tensor(about=b"(K\x01K\x01K\x01K\x01t")), ""),
    "a storage of no type": (archive(tensor(kind="FloatStorage\n0ctorch\nFloatStorage")), "POP"),
    "a storage of a function": (archive(tensor().replace(b"torch\nFloatStorage",
                                                          b"collections\nOrderedDict")), ""),
    "a storage too long": (archive(tensor(count=7)), "24 bytes, which is wrong"),
    "a storage too short": (archive(tensor(count=5)), "24 bytes, which is wrong"),
    "a storage below zero": (archive(tensor(count=-6)), "which is wrong"),
    "a storage of 2^60": (archive(tensor(count=2**60)), "which is wrong"),
    "a storage of another type": (archive(tensor(kind="DoubleStorage")), "which is wrong"),
    "a storage that lacks": (archive(tensor(key="1")), "no part 'data/1'"),
    "a storage outside": (archive(tensor(key="../../etc/passwd")), "no part"),
    "a storage that is the pickle": (archive(tensor(key="../data.pkl")), "no part"),
    "a storage of two types": (
        archive(tensor()[:-2] + tensor(kind="IntStorage")[3:-2] + b"ss."), ""),
    "no pickle": (archive().replace(b"data.pkl", b"data.pk_"), "no part 'data.pkl'"),
    "compressed": (archive(compression=zipfile.ZIP_DEFLATED), "compressed"),
    "a bomb of zeros": (archive(None, zipfile.ZIP_DEFLATED, **{"data/0": bytes(10**8)}), "compr"),
    "a bomb of LZMA": (archive(None, zipfile.ZIP_LZMA, **{"data/0": bytes(10**8)}), "compr"),
    "parts that overlap": (bomb(), "larger than the file"),
    "two parts of one name": (TWICE.getvalue(), "two parts of one name"),
    "a list of parts too long": (listed(50_000), ""),
    "a byte changed": (patched(NUMBERS.tobytes(), bytes(24)), "CRC"),
    "a part that is encrypted": (patched(b"PK\x01\x02\x14\x03\x14\x00\x00\x00",
                                         b"PK\x01\x02\x14\x03\x14\x00\x01\x00"), "encrypted"),
    "cut short": (archive()[:-30], ""),
    "cut very short": (archive()[:100], ""),
    "a beginning alone": (b"PK\x03\x04", ""),
    "another archive": (archive()[:4] + bytes(5000), ""),
}  # fmt: skip


def test_there_are_more_than_sixty():
    assert len(HOSTILE) > 100


@pytest.mark.parametrize("what", HOSTILE)
def test_a_hostile_file_is_refused_in_one_line_and_nothing_runs(what, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    body, words = HOSTILE[what]
    (tmp_path / "x.pth").write_bytes(body)
    with at_most(MOST), refused(CheckpointError, "'x.pth' is damaged or no checkpoint", words):
        load_checkpoint("x.pth", ours=False)
    assert os.listdir() == ["x.pth"]


def test_the_limit_of_these_tests_holds():
    with pytest.raises(MemoryError), at_most(MOST):
        bytearray(2 * MOST)


def test_what_was_written_is_read(tmp_path):
    rng, kinds = np.random.default_rng(0), ("f8", "f4", "f2", "i8", "i4", "i2", "i1", "u1", "?")
    tensors = {f"a.{kind}": (100 * rng.standard_normal((3, 4, 2))).astype(kind) for kind in kinds}
    tensors |= {"one": np.float32(3), "none": np.ones((0, 3)), "across": np.ones((4, 3)).T}
    (tmp_path / "x.pth").write_bytes(pth_bytes(tensors))
    found = read_pth(tmp_path / "x.pth")
    assert list(found) == list(tensors)
    for name, array in tensors.items():
        assert found[name].dtype == array.dtype and np.array_equal(found[name], array)


def test_views_of_one_storage_and_numbers_of_the_other_order(tmp_path):
    across = tensor(shape=(3, 2), strides=(1, 3))
    body = archive(across, byteorder=b"big", **{"data/0": NUMBERS.astype(">f4").tobytes()})
    (tmp_path / "x.pth").write_bytes(body)
    assert np.array_equal(read_pth(tmp_path / "x.pth")["weight"], NUMBERS.reshape(2, 3).T)


def test_a_large_file_takes_its_own_size_in_memory(tmp_path):
    (tmp_path / "x.pth").write_bytes(pth_bytes({"a": np.ones(10**7, np.float32)}))
    tracemalloc.start()
    read_pth(tmp_path / "x.pth")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 44 * 10**6


def network(seed):
    rng = np.random.default_rng(seed)
    parts = mx.Conv2d(3, 4, 3, rng=rng), mx.ReLU(), mx.Flatten(), mx.Linear(36, 2, rng=rng)
    return mx.Sequential(*parts)


def test_a_network_goes_to_a_pth_and_comes_back(tmp_path):
    mine, other, path = network(0), network(1), tmp_path / "x.pth"
    mx.save(path, mine)
    mx.load(path, into=other)
    assert all(np.array_equal(a, state_dict(other)[k]) for k, a in state_dict(mine).items())
    with refused(CheckpointError, "was not written by minialex"):
        mx.load(path)
    with refused(CheckpointError, "holds the weights alone"):
        mx.save(path, mine, classes=["a", "b"])
    with refused(CheckpointError, "x is of uint32, which no .pth holds"):
        pth_bytes({"x": np.ones(3, np.uint32)})
