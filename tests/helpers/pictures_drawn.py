"""What forked.py imports before it forks: the pictures of its programs are drawn then."""

import networks
import tiny_run

tiny_run.source()
for name in networks.NETWORKS:
    networks.loaders(name)
