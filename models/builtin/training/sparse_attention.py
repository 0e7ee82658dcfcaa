"""Decode-time attention in three ways: dense, SparQ, and a recent window.

A plain reference in PyTorch, registered with transformers as "decode_modes".
Prompts are dense and causal; the mode applies to steps of one token. The
budget is a share of the dense traffic (2 S d elements a KV head and step).
"""

import torch
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface

SINKS = 16
SMALLEST = 16

# What the next decode steps use.
mode = {"name": "dense", "budget": 1.0}


def set_mode(name, budget=1.0):
    mode.update(name=name, budget=budget)


def window(query, key, value, scaling):
    """The first SINKS positions and the most recent ones, together the budget."""
    length = key.shape[2]
    kept = min(length, max(SINKS + SMALLEST, int(length * mode["budget"])))
    places = torch.cat([torch.arange(SINKS), torch.arange(length - kept + SINKS, length)])
    if kept == length:
        places = torch.arange(length)
    scores = (query @ key[:, :, places].mT) * scaling
    return scores.softmax(-1) @ value[:, :, places]


def sparq(query, key, value, scaling):
    """SparQ attention for grouped heads: query [B, groups, heads a group, d]."""
    length, width = key.shape[2], key.shape[3]
    share = query.shape[2]
    rank = int(width * mode["budget"])
    # Traffic is S r + 2 k d: half of the budget scores all positions, half reads k of them.
    count = min(length, max(SMALLEST, int(length * (mode["budget"] - rank / (2 * width)))))
    local = max(1, count // 4)

    components = query.abs().sum(2).topk(rank, -1).indices[:, :, None]
    small_query = query.gather(-1, components.expand(-1, -1, share, -1))
    small_key = key.gather(-1, components.expand(-1, -1, length, -1))
    covered = small_query.abs().sum(-1, keepdim=True) / query.abs().sum(-1, keepdim=True)
    estimate = (small_query @ small_key.mT * scaling / covered.sqrt()).softmax(-1)

    ranking = estimate.sum(2)
    ranking[..., -local:] = float("inf")
    best = ranking.topk(count, -1).indices
    rows = best[..., None].expand(-1, -1, -1, width)
    weights = (query @ key.gather(2, rows).mT * scaling).softmax(-1)
    output = weights @ value.gather(2, rows)
    mass = estimate.gather(-1, best[:, :, None].expand(-1, -1, share, -1)).sum(-1, keepdim=True)
    return mass * output + (1 - mass) * value.mean(2, keepdim=True)


def attend(module, query, key, value, attention_mask, scaling=None, dropout=0.0, **_):
    """The transformers attention interface, for one sequence without padding."""
    batch, heads, steps, width = query.shape
    groups = key.shape[1]
    if steps > 1 or mode["name"] == "dense":
        output = scaled_dot_product_attention(
            query, key, value, is_causal=steps > 1, scale=scaling, enable_gqa=groups < heads
        )
        return output.transpose(1, 2), None
    grouped = query.view(batch, groups, heads // groups, width)
    function = {"window": window, "sparq": sparq}[mode["name"]]
    return function(grouped, key, value, scaling).view(batch, 1, heads, width), None


AttentionInterface.register("decode_modes", attend)
