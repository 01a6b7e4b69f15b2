"""The comparison with PyTorch runs in an environment of its own, with PyTorch: see .ci/run.

Intel's vector mathematics chooses its code at a function's first call; where several of PyTorch's
threads make it at once, one may take code of a few digits, for that call alone (pytorch/pytorch
issue 188792).  So each function is called once, by one thread, before anything is compared.

All that PyTorch does is done by one thread: where other programs need the cores as well,
several spend most of their time waiting for each other.
"""

import os

collect_ignore_glob = [] if os.environ.get("MINIALEX_PARITY") else ["test_*.py"]

if os.environ.get("MINIALEX_PARITY"):
    import torch

    torch.set_num_threads(1)
    for dtype in (torch.float32, torch.float64):
        for function in (torch.tanh, torch.sigmoid, torch.exp, torch.log, torch.sqrt):
            function(torch.ones(1, dtype=dtype))
