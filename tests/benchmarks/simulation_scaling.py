"""Strong and weak scaling of individuals over Dask workers on this machine.

Run: python tests/benchmarks/simulation_scaling.py [WORKERS ...]

For each number of workers: wall time, and the processor time of the busiest worker, which
is what the wall time would be if nothing else ran on the machine. Start of the cluster and
making of the plans are left out.
"""

from __future__ import annotations

import os
import sys
import time
from dataclasses import replace

from distributed import Client, LocalCluster

from ketacast.simulation.running import Resources, simulate
from ketacast.simulation.specification import Cohort, Specification
from ketacast.simulation.tasks import make_context
from simulation import GROUPS, STRATEGIES, make_ready

PATIENTS = 10**7
DRAWS = 16


def spend(workers: int, draws: int) -> tuple[float, float]:
    """Wall time and the busiest worker's processor time, in seconds."""
    spec = Specification(
        Cohort(GROUPS, counted=False), STRATEGIES, 26, PATIENTS, draws=draws, engine="individuals"
    )
    with (
        LocalCluster(n_workers=workers, threads_per_worker=1, dashboard_address=None) as cluster,  # type: ignore[no-untyped-call]
        Client(cluster) as client,  # type: ignore[no-untyped-call]
    ):
        resources = Resources(scheduler=cluster.scheduler_address, patients_at_once=PATIENTS)
        simulate(replace(spec, draws=4 * workers), resources=resources)
        client.run(make_ready, make_context(spec, None))
        before = client.run(time.process_time)
        start = time.perf_counter()
        simulate(spec, resources=resources)
        wall = time.perf_counter() - start
        after = client.run(time.process_time)
        return wall, max(after[name] - before[name] for name in before)


def main() -> None:
    """Print both tables."""
    counts = [int(one) for one in sys.argv[1:]] or [1, 2]
    print(f"{os.cpu_count()} processors, load {os.getloadavg()[0]:.1f}")
    for title, draws in (("strong", lambda _: DRAWS), ("weak", lambda count: DRAWS * count // 2)):
        print(f"{title} scaling: workers, patient-courses, wall s, busiest worker's CPU s")
        for count in counts:
            number = draws(count)
            wall, busiest = spend(count, number)
            print(f"{count:>8}{number * PATIENTS:>16,}{wall:>10.2f}{busiest:>10.2f}", flush=True)


if __name__ == "__main__":
    main()
