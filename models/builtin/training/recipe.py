"""The stages of training: lengths, steps, learning rates and what the batches are made of."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Stage:
    lengths: tuple  # one is drawn for each step
    tokens: int  # tokens a step
    steps: int
    rate: tuple  # learning-rate factor at the stage's start and end
    mix: tuple  # shares of data.KINDS: text, repeat, recall, random, stutter


# The first three stages form the copying heads.
FORM = (
    Stage((256,), 4096, 600, (1.0, 1.0), (0.25, 0.15, 0.45, 0.15, 0.0)),
    Stage((512,), 4096, 700, (1.0, 1.0), (0.35, 0.12, 0.48, 0.05, 0.0)),
    Stage((512, 1024, 2048), 8192, 500, (1.0, 0.5), (0.45, 0.07, 0.48, 0.0, 0.0)),
)
# Then more and more plain text, at all lengths.
IMPROVE = (
    Stage((512, 1024, 2048), 8192, 250, (0.6, 0.6), (0.5, 0.05, 0.45, 0.0, 0.0)),
    Stage((512, 512, 512, 1024, 2048, 4096, 4096), 4096, 850, (0.6, 0.35), (0.65, 0.04, 0.31, 0.0, 0.0)),
)
# The learning rate falls to nothing. Pythia needs more of the full length: its few rotary
# frequencies make positions about 628 apart look alike until it has learned better.
RECIPES = {
    "llama": (
        *FORM,
        *IMPROVE,
        Stage((512, 512, 512, 512, 1024, 2048, 4096), 4096, 520, (0.4, 0.01), (0.72, 0.03, 0.25, 0.0, 0.0)),
        # Against loops: stutters, and no more pieces that come again. Recall, which needs copying, gets a larger share.
        Stage((512, 1024, 2048, 2048, 4096), 8192, 330, (0.22, 0.01), (0.43, 0.0, 0.47, 0.0, 0.1)),
        # The same with more recall, mostly at the length that it is measured at.
        Stage((1024, 2048, 2048, 2048, 4096), 8192, 360, (0.3, 0.005), (0.27, 0.0, 0.63, 0.0, 0.1)),
    ),
    "pythia": (
        *FORM,
        *IMPROVE,
        Stage((512, 512, 1024, 2048, 4096, 4096), 4096, 460, (0.4, 0.01), (0.68, 0.04, 0.28, 0.0, 0.0)),
    ),
}
