"""Sequential's twin on a GPU is its page: a GPU takes the whole batch at once."""

from minialex.layers import sequential as page
from minialex.twin import Twin


class Sequential(Twin, page.Sequential, device="gpu"):
    form = "as the page"
