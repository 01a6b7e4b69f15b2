"""Layer by layer: how near each one comes to the machine's fastest products and fastest copies.

Each row compares what a layer must do at least with the time that it took in a real training step:

    GFLOP/s   its multiplications and additions by the definition (direct convolution) per second
    GB/s      the bytes of its inputs, outputs and weights, each touched once (in backward those of
              their gradients too), per second

A layer near 100 % of the products is bound by arithmetic, one near 100 % of the copies by memory;
one far from both loses its time in between, to passes over intermediate results.  More than 100 %
of the products is no error: Winograd convolution gets the same sums with fewer multiplications.
More than 100 % of the copies: the data were in the cache.
"""

import statistics
from collections.abc import Callable
from typing import Any

from bench_machine import Speeds

FLOAT = 4  # bytes


def work(cost: dict[str, Any], direction: str, batch_size: int) -> tuple[float, float]:
    """FLOPs and bytes of one direction of a layer for a batch, from its costs for one image."""
    flops, inputs, outputs = (
        batch_size * cost[key] for key in ("multiply_adds", "inputs", "outputs")
    )
    flops *= 2
    if direction == "forward" or not cost["input_grad"]:
        # Forward reads x and the weights, and writes y; backward for the weights alone reads x
        # and dy, and writes dW.
        return flops, FLOAT * (inputs + outputs + cost["weights"])
    # Reads x, dy and the weights, writes dx and dW: two products.
    return 2 * flops, FLOAT * (2 * inputs + outputs + 2 * cost["weights"])


def row(
    name: str, what: str, seconds: float, flops: float, traffic: float, speeds: Speeds
) -> dict[str, Any]:
    """One line of the table, with shares of the machine's speeds."""
    products, copies = flops / seconds / speeds.products, traffic / seconds / speeds.copies
    nearest = "products" if products > copies else "memory"
    return {
        "name": name, "layer": what, "s": seconds,
        "gflop_per_s": flops / seconds / 1e9, "products_share": products,
        "gb_per_s": traffic / seconds / 1e9, "copies_share": copies,
        "nearer_to": nearest if max(products, copies) > 0.25 else "neither",
    }  # fmt: skip


def layer_rows(
    about: dict[str, Any], steps: list[dict[str, Any]], batch_size: int, speeds: Speeds
) -> list[dict[str, Any]]:
    """The rows of one network: its layers, what a step does outside of them, and the optimizer."""
    rows = []

    def median(part: Callable[[dict[str, Any]], float]) -> float:
        return statistics.median(map(part, steps))

    for direction in ("forward", "backward"):
        for cost in about["layers"]:
            key = f"layer {cost['name']}.{direction}"
            seconds = statistics.median(step["layers"].get(key, 0.0) for step in steps)
            if seconds > 0:  # else another layer has done its work as well
                name = f"{cost['name']} {direction}"
                flops, traffic = work(cost, direction, batch_size)
                rows.append(row(name, cost["layer"], seconds, flops, traffic, speeds))
    optimizer = median(lambda step: step["parts"]["optimizer"])
    outside = median(
        lambda step: step["seconds"] - step["parts"]["optimizer"] - sum(step["layers"].values())
    )
    rows.append(row("between", "dealing out, gathering, loss", max(outside, 1e-9), 0, 0, speeds))
    # Adam reads the gradient, theta, m and v, and writes the last three.
    traffic = 7 * FLOAT * sum(cost["weights"] for cost in about["layers"])
    rows.append(row("optimizer", "Adam", optimizer, 0, traffic, speeds))
    return [{"batch_size": batch_size, "threads": speeds.threads, **r} for r in rows]


def cells(speed: float, share: float, width: int) -> str:
    """A speed and its share of the machine's, or two dashes where there is nothing to do."""
    return f"{speed:{width}.1f}{share:8.0%}" if speed else f"{'-':>{width}}{'-':>8}"


def layer_table(rows: list[dict[str, Any]]) -> str:
    """The rows as lines."""
    lines = [
        f"{'':24}{'layer':<41}{'ms':>8}{'GFLOP/s':>9}{'of peak':>8}{'GB/s':>7}{'of copy':>8}"
        "  nearer to"
    ]
    for r in rows:
        what = r["layer"] if len(r["layer"]) <= 40 else r["layer"].partition("(")[0]
        line = f"{r['name']:<24}{what:<41}{1000 * r['s']:8.1f}"
        line += cells(r["gflop_per_s"], r["products_share"], 9)
        line += cells(r["gb_per_s"], r["copies_share"], 7)
        lines.append(f"{line}  {r['nearer_to']}")
    lines.append("of peak: of the fastest product; over 100 % where Winograd saves multiplications")
    lines.append("of copy: of the fastest copy, with each input, output and weight touched once")
    return "\n".join(lines)
