#!/usr/bin/env bash
# All that only a real GPU can show, in at most 520 seconds, from the root of the project:
#
#     bash benchmarks/on_hardware.sh OUT [PHOTOS]
#
# PHOTOS is a folder with train/<class>/ and test/<class>/. OUT gets two files: summary.txt, a line
# for each part, and all.tgz, what each part printed. The most important parts come first, and each
# has a limit of its own. It needs CuPy and pytest; PyTorch (in the same Python) to compare with and
# to see kernels; compute-sanitizer (of the CUDA toolkit) to look for faults of memory. What is missing is
# said, and its part does not count as passed. The status is 1 where a part failed.
#
# PYTHON names the Python (default python3). For the tests of this script, TINY=1 makes everything
# small, and MINIALEX_RUN_THROUGH names tests/gpu/on_emulated_gpu.py.
set -u
[ $# -ge 1 ] || { sed -n '2,/^set/s/^# \{0,1\}//p' "$0"; exit 2; }
mkdir -p "$1" && out=$(cd "$1" && pwd) || exit 2
photos=${2:+$(cd "$2" && pwd)}
cd "$(dirname "$0")/.."
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python=${PYTHON:-python3}
run=("$python" ${MINIALEX_RUN_THROUGH:+"$MINIALEX_RUN_THROUGH"})
export PYTHONPATH=$PWD${PYTHONPATH:+:$PYTHONPATH} PYTHONUNBUFFERED=1 MPLBACKEND=Agg
total=520 passed=0 failed=0 parts=0
: > "$out/summary.txt"

say() { echo "$*" | tee -a "$out/summary.txt"; }

# part NAME LIMIT MISSING PATTERN COMMAND...: run the command for at most LIMIT seconds. Its line
# shows those lines of its output that PATTERN matches, or the last one. MISSING says what a part
# lacks, if anything: it then runs only if that begins with "half: ", and does not count as passed.
part() {
    local name=$1 limit=$2 missing=$3 pattern=$4 began=$SECONDS state=passed code shown
    shift 4
    parts=$((parts + 1))
    [ $((total - 10 - SECONDS)) -lt "$limit" ] && limit=$((total - 10 - SECONDS))
    if [ -n "$missing" ] && [ "${missing#half: }" = "$missing" ]; then
        say "$(printf '%-12s %-9s %3d s  %s' "$name" 'not done' 0 "$missing")"
        return
    elif [ "$limit" -lt 10 ]; then
        say "$(printf '%-12s %-9s %3d s  %s' "$name" 'not done' 0 'the time is over')"
        return
    fi
    timeout -k 5 "$limit" "$@" > "$work/$name.txt" 2>&1 < /dev/null
    code=$?
    if [ $code -ne 0 ]; then
        state=FAILED failed=$((failed + 1))
        [ $code -eq 124 ] && missing="stopped after $limit s"
    elif [ -n "$missing" ]; then
        state='not all'
    else
        passed=$((passed + 1))
    fi
    shown=$(grep -E "$pattern" "$work/$name.txt" | tail -n 4 | tr -s ' ' | paste -sd';' |
        sed 's/;/; /g')
    [ -n "$shown" ] && [ $code -eq 0 ] || shown=$(grep -v '^ *$' "$work/$name.txt" | tail -n 1)
    shown=${missing:+${missing#half: }; }$shown
    say "$(printf '%-12s %-9s %3d s  %s' "$name" "$state" $((SECONDS - began)) "${shown:0:300}")"
    pack
}

# Without the weights of the trained networks, which are large.
pack() { tar -C "$work" --exclude='*.safetensors' --exclude='*.npz' -czf "$out/all.tgz" .; }

has() { "$python" -c "import importlib.util as u, sys; sys.exit(u.find_spec('$1') is None)"; }

has torch && "$python" -c 'import sys, torch; sys.exit(not torch.cuda.is_available())' &&
    torch= || torch='there is no PyTorch with a GPU'
command -v compute-sanitizer > /dev/null && sanitizer= || sanitizer='compute-sanitizer is missing'
[ -n "${photos:-}" ] && no_photos= || no_photos='no folder of PHOTOS was named'
tests=(-m pytest --device gpu -p no:cacheprovider -p no:benchmark)
has xdist && workers=(-n 8) || workers=()
if [ -n "${TINY:-}" ]; then
    small=(--width 0.05 --image-size 67)
    step=("${small[@]}" --batch-size 2 --rounds 1) large=("${step[@]}") kernels=("${small[@]}")
    training=("${small[@]}" --batch-size 4 --limit 12 --epochs 1) pictures=("${training[@]}")
    tested=(tests/gpu/test_kernels.py) watched='lrn and float32 or tf32'
else
    step=() large=(--batch-size 512) kernels=()
    training=(--batch-size 128 --epochs 3) pictures=(--epochs 2 --workers 8)
    tested=(tests/gpu tests/layers tests/test_optim.py tests/test_losses.py
        tests/train/test_training.py)
    watched='float32 or tf32'
fi
benchmark=(benchmarks/benchmark.py --device gpu --against torch --quick)
versions='
import importlib.metadata as m, os, platform, sys
print(platform.platform(), "Python", platform.python_version(), os.cpu_count(), "cores")
names = ("numpy", "cupy-cuda12x", "cupy-cuda13x", "torch", "pytest", "pytest-xdist")
found = {d.metadata["Name"]: d.version for d in m.distributions()}
print(", ".join(f"{name} {found[name]}" for name in names if name in found))
'

poolless='
import pytest, sys
class Poolless:
    def pytest_collection_finish(self):
        import cupy
        cupy.cuda.set_allocator(None)
sys.exit(pytest.main(sys.argv[1:], plugins=[Poolless()]))
'

part machine 15 '' 'MiB$|numpy' sh -c "(nvidia-smi; lscpu | head -n 20) 2>&1
    nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv,noheader
    '$python' -c '$versions'"
part doctor 40 '' '^gpu .* trains' "${run[@]}" -m minialex doctor
part step 75 "${torch:+half: $torch}" 'minialex / |^minialex  ' \
    "${run[@]}" "${benchmark[@]}" "${step[@]}" --json "$work/step.json"
part kernels 30 "$torch" 'on the GPU and' \
    "${run[@]}" benchmarks/kernel_times.py "${kernels[@]}" --json "$work/kernels.json"
part torch 30 "$torch" 'on the GPU and' \
    "$python" benchmarks/kernel_times.py --of torch "${kernels[@]}"
part tests 150 '' 'passed|failed' \
    "$python" "${tests[@]}" ${workers[@]+"${workers[@]}"} "${tested[@]}"
part drawings 80 '' '^test accuracy' \
    "${run[@]}" examples/train_catdog.py --device gpu "${training[@]}" --out "$work/drawings"
part photos 60 "$no_photos" '^test accuracy' \
    "${run[@]}" examples/train_catdog.py --device gpu --data "${photos:-}" "${pictures[@]}" \
    --out "$work/photos"
part large 60 "${torch:+half: $torch}" 'minialex / |^minialex  ' \
    "${run[@]}" "${benchmark[@]}" "${large[@]}" --json "$work/large.json"
# Threads of a block share memory in the kernels of convolution alone.
part races 60 "$sanitizer" 'SUMMARY| passed' \
    compute-sanitizer --tool racecheck --error-exitcode 9 "$python" "${tests[@]}" -x \
    "tests/gpu/test_implicit.py::"{test_tf32'[1-128-4-4]',test_three_tf32'[3-96-4-4]'}
# Without CuPy's pool, in which an array may lie where another one ends.
part memory 60 "$sanitizer" 'SUMMARY| passed' \
    compute-sanitizer --tool memcheck --error-exitcode 9 "$python" -c "$poolless" "${tests[@]:2}" \
    -x \
    "tests/gpu/test_implicit.py::test_tf32[1-64-1-1]" tests/gpu/test_forms.py -k "$watched"
say "$passed of $parts parts passed, $failed failed, $SECONDS s"
pack
[ $failed -eq 0 ]
