"""What is taught about initialization, claim by claim, and the exhibits that put it to the test."""

from __future__ import annotations

from firstlight.records.exhibit import Claim


def _claim(said: str, *exhibits: str) -> Claim:
    return Claim(said=said, exhibits=exhibits)


CLAIMS: dict[str, tuple[Claim, ...]] = {
    "Training": (
        _claim(
            "The signal goes from input to hidden units to output, and the error comes back and"
            " changes the weights.",
            "training-loop",
        ),
        _claim(
            "One initializes, chooses an optimizer, and repeats four steps: forward, cost,"
            " gradients, update.",
            "training-loop",
        ),
        _claim(
            "Backpropagation gives the slopes of the cost, as finite differences confirm.",
            "training-loop",
        ),
        _claim("A good start converges faster and ends better.", "faster-and-better"),
        _claim("How much the seed alone decides.", "seed-lottery"),
        _claim("Each technique has its own range of learning rates.", "learning-rate-range"),
    ),
    "Zero": (
        _claim("With weights and biases at zero the units are dead.", "zero-weights"),
        _claim("Why not zero? The interview question.", "zero-weights"),
        _claim("A 2–2–1 ReLU network at zero, worked by hand.", "worked-by-hand"),
        _claim("Zero weights make symmetric units and vanishing gradients.", "zero-weights"),
        _claim(
            "A network that starts at zero can say no more than a linear or constant model.",
            "zero-weights",
        ),
        _claim(
            "With weights zero and biases one the outputs are alive and weights change, but all"
            " units of a layer stay the same; which weights move at the first and second step.",
            "zero-weights-bias-one",
        ),
        _claim("Zero weights are stuck in a local minimum.", "saddle"),
    ),
    "Constants": (
        _claim("Any fixed value keeps the symmetry.", "constant-weights"),
        _claim(
            "Two units that compute relu(αx₁ + αx₂) have the same influence and the same gradients"
            " for ever.",
            "constant-weights",
        ),
        _claim(
            "In a 2–2–1 network with equal units the two derivatives on x₁ are equal, and the two"
            " on x₂; also where they are not zero.",
            "worked-by-hand",
        ),
        _claim(
            "A layer of sigmoid units that start alike acts as one unit, however many there are.",
            "one-unit-per-layer",
        ),
        _claim("Constant weights converge slowly and adapt badly.", "constant-is-slow"),
        _claim("How little noise breaks the symmetry, and how long it takes.", "smallest-noise"),
    ),
    "Random numbers": (
        _claim("Numbers from a normal or a uniform distribution will do.", "normal-or-uniform"),
        _claim("Normal numbers with a mean and deviation of one's choice.", "nonzero-mean"),
        _claim("Because random numbers are above zero, no unit is dead.", "positive-not-alive"),
        _claim(
            "np.random.random, as it is or times 0.01, makes gradients vanish with tanh and sigmoid"
            " and ReLU slow; all of it is positive, so the units are parallel, also at He's"
            " variance.",
            "all-positive",
        ),
        _claim("The first epochs from random weights are poor.", "small-weights"),
        _claim("Small weights: 0.1 × 0.1 × 0.1 × 0.1, and nothing is left.", "small-weights"),
        _claim(
            "Small weights vanish with depth for tanh and sigmoid, and make ReLU slow.",
            "small-weights",
        ),
        _claim(
            "Large weights multiply: a million to the fourth power is 10²⁴ (often misprinted as"
            " 1024).",
            "large-weights",
        ),
        _claim(
            "Large weights saturate, swing, miss the optimum, explode and slow learning.",
            "large-weights",
        ),
        _claim(
            "Numbers that grow too large overflow to infinity and NaN, in float16 before bfloat16"
            " and float32.",
            "overflow",
        ),
        _claim(
            "Zero, constant, small and large: the four things not to do.",
            "zero-weights",
            "constant-weights",
            "small-weights",
            "large-weights",
        ),
    ),
    "Techniques": (
        _claim(
            "Two rules of thumb: activations with mean near zero, and one variance in all layers.",
            "two-rules-of-thumb",
        ),
        _claim("Zero, random and Glorot compared.", "faster-and-better", "glorot-variance"),
        _claim(
            "Glorot's weights, of variance 1/fan_in or 2/(fan_in + fan_out), normal or uniform"
            " within ±√(6/(fan_in + fan_out)), suit linear, tanh, sigmoid and softmax.",
            "glorot-variance",
        ),
        _claim("Glorot keeps the variance of activations and of gradients.", "glorot-variance"),
        _claim(
            "With Glorot's weights the outputs of all layers have the same distribution.",
            "whole-distributions",
        ),
        _claim(
            "He's weights, of variance 2/fan_in, normal or uniform within ±√(6/fan_in), suit ReLU"
            " and its variants.",
            "he-variance",
        ),
        _claim("LeCun's weights, 1/fan_in, suit SELU, tanh and logistic.", "lecun-variance"),
        _claim(
            "A table gives each activation its technique and variance, with means of zero.",
            "variance-table",
        ),
        _claim("In Keras: Glorot with tanh, He with ReLU.", "variance-table", "keras-classic"),
        _claim(
            "Keras's classic example pairs ReLU with glorot_normal, against its own table.",
            "keras-classic",
        ),
        _claim("A second Keras example pairs ReLU with He.", "keras-classic", "he-variance"),
        _claim("He trains a 30-layer ReLU network on which Glorot stalls.", "thirty-layers"),
    ),
    "Vanishing and exploding": (
        _claim(
            "From a bad start gradients vanish or explode, or training is slow.",
            "vanishing-gradients",
            "exploding-gradients",
            "small-weights",
        ),
        _claim(
            "Gradients vanish as products of small slopes; early layers learn slowly.",
            "vanishing-gradients",
            "activation-derivatives",
        ),
        _claim(
            "Sigmoid and tanh: formulas, ranges, derivatives, products of them by depth; ReLU"
            " differs.",
            "activation-derivatives",
        ),
        _claim("Vanishing leaves early layers with poor features.", "layer-probes"),
        _claim("Late layers learn while early ones do not.", "vanishing-gradients", "layer-probes"),
        _claim(
            "Remedies for vanishing: ReLU, a good start, batch normalization, skips.",
            "four-remedies",
        ),
        _claim(
            "Exploding gradients oscillate, diverge, overflow and fail.",
            "exploding-gradients",
            "overflow",
        ),
        _claim("Clipping helps against exploding gradients, within limits.", "gradient-clipping"),
        _claim("Adaptive optimizers make up for a bad start.", "optimizers-rescue"),
        _claim("ReLU units die and do not come back; leaky ones do not die.", "dead-units"),
    ),
    "Architecture": (
        _claim(
            "Batch normalization makes mean 0 and deviation 1, guards against division by zero with"
            " ε (a feature that never varies), then scales by γ and shifts by β.",
            "batch-norm-by-hand",
        ),
        _claim(
            "Batch normalization reduces internal covariate shift, and speeds up training by it.",
            "covariate-shift",
        ),
        _claim(
            "Batch normalization allows higher learning rates and frees the choice of start; He"
            " goes with it.",
            "batch-norm-freedom",
        ),
        _claim("Batch normalization cannot mend depth: gradients explode.", "batch-norm-depth"),
        _claim("Layer normalization frees the scale of the weights.", "layer-norm"),
        _claim("Skip connections carry the gradient to any depth.", "skip-connections"),
        _claim("Residual branches must shrink with their number.", "residual-scaling"),
        _claim("Biases that know the class shares save the first steps.", "loss-at-start"),
        _claim("A forget gate that starts open remembers longer.", "forget-gate"),
        _claim("Orthogonal recurrent weights carry further.", "orthogonal-recurrent"),
        _claim("A mirrored start trains a 100-layer sigmoid network.", "mirrored-sigmoid"),
        _claim("Networks train best at the edge of chaos.", "edge-of-chaos"),
    ),
}
