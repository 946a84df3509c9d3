"""The learning rate by the paper's method: several rates, the best perplexity on 5 % held out.

Source: Radford et al. 2019, section 3. Each rate is a run of its own, R-lr-RATE, with all other
settings equal. An interrupted sweep continues; a diverging rate is reported. The last sequences of
the first epoch's order are held out, since no run of the sweep reaches them.
"""

from __future__ import annotations

import dataclasses
import logging
import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from corpus.errors import ConfigError, FatalError
from corpus.storage.store import open_corpus
from train.checkpoints.run_folder import RunFolder
from train.monitoring.divergence import DivergedError

if TYPE_CHECKING:
    from train.job import RunRequest, RunResult

log = logging.getLogger(__name__)

HELD_OUT_FRAC = 0.05
# More steps than a run has.
NEVER = 1 << 40
# Nats per token whose perplexity is still a number.
HIGHEST_LOSS = 700.0


def learning_rates(text: str) -> list[float]:
    """`3e-4,6e-4` as numbers, ascending. Raises: ConfigError for anything else."""
    try:
        rates = sorted({float(part) for part in text.split(",")})
    except ValueError:
        rates = []

    if not rates or not all(0 < rate < math.inf for rate in rates):
        raise ConfigError(
            f"--sweep {text}: expected learning rates above 0, such as 3e-4,6e-4,1.2e-3"
        )

    return rates


def sweep(
    request: RunRequest, rates: Sequence[float], launch: Callable[[RunRequest], RunResult]
) -> dict[str, Any]:
    """Train with each rate; return the results, also written to runs/<run>/sweep.json.

    Under muon its rate keeps its ratio to AdamW's. Raises: FatalError if every rate diverged.
    """
    losses = {rate: _loss(_variant(request, rate), launch) for rate in rates}
    finite = {rate: loss for rate, loss in losses.items() if loss is not None}
    if not finite:
        raise FatalError(
            f"--sweep {','.join(f'{rate:g}' for rate in rates)}: every rate diverged; try lower ones"
        )

    result = {
        "held_out_frac": HELD_OUT_FRAC,
        "rates": [
            {
                "learning_rate": rate,
                "perplexity": None if loss is None else math.exp(loss),
                "diverged": loss is None,
            }
            for rate, loss in losses.items()
        ],
        "best": min(finite, key=lambda rate: finite[rate]),
    }
    RunFolder(open_corpus(request.corpus), request.run).write("sweep.json", result)

    return result


def _loss(request: RunRequest, launch: Callable[[RunRequest], RunResult]) -> float | None:
    """Held-out loss of a run, nats per token; None if it diverged.

    Raises: FatalError if it could not be measured.
    """
    try:
        loss = launch(request).summary["val_loss"]
    except DivergedError as error:
        log.warning("%s: %s", request.run, error)
        return None

    if loss is None:
        raise FatalError(
            f"run {request.run}: its evaluation failed, see the log; run the same command to try it again"
        )
    # A perplexity beyond floats is as good as none.
    return float(loss) if math.isfinite(loss) and loss < HIGHEST_LOSS else None


def _variant(request: RunRequest, rate: float) -> RunRequest:
    settings = request.config.optimizer
    changes = {
        "learning_rate": rate,
        "muon_learning_rate": settings.muon_learning_rate
        * rate
        / request.config.resolved_learning_rate,
    }
    if settings.name == "adamw":
        del changes["muon_learning_rate"]
    # Evaluated once, at the end: no other figure is used.
    config = request.config.model_copy(
        update={
            "optimizer": settings.model_copy(update=changes),
            "eval_interval": NEVER,
            "num_samples": 0,
        }
    )

    # Rates that are alike in six digits are still two runs.
    short = f"{rate:g}"
    name = short if float(short) == rate else repr(rate)
    return dataclasses.replace(
        request, run=f"{request.run}-lr-{name}", config=config, held_out_frac=HELD_OUT_FRAC
    )
