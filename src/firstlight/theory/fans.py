"""The numbers that divide the variance: terms per output and per input-gradient element.

Counted from axis roles, never from the rank of a tensor, so that grouped and depthwise kernels,
stacked gates, packed projections and transposed convolutions come out right. (torch's
``_calculate_fan_in_and_fan_out`` reads (out, in, …) whatever the layer: its fan_out of a depthwise
convolution is too large by the number of groups, and its fan_in of a transposed convolution is the
backward fan.)
"""

from __future__ import annotations

from math import prod

from firstlight.errors import BadInputError
from firstlight.records.network import Fans, Layout


def fans(layout: Layout, *, stride: tuple[int, ...] = (), transposed: bool = False) -> Fans | None:
    """How many products are summed into one output and into one input-gradient element.

    ::

        dense                 forward = in              backward = out
        convolution           forward = in·∏k           backward = out·∏k/∏s
        transposed            forward = in·∏k/∏s        backward = out·∏k
        embedding             forward = 1               backward = out

    with in and out of *one* stacked matrix (group, head, gate …), kernel sizes k, strides s. A
    stride touches only every s-th position; where it does not divide k, the fan is the mean over
    the positions. Borders with padding have fewer terms and are left out.

    Args:
        layout: the axes of the weight.
        stride: one for each kernel axis; empty for 1 everywhere.
        transposed: whether the layer is a transposed convolution.

    Returns:
        The fans, or None for vectors (biases, norm scales), which have none.

    Raises:
        BadInputError: strides that do not fit the kernel, or an axis of size zero.

    >>> conv = Layout(shape=(64, 3, 5, 5), view=(64, 3, 5, 5), roles=("out", "in", *["kernel"] * 2))
    >>> fans(conv, stride=(2, 2))
    Fans(forward=75.0, backward=400.0)
    """
    kernel = layout.kernel
    if stride and (len(stride) != len(kernel) or min(stride) < 1):
        raise BadInputError(
            f"fans: stride {stride} for a kernel of shape {kernel}; give one stride of at least 1"
            " for each kernel axis, or none"
        )
    if 0 in layout.view:
        raise BadInputError(
            f"fans: layout {layout.view} has an empty axis; a weight without elements has no fans"
        )
    if "index" in layout.roles:
        # A row is looked up, which is a product with a one-hot vector: one term, no sum.
        return Fans(forward=1.0, backward=float(layout.out))
    if "in" not in layout.roles and not kernel:
        return None
    skipped = prod(stride)
    forward, backward = layout.in_ * prod(kernel), layout.out * prod(kernel)
    if transposed:
        return Fans(forward=forward / skipped, backward=float(backward))
    return Fans(forward=float(forward), backward=backward / skipped)
