"""Realistic records: a 30-layer ReLU MLP as PyTorch starts it, and after a mirrored start.

The numbers follow the recursions that such a network obeys, with a few per cent of noise: under
PyTorch's U(±1/√fan_in) the second moment is divided by six at each layer until the biases hold
it up, and the gradient's by six all the way back.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

import firstlight as fl
from firstlight.records.checkup import (
    Checkup,
    Estimate,
    Finding,
    Observation,
    ParameterReading,
    Reading,
)
from firstlight.records.compared import Compared, ComparedTensor
from firstlight.records.law import Constant, Law, Mirrored, Orthogonal, Uniform
from firstlight.records.network import (
    ActivationRef,
    Fans,
    Network,
    Operation,
    Parameter,
    plain_layout,
)
from firstlight.records.plan import (
    Achieved,
    Audit,
    AuditEntry,
    LawFit,
    Plan,
    PlanEntry,
    Receipt,
    ReceiptEntry,
    Rejected,
)
from firstlight.records.race import Race, Run, Start
from firstlight.records.streamed import Streamed
from firstlight.records.transfer import CoordinateCheck, Coordinates, ParameterTrend, Slope
from firstlight.records.watched import Glance, Watched
from firstlight.reporting.story import Story

DEPTH, WIDTH, INPUTS, CLASSES, SAMPLES = 30, 128, 784, 10, 128

HOSTILE = "</script><img src=x onerror=alert(1)><!--{{7*7}}\u2028'\"&[red]\x1b[31m"


def network(depth: int = DEPTH, name: str = "MLP", prefix: str = "net") -> Network:
    operations = [Operation(index=0, name="input", kind="input", function="input")]
    parameters = []
    for layer in range(depth):
        rows = CLASSES if layer == depth - 1 else WIDTH
        columns = INPUTS if layer == 0 else WIDTH
        module = f"{prefix}.{2 * layer}"
        for kind, shape in (("weight", (rows, columns)), ("bias", (rows,))):
            parameters.append(
                Parameter(
                    name=f"{module}.{kind}",
                    kind=kind,  # type: ignore[arg-type]
                    module="Linear",
                    layout=plain_layout(shape),
                    fans=Fans(forward=columns, backward=rows) if kind == "weight" else None,
                )
            )
        index = len(operations)
        operations.append(
            Operation(
                index=index,
                name=module,
                kind="weighted",
                function="linear",
                inputs=(index - 1,),
                parameters=(f"{module}.weight", f"{module}.bias"),
                shape=(SAMPLES, rows),
                unit_axis=1,
            )
        )
        if layer < depth - 1:
            operations.append(
                Operation(
                    index=index + 1,
                    name=f"{prefix}.{2 * layer + 1}",
                    kind="activation",
                    function="relu",
                    inputs=(index,),
                    shape=(SAMPLES, rows),
                    unit_axis=1,
                    activation=ActivationRef(name="relu"),
                )
            )
    return Network(
        name=name,
        framework="torch",
        operations=tuple(operations),
        parameters=tuple(parameters),
        outputs=(operations[-1].index,),
    )


def checkup(
    *, healthy: bool, depth: int = DEPTH, name: str = "MLP", prefix: str = "net"
) -> Checkup:
    net, random = network(depth, name, prefix), np.random.default_rng(3)
    gain = 1.0 if healthy else 1 / 6
    bias = 0.0 if healthy else 1 / (3 * WIDTH)
    forward = [1.0 if healthy else 1 / 3 + 1 / (3 * INPUTS)]
    for _ in range(depth - 1):
        forward.append(forward[-1] * gain + bias)
    backward = [4e-7 * (1.0 if healthy else 1 / 6) ** (depth - 1 - i) for i in range(depth)]
    backward[-1] = 7e-6
    readings, layer = [], 0
    for operation in net.operations[1:]:
        noise = np.exp(0.05 * random.standard_normal(2))
        m = forward[layer] * noise[0] * (0.09 if healthy and layer == depth - 1 else 1.0)
        d = backward[layer] * noise[1]
        if operation.kind == "activation":
            m, d, layer = m / 2, d / 2, layer + 1
        readings.append(
            Reading(
                operation=operation.index,
                name=operation.name,
                mean=0.0,
                second_moment=Estimate(value=m, standard_error=0.09 * m),
                delta_square_per_sample=Estimate(value=d, standard_error=0.12 * d),
                dead_fraction=0.0 if operation.kind == "activation" else None,
            )
        )
    observation = Observation(
        network=net,
        readings=tuple(readings),
        parameters=tuple(
            ParameterReading(name=p.name, value_rms=0.05, gradient_rms=1e-5, constant=False)
            for p in net.parameters
        ),
        samples=SAMPLES,
        loss=2.334 if healthy else 2.3049,
        undecided_loss=math.log(CLASSES),
        task="classification",
        classes=CLASSES,
        logits_std=0.3 if healthy else 0.057,
        cotangent="loss",
        input_second_moment=1.0,
    )
    return Checkup(observation=observation, findings=() if healthy else findings(depth, prefix))


def findings(depth: int = DEPTH, prefix: str = "net") -> tuple[Finding, ...]:
    weighted = tuple(f"{prefix}.{2 * i}" for i in range(depth))
    return (
        Finding(
            kind="backward-vanishing",
            severity="error",
            where=weighted[: depth - 8],
            evidence=f"‖δ‖ at {weighted[0]} is 4.6e-12 of that at {weighted[-2]}; healthy "
            "networks of this depth stay above 1e-2.",
            cause="Each ReLU layer multiplies the mean square of δ by about 1/6: the weights are "
            "U(±1/√fan_in) (PyTorch's default), whose variance is a sixth of He's.",
            cure="receipt = fl.initialize(model, batch, seed=0)",
        ),
        Finding(
            kind="collapsed-samples",
            severity="error",
            where=weighted[8:],
            evidence="The cosine between different samples is 0.9998 ± 0.0001 from net.16 on.",
            cause="The signal has shrunk to 0.056, where the biases, equal for all samples, "
            "outweigh it.",
            cure="receipt = fl.initialize(model, batch, seed=0)",
        ),
        Finding(
            kind="forward-vanishing",
            severity="warning",
            where=weighted[2:8],
            evidence="Forward RMS falls from 0.58 to 0.057 over the first six layers.",
            cause="The gain of each layer is 0.41 where ReLU needs √2.",
            cure="Use a gain of √2, a normalization layer, or skip connections.",
        ),
        Finding(
            kind="loss-at-start",
            severity="note",
            where=(weighted[-1],),
            evidence="The loss is 2.305, an undecided model pays 2.303.",
            cause="All samples get the same logits.",
            cure="Nothing to do once the signal passes.",
        ),
    )


def plan(depth: int = DEPTH) -> Plan:
    net = network(depth)
    weights = [p.name for p in net.parameters if p.kind == "weight"]
    entries = []
    for parameter in net.parameters:
        law: Law
        if parameter.kind == "bias":
            law, rule, reason = Constant(value=0.0), "bias-zero", "biases break no symmetry"
        elif parameter.name == weights[0]:
            law, rule = Mirrored(gain=1.41421356, inputs=False), "plain-chain"
            reason = "first weight of a plain chain of 30 layers: mirrors its outputs"
        elif parameter.name == weights[-1]:
            law, rule = Orthogonal(gain=0.3), "head"
            reason = "logits of standard deviation 0.3, so that the loss starts near ln 10"
        else:
            law, rule = Mirrored(gain=1.0), "plain-chain"
            reason = "no norm and no skip: the mirrored law keeps both gains at exactly one"
        entries.append(
            PlanEntry(
                name=parameter.name,
                action="draw",
                law=law,
                layout=parameter.layout,
                rule=rule,
                reason=reason,
                source="Balduzzi et al. 2017; Burkholz & Dubatovka 2019",
                rejected=(Rejected(technique="he_normal", why="12 % after 60 steps, not 95 %"),)
                if parameter.kind == "weight"
                else (),
            )
        )
    return Plan(
        network=net,
        entries=tuple(entries),
        remarks=("Mirrored weights have rank n/2 and twin units by design.",),
    )


def receipt() -> Receipt:
    the_plan = plan()
    entries = []
    for entry in the_plan:
        std = 0.0 if isinstance(entry.law, Constant) else 0.0884 + 0.0001 * (len(entry.name) % 3)
        entries.append(
            ReceiptEntry(
                name=entry.name,
                action=entry.action,
                asked=entry.law,
                achieved=Achieved(
                    mean=0.0,
                    std=std,
                    low=-4 * std,
                    high=4 * std,
                    zero_fraction=1.0 if not std else 0.0,
                ),
            )
        )
    return Receipt(
        entries=tuple(entries),
        seed=0,
        namespace="",
        plan=the_plan,
        before=checkup(healthy=False),
        after=checkup(healthy=True),
    )


def audit() -> Audit:
    net = network()
    entries = []
    for parameter in net.parameters:
        bound = 1 / math.sqrt(INPUTS if parameter.name.startswith("net.0.") else WIDTH)
        law = Uniform(low=-bound, high=bound)
        fits = (
            LawFit(law=law, words="U(±1/√fan_in)", technique="torch_default", p_value=0.4),
            LawFit(law=law, words="LeCun × 1/√3", technique=None, p_value=0.2),
        )
        strange = parameter.name == "net.6.weight"
        entries.append(
            AuditEntry(
                name=parameter.name,
                layout=parameter.layout,
                mean=0.0,
                std=bound / math.sqrt(3),
                low=-bound,
                high=bound,
                laws=() if strange else fits,
                intended="N(0, 2/fan_in)" if strange else "U(±1/√fan_in)",
                agrees=not strange,
            )
        )
    return Audit(network=net, entries=tuple(entries))


def race(seeds: int = 5, steps: int = 300) -> Race:
    random = np.random.default_rng(5)
    starts = []
    for name, final, rate, spread, time in (
        ("default", 0.094, 0.01, 0.006, math.inf),
        ("he_normal", 0.862, 0.003, 0.016, 70.0),
        ("plan", 0.921, 0.003, 0.005, 25.0),
    ):
        runs = []
        for seed in range(seeds):
            t = np.arange(steps)
            floor = 0.25 if name == "plan" else 0.4
            clean = floor + (math.log(CLASSES) - floor) * np.exp(-t / time)
            losses = clean * np.exp(0.08 * random.standard_normal(steps))
            runs.append(
                Run(
                    seed=seed,
                    learning_rate=rate,
                    losses=tuple(float(f"{x:.4g}") for x in losses),
                    score=float(final + spread * random.standard_normal()),
                    diverged=False,
                )
            )
        mean = float(np.mean([run.score for run in runs]))
        spread = float(np.std([run.score for run in runs], ddof=1)) if seeds > 1 else math.nan
        half = 2.776 * spread / math.sqrt(seeds)
        starts.append(
            Start(
                name=name,
                learning_rate=rate,
                searched=((0.001, mean - 0.1), (0.003, mean), (0.01, mean - 0.02)),
                runs=tuple(runs),
                mean=mean,
                interval=(mean - half, mean + half),
            )
        )
    return Race(
        starts=tuple(starts),
        steps=steps,
        batch_size=64,
        optimizer="SGD, momentum 0.9",
        score_name="held-out accuracy",
        higher_is_better=True,
        chance=0.1,
        verdict="The plan beats he_normal by 6 ± 2 points and the default by 83 ± 1 points.",
    )


def story() -> Story:
    done = receipt()
    return Story(
        title="Thirty plain layers, before and after",
        lead="A fully connected ReLU network of 30 layers and width 128, as PyTorch starts it, on "
        "5,000 handwritten digits.",
        before=done.before,
        plan=done.plan,
        receipt=done,
        after=done.after,
        race=race(),
        notes=(
            "Command: firstlight demo --seed 0",
            "Versions: firstlight 0.1.0, torch 2.13.0, numpy 2.4.0, Python 3.11",
            "Data: 4,000 images to train on, 1,000 held out",
        ),
    )


def streamed() -> Streamed:
    return Streamed(
        folder="weights",
        files=tuple(f"model-{i:05}-of-00012.safetensors" for i in range(1, 13)),
        tensors=291,
        parameters=6_738_415_616,
        size=13_476_839_424,
        kept=2_000_000_000,
        seconds=41.3,
        seed=0,
        namespace="a",
        dtype="bfloat16",
        left_out=("rotary.inv_freq",),
        ties=(("embed.weight", "head.weight"),),
    )


def compared() -> Compared:
    standings = ("initial", "partly initial", "changed", "not drawn", "missing", "extra")
    entries = tuple(
        ComparedTensor(
            name=f"layers.{i}.{standing.replace(' ', '_')}.weight",
            standing=standing,
            samples=0 if standing in ("missing", "extra", "not drawn") else 4096,
            equal={"initial": 1.0, "partly initial": 0.25}.get(standing, 0.0),
            constant=standing == "initial" and i == 0,
        )
        for standing in standings
        for i in range(4)
    )
    return Compared(path="weights/model.safetensors", seed=3, namespace="", entries=entries)


def coordinate_check() -> CoordinateCheck:
    """A network whose output grows with the width."""
    grows, steady = Slope(value=0.93, low=0.89, high=0.97), Slope(value=0.02, low=-0.1, high=0.14)
    rows = {"fc_1": (steady, "steady"), "fc_2": (grows, "grows")}
    operations = tuple(
        Coordinates(
            name=name,
            kind="weighted",
            is_output=name == "fc_2",
            start=(1.0, 1.1, 1.0),
            change=((0.01, 0.02, 0.04), (0.1, 0.19, 0.36)),
            start_slope=steady,
            change_slope=slope,
            trend=trend,
            start_trend="steady",
        )
        for name, (slope, trend) in rows.items()
    )
    parameters = tuple(
        ParameterTrend(
            name=f"{name}.weight",
            role="hidden",
            start_slope=Slope(value=-0.5, low=-0.51, high=-0.49),
            start_needed=-0.5,
            update_slope=steady,
            update_needed=-1.0,
        )
        for name in rows
    )
    finding = Finding(
        kind="rate-scaling",
        severity="error",
        where=("fc_2.weight",),
        evidence="the change of 'fc_2.weight' goes as width^(+0.02 ± 0.12), needed is width^-1",
        cause="the learning rate of hidden weights is not divided by the width under Adam",
        cure="receipt = fl.initialize(model, batch, seed=0)",
    )
    return CoordinateCheck(
        model="MLP",
        widths=(64, 128, 256),
        seeds=(0, 1, 2),
        steps=2,
        optimizer="adam",
        base=None,
        operations=operations,
        parameters=parameters,
        findings=(finding,),
        remarks=("a remark",),
    )


def watched() -> Watched:
    """A training that diverges at its second glance."""
    finding = Finding(
        kind="diverging",
        severity="error",
        where=("fc_2",),
        evidence="E[z²] is 1.7e+06 times its largest at step 0",
        cause="the steps are too large for this start",
        cure="divide the learning rate by ten",
    )
    glances = (
        Glance(
            step=0,
            loss=0.69,
            forward=(0.1, 0.4),
            backward=(1e-5, 1e-4),
            dead=0.0,
            findings=(),
            alarms=(),
        ),
        Glance(
            step=50,
            loss=120.0,
            forward=(1200.0, 6.9e5),
            backward=(2.4e-4, 0.014),
            dead=0.75,
            findings=(finding,),
            alarms=(finding,),
        ),
        Glance(step=100, loss=None, forward=None, backward=None, dead=1.0, findings=(), alarms=()),
    )
    return Watched(model="MLP", every=50, glances=glances)


def everything() -> dict[str, Any]:
    """One record of each kind."""
    return {
        "sick": checkup(healthy=False),
        "healthy": checkup(healthy=True),
        "plan": plan(),
        "receipt": receipt(),
        "audit": audit(),
        "race": race(),
        "story": story(),
        "streamed": streamed(),
        "compared": compared(),
        "coordinate check": coordinate_check(),
        "watched": watched(),
        "prediction": fl.predict("tanh", depth=60, sigma_w2=2.5, sigma_b2=0.05),
    }


def hostile() -> Story:
    """Every string that comes from a model or an exception tries to break out."""
    sick = checkup(healthy=False, depth=6, name=HOSTILE, prefix=HOSTILE)
    finding = Finding(
        kind="non-finite",
        severity="error",
        where=(f"{HOSTILE}.0",),
        evidence=HOSTILE,
        cause=HOSTILE,
        cure=HOSTILE,
    )
    observation = Observation(
        network=sick.network,
        readings=sick.layers,
        parameters=sick.observation.parameters,
        samples=4,
        device=HOSTILE,
        dtype=HOSTILE,
        raised=HOSTILE,
    )
    bad = Checkup(observation=observation, findings=(finding,))
    entry = PlanEntry(
        name=HOSTILE,
        action="draw",
        law=Uniform(low=-1, high=1),
        layout=plain_layout((3, 2)),
        rule=HOSTILE,
        reason=HOSTILE,
        source=HOSTILE,
    )
    good = race(2, 20)
    starts = tuple(
        Start(
            name=f"{i}{HOSTILE}",
            learning_rate=0.1,
            searched=(),
            runs=s.runs,
            mean=s.mean,
            interval=s.interval,
        )
        for i, s in enumerate(good.starts)
    )
    return Story(
        title=HOSTILE,
        lead=HOSTILE,
        before=bad,
        plan=Plan(network=bad.network, entries=(entry,), technique=HOSTILE, remarks=(HOSTILE,)),
        after=bad,
        race=Race(
            starts=starts,
            steps=20,
            batch_size=1,
            optimizer=HOSTILE,
            score_name=HOSTILE,
            higher_is_better=False,
            chance=None,
            verdict=HOSTILE,
        ),
        notes=(HOSTILE,),
    )
