"""Whatever clients and workers do, in whatever order: the invariants hold. More seeds: `make faults SEEDS=10000`."""

import os
from pathlib import Path

import pytest

from tests.simulation.simulator import simulate

SEEDS = int(os.environ.get("SIMULATION_SEEDS", "40"))


@pytest.mark.parametrize("seed", range(SEEDS))
async def test_the_invariants_hold_for_this_seed(seed: int, tmp_path: Path) -> None:
    await simulate(seed, steps=150, root=tmp_path)


@pytest.mark.parametrize("seed", range(SEEDS))
async def test_the_invariants_hold_with_several_nodes_and_a_bell_that_loses_much(seed: int, tmp_path: Path) -> None:
    await simulate(seed, steps=150, root=tmp_path, nodes=2 + seed % 2)
