"""Structured initialisation: attention heads that copy from the first step on.

Layer 0 gets heads that look 1, 2 and 3 tokens back and write what they see into
subspaces of their own. Layers 1 and 2 get heads that compare the current token
(and the one before) with those subspaces, and copy the token at the best match:
induction heads. Models this small find neither within minutes from random
weights, and without them no recall of facts forms.
"""

import torch

HEAD = 32
EMBEDDING_STD = 0.12
CONSTANT = 0.48
GAIN = 4.0
COPY = 3.0
LOOK_BACK = (1, 2, 3)


class Directions:
    """Random orthonormal rows."""

    def __init__(self, seed):
        self.generator = torch.Generator().manual_seed(seed)

    def draw(self, rows, columns):
        noise = torch.randn(columns, rows, generator=self.generator)
        return torch.linalg.qr(noise)[0].T.contiguous()

    def noise(self, *shape):
        return torch.randn(shape, generator=self.generator)


@torch.no_grad()
def init_structured(model, seed=3):
    directions = Directions(seed)
    embedding = model.get_input_embeddings().weight
    embedding.copy_(directions.noise(*embedding.shape) * EMBEDDING_STD)
    if model.config.model_type == "llama":
        _init_llama(model, directions)
    else:
        _init_neox(model, directions)


def _init_llama(model, directions):
    config, layers = model.config, model.model.layers
    width, groups = config.hidden_size, config.num_key_value_heads
    share = config.num_attention_heads // groups
    # Component 0 is the same for every token: it stands in for the biases that Llama lacks.
    embedding = model.get_input_embeddings().weight
    embedding[:, 0] = CONSTANT
    constant = CONSTANT / (EMBEDDING_STD**2 + CONSTANT**2 / width) ** 0.5

    def beside_constant(rows):
        return torch.cat([torch.zeros(rows.shape[0], 1), rows], 1)

    basis = beside_constant(directions.draw(4 * HEAD, width - 1))
    token, back1, back2, back3 = basis.split(HEAD)

    # Look back: the query is the key turned by the offset, in all rotary frequencies.
    frequencies = config.rope_parameters["rope_theta"] ** (-torch.arange(16) / 16.0)
    amplitude = (12.0 * HEAD**0.5) ** 0.5
    attention = layers[0].self_attn
    key = torch.zeros(HEAD)
    key[:16] = amplitude
    attention.k_proj.weight[:HEAD] *= 0.1
    attention.k_proj.weight[:HEAD, 0] = key / constant
    attention.v_proj.weight[:HEAD] = token
    for head, (offset, target) in enumerate(zip(LOOK_BACK, (back1, back2, back3))):
        rows = slice(head * HEAD, (head + 1) * HEAD)
        turned = torch.cat([torch.cos(-frequencies * offset), torch.sin(-frequencies * offset)])
        attention.q_proj.weight[rows] *= 0.1
        attention.q_proj.weight[rows, 0] = amplitude * turned / constant
        attention.o_proj.weight[:, rows] = target.T * EMBEDDING_STD * 0.96

    # Match in the slow rotary components only: they compare contents at any distance.
    slow = [i for i in range(HEAD) if i % 16 >= 6]
    half = len(slow) // 2
    for layer in (1, 2):
        attention = layers[layer].self_attn
        for group in range(groups):
            query, key = torch.zeros(HEAD, width), torch.zeros(HEAD, width)
            if group == 0:
                query[slow] = token[: len(slow)] * GAIN
                key[slow] = back1[: len(slow)] * GAIN
            else:
                query[slow[:half]] = token[:half] * GAIN
                key[slow[:half]] = back1[:half] * GAIN
                query[slow[half:]] = back1[: len(slow) - half] * GAIN
                key[slow[half:]] = back2[: len(slow) - half] * GAIN
            copied = beside_constant(directions.draw(HEAD, width - 1))
            rows = slice(group * HEAD, (group + 1) * HEAD)
            attention.k_proj.weight[rows] = key
            attention.v_proj.weight[rows] = copied
            for head in range(group * share, (group + 1) * share):
                rows = slice(head * HEAD, (head + 1) * HEAD)
                attention.q_proj.weight[rows] = query + directions.noise(HEAD, width) * 0.02
                attention.o_proj.weight[:, rows] = copied.T * COPY * EMBEDDING_STD


def _init_neox(model, directions):
    config, layers = model.config, model.gpt_neox.layers
    width = config.hidden_size
    # The first 8 components of a head are rotary, the other 24 compare contents.
    rotary, content = 8, 24
    frequencies = 1e4 ** (-torch.arange(4) / 4.0)
    token, back1, back2, back3 = directions.draw(4 * content, width).split(content)

    def parts(attention, head):
        """Views of the head's query, key and value rows and of two of its biases."""
        weight, bias = attention.query_key_value.weight, attention.query_key_value.bias
        first = head * 3 * HEAD
        q, k, v = weight[first : first + 3 * HEAD].split(HEAD)
        return q, k, v, bias[first : first + HEAD], bias[first + HEAD : first + 2 * HEAD]

    strength = (torch.tensor([15.0, 40.0, 4.0, 1.0]) * HEAD**0.5).sqrt()
    attention = layers[0].attention
    for head, (offset, target) in enumerate(zip(LOOK_BACK, (back1, back2, back3))):
        q, k, v, q_bias, k_bias = parts(attention, head)
        q *= 0.1
        k *= 0.1
        k_bias[:4], k_bias[4:8] = strength, 0.0
        q_bias[:4] = strength * torch.cos(-frequencies * offset)
        q_bias[4:8] = strength * torch.sin(-frequencies * offset)
        v[:content], v[content:] = token, 0.0
        first = head * HEAD
        attention.dense.weight[:, first : first + content] = target.T * EMBEDDING_STD
        attention.dense.weight[:, first + content : first + HEAD] = 0.0

    half = content // 2
    for layer in (1, 2):
        attention = layers[layer].attention
        for head in range(config.num_attention_heads):
            q, k, v, _, _ = parts(attention, head)
            copied = directions.draw(HEAD, width)
            q[:rotary], k[:rotary] = 0.0, 0.0
            if head % 2 == 0:
                q[rotary:], k[rotary:] = token * GAIN, back1 * GAIN
            else:
                q[rotary : rotary + half] = token[:half] * GAIN
                k[rotary : rotary + half] = back1[:half] * GAIN
                q[rotary + half :] = back1[:half] * GAIN
                k[rotary + half :] = back2[:half] * GAIN
            v.copy_(copied)
            attention.dense.weight[:, head * HEAD : (head + 1) * HEAD] = copied.T * COPY * EMBEDDING_STD
