"""Moderators to a matrix: what is learnt at the fit is done again for new data."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from ketacast.design import (
    DataWarning,
    DesignSpec,
    build_design,
    numbers_with_gaps,
    read_moderators,
    refuse_misaligned,
    spans,
)
from ketacast.errors import InputError

Array = NDArray[np.float64]

#: The same arithmetic on the same numbers: rounding only.
ATOL = 1e-12

DATA = pd.DataFrame(
    {
        "ablat": [44.0, 55.0, 42.0, 52.0, 13.0, 44.0, 19.0, 13.0],
        "year": [1948, 1949, 1960, 1977, 1973, 1953, 1973, 1980],
        "alloc": list("abcabcab"),
        "blind": [True, False, True, False, False, True, True, False],
        "arm (n)": [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 9.0],
    },
    index=[f"trial {i}" for i in range(8)],
)
FORMULAS = (
    "ablat",
    "~ ablat + C(alloc)",
    "ablat * alloc",
    "bs(year, df=4)",
    "bs(year, df=4) + ablat - 1",
    "cr(year, df=3)",
    "poly(ablat, 2)",
    "scale(ablat) + center(year)",
    "np.log(ablat) + blind",
    "`arm (n)` + C(alloc, contr.sum)",
    "0 + alloc",
    "I(ablat**2) + ablat:year",
    "1",
)


def _build(X: object, data: object = None, *, fit_intercept: bool = True) -> tuple[Array, Any]:
    moderators = read_moderators(X, data)
    count = 8 if moderators.rows is None else moderators.rows
    return build_design(moderators, np.ones(count, dtype=bool), fit_intercept=fit_intercept)


@pytest.mark.parametrize("formula", FORMULAS)
@pytest.mark.filterwarnings("ignore::ketacast.estimators.DataWarning")
def test_the_rows_of_the_fit_give_the_matrix_of_the_fit(formula: str) -> None:
    matrix, spec = _build(formula, DATA)
    np.testing.assert_allclose(spec.transform(DATA), matrix, rtol=0, atol=ATOL)
    assert matrix.shape == (8, len(spec.names))
    # A part of the rows, in another order, with other columns around.
    part = DATA.iloc[[5, 2]][DATA.columns[::-1]].assign(unknown=1.0)
    np.testing.assert_allclose(spec.transform(part), matrix[[5, 2]], rtol=0, atol=ATOL)


@pytest.mark.parametrize("formula", FORMULAS)
def test_specifications_pickle(formula: str) -> None:
    _, spec = _build(formula, DATA)
    again: DesignSpec = pickle.loads(pickle.dumps(spec))  # noqa: S301
    assert again.names == spec.names
    np.testing.assert_array_equal(again.transform(DATA), spec.transform(DATA))


def test_names_are_those_a_reader_knows() -> None:
    assert _build("ablat + C(alloc)", DATA)[1].names == (
        "intercept", "ablat", "C(alloc)[b]", "C(alloc)[c]",
    )  # fmt: skip
    assert _build(DATA[["ablat", "alloc", "blind"]])[1].names == (
        "intercept", "ablat", "alloc[b]", "alloc[c]", "blind[True]",
    )  # fmt: skip
    assert _build(DATA[["ablat", "year"]].to_numpy())[1].names == ("intercept", "x0", "x1")
    assert _build(None)[1].names == ("intercept",)


@pytest.mark.parametrize(
    ("X", "data", "names"),
    [
        ("ablat - 1", DATA, ("ablat",)),
        ("ablat + 0", DATA, ("ablat",)),
        ("0 + alloc", DATA, ("alloc[a]", "alloc[b]", "alloc[c]")),
        ("ablat + alloc", DATA, ("ablat", "alloc[a]", "alloc[b]", "alloc[c]")),
        (DATA[["ablat", "alloc"]], None, ("ablat", "alloc[a]", "alloc[b]", "alloc[c]")),
        (DATA[["alloc", "blind"]], None, ("alloc[a]", "alloc[b]", "alloc[c]", "blind[True]")),
    ],
)
def test_without_an_intercept_the_first_factor_keeps_all_levels(
    X: object, data: object, names: tuple[str, ...]
) -> None:
    matrix, spec = _build(X, data, fit_intercept=False)
    assert spec.names == names
    assert not spec.intercept
    np.testing.assert_array_equal(spec.transform(DATA), matrix)


def test_a_table_and_its_formula_are_the_same_design() -> None:
    by_table, _ = _build(DATA[["ablat", "alloc", "blind"]])
    by_formula, _ = _build("ablat + alloc + blind", DATA)
    np.testing.assert_array_equal(by_table, by_formula)


@pytest.mark.parametrize(
    "term", ["bs(year, df=4)", "cr(year, df=3)", "poly(year, 3)", "scale(year)"]
)
def test_new_rows_use_the_knots_and_centres_of_the_fit(term: str) -> None:
    _, spec = _build(term, DATA)
    new = pd.DataFrame({"year": [1950.0, 1951.0, 1979.0]})
    one_by_one = np.vstack([spec.transform(new.iloc[[i]]) for i in range(3)])
    # Learnt again from the new rows, or from each alone, the values would differ.
    np.testing.assert_allclose(spec.transform(new), one_by_one, rtol=0, atol=ATOL)


@settings(max_examples=30, deadline=None)
@given(
    years=st.lists(st.floats(1900.0, 2000.0), min_size=6, max_size=20, unique=True),
    cut=st.floats(0.0, 1.0),
)
def test_b_splines_of_inner_points_sum_to_one_with_their_intercept(
    years: list[float], cut: float
) -> None:
    frame = pd.DataFrame({"year": years})
    _, spec = _build("bs(year, df=5, include_intercept=True) - 1", frame)
    inner = pd.DataFrame({"year": [min(years) + cut * (max(years) - min(years))]})
    full = spec.transform(inner)
    if not spec.dropped:
        assert full.sum() == pytest.approx(1.0, abs=1e-9)


def test_missing_values_are_marked_row_by_row() -> None:
    gaps = DATA.assign(
        ablat=DATA["ablat"].where(DATA["ablat"] < 55), alloc=DATA["alloc"].replace("c", None)
    )
    expected = [False, True, True, False, False, True, False, False]
    for moderators in (
        read_moderators(gaps[["ablat", "alloc"]]),
        read_moderators("bs(ablat, df=3) + alloc", gaps),
    ):
        missing = moderators.missing()
        assert missing is not None
        assert missing.tolist() == expected
    array = read_moderators([[1.0, np.nan], [2.0, 3.0]]).missing()
    assert array is not None
    assert array.tolist() == [True, False]


def test_levels_of_rows_left_out_are_forgotten() -> None:
    moderators = read_moderators(DATA[["alloc"]].astype("category"))
    _, spec = build_design(moderators, (DATA["alloc"] != "c").to_numpy(), fit_intercept=True)
    assert spec.names == ("intercept", "alloc[b]")
    with pytest.raises(InputError, match="level 'c', which was not in the fit"):
        spec.transform(DATA)


def test_nullable_columns_and_numbers_as_objects_are_read() -> None:
    frame = pd.DataFrame(
        {
            "a": pd.array([1, 2, None], dtype="Int64"),
            "b": pd.array([True, None, False], dtype="boolean"),
            "c": np.array([1, 2.5, None], dtype=object),
            "d": pd.Series(["x", None, "y"], dtype=object),
        }
    )
    moderators = read_moderators(frame)
    assert moderators.table is not None
    assert moderators.table["a"].dtype == np.float64
    assert moderators.table["c"].dtype == np.float64
    assert isinstance(moderators.table["b"].dtype, pd.CategoricalDtype)
    assert isinstance(moderators.table["d"].dtype, pd.CategoricalDtype)
    missing = moderators.missing()
    assert missing is not None
    assert missing.tolist() == [False, True, True]


def test_the_order_of_categories_is_the_callers() -> None:
    dose = pd.Categorical(["low", "high", "mid", "low"], categories=["low", "mid", "high", "never"])
    _, spec = _build(pd.DataFrame({"dose": dose}))
    assert spec.names == ("intercept", "dose[mid]", "dose[high]")


def test_polars_tables_are_read() -> None:
    polars = pytest.importorskip("polars")
    frame = polars.DataFrame({"x": [1.0, None, 3.0], "f": ["a", "b", None]})
    moderators = read_moderators(frame)
    missing = moderators.missing()
    assert missing is not None
    assert missing.tolist() == [False, True, True]
    _, spec = _build(frame[:1].vstack(frame[:1]), fit_intercept=False)
    assert spec.transform(frame[:1]).shape == (1, 1)


def test_columns_that_add_nothing_are_left_out() -> None:
    frame = pd.DataFrame({"a": [1.0, 2.0, 4.0, 9.0], "z": 0.0, "c": 3.0, "e": [0.0, 0.0, 1.0, 5.0]})
    frame.insert(2, "twice", 2.0 * frame["a"] + 5.0)
    matrix, spec = _build(frame)
    assert spec.names == ("intercept", "a", "e")
    assert spec.dropped == ("z", "twice", "c")
    assert matrix.shape == (4, 3)
    np.testing.assert_allclose(spec.transform(frame), matrix)
    with pytest.warns(DataWarning, match="row 1 of X .* 'c'"):
        spec.transform(frame.assign(c=[3.0, 4.0, 3.0, 3.0]))


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    p=st.integers(1, 4),
    exponents=st.lists(st.floats(-9.0, 9.0), min_size=4, max_size=4),
    offset=st.floats(-1e4, 1e4),
)
def test_units_and_offsets_never_drop_a_column(
    seed: int, p: int, exponents: list[float], offset: float
) -> None:
    rng = np.random.default_rng(seed)
    X = (rng.normal(size=(12, p)) + offset) * 10.0 ** np.array(exponents[:p])
    _, spec = _build(X)
    assert spec.dropped == ()
    _, twice = _build(np.column_stack([X, X @ np.ones(p) - 2.0 * X[:, 0]]))
    assert twice.dropped == (f"x{p}",)


def test_spans_tells_nested_designs() -> None:
    full = _build("ablat + alloc", DATA)[0]
    assert spans(full, _build("alloc", DATA)[0])
    assert spans(full, _build("0 + alloc", DATA)[0])
    assert not spans(full, _build("year", DATA)[0])


@pytest.mark.parametrize(
    ("X", "data", "message"),
    [
        ("ablat", None, r"formula 'ablat' but data is nothing; give data=DataFrame"),
        ("ablat", [1, 2], "data is a list"),
        ("ablat +* year", DATA, "cannot be read"),
        ("ablat | year", DATA, "several parts"),
        ("log(year) ~ ablat", DATA, "left-hand side of .* is not one column"),
        ("year + ablat ~ alloc", DATA, "not one column"),
        ("year ~ .", DATA, "uses '.' for all columns"),
        ("year ~ ablat + year", DATA, "has 'year' on both sides"),
        ("ablat + age", DATA, "uses 'age', which data lacks; it has 'ablat'"),
        ("abs(age)", DATA, "cannot be evaluated: .*'age' is not defined"),
        ("np.log(ablat - 13)", DATA, "cannot be evaluated: .*divide by zero"),
        (DATA.iloc[:0], None, "0 row"),
        ("ablat", DATA.iloc[:0], "no rows"),
        (DATA[[]], None, r"0 feature\(s\)"),
        (np.ones((4, 0)), None, r"0 feature\(s\) .* minimum of 1"),
        (np.ones((0, 2)), None, "at least one study"),
        (DATA["ablat"], None, "Series 'ablat'; give a table"),
        ([1.0, 2.0], None, "Reshape your data"),
        ([[1.0], [1.0, 2.0]], None, "not rectangular"),
        ([["a"], ["b"]], None, "not numeric"),
        (np.array([["a"], [1.0]], dtype=object), None, "holds 'a', which is not a number"),
        ([[True], [False]], None, "not numeric"),
        ([[1.0 + 2.0j]], None, "Complex data not supported"),
        ([[1.0], [np.inf]], None, r"X\[1, 0\] is inf"),
        (DATA.assign(ablat=np.inf), None, "'ablat'.* is inf"),
        (DATA.assign(ablat=1j), None, "Complex data not supported"),
        (DATA.assign(ablat=pd.Timestamp("2020-01-01")), None, "neither numbers nor a factor"),
        (DATA.assign(ablat=[1, "a"] * 4), None, "neither numbers nor a factor"),
        (pd.concat([DATA, DATA], axis=1), None, "two columns named 'ablat'"),
        ("ablat", pd.concat([DATA, DATA], axis=1), "two columns named 'ablat'"),
        (DATA.assign(intercept=1.0), None, "a moderator is named 'intercept'"),
        ("Intercept", DATA.assign(Intercept=1.0), "a moderator is named 'Intercept'"),
    ],
)
def test_unusable_moderators_are_refused(X: object, data: object, message: str) -> None:
    with pytest.raises(InputError, match=message):
        _build(X, data)


def test_a_design_without_columns_is_refused() -> None:
    for X, data in ((None, None), ("-1", DATA), (np.zeros((8, 1)), None)):
        with pytest.raises(InputError, match="no column"):
            _build(X, data, fit_intercept=False)


@pytest.mark.parametrize(
    ("X", "data", "new", "message"),
    [
        (DATA, None, DATA.drop(columns="year"), "X has no column 'year'; it has 'ablat'"),
        ("ablat", DATA, DATA[["year"]], "no column 'ablat'"),
        ("ablat", DATA, [[1.0]], "X is a list, but .* give a DataFrame with 'ablat'"),
        ("ablat", DATA, DATA.iloc[:0], "no rows"),
        (
            DATA,
            None,
            DATA.assign(alloc="z"),
            "'alloc' has the level 'z'.* give one of 'a', 'b', 'c'",
        ),
        ("C(year)", DATA, DATA.assign(year=1900), "'year' has the level 1900"),
        ("alloc", DATA, DATA.assign(alloc="z"), "'alloc' has the level 'z'"),
        ("ablat", DATA, DATA.assign(ablat=np.nan), "'ablat' is missing .* at row 0"),
        ("alloc", DATA, DATA.assign(alloc=None), "'alloc' is missing"),
        ("ablat", DATA, DATA.assign(ablat="x"), "'ablat' is a factor"),
        ("bs(year, df=4)", DATA, DATA.assign(year=3000), "that new values lie where it was fitted"),
        ("log(year)", DATA, DATA.assign(year=0), "cannot be evaluated"),
        (
            DATA[["ablat"]].to_numpy(),
            None,
            [[1.0, 2.0]],
            "2 features, but the design is expecting 1",
        ),
        (DATA[["ablat"]].to_numpy(), None, [[np.nan]], r"X\[0, 0\] is nan"),
        (DATA[["ablat"]].to_numpy(), None, [1.0], "Reshape your data"),
        (None, None, [[1.0]], "without moderators; give X=None"),
    ],
)
def test_unusable_new_data_are_refused(X: object, data: object, new: object, message: str) -> None:
    spec = _build(X, data)[1]
    with pytest.raises(InputError, match=message):
        spec.transform(new)


def test_without_moderators_rows_are_counted() -> None:
    spec = _build(None)[1]
    assert spec.transform(None).tolist() == [[1.0]]
    assert spec.transform(DATA).shape == (8, 1)
    assert spec.transform(np.empty((3, 0))).shape == (3, 1)


def test_series_that_do_not_match_are_refused() -> None:
    y = pd.Series(range(8), index=DATA.index)
    refuse_misaligned([("X", DATA), ("y", y), ("v", np.ones(8)), ("w", None)])
    for other in (y.iloc[::-1], y.reset_index(drop=True)):
        with pytest.raises(
            InputError, match=r"y and X have different row labels .*y\.loc\[X\.index"
        ):
            refuse_misaligned([("X", DATA), ("y", other)])


@pytest.mark.parametrize(
    "values",
    [
        [1.0, None, 3.0],
        np.array([1.0, np.nan, 3.0]),
        np.ma.masked_array([1.0, 2.0, 3.0], mask=[False, True, False]),
        pd.array([1, None, 3], dtype="Int64"),
        pd.Series([1.0, None, 3.0]),
        pd.Series([1, pd.NA, 3], dtype=object),
    ],
)
def test_every_kind_of_missing_is_nan(values: object) -> None:
    read = numbers_with_gaps("y", values, ndim=1)
    assert np.isnan(read).tolist() == [False, True, False]
    assert read[[0, 2]].tolist() == [1.0, 3.0]


def test_numbers_that_a_formula_makes_factors_have_levels() -> None:
    frame = pd.DataFrame({"a b": [1.0, 2.0, 3.0] * 3, "c": np.arange(9.0), "d": list("xyz") * 3})
    for formula, wanted in (
        ("C(`a b`) + c + d", [("a b", (1.0, 2.0, 3.0)), ("c", None), ("d", ("x", "y", "z"))]),
        ("C(`a b`, contr.sum) + c", [("a b", (1.0, 2.0, 3.0)), ("c", None)]),
        ("`a b` + C(d)", [("a b", None), ("d", ("x", "y", "z"))]),
    ):
        _, spec = _build(formula, frame)
        assert [(one.name, one.levels) for one in spec.moderators()] == wanted
        with pytest.raises(InputError, match="not in the fit"):
            spec.transform(frame.assign(**{"a b": 9.0} if "C(`" in formula else {"d": "q"}))
    array = _build(frame[["c"]].to_numpy())[1]
    assert [one.name for one in array.moderators()] == ["x0"]


@pytest.mark.parametrize("size", [1e-99, 1e-3, 1e99])
def test_the_quick_test_of_independence_agrees_with_the_careful_one(size: float) -> None:
    rng = np.random.default_rng(5)
    base = size * rng.normal(size=(9, 3))
    near = base[:, :1] + 1e-9 * size * rng.normal(size=(9, 1))
    assert _build(np.column_stack([base, near]))[0].shape == (9, 5)
    same = base[:, :1] * 2.0 + base[:, 1:2]
    assert _build(np.column_stack([base, same]))[1].dropped == ("x3",)


@pytest.mark.parametrize(
    "term",
    ["I(x - np.mean(x))", "I((x - x.mean()) / x.std())", "I(x.rank())", "I(x / np.max(x))"],
)
def test_terms_that_forget_the_rows_of_the_fit_are_refused(term: str) -> None:
    frame = pd.DataFrame({"x": [3.0, 1.0, 4.0, 1.5, 9.0, 2.0]})
    with pytest.raises(InputError, match=r"alone than among other rows.*use center\(x\)"):
        _build(term, frame)
    for good in ("center(x)", "scale(x)", "poly(x, 2)", "bs(x, df=4)", "np.log(x)", "I(x > 2)"):
        matrix, spec = _build(good, frame)
        each = [spec.transform(frame.iloc[[i]])[0] for i in range(6)]
        np.testing.assert_allclose(each, matrix, atol=1e-12)
