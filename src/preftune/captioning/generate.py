"""Greedy captions with a key-value cache."""

import torch
from torch import Tensor

from preftune.captioning.captioner import Captioner


@torch.no_grad()
def generate_captions(captioner: Captioner, features: Tensor, max_new_tokens: int) -> list[list[int]]:
    """Greedy caption ids, without EOS, for features [images, N, encoder width].

    All rows share the length of `[BOS] image`, so that no row is padded; a row that has reached EOS runs on
    unread until the longest is done. Each step's contexts are those of its own token: text.
    """
    prefix = captioner.read_images(features)
    state, done = prefix.state, torch.zeros(features.shape[0], dtype=torch.bool, device=features.device)
    captions: list[list[int]] = [[] for _ in range(features.shape[0])]
    for step in range(max_new_tokens):
        token = captioner.logits(state).argmax(dim=-1)
        done |= token == captioner.eos
        for row, value in enumerate(token.tolist()):
            if not done[row]:
                captions[row].append(value)
        if bool(done.all()) or step == max_new_tokens - 1:
            break
        state = captioner.hidden(captioner.embed_tokens(token[:, None]), image=0, cache=prefix.cache)[:, -1]
    return captions
