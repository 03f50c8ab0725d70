"""The singular values of a model's input–output Jacobian: dynamical isometry, measured.

J_i = ∂ output_i / ∂ input_i of each sample i. It is never formed for large models: J and its
transpose are applied to vectors (the transpose by one backward pass, J by differentiating that pass
once more). Where the smaller side has at most `EXACT` dimensions all rows or columns are computed;
otherwise the mean square comes from ‖Jᵀu‖² of normal u (Hutchinson), and the largest values from a
randomised range finder (Halko, Martinsson & Tropp 2011).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from math import prod
from typing import Any

import torch
from torch import Tensor, nn
from torch.backends import cudnn
from torch.nn.attention import SDPBackend, sdpa_kernel

from firstlight.errors import BadInputError, FirstlightError, ModelRaisedError, said
from firstlight.frameworks.torch import batches
from firstlight.frameworks.torch.guard import untouched
from firstlight.frameworks.torch.layouts import named_tensors
from firstlight.frameworks.torch.tracing import Tracer, tensors_in
from firstlight.measuring.estimates import mean_over_samples
from firstlight.records.checkup import JacobianReading
from firstlight.records.network import Operation

EXACT = 64
"""Up to so many dimensions on the smaller side, all singular values are computed."""

_SAMPLES = 16
_COUPLED_SAMPLES = 4
"""Where normalization ties the samples of a batch together each one takes passes of its own."""

_LARGEST_EXACT = 2**24
_SHOWN = 8
_OVERSAMPLING = 4
_POWER_ITERATIONS = 2
_SEED = 6


@contextmanager
def _twice_differentiable() -> Iterator[None]:
    """Fused kernels of attention and recurrence have no second derivative; plain ones have."""
    with sdpa_kernel(SDPBackend.MATH), cudnn.flags(enabled=False):
        yield


class _Map:
    """J of some samples, as two products.

    Args:
        inputs: what is varied, a leaf of the graph.
        outputs: what came of it.
    """

    def __init__(self, inputs: Tensor, outputs: Tensor) -> None:
        batched = inputs.dim() and outputs.dim() and inputs.shape[0] == outputs.shape[0]
        self._batch = inputs.shape[0] if batched else 1
        self._inputs, self._outputs = inputs, outputs
        self._cotangent = torch.zeros_like(outputs, requires_grad=True)
        found = torch.autograd.grad(
            outputs, inputs, self._cotangent, create_graph=True, allow_unused=True
        )[0]
        self._pulled = torch.zeros_like(inputs) if found is None else found
        self._coupled = self._batch > 1 and self._is_coupled()
        self.samples = min(self._batch, _COUPLED_SAMPLES if self._coupled else _SAMPLES)
        self.m = outputs.numel() // self._batch
        self.n = inputs.numel() // self._batch

    def _is_coupled(self) -> bool:
        """Whether the first sample's output depends on another sample's input."""
        direction = torch.zeros_like(self._outputs)
        direction[0] = 1.0
        pulled = _gradient(self._outputs, self._inputs, direction)
        return bool(pulled[1:].any())

    def _apply(self, given: Tensor, source: Tensor, of: Tensor, to: Tensor) -> Tensor:
        """A product for each sample: of all at once, or one by one where they are coupled."""
        parts = [range(i, i + 1) for i in range(self.samples)] if self._coupled else [None]
        results = []
        for part in parts:
            direction = torch.zeros_like(source).reshape(self._batch, -1)
            places = slice(0, self.samples) if part is None else slice(part.start, part.stop)
            direction[places] = given[places]
            pulled = _gradient(of, to, direction.reshape(source.shape))
            results.append(pulled.reshape(self._batch, -1)[places])
        found = torch.cat(results)
        return found.float() if found.dtype in (torch.float16, torch.bfloat16) else found

    def transposed(self, vectors: Tensor) -> Tensor:
        """(samples, m) to (samples, n): Jᵀu."""
        return self._apply(vectors, self._outputs, self._outputs, self._inputs)

    def forward(self, vectors: Tensor) -> Tensor:
        """(samples, n) to (samples, m): Jv, since Jᵀu is linear in u."""
        if not self._pulled.requires_grad:
            return torch.zeros(self.samples, self.m).to(vectors)
        return self._apply(vectors, self._pulled, self._pulled, self._cotangent)


def _gradient(of: Tensor, to: Tensor, direction: Tensor) -> Tensor:
    found = torch.autograd.grad(of, to, direction, retain_graph=True, allow_unused=True)[0]
    return torch.zeros_like(to) if found is None else found.detach()


def _columns(product: Any, vectors: Tensor) -> Tensor:
    """A product with each of the (samples, dimensions, k) vectors."""
    return torch.stack([product(v) for v in vectors.unbind(-1)], dim=-1)


def _exact(linear: _Map) -> JacobianReading:
    """All singular values, from all rows or all columns."""
    short = min(linear.m, linear.n)
    product = linear.transposed if linear.m <= linear.n else linear.forward
    like = linear.transposed(torch.zeros(linear.samples, linear.m))
    units = torch.eye(short).to(like).expand(linear.samples, short, short)
    matrices = _columns(product, units)
    values = torch.linalg.svdvals(matrices.double())
    return _reading(linear, values[:, :_SHOWN], values**2, smallest=values[:, -1])


def _randomised(linear: _Map) -> JacobianReading:
    """The largest singular values by a range finder; its normal vectors give the mean square."""
    generator = torch.Generator().manual_seed(_SEED)
    short = min(linear.m, linear.n)
    shape = (linear.samples, linear.m, _SHOWN + _OVERSAMPLING)
    normal = torch.randn(shape, generator=generator)
    pulled = _columns(linear.transposed, normal)
    squares = (pulled.double() ** 2).sum(dim=1) / short
    # Two normal vectors u, w give (uᵀ J Jᵀ w)², whose mean is tr (JJᵀ)².
    inner = (pulled.double().transpose(1, 2) @ pulled.double()) ** 2
    pairs = inner.shape[1] * (inner.shape[1] - 1)
    fourth = (inner.sum(dim=(1, 2)) - inner.diagonal(dim1=1, dim2=2).sum(dim=1)) / pairs / short
    for _ in range(_POWER_ITERATIONS):
        back = torch.linalg.qr(_columns(linear.forward, torch.linalg.qr(pulled).Q)).Q
        pulled = _columns(linear.transposed, back)
    found = torch.linalg.svdvals(_columns(linear.forward, torch.linalg.qr(pulled).Q).double())
    return _reading(linear, found[:, :_SHOWN], squares, fourth=fourth)


def _reading(
    linear: _Map,
    largest: Tensor,
    squares: Tensor,
    *,
    smallest: Tensor | None = None,
    fourth: Tensor | None = None,
) -> JacobianReading:
    """Means over samples; of one sample, over its normal vectors."""
    each = squares.mean(dim=1)
    known = each if len(each) > 1 or smallest is not None else squares[0]
    mean = float(each.mean())
    power = (squares**2).mean() if fourth is None else fourth.mean()
    spread = max(float(power) / mean**2 - 1, 0.0) ** 0.5 if mean else None
    least = None if smallest is None else float(smallest.mean())
    top = tuple(float(value) for value in largest.mean(dim=0))
    return JacobianReading(
        largest=top,
        smallest=least,
        mean_square=mean_over_samples(known.numpy()),
        spread=spread,
        condition=float((largest[:, 0] / smallest).mean())
        if smallest is not None and bool(smallest.all())
        else None,
        inputs=linear.n,
        outputs=linear.m,
        samples=linear.samples,
        exact=smallest is not None,
    )


class _Leaf:
    """An observer that varies the first embedding, since integers cannot be."""

    def __init__(self) -> None:
        self.tensor: Tensor | None = None

    def __call__(self, operation: Operation, result: Tensor, _: tuple[Tensor, ...]) -> Tensor:
        if operation.kind != "embedding" or self.tensor is not None:
            return result
        self.tensor = torch.zeros_like(result, requires_grad=True)
        return result + self.tensor


def _run(model: nn.Module, given: Any) -> tuple[Tensor, Tensor]:
    """What is varied, the first floating input or embedding, and the output."""
    leaf = _Leaf()
    varied = next((t for t in tensors_in(given) if t.is_floating_point()), None)
    if varied is not None:
        varied.requires_grad_()
        return varied, batches.output_tensor(batches.call(model, given))
    tracer = Tracer(model, {id(p): n for n, p in named_tensors(model).items()}, leaf)
    with tracer.module_names(), tracer:
        tracer.add_inputs(tensors_in(given))
        output = batches.output_tensor(batches.call(model, given))
    if leaf.tensor is None:
        raise BadInputError(
            f"jacobian: {type(model).__name__} has neither floating inputs nor embeddings"
        )
    return leaf.tensor, output


def jacobian(model: nn.Module, batch: Any) -> JacobianReading:
    """Measure the singular values of ∂ output / ∂ input, per sample.

    In the mode that training would use, as `observe` has it; the model is left as it was. For
    integer inputs the embedded tokens stand for the input.

    Args:
        model: a module whose output is, or holds, a floating tensor.
        batch: as for `observe`.

    Returns:
        Means over at most 16 samples (4 where batch normalization ties them together; one where
        input and output do not begin with the same axis).

    Raises:
        BadInputError: nothing to vary, or no tensor comes out.
        ModelRaisedError: the model, or a derivative of it, raised.
    """
    device = next(model.parameters()).device
    with untouched(model), batches.eagerly(), torch.inference_mode(False), torch.enable_grad():
        if not model.training:
            model.train()
        try:
            with _twice_differentiable():
                inputs, outputs = _run(model, batches.placed(batch, device))
                linear = _Map(inputs, outputs)
                return _measured(linear)
        except FirstlightError:
            raise
        except Exception as error:
            raise ModelRaisedError(
                f"{type(model).__name__}: its Jacobian raised {type(error).__name__}: {said(error)}"
            ) from error


def _measured(linear: _Map) -> JacobianReading:
    size = linear.samples * prod((linear.m, linear.n))
    exact = min(linear.m, linear.n) <= EXACT and size <= _LARGEST_EXACT
    return _exact(linear) if exact else _randomised(linear)
