"""SparQ attention of one decode step on small random cases: test/golden/attention/.

Written from Algorithm 1 of arXiv 2312.04985v6 and its appendix on grouped-query attention, in float64, without a view
to speed. cases.json has each case's shape and settings, and where in data.bin (float32) its tensors start: q
[kv_heads, group, d], K and V [positions, kv_heads, d] and the output [kv_heads, group, d], one behind another.

    python test/oracle/sparq.py
"""

import itertools
import math

import torch

from common import GOLDEN, write_f32, write_json

MARGIN = 1e-3  # every selection is decided by at least this, so that rounding cannot change it


def largest(values: torch.Tensor, count: int) -> torch.Tensor:
    """Indices of the `count` largest; the lower index first among equals."""
    return values.sort(descending=True, stable=True).indices[:count]


def margin(values: torch.Tensor, count: int) -> float:
    """How far the last chosen is above the first not chosen."""
    if count in (0, len(values)):
        return math.inf
    ordered = values.sort(descending=True).values
    return float(ordered[count - 1] - ordered[count])


def dense(q, K, V, scale):
    """q [g, d]; K, V [S, d] -> [g, d]"""
    return (q @ K.T * scale).softmax(-1) @ V


def sparq(q, K, V, scale, r, k, local, mean_value, group_sum):
    """One KV head and the g query heads that share it. q [g, d]; K, V [S, d] -> ([g, d], narrowest margin)."""
    S, d = K.shape
    if S <= k:
        return dense(q, K, V, scale), math.inf
    # Step 1: approximate scores from the r components that are largest over the group.
    magnitude = q.abs().sum(0)
    i1 = largest(magnitude, r)
    share = q[:, i1].abs().sum(-1) / q.abs().sum(-1)  # |q[i1]|_1 / |q|_1, by head
    share = torch.where(share.isnan(), 1.0, share)  # a zero query
    tau = torch.sqrt(share) / scale  # sqrt(d * share) where scale = 1 / sqrt(d)
    logits = q[:, i1] @ K[:, i1].T / tau[:, None]
    s_hat = logits.softmax(-1)
    # Step 2: exact attention over the k best positions, the last `local` always among them.
    ranking = s_hat.sum(0).log() if group_sum == "softmax" else logits.sum(0)  # log: for the margin; same order
    older = S - local
    i2 = torch.cat([largest(ranking[:older], k - local), torch.arange(older, S)])
    y = dense(q, K[i2], V[i2], scale)
    # Step 3: the mass left out goes to the mean of V.
    if mean_value:
        alpha = s_hat[:, i2].sum(-1, keepdim=True)
        y = alpha * y + (1 - alpha) * V.mean(0)
    return y, min(margin(magnitude, r), margin(ranking[:older], k - local))


def random_inputs(case: dict, seed: int):
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float32).double()

    heads, kv_heads, d, S = case["heads"], case["kvHeads"], case["headDim"], case["positions"]
    q, K, V = 1.5 * normal(kv_heads, heads // kv_heads, d), normal(S, kv_heads, d), normal(S, kv_heads, d)
    q, K, V = (x.float().double() for x in (q, K, V))
    if case["special"] == "equal keys":
        K[:] = K[0]
    if case["special"] == "zero query":
        q[:, 0] = 0
    return q, K, V


def cases():
    base = {"heads": 2, "kvHeads": 2, "headDim": 16, "positions": 75, "r": 4, "k": 16, "local": 4, "meanValue": True,
            "groupSum": "softmax", "scale": 0.25, "special": ""}
    for kv_heads, group in ((2, 1), (2, 3)):
        for mean_value in (True, False):
            for group_sum in ("softmax", "logits") if group > 1 else ("softmax",):
                yield base | {"heads": kv_heads * group, "kvHeads": kv_heads, "meanValue": mean_value,
                              "groupSum": group_sum}
    yield base | {"r": 1, "k": 1, "local": 0}
    yield base | {"r": 16}  # every component: only the positions are approximate
    yield base | {"k": 75}  # every position: dense
    yield base | {"k": 74}
    yield base | {"local": 0}
    yield base | {"local": 16}  # nothing but the last positions
    yield base | {"scale": 0.6}
    yield base | {"heads": 8, "kvHeads": 2, "headDim": 12, "scale": 12**-0.5, "r": 3}
    yield base | {"special": "equal keys", "local": 2}  # ties: the lower positions win
    yield base | {"special": "zero query"}


def main() -> None:
    entries, data, offset = [], [], 0
    for index, case in enumerate(cases()):
        settings = {"scale": case["scale"], "r": case["r"], "k": case["k"], "local": case["local"],
                    "mean_value": case["meanValue"], "group_sum": case["groupSum"]}
        for seed in itertools.count(1_000_000 * index):
            q, K, V = random_inputs(case, seed)
            found = [sparq(q[h], K[:, h], V[:, h], **settings) for h in range(case["kvHeads"])]
            if case["special"] or min(narrowest for _, narrowest in found) > MARGIN:
                break
        tensors = [q, K, V, torch.stack([y for y, _ in found])]
        entries.append(case | {"seed": seed, "offset": offset})
        data += [tensor.flatten() for tensor in tensors]
        offset += sum(tensor.numel() for tensor in tensors)
    write_f32(GOLDEN / "attention" / "data.bin", torch.cat(data))
    write_json(GOLDEN / "attention" / "cases.json", {"torch": torch.__version__, "cases": entries})
    print(f"{len(entries)} cases, {4 * offset} bytes; seeds {[entry['seed'] for entry in entries]}")


if __name__ == "__main__":
    main()
