"""Layer by layer: how near each one comes to the machine's fastest products and to its fastest copies.

Each row compares what a layer must do at least with the time that it took in a real training step:

    GFLOP/s   its multiplications and additions by the definition (direct convolution), over the time
    GB/s      the bytes of its inputs, outputs and weights, each touched once (in backward those of their
              derivatives too), over the time

A layer near 100 % of the products is bound by arithmetic, one near 100 % of the copies by memory; one far from
both loses its time in between, to passes over intermediate results.  More than 100 % of the products is no
error: Winograd convolution gets the same sums with fewer multiplications.  More than 100 % of the copies: the
data were in the cache.
"""

import statistics
from collections.abc import Callable
from typing import Any

from bench_machine import Speeds

FLOAT = 4  # bytes


def work(cost: dict[str, Any], direction: str, batch_size: int) -> tuple[float, float]:
    """FLOPs and bytes of one direction of a layer for a batch, from its costs for one image."""
    flops, inputs, outputs = (batch_size * cost[key] for key in ("multiply_adds", "inputs", "outputs"))
    flops *= 2
    if direction == "forward" or not cost["input_grad"]:
        # forward reads x and the weights, and writes y; backward for the weights alone reads x and dy, writes dW
        return flops, FLOAT * (inputs + outputs + cost["weights"])
    # reads x, dy and the weights, writes dx and dW: two products
    return 2 * flops, FLOAT * (2 * inputs + outputs + 2 * cost["weights"])


def row(name: str, what: str, seconds: float, flops: float, traffic: float, speeds: Speeds) -> dict[str, Any]:
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
            seconds = median(lambda step, key=key: step["layers"].get(key, 0.0))  # type: ignore[misc]
            if seconds > 0:  # else another layer has done its work as well
                flops, traffic = work(cost, direction, batch_size)
                rows.append(row(f"{cost['name']} {direction}", cost["layer"], seconds, flops, traffic, speeds))
    outside = median(lambda step: step["seconds"] - step["parts"]["optimizer"] - sum(step["layers"].values()))
    rows.append(row("between", "dealing out, gathering, loss", max(outside, 1e-9), 0, 0, speeds))
    # Adam reads the gradient, theta, m and v, and writes the last three.
    traffic = 7 * FLOAT * sum(cost["weights"] for cost in about["layers"])
    rows.append(row("optimizer", "Adam", median(lambda step: step["parts"]["optimizer"]), 0, traffic, speeds))
    return [{"batch_size": batch_size, "threads": speeds.threads, **r} for r in rows]


def layer_table(rows: list[dict[str, Any]]) -> str:
    """The rows as lines."""
    lines = [
        f"{'':24}{'layer':<41}{'ms':>8}{'GFLOP/s':>9}{'of peak':>8}{'GB/s':>7}{'of copy':>8}  nearer to",
    ]
    for r in rows:
        speed = f"{r['gflop_per_s']:9.1f}{r['products_share']:8.0%}" if r["gflop_per_s"] else f"{'-':>9}{'-':>8}"
        traffic = f"{r['gb_per_s']:7.1f}{r['copies_share']:8.0%}" if r["gb_per_s"] else f"{'-':>7}{'-':>8}"
        what = r["layer"] if len(r["layer"]) <= 40 else r["layer"].partition("(")[0]
        lines.append(f"{r['name']:<24}{what:<41}{1000 * r['s']:8.1f}{speed}{traffic}  {r['nearer_to']}")
    lines.append("of peak: of the fastest product; over 100 % where Winograd saves multiplications")
    lines.append("of copy: of the fastest copy, with each input, output and weight touched once")
    return "\n".join(lines)
