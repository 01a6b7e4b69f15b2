"""Dropout's twin on the CPU is its page: a few thousand numbers an image cost nothing there."""

from minialex.layers import dropout as page
from minialex.twin import Twin


class Dropout(Twin, page.Dropout, device="cpu"):
    form = "as the page"
