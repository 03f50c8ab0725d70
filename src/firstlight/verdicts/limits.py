"""Every limit of the checkup: one named constant, with where it comes from.

Ratios are of root mean squares, end to end over the depth. They were set on networks that train
(He-initialised ReLU to 50 layers, Glorot tanh to 50 layers, whose forward ratio is 0.10) and on
ones that do not; `benchmarks/limits.py` prints both groups against them, and
`benchmarks/margins.py` the healthy models of a zoo that come nearest.
"""

from __future__ import annotations

PROFILE_ERROR = 100.0
"""Forward or backward RMS may change by this factor over the depth before it is an error.

Healthy Glorot tanh over 50 layers: 10. PyTorch's default in 20 ReLU layers: 10⁷.
"""

PROFILE_WARNING = 50.0
"""The same, for a warning; healthy models of the zoo's calibrating part reach 45
(`benchmarks/margins.py`)."""

NORM_SLACK = 3.0
"""A growth of ‖δ‖ up to this times what batch norms make of it by themselves is theirs: their
theory is for large batches of unrelated values, and MobileNet at 3 × 3 positions reaches 1.2."""

NORM_ERROR = 1e3
"""Such a growth beyond which it is an error, and not a warning (`benchmarks/norm_depth.py`): dense
ReLU layers with batch norm reach a loss of 0.17, 0.51, 1.3, 2.1 and 2.2 in 200 steps at a predicted
growth of 38, 260, 1,800, 1.2e4 and 8e4, where knowing nothing costs 2.3."""

COLLAPSE_ERROR = 1e-4
"""Share of the second moment that still differs between samples at the last hidden layer, over that
at the first: below this the network's answer hardly depends on its input.

ReLU at He's gain keeps about 9π²/(2·l²): 0.05 at 30 layers, 4e-4 at 300.
"""

DEAD_ERROR = 0.75
"""Share of a layer's units that are zero on every sample.

Up to one half is no evidence: identical inputs alone switch off half the units of a healthy layer.
"""

DEAD_WARNING = 0.55
"""The same, for a warning."""

CHANCE = 1e-3
"""What happens more often than this in healthy layers, by the binomial law, is no evidence."""

DEAD_SAMPLES = 64
"""Smallest batch on which units are called dead; a healthy ReLU unit is zero on all of B
independent samples with probability 2⁻ᴮ."""

SATURATED_ERROR = 0.5
"""Share of elements on the flat ends of a bounded activation (DeepDiagnosis, ICSE 2022)."""

SATURATED_WARNING = 0.3
"""The same, for a warning."""

LOSS_ERROR = 3.0
"""Loss at the start over that of an undecided model: logits of standard deviation σ cost σ²/2, and
a healthy He head reaches 1.3 times ln 10."""

LOSS_WARNING = 2.0
"""The same, for a warning (torchtest2's limit)."""

OUTPUT_ERROR = 5.0
"""Standard deviation of a regression's outputs; He heads give about 1."""

TARGET_SCALE = 30.0
"""Deviation of a regression's targets from the best constant; standardized ones have 1."""

OFF_CENTRE = 10.0
"""Undecided loss over that of the best constant output: for squared errors, the target's mean then
stands three standard deviations from zero."""

TWINS_ERROR = 0.5
"""Share of the hidden layers in which half of the units or more equal another one; in fewer layers
it is a warning: width is lost, but none of 18 trainings of 200 steps was worse for it
(`benchmarks/severity.py`)."""

PARALLEL_ERROR = 0.5
"""Mean cosine between the incoming weights of two units. U[0, 1) gives 0.75, a mean as large as
the standard deviation 0.5; centred random weights give 0 within 1/units."""

PARALLEL_WARNING = 0.1
"""The same, for a warning: a mean of a third of the standard deviation."""

RANK_ERROR = 0.1
"""Share of the rank that a sample of 64 rows could have. A quarter (shards drawn with one seed)
hurt 1 of 37 trainings of 200 steps (`benchmarks/severity.py`)."""

RANK_WARNING = 0.9
"""The same, for a warning; small square matrices at random reach 0.94."""

LARGEST_VALUE = 1e6
"""Larger weights come from memory that was never filled (transformers #30953: 1e37)."""

UPDATE_LARGE = 0.1
"""First update of a weight over its size: above, one step rewrites it (TheDeepChecker)."""

UPDATE_GOOD = 1e-3
"""What a healthy step changes of a weight, by rule of thumb."""

UPDATE_SMALL = 1e-6
"""Median over the weights: below, a thousand steps move nothing."""

INPUT_SCALE = 10.0
"""Root mean square of inputs, and its inverse; [−1, 1] as a limit would flag most programs."""

INPUT_ERROR = 50.0
"""The same, for an error: raw bytes have 140, and hurt two of the four models that were trained on
them (`benchmarks/severity.py`)."""

EQUAL_ROWS = 0.5
"""Share of an embedding's rows that equal another one, number by number."""

NORM_SCALE = 4.0
"""Root mean square of a norm's scale γ drawn at random, and its inverse; by rule it is 1."""

EMBEDDING_RMS = 7.0
"""Root mean square of an embedding's rows, as they enter the network: torch draws 1, transformers
0.02, and some models scale them by the root of the width."""

BIAS_SIGNAL = 5.0
"""A hidden bias over what differs between samples at the same layer."""

OUTLIER = 1e3
"""Variance × fan_in of a weight over the median of the hidden weights, and its inverse."""

UNEVEN = 8.0
"""The same, from which a cause names the weights that stand out; no alarm by itself."""

EXCESS = 5.0
"""Median over the hidden weights of σ_w² over what keeps signal and gradient behind their
activation; healthy models of the zoo reach 2.1 (`benchmarks/margins.py`)."""

PEERS = 3
"""So many hidden weights make a median."""

ASLEEP_ERROR = 0.1
"""Share of the trainable weights that no step reaches; a query that the head never reads is one of
a hundred, and harmless."""

FROZEN_FEW = 1 / 3
"""Up to this share of frozen weights a note says which; more are a fine-tuning that is meant."""
