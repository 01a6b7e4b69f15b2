"""The comparison with PyTorch runs in an environment of its own (see .ci/run), where PyTorch must be installed."""

import os

collect_ignore_glob = [] if os.environ.get("MINIALEX_PARITY") else ["test_*.py"]
