"""PyMARE and pimeta as yardsticks of fits.py, run by any Python that has them and NumPy.

Protocol: see fits_workers.Worker. Run: python fits_peers.py DIRECTORY
"""

from __future__ import annotations

import importlib
import importlib.metadata
import sys
import time
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

Task = Callable[[], dict[str, Any]]
Table = dict[str, Any]
#: Refits one by one are timed on fewer rows and scaled.
REFITS, FEW_REFITS = 1000, 50
PERMUTATIONS = 200


def read(path: Path) -> Table:
    """Columns of a CSV file."""
    names = path.open(encoding="utf-8").readline().strip().split(",")
    return dict(zip(names, np.loadtxt(path, delimiter=",", skiprows=1, ndmin=2).T, strict=True))


def pymare_tasks(directory: Path) -> dict[str, tuple[Task, float]]:
    """Tasks of PyMARE, each with what its time is multiplied by."""
    dataset = importlib.import_module("pymare").Dataset
    likelihood = importlib.import_module("pymare.estimators").VarianceBasedLikelihoodEstimator
    few = read(directory / "studies_37.csv")
    many = read(directory / "studies_79.csv")
    effects = np.array(list(read(directory / "effects.csv").values()))

    def fitted(rows: Table, correction: str) -> Any:
        estimator = likelihood(method="REML", small_sample_correction=correction)
        data = dataset(y=rows["y"], v=rows["v"], X=rows["x"][:, None], add_intercept=True)
        return estimator.fit_dataset(data).summary()

    def regression(rows: Table) -> dict[str, Any]:
        fit = fitted(rows, "knapp-hartung-conservative")
        stats, q = fit.get_fe_stats(), fit.get_heterogeneity_stats()
        return {
            "tau2": fit.tau2, "beta": stats["est"], "se": stats["se"], "p_value": stats["p"],
            "ci_lower": stats["ci_l"], "ci_upper": stats["ci_u"], "qe": q["Q"], "qe_p": q["p(Q)"],
        }  # fmt: skip

    def leave_one_out() -> dict[str, Any]:
        answers = []
        for i in range(many["y"].size):
            y, v = np.delete(many["y"], i)[:, None], np.delete(many["v"], i)[:, None]
            estimator = likelihood(method="REML", small_sample_correction="wald")
            estimator.dataset_ = dataset(y=y, v=v, X=np.ones_like(y), add_intercept=False)
            fit = estimator.fit_dataset(estimator.dataset_).summary()
            stats, q = fit.get_fe_stats(), fit.get_heterogeneity_stats()
            found = (stats["est"], stats["p"], fit.tau2, q["Q"])
            answers.append([float(np.ravel(each)[0]) for each in found])
        return dict(zip(("beta", "p_value", "tau2", "qe"), np.array(answers).T, strict=True))

    def bootstrap() -> dict[str, Any]:
        estimator = likelihood(method="REML", small_sample_correction="wald")
        design = np.column_stack([np.ones(few["x"].size), few["x"]])
        estimator.fit(effects, few["v"][:, None], design)
        return {"tau2": estimator.params_["tau2"], "slope": estimator.params_["fe_params"][1]}

    def permutation() -> dict[str, Any]:
        fit = fitted(few, "wald")
        p_value = fit.permutation_test(REFITS).perm_p["fe_p"][1]
        return {"statistic": fit.get_fe_stats()["z"][1], "p_value_random": p_value}

    tables = {k: read(directory / f"studies_{k}.csv") for k in (37, 79, 1000)}
    tasks: dict[str, tuple[Task, float]] = {
        f"reml_{k}": (partial(regression, rows), 1.0) for k, rows in tables.items()
    }
    return tasks | {
        "leave_one_out": (leave_one_out, 1.0),
        "bootstrap": (bootstrap, 1.0),
        "permutation": (permutation, 1.0),
    }


def pimeta_tasks(directory: Path) -> dict[str, tuple[Task, float]]:
    """Tasks of pimeta, each with what its time is multiplied by."""
    pimeta = importlib.import_module("pimeta")
    tables = {k: read(directory / f"studies_{k}.csv") for k in (37, 79, 1000)}
    few, many = tables[37], tables[79]
    effects = np.array(list(read(directory / "effects.csv").values()))
    new = read(directory / "new.csv")["x"]

    def fitted(rows: Table, test: str) -> Any:
        return pimeta.rma(
            yi=rows["y"], vi=rows["v"], mods=rows["x"][:, None], method="REML", test=test
        )

    def regression(rows: Table) -> dict[str, Any]:
        fit = fitted(rows, "adhoc")
        return {
            "tau2": fit.tau2, "beta": fit.b, "se": fit.se, "p_value": fit.pval,
            "ci_lower": fit.ci_lb, "ci_upper": fit.ci_ub, "qe": fit.QE, "qe_p": fit.QEp,
            "qm": fit.QM, "qm_p": fit.QMp, "i2": fit.I2, "r2": fit.R2,
        }  # fmt: skip

    def binomial(rows: Table) -> dict[str, Any]:
        fit = pimeta.rma_glmm(
            measure="PLO", xi=rows["events"], ni=rows["n"], mods=rows["x"][:, None]
        )
        return {"tau2": fit.tau2, "beta": fit.b, "se": fit.se, "p_value": fit.pval}

    def leave_one_out() -> dict[str, Any]:
        fits = pimeta.leave1out(many["y"], many["v"])
        return {"beta": fits.estimate, "p_value": fits.p, "tau2": fits.tau2, "qe": fits.QE}

    def bootstrap() -> dict[str, Any]:
        fits = [fitted(few | {"y": effects[:, i]}, "z") for i in range(FEW_REFITS)]
        return {"tau2": [fit.tau2 for fit in fits], "slope": [fit.b[1] for fit in fits]}

    def permutation() -> dict[str, Any]:
        fit = fitted(few, "z")
        test = pimeta.permutest(fit, iter=PERMUTATIONS, seed=1)
        return {"statistic": fit.zval[1], "p_value_random": test.pval[1]}

    fit_for_new = fitted(few, "adhoc")

    def predict() -> dict[str, Any]:
        names = {"mean": "pred", "se": "se", "pi_lower": "pi_lb", "pi_upper": "pi_ub"}
        rows = fit_for_new.predict(newmods=new[:, None])
        return {ours: [getattr(row, name) for row in rows] for ours, name in names.items()}

    def multilevel() -> dict[str, Any]:
        groups = {"group": many["group"].astype(int), "row": np.arange(many["y"].size)}
        fit = pimeta.rma_mv(
            many["nested"], vi=many["v"], mods=many["x"][:, None], data=groups,
            random="~ 1 | group/row", test="t",
        )  # fmt: skip
        return {"sigma2": fit.sigma2, "beta": fit.beta, "se": fit.se, "p_value": fit.pval}

    tasks: dict[str, tuple[Task, float]] = {
        f"reml_{k}": (partial(regression, rows), 1.0) for k, rows in tables.items()
    }
    return tasks | {
        "binomial_37": (partial(binomial, few), 1.0),
        "binomial_79": (partial(binomial, many), 1.0),
        "leave_one_out": (leave_one_out, 1.0),
        "bootstrap": (bootstrap, REFITS / FEW_REFITS),
        "permutation": (permutation, REFITS / PERMUTATIONS),
        "predict": (predict, 1.0),
        "multilevel": (multilevel, 1.0),
    }


def answer(task: Task, scale: float, command: str, loops: int) -> str:
    """One line: the numbers, or the time of a call."""
    if command == "numbers":
        items = (
            f"{key}=" + ",".join(repr(float(value)) for value in np.ravel(values))
            for key, values in task().items()
        )
        return " ".join(items)
    start = time.process_time()
    for _ in range(loops):
        task()
    return repr((time.process_time() - start) / loops * scale)


def main() -> None:
    """Answer requests until the input ends."""
    warnings.simplefilter("ignore")
    directory = Path(sys.argv[1])
    tasks: dict[str, dict[str, tuple[Task, float]]] = {}
    for name, package, build in (
        ("PyMARE", "pymare", pymare_tasks),
        ("pimeta", "pimeta", pimeta_tasks),
    ):
        try:
            importlib.import_module(package)
        except ImportError:
            print("absent", name)
            continue
        tasks[name] = build(directory)
        print("yardstick", name, importlib.metadata.version(name), *tasks[name])
    print("ready", flush=True)
    for line in sys.stdin:
        command, name, task, *loops = line.split()
        try:
            reply = "ok " + answer(*tasks[name][task], command, int(*loops or "1"))
        except Exception as error:  # noqa: BLE001 - whatever a peer raises is its answer
            reply = f"error {type(error).__name__} {' '.join(str(error).split())}"
        print(reply, flush=True)


if __name__ == "__main__":
    main()
